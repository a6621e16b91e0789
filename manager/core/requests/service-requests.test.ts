import t, { type Test } from 'tap';
import { createService, removeService } from './index.js';
import { Cluster, NOW_MS, service, spec } from './requests.fixture.js';

function refuses(t: Test, what: object, code: string, message: string | RegExp): void {
  t.throws(() => new Cluster().create(what), { code, message }, JSON.stringify(what));
}

t.test('a service is created under its name, once whatever the case, and gets a name when it has none', async (t) => {
  const cluster = new Cluster();
  const id = cluster.create(spec());
  t.equal(cluster.store.serviceByName('web')?.id, id);
  const taken = 'name conflicts with an existing object: service Web already exists';
  t.throws(() => cluster.create(spec({ Name: 'Web' })), { code: 'already-exists', message: taken });
  for (let i = 0; i < 300; i++) {
    const name = cluster.store.service(cluster.create(spec({ Name: '' })))?.spec.Name;
    t.match(name, /^[a-z]+_[a-z]+(_[0-9]+)?$/);
  }
  t.equal(cluster.store.services().length, 301);
});

t.test('what was decided on a name that is taken meanwhile does not happen', async (t) => {
  const cluster = new Cluster();
  const decision = createService(cluster.store, service(spec()), cluster.rng);
  cluster.create(spec());
  const { guards, changes } = decision;
  const { result } = cluster.store.apply(9, { atMs: 1, guards, changes });
  t.match(result, { ok: false, failed: { type: 'service-name-free', name: 'web' } });
});

t.test('faults of a service spec are refused in the words of Docker Swarm 20.10', async (t) => {
  const bad = (words: string, ...specs: object[]) => {
    for (const what of specs) refuses(t, what, 'invalid-argument', words);
  };
  const name = 'name must be valid as a DNS name component';
  bad(name, ...['-a', 'a-', 'a.b', 'a b', 'é', '_a', 'a/b'].map((Name) => spec({ Name })));
  bad('name must be 63 characters or fewer', spec({ Name: 'x'.repeat(64) }));
  bad('mismatched Runtime and *Spec fields', { Name: 'web' }, { Name: 'web', TaskTemplate: {} });
  bad('unsupported runtime', spec({}, { Runtime: 'x' }));
  const asking = (one: object) => spec({}, { Resources: { Reservations: { GenericResources: [one] } } });
  const named = { NamedResourceSpec: { Kind: 'gpu', Value: 'a' } };
  bad('invalid argument for resource gpu: expected a number of them, not a name', asking(named));
  const counted = { DiscreteResourceSpec: { Kind: 'gpu', Value: -1 } };
  bad('invalid argument for resource gpu: expected a kind and 0 or more', asking(counted));
  bad('must specify only one service mode', spec({ Mode: { Global: {}, Replicated: {} } }));
  bad('ContainerSpec: image reference must be provided', spec({}, {}, { Image: '' }));
  for (const Image of ['Busy', 'a b', 'busybox@sha256:123', ':x', 'busybox:', '{{.Node.ID}}', 'a'.repeat(64), '-x']) {
    bad(`ContainerSpec: "${Image}" is not a valid repository/tag`, spec({}, {}, { Image }));
  }
  bad('TaskSpec: restart-delay cannot be negative', spec({}, { RestartPolicy: { Delay: -1 } }));
  bad('TaskSpec: restart-window cannot be negative', spec({}, { RestartPolicy: { Window: -1 } }));
  bad('invalid RestartCondition: "x"', spec({}, { RestartPolicy: { Condition: 'x' } }));
  for (const Mode of [{ ReplicatedJob: {} }, { GlobalJob: {} }]) {
    bad('Jobs may not have an update config', spec({ Mode, UpdateConfig: { Delay: -1 } }));
  }
  const Privileges = { CredentialSpec: { Registry: 'r', Config: 'c' } };
  bad(
    'invalid CredentialSpec: cannot specify both "config" and "registry" credential specs',
    spec({}, {}, { Privileges }),
  );
  bad('TaskSpec: update-delay cannot be negative', spec({ UpdateConfig: { Delay: -1 } }));
  bad('TaskSpec: update-monitor cannot be negative', spec({ UpdateConfig: { Monitor: -1 } }));
  const ratio = 'TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1';
  bad(ratio, spec({ UpdateConfig: { MaxFailureRatio: 1.5 } }), spec({ UpdateConfig: { MaxFailureRatio: -0.1 } }));
  bad('unrecognized update failure action shrug', spec({ UpdateConfig: { FailureAction: 'shrug' } }));
  bad('unrecognized update order random', spec({ RollbackConfig: { Order: 'random' } }));
  bad('invalid cpu value 1e-08: Must be at least 0.001', spec({}, { Resources: { Limits: { NanoCPUs: 10 } } }));
  bad('invalid cpu value -1e-09: Must be at least 0.001', spec({}, { Resources: { Limits: { NanoCPUs: -1 } } }));
  bad('invalid cpu value 0.0001: Must be at least 0.001', spec({}, { Resources: { Limits: { NanoCPUs: 100_000 } } }));
  bad(
    'invalid cpu value 9.9999e-05: Must be at least 0.001',
    spec({}, { Resources: { Limits: { NanoCPUs: 99_999 } } }),
  );
  const memory = { Resources: { Reservations: { MemoryBytes: 2_097_152 } } };
  bad('invalid memory value 2097152: Must be at least 4MiB', spec({}, memory));
  bad('invalid resolution mode: "x"', spec({ EndpointSpec: { Mode: 'x' } }));
  bad('invalid MountType: "x"', spec({}, {}, { Mounts: [{ Type: 'x', Target: '/a' }] }));
  const duplicate = [
    { Type: 'volume', Source: 'v', Target: '/a' },
    { Type: 'volume', Source: 'w', Target: '/a' },
  ];
  bad('ContainerSpec: duplicate mount point: /a', spec({}, {}, { Mounts: duplicate }));
  const interval = 'ContainerSpec: Interval in HealthConfig cannot be less than 1ms';
  bad(interval, spec({}, {}, { Healthcheck: { Interval: 100 } }), spec({}, {}, { Healthcheck: { Interval: -1 } }));
  bad('ContainerSpec: Retries in HealthConfig cannot be negative', spec({}, {}, { Healthcheck: { Retries: -1 } }));
});

// What Docker 20.10 answered to the same specs.
t.test('a template that cannot be expanded is refused at once, in the words of Docker', async (t) => {
  const fault = (name: string, at = 2) =>
    `template: expansion:1:${at}: executing "expansion" at <.${name}>: ` +
    `can't evaluate field ${name} in type *template.Context`;
  const volume = { Type: 'volume', Source: 'v', Target: '/a' };
  const refused: [container: object, words: string][] = [
    [{ Hostname: '{{.Foo}}' }, `expanding hostname failed: ${fault('Foo')}`],
    [{ Hostname: '{{.Foo}}', Image: 'A:::' }, `expanding hostname failed: ${fault('Foo')}`],
    [
      { Hostname: '{{.Service.Labels.x}}' },
      'expanding hostname failed: template: expansion:1:10: executing "expansion" at <.Service.Labels.x>: ' +
        'map has no entry for key "x"',
    ],
    [{ Env: ['Q={{.X'] }, 'expanding env failed: expanding env "Q={{.X": template: expansion:1: unclosed action'],
    [{ Env: ['Q={{.X}}'], Hostname: '{{.Y}}' }, `expanding env failed: expanding env "Q={{.X}}": ${fault('X')}`],
    [
      { Env: ['Q={{.X}}'], Mounts: [{ ...volume, Source: '{{.A}}', Target: '{{.B}}' }] },
      `expanding mounts failed: expanding mount source "{{.A}}": ${fault('A')}`,
    ],
    [
      { Mounts: [{ ...volume, Target: '/{{.B}}' }] },
      `expanding mounts failed: expanding mount target "/{{.B}}": ${fault('B', 3)}`,
    ],
    [
      { Mounts: [{ ...volume, VolumeOptions: { Labels: { a: '{{.C}}' } } }] },
      `expanding mounts failed: expanding volume labels: expanding map entry "a"="{{.C}}": ${fault('C')}`,
    ],
    [
      { Mounts: [volume, { ...volume, Target: '/{{.Service.Name}}' }, { ...volume, Target: '/servicename' }] },
      'ContainerSpec: duplicate mount point: /servicename',
    ],
  ];
  for (const [container, words] of refused) {
    refuses(t, spec({ Labels: { x: 'y' } }, {}, container), 'invalid-argument', words);
  }
  const fine = {
    Hostname: '{{.Service.Name}}-{{.Task.Slot}}',
    Env: ['{{.Foo}}=1', '{{.Bar}}', 'A={{index .Service.Labels "x"}}'],
    Mounts: [{ ...volume, Source: '{{.Node.Hostname}}', Target: '/{{.Task.ID}}' }],
    Labels: { a: '{{.Foo}}' },
  };
  t.ok(new Cluster().create(spec({}, {}, fine)));
});

t.test('faults that Docker finds no words for name the path', async (t) => {
  const bad = (what: object, message: RegExp) => refuses(t, what, 'invalid-argument', message);
  const ports = (...Ports: object[]) => spec({ EndpointSpec: { Ports } });
  bad(spec({ Mode: { Replicated: { Replicas: 100_001 } } }), /^Mode.Replicated.Replicas: 100001 is more/);
  bad(spec({ Mode: { Replicated: { Replicas: -1 } } }), /Mode.Replicated.Replicas/);
  bad(
    ports({ TargetPort: 0, PublishMode: 'host' }),
    /^EndpointSpec.Ports\[0\].TargetPort: expected 1 to 65535, got 0$/,
  );
  bad(ports({ TargetPort: 1, PublishedPort: 65_536 }), /^EndpointSpec.Ports\[0\].PublishedPort: expected 0 to 65535/);
  bad(
    ports({ TargetPort: 1, Protocol: 'icmp' }),
    /^EndpointSpec.Ports\[0\].Protocol: expected tcp, udp or sctp, got "icmp"/,
  );
  bad(ports({ TargetPort: 1, PublishMode: 'lan' }), /^EndpointSpec.Ports\[0\].PublishMode: expected ingress or host/);
  bad(spec({}, { Placement: { Preferences: [{}] } }), /^TaskTemplate.Placement.Preferences\[0\].Spread/);
  const tmpfs = { Type: 'tmpfs', Target: '/a', TmpfsOptions: { SizeBytes: -1 } };
  bad(spec({}, {}, { Mounts: [tmpfs] }), /the size of a tmpfs cannot be negative/);
});

t.test('published ports must not clash, as Docker has it', async (t) => {
  const host = (PublishedPort: number, Protocol = 'tcp') => ({
    TargetPort: 80,
    PublishedPort,
    Protocol,
    PublishMode: 'host',
  });
  const ports = (...Ports: object[]) => spec({ EndpointSpec: { Ports } });
  const twice = 'EndpointSpec: duplicate published ports provided';
  refuses(t, ports(host(99), { ...host(99), TargetPort: 81 }), 'invalid-argument', twice);
  const ingress = { Mode: 'dnsrr', Ports: [{ TargetPort: 80 }] };
  const dnsrr = "EndpointSpec: port published with ingress mode can't be used with dnsrr mode";
  refuses(t, spec({ EndpointSpec: ingress }), 'invalid-argument', dnsrr);
  t.ok(new Cluster().create(ports(host(99), host(99, 'udp'), host(0), host(0))));
});

t.test('placement constraints are read as SwarmKit reads them', async (t) => {
  const constrained = (...Constraints: string[]) => spec({}, { Placement: { Constraints } });
  const refused: Record<string, string> = {
    'node.role': 'constraint expected one operator from ==, !=',
    'node.role=worker': 'constraint expected one operator from ==, !=',
    '': 'constraint expected one operator from ==, !=',
    '==worker': "key '' is invalid",
    'node.role==': "value '' is invalid",
    'node.role!=  ': "value '' is invalid",
    'node role==worker': "key 'node role' is invalid",
    'a==b==c': "key 'a' is invalid",
    'a!=b==c': "key 'a!=b' is invalid",
    '-a==b': "key '-a' is invalid",
    'node.labels.a/b==c': "key 'node.labels.a/b' is invalid",
    'node.labels.x==@a': "value '@a' is invalid",
    'node.labels.x==é': "value 'é' is invalid",
  };
  for (const [text, words] of Object.entries(refused)) refuses(t, constrained(text), 'invalid-argument', words);
  const taken = ['node.id==x', ' node.role == worker ', 'node.labels.a==x y', 'node.labels.a==x_y.z:1/2', 'a..b==c'];
  t.ok(new Cluster().create(constrained(...taken)));
});

t.test('image references are told from what is none', async (t) => {
  const good = [
    'web',
    'busybox:test@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
    'UP.example/x',
    'x__y',
    'host:5000/a/b:t',
    'localhost/a',
    'a/b/c',
    'a--b.c_d:V.1-2',
  ];
  for (const Image of good) t.ok(new Cluster().create(spec({}, {}, { Image })), Image);
  const startedAt = performance.now();
  const bad = ['x___y', 'x.-y', 'a//b', 'UP/x', 'a/B', '', `${'a'.repeat(255)}/b`, `${'a-'.repeat(500)}!`];
  for (const Image of bad) t.throws(() => new Cluster().create(spec({}, {}, { Image })), { code: 'invalid-argument' });
  t.ok(performance.now() - startedAt < 1000, 'none of them takes long');
});

t.test('what this version does not honour is refused, and the message says where it stands', async (t) => {
  const refused: [object, RegExp][] = [
    [spec({}, { Runtime: 'plugin', PluginSpec: {} }), /^TaskTemplate.Runtime "plugin"/],
    [spec({}, { PluginSpec: {} }), /^TaskTemplate.PluginSpec/],
    [spec({}, {}, { Privileges: { CredentialSpec: { File: 'f' } } }), /Privileges.CredentialSpec/],
    [spec({}, {}, { Isolation: 'vm' }), /Isolation "vm"/],
    [spec({}, {}, { Mounts: [{ Type: 'image', Source: 'a', Target: '/a' }] }), /Mounts\[0\].Type "image"/],
  ];
  for (const [what, message] of refused) refuses(t, what, 'unimplemented', message);
});

t.test('what no engine here can run, and Docker’s managers take, is left to the nodes to refuse', async (t) => {
  const taken: object[] = [
    { Isolation: 'hyperv' },
    { Mounts: [{ Source: '/a', Target: '/b' }] },
    { Mounts: [{ Type: 'npipe', Source: 'a', Target: 'b' }] },
    { Mounts: [{ Type: 'bind', Source: 'a', Target: '/a' }] },
    { Mounts: [{ Type: 'volume', Source: '/a', Target: '/a' }] },
    { Mounts: [{ Type: 'tmpfs', Source: 'a', Target: '/a' }] },
  ];
  for (const each of taken) t.ok(new Cluster().create(spec({}, {}, each)), JSON.stringify(each));
});

t.test('what the stock command line sends for nothing special is taken', async (t) => {
  const id = new Cluster().create({
    Name: 'web',
    Labels: {},
    TaskTemplate: {
      ContainerSpec: {
        Image: 'busybox:test',
        Init: false,
        DNSConfig: {},
        Isolation: 'default',
        Secrets: null,
        Configs: [],
      },
      Resources: { Limits: {}, Reservations: {} },
      Placement: { Preferences: [{ Spread: { SpreadDescriptor: 'node.labels.dc' } }], MaxReplicas: 3 },
      ForceUpdate: 0,
      Networks: [],
    },
    Mode: { Replicated: { Replicas: 3 } },
    UpdateConfig: { Parallelism: 1, FailureAction: 'rollback', MaxFailureRatio: 0.5, Order: 'start-first' },
    RollbackConfig: { Parallelism: 0, FailureAction: 'rollback' },
    EndpointSpec: { Mode: 'dnsrr', Ports: [{ TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' }] },
  });
  t.ok(id);
});

t.test('an update needs the version that is current, the same name and the same mode', async (t) => {
  const cluster = new Cluster();
  const id = cluster.create(spec());
  const version = cluster.versionOf(id);
  for (const stale of [version - 1, version + 1000]) {
    t.throws(() => cluster.update(id, spec(), { version: stale }), {
      code: 'out-of-sequence',
      message: 'update out of sequence',
    });
  }
  const renaming = { code: 'unimplemented', message: 'renaming services is not supported' };
  t.throws(() => cluster.update(id, spec({ Name: 'shop' }), { version: 0 }), renaming);
  t.throws(() => cluster.update(id, spec({ Name: '' })), renaming);
  const mode = { code: 'unimplemented', message: 'service mode change is not allowed' };
  t.throws(() => cluster.update(id, spec({ Mode: { Global: {} } })), mode);
  t.throws(() => cluster.update(id, spec({}, {}, { Image: '' })), { code: 'invalid-argument' });
  const template = { code: 'invalid-argument', message: /^expanding hostname failed: / };
  t.throws(() => cluster.update(id, spec({}, {}, { Hostname: '{{.Foo}}' })), template);
  t.throws(() => cluster.update('gone', spec()), { code: 'not-found', message: 'service gone not found' });
  t.equal(cluster.update(id, spec({ Mode: undefined })), id, 'replicated is the mode of a spec without one');
  t.throws(() => cluster.update(id, spec(), { version }), { code: 'out-of-sequence' });
});

t.test('a rollback swaps the spec with the one before, again and again', async (t) => {
  const cluster = new Cluster();
  const id = cluster.create(spec());
  const none = { code: 'failed-precondition', message: `service ${id} does not have a previous spec` };
  t.throws(() => cluster.update(id, spec(), { rollback: true }), none);
  cluster.update(id, spec({ Labels: { l: '2' } }, {}, { Env: ['A=2'] }));
  t.equal(cluster.store.service(id)?.update, undefined);
  const seen = () => {
    const service = cluster.store.service(id);
    return [service?.specVersion, service?.previous?.specVersion, service?.update?.state];
  };
  t.same(seen(), [2, 1, undefined]);
  cluster.update(id, spec(), { rollback: true });
  t.same(seen(), [1, 2, 'rollback_started']);
  t.match(cluster.store.service(id)?.update, { startedAtMs: NOW_MS, message: 'manually requested rollback' });
  cluster.update(id, spec(), { rollback: true });
  t.same(seen(), [2, 1, 'rollback_started']);
  cluster.update(id, spec({ Mode: { Replicated: { Replicas: 3 } } }, {}, { Env: ['A=2'] }));
  t.same(seen(), [2, 2, undefined], 'an update under way starts anew');
});

t.test('a service is removed once', async (t) => {
  const cluster = new Cluster();
  const id = cluster.create(spec());
  cluster.commit(removeService(cluster.store, id));
  t.same(cluster.store.services(), []);
  t.throws(() => removeService(cluster.store, id), { code: 'not-found', message: `service ${id} not found` });
});
