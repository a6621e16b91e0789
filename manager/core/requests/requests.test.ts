import {
  type ClusterSpec,
  ClusterSpecSchema,
  type NodeSpec,
  read,
  type ServiceSpec,
  ServiceSpecSchema,
} from '@apiary/api/model';
import { SeededRng } from '@apiary/std';
import t, { type Test } from 'tap';
import { type Change, Store } from '../store/index.js';
import {
  type ClusterInit,
  createService,
  type Decision,
  defaultClusterSpec,
  initCluster,
  leaveAsManager,
  raftSettingsOf,
  removeNode,
  removeService,
  setManagerAddr,
  updateCluster,
  updateNode,
  updateService,
} from './index.js';

const NOW_MS = 1_700_000_000_000;

class Cluster {
  readonly store = new Store();
  readonly rng = new SeededRng(1);

  commit<R>({ guards, changes, result }: Decision<R>): R {
    const applied = this.store.apply(this.store.appliedIndex + 1, { atMs: NOW_MS, guards, changes });
    t.ok(applied.result.ok);
    return result;
  }

  create(spec: unknown): string {
    return this.commit(createService(this.store, service(spec), this.rng));
  }

  update(id: string, spec: unknown, { version = this.versionOf(id), rollback = false } = {}): string {
    return this.commit(updateService(this.store, { id, version, spec: service(spec), rollback }, NOW_MS));
  }

  versionOf(id: string): number {
    return (this.store.service(id) ?? this.store.node(id) ?? this.store.cluster())?.meta.version ?? 0;
  }

  apply(...changes: Change[]): void {
    this.commit({ guards: [], changes, result: undefined });
  }
}

function service(spec: unknown): ServiceSpec {
  return read(ServiceSpecSchema, spec, 'service spec');
}

/** A spec with some of its container's, its task's or its own keys replaced. */
function spec(own: object = {}, template: object = {}, container: object = {}): object {
  return {
    Name: 'web',
    TaskTemplate: { ContainerSpec: { Image: 'busybox:test', ...container }, ...template },
    Mode: { Replicated: { Replicas: 0 } },
    ...own,
  };
}

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
  const mount = (Mount: object) => spec({}, {}, { Mounts: [Mount] });
  bad(mount({ Type: 'bind', Source: '/a' }), /invalid mount target, must be an absolute path/);
  bad(mount({ Type: 'bind', Source: 'a', Target: '/a' }), /invalid bind mount source, must be an absolute path: a$/);
  bad(mount({ Type: 'volume', Source: '/a', Target: '/a' }), /must not be an absolute path: \/a$/);
  bad(mount({ Type: 'tmpfs', Source: 'a', Target: '/a' }), /source must be empty/);
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
    [spec({}, {}, { Isolation: 'hyperv' }), /Isolation "hyperv"/],
    [spec({}, {}, { Mounts: [{ Type: 'npipe', Source: '/a', Target: '/a' }] }), /Mounts\[0\].Type "npipe"/],
    [spec({}, {}, { Mounts: [{ Type: 'image', Source: 'a', Target: '/a' }] }), /Mounts\[0\].Type "image"/],
  ];
  for (const [what, message] of refused) refuses(t, what, 'unimplemented', message);
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

const INIT: ClusterInit = {
  nodeId: 'm',
  rootCa: { certificatePem: 'C', keyPem: 'K' },
  availability: 'active',
  addr: '10.0.0.1',
  managerAddr: '10.0.0.1:2377',
};

function withNodes(): Cluster {
  const cluster = new Cluster();
  cluster.commit(initCluster(cluster.store, INIT, cluster.rng));
  const status = { state: 'ready' as const, message: '', addr: '10.0.0.2' };
  cluster.apply({
    type: 'node-create',
    node: { id: 'w', spec: { Role: 'worker', Availability: 'active' }, role: 'worker', status },
  });
  return cluster;
}

t.test('a cluster begins with one manager, two secrets and the spec of `docker swarm init`', async (t) => {
  const cluster = withNodes();
  const record = cluster.store.cluster();
  t.same(record?.spec, defaultClusterSpec());
  t.match(record?.joinSecrets, { worker: /^[0-9a-z]{25}$/, manager: /^[0-9a-z]{25}$/ });
  t.not(record?.joinSecrets.worker, record?.joinSecrets.manager);
  t.match(cluster.store.node('m'), { role: 'manager', spec: { Role: 'manager', Availability: 'active' } });
  t.throws(() => initCluster(cluster.store, INIT, cluster.rng), { code: 'failed-precondition' });
});

t.test('node updates and removals are refused in the words of Docker', async (t) => {
  const cluster = withNodes();
  const update = (id: string, spec: NodeSpec, version = cluster.versionOf(id)) =>
    cluster.commit(updateNode(cluster.store, { id, version, spec }));
  const remove = (id: string, force: boolean) => cluster.commit(removeNode(cluster.store, { id, force }));
  update('w', { Role: 'worker', Availability: 'drain', Labels: { dc: 'a' } });
  t.same(cluster.store.node('w')?.spec.Labels, { dc: 'a' });
  t.throws(() => update('w', { Availability: 'active' }), { code: 'invalid-argument', message: 'invalid Role: ""' });
  t.throws(() => update('w', { Role: 'worker' }), { code: 'invalid-argument', message: 'invalid Availability: ""' });
  t.throws(() => update('w', { Role: 'worker', Availability: 'active' }, 1), { code: 'out-of-sequence' });
  const last = { code: 'failed-precondition', message: 'attempting to demote the last manager of the swarm' };
  t.throws(() => update('m', { Role: 'worker', Availability: 'active' }), last);
  t.throws(() => remove('m', true), last);
  t.throws(() => remove('x', true), { code: 'not-found', message: 'node x not found' });
  t.throws(() => remove('m', false), {
    code: 'failed-precondition',
    message: /^node m is a cluster manager and is a member/,
  });
  t.throws(() => remove('w', false), {
    code: 'failed-precondition',
    message: "node w is not down and can't be removed",
  });
  remove('w', true);
  t.equal(cluster.store.node('w'), undefined);
});

/** Beside manager `m`: others by id, reachable unless they are named so. */
function withManagers(...ids: string[]): Cluster {
  const cluster = withNodes();
  for (const id of ids) {
    const status = { state: 'down' as const, message: '', addr: '10.0.0.3' };
    const spec: NodeSpec = { Role: 'manager', Availability: 'active' };
    const reachability = id.startsWith('lost') ? ('unreachable' as const) : ('reachable' as const);
    cluster.apply({ type: 'node-create', node: { id, spec, role: 'manager', status, reachability } });
  }
  return cluster;
}

const AS_WORKER: NodeSpec = { Role: 'worker', Availability: 'active' };

t.test('a manager is demoted and removed in two steps, or by force in one', async (t) => {
  const cluster = withManagers('b', 'c', 'd');
  const demote = (id: string, force = false) =>
    cluster.commit(updateNode(cluster.store, { id, version: cluster.versionOf(id), spec: AS_WORKER, force }));
  const remove = (id: string, force = false) => cluster.commit(removeNode(cluster.store, { id, force }));
  const leaves = (id: string) => {
    const changes: Change[] = [{ type: 'node-role', id, role: 'worker' }];
    cluster.commit({ guards: [], changes, result: undefined });
  };
  cluster.commit(
    updateNode(cluster.store, {
      id: 'w',
      version: cluster.versionOf('w'),
      spec: { Role: 'manager', Availability: 'active' },
    }),
  );
  t.match(cluster.store.node('w'), { role: 'worker', spec: { Role: 'manager' } }, 'a promotion is a wish');
  demote('b');
  t.match(cluster.store.node('b'), { role: 'manager', spec: { Role: 'worker' }, departure: undefined });
  remove('b');
  t.match(cluster.store.node('b'), { role: 'manager', departure: { isForced: false, isRemoval: true } });
  leaves('b');
  t.equal(cluster.store.node('b'), undefined);
  demote('c', true);
  t.match(cluster.store.node('c'), { departure: { isForced: true, isRemoval: false } });
  leaves('c');
  t.match(cluster.store.node('c'), { role: 'worker', departure: undefined });
  remove('d', true);
  t.match(cluster.store.node('d'), { spec: AS_WORKER, departure: { isForced: true, isRemoval: true } });
  cluster.commit(
    updateNode(cluster.store, { id: 'd', version: cluster.versionOf('d'), spec: { ...AS_WORKER, Role: 'manager' } }),
  );
  leaves('d');
  t.match(cluster.store.node('d'), { role: 'worker', departure: undefined }, 'promoted again in time, it stays');
  t.same(Object.keys(cluster.store.cluster()?.excluded ?? {}), ['b', 'c']);
});

t.test('a former manager that is away is not promoted before it has heard that it is a worker', async (t) => {
  const cluster = withManagers('b', 'c');
  const asManager = (id: string) => {
    const spec = { ...AS_WORKER, Role: 'manager' as const };
    return cluster.commit(updateNode(cluster.store, { id, version: cluster.versionOf(id), spec }));
  };
  cluster.commit(updateNode(cluster.store, { id: 'c', version: cluster.versionOf('c'), spec: AS_WORKER }));
  asManager('c');
  cluster.commit(updateNode(cluster.store, { id: 'c', version: cluster.versionOf('c'), spec: AS_WORKER }));
  const changes: Change[] = [{ type: 'node-role', id: 'c', role: 'worker' }];
  cluster.commit({ guards: [], changes, result: undefined });
  t.throws(() => asManager('c'), { code: 'failed-precondition', message: /^node c was a manager and is away/ });
  cluster.apply({ type: 'node-status', id: 'c', status: { state: 'ready', message: '', addr: '10.0.0.3' } });
  asManager('c');
  t.match(cluster.store.node('c'), { role: 'worker', spec: { Role: 'manager' } });
});

t.test('a demotion that would lose the quorum says what it costs, and is done by force', async (t) => {
  const cluster = withManagers('b', 'lost');
  const demote = (id: string, force = false) =>
    updateNode(cluster.store, { id, version: cluster.versionOf(id), spec: AS_WORKER, force });
  t.throws(() => demote('b'), {
    code: 'failed-precondition',
    message:
      "can't remove member from the raft: this would result in a loss of quorum: of the 2 managers left, " +
      '1 would be reachable where 2 must be, and nothing in the cluster could be changed. ' +
      'Bring back lost or remove what is lost first; with force it is done all the same',
  });
  t.match(demote('b', true).changes, [{ type: 'node-spec', departure: { isForced: true, isRemoval: false } }]);
  cluster.commit(demote('lost'));
  cluster.commit(demote('b'));
  t.throws(() => demote('m', true), { message: /last manager/ }, 'those on their way out do not count');
});

t.test('of managers that are demoted, removed and leave at once, one stays', async (t) => {
  const { store } = withManagers('b', 'c');
  const decisions: Decision<unknown>[] = [
    updateNode(store, { id: 'm', version: store.node('m')?.meta.version ?? 0, spec: AS_WORKER, force: true }),
    removeNode(store, { id: 'b', force: true }),
    leaveAsManager(store, { id: 'c', force: true }),
  ];
  const outcomes = decisions.map(({ guards, changes }) => {
    const { result } = store.apply(store.appliedIndex + 1, { atMs: NOW_MS, guards, changes });
    return result.ok;
  });
  t.same(outcomes, [true, false, false], 'the others are decided anew');
});

t.test('a manager leaves in the words of Docker', async (t) => {
  const cluster = withManagers('b', 'lost');
  const leave = (id: string, force: boolean) => leaveAsManager(cluster.store, { id, force });
  const words = (losing: string) =>
    'You are attempting to leave the swarm on a node that is participating as a manager. ' +
    `${losing}The only way to restore a swarm that has lost consensus is to reinitialize it with ` +
    '`--force-new-cluster`. Use `--force` to suppress this message.';
  t.throws(() => leave('b', false), {
    code: 'failed-precondition',
    message: words(
      'Removing this node leaves 1 managers out of 3. Without a Raft quorum your swarm will be inaccessible. ',
    ),
  });
  t.throws(() => leave('lost', false), { message: words('') });
  for (const id of ['b', 'lost']) t.equal(cluster.commit(leave(id, true)).isLast, false);
  t.match(cluster.store.node('b'), { role: 'manager', spec: { Role: 'worker' }, departure: { isForced: true } });
  t.throws(() => leave('m', false), { message: /^You are .* Removing the last manager erases all .* this message\.$/ });
  t.same(leave('m', true), { guards: [], changes: [], result: { isLast: true } });
  t.same(leave('w', false).changes, [], 'a worker has nothing to ask for');
});

t.test('the address of a manager is written when it is news', async (t) => {
  const { store } = withNodes();
  const managerAddr = '10.0.0.9:2377';
  t.same(setManagerAddr(store, { id: 'm', managerAddr }).changes, [
    { type: 'node-manager-addr', id: 'm', managerAddr },
  ]);
  t.same(setManagerAddr(store, { id: 'm', managerAddr: '10.0.0.1:2377' }).changes, []);
  t.throws(() => setManagerAddr(store, { id: 'x', managerAddr }), { code: 'not-found' });
});

/** What stands for the making of a root. */
const newRoot = (rootCa: { certificatePem: string }, given?: { certificatePem: string; keyPem?: string }) => ({
  certificatePem: 'new',
  ...given,
  crossSignedPem: `by ${rootCa.certificatePem}`,
  issuer: { CertIssuerSubject: 's', CertIssuerPublicKey: 'p' },
});

t.test('a cluster update rotates the tokens that it is asked to, and refuses what is not honoured', async (t) => {
  const cluster = withNodes();
  const update = (spec: unknown, rotate = {}, version = cluster.versionOf('')) => {
    const request = {
      version,
      spec: read(ClusterSpecSchema, spec, 'spec'),
      rotateWorkerToken: false,
      rotateManagerToken: false,
      rotateUnlockKey: false,
      newRoot,
    };
    cluster.commit(updateCluster(cluster.store, { ...request, ...rotate }, cluster.rng));
    return cluster.store.cluster();
  };
  const before = cluster.store.cluster()?.joinSecrets;
  const changed: ClusterSpec = {
    ...defaultClusterSpec(),
    Labels: { a: 'b' },
    Orchestration: { TaskHistoryRetentionLimit: 3 },
    Dispatcher: { HeartbeatPeriod: 9e9 },
    CAConfig: { NodeCertExpiry: 2_592e12 },
    Raft: { ...defaultClusterSpec().Raft, SnapshotInterval: 5000, KeepOldSnapshots: 2, LogEntriesForSlowFollowers: 9 },
  };
  t.same(update(changed)?.spec, changed);
  t.same(raftSettingsOf(changed), { snapshotEntries: 5000, oldSnapshots: 2, trailingEntries: 9 });
  t.same(raftSettingsOf({}), { snapshotEntries: 10_000, oldSnapshots: 0, trailingEntries: 500 });
  t.same(cluster.store.cluster()?.joinSecrets, before);
  const after = update(changed, { rotateWorkerToken: true })?.joinSecrets;
  t.not(after?.worker, before?.worker);
  t.equal(after?.manager, before?.manager);
  t.throws(() => update({ Name: 'default' }, {}, 1), { code: 'out-of-sequence', message: 'update out of sequence' });
  t.throws(() => update({ Name: 'x' }), { code: 'invalid-argument', message: 'swarm spec must be named "default"' });
  const expiry = { code: 'invalid-argument', message: 'minimum certificate expiry time is: 1h0m0s' };
  t.throws(() => update({ CAConfig: { NodeCertExpiry: 60e9 } }), expiry);
  const heartbeat = { code: 'invalid-argument', message: 'heartbeat time period cannot be a negative duration' };
  t.throws(() => update({ Dispatcher: { HeartbeatPeriod: -5 } }), heartbeat);
  const unhonoured: [ClusterSpec, RegExp][] = [
    [{ Raft: { ElectionTick: 5 } }, /^Raft.ElectionTick 5 .*leave it at 10/],
    [{ Raft: { HeartbeatTick: 2 } }, /^Raft.HeartbeatTick 2 .*leave it at 1/],
    [{ TaskDefaults: { LogDriver: { Name: 'x' } } }, /^TaskDefaults.LogDriver/],
  ];
  for (const [spec, message] of unhonoured) t.throws(() => update(spec), { code: 'unimplemented', message });
});

t.test('the unlock key comes and goes with autolock, and is changed when that is asked for', async (t) => {
  const cluster = withNodes();
  const keyAfter = (isOn: boolean, rotateUnlockKey = false) => {
    const request = {
      version: cluster.versionOf(''),
      spec: { ...defaultClusterSpec(), EncryptionConfig: { AutoLockManagers: isOn } },
      rotateWorkerToken: false,
      rotateManagerToken: false,
      rotateUnlockKey,
      newRoot,
    };
    cluster.commit(updateCluster(cluster.store, request, cluster.rng));
    return cluster.store.cluster()?.unlockKey;
  };
  t.equal(keyAfter(false, true), undefined, 'there is none to change');
  const first = keyAfter(true);
  t.match(first, /^SWMKEY-1-[A-Za-z0-9+/]{43}$/);
  t.equal(keyAfter(true), first);
  const second = keyAfter(true, true);
  t.match(second, /^SWMKEY-1-/);
  t.not(second, first);
  t.equal(keyAfter(false), undefined);
  const spec = { EncryptionConfig: { AutoLockManagers: true } };
  const { changes } = initCluster(new Store(), { ...INIT, spec }, new SeededRng(1));
  t.match(changes[0], { type: 'cluster-create', cluster: { unlockKey: /^SWMKEY-1-/ } });
});

t.test("a new cluster takes the numbers that docker swarm init leaves at 0 as Docker's defaults", async (t) => {
  const spec: ClusterSpec = {
    Labels: {},
    Orchestration: {},
    Raft: { SnapshotInterval: 10_000, KeepOldSnapshots: 0, ElectionTick: 0, HeartbeatTick: 0 },
    Dispatcher: { HeartbeatPeriod: 0 },
    CAConfig: { NodeCertExpiry: 0 },
    EncryptionConfig: { AutoLockManagers: false },
  };
  const { guards, changes } = initCluster(new Store(), { ...INIT, spec }, new SeededRng(1));
  t.same(guards, [{ type: 'no-cluster' }]);
  t.match(changes[0], { type: 'cluster-create', cluster: { spec: defaultClusterSpec() } });
});
