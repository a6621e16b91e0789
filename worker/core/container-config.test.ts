import type { ContainerSpec } from '@apiary/api/model';
import t from 'tap';
import type { AssignedTask } from './assignments.js';
import { containerConfigOf } from './container-config.js';
import { withContents } from './content-mounts.js';
import { withGateway } from './gateway-config.js';
import { familiarReference, parseImageReference } from './image-reference.js';

const NODE = { id: 'n0de', hostname: 'h1', platform: { Architecture: 'x86_64', OS: 'linux' } };

function task(template: AssignedTask['template'], rest: Partial<AssignedTask> = {}): AssignedTask {
  return {
    id: 't4sk',
    serviceId: 's3rvice',
    serviceName: 'web',
    serviceLabels: { b: 'c', sl: 'v' },
    slot: 2,
    desiredState: 'running',
    observedState: 'assigned',
    template,
    ...rest,
  };
}

function env(value: string, rest: Partial<AssignedTask> = {}): unknown {
  const { body } = containerConfigOf(task({ ContainerSpec: { Image: 'i', Env: [`A=${value}`] } }, rest), NODE);
  return String((body as { Env: string[] }).Env[0]).slice(2);
}

t.test('a plain task asks for its image and carries the labels of Docker Swarm', async (t) => {
  const { name, taskId, body } = containerConfigOf(task({ ContainerSpec: { Image: 'busybox' } }), NODE);
  t.equal(name, 'web.2.t4sk');
  t.equal(taskId, 't4sk');
  t.same(body, {
    Image: 'busybox:latest',
    Labels: {
      'com.docker.swarm.node.id': 'n0de',
      'com.docker.swarm.service.id': 's3rvice',
      'com.docker.swarm.service.name': 'web',
      'com.docker.swarm.task': '',
      'com.docker.swarm.task.id': 't4sk',
      'com.docker.swarm.task.name': 'web.2.t4sk',
    },
    HostConfig: { Isolation: 'default' },
  });
});

t.test('a task of a global service has its node for a slot', async (t) => {
  const { name } = containerConfigOf(task({ ContainerSpec: { Image: 'i' } }, { slot: 0 }), NODE);
  t.equal(name, 'web.n0de.t4sk');
  t.equal(env('{{.Task.Slot}}', { slot: 0 }), 'n0de');
});

t.test('what was claimed of the node’s generic resources is in the environment, as with Docker', async (t) => {
  const named = (Value: string) => ({ NamedResourceSpec: { Kind: 'gpu', Value } });
  const genericResources = [named('UUID1'), named('UUID2'), { DiscreteResourceSpec: { Kind: 'ssd', Value: 2 } }];
  const { body } = containerConfigOf(task({ ContainerSpec: { Image: 'i', Env: ['A=1'] } }, { genericResources }), NODE);
  t.same(body['Env'], ['A=1', 'DOCKER_RESOURCE_GPU=UUID1,UUID2', 'DOCKER_RESOURCE_SSD=2']);
});

// Recorded from a task of Docker 20.10 that had the same spec.
t.test('every part of a spec reaches the engine as Docker Swarm hands it on', async (t) => {
  const { body } = containerConfigOf(
    task(
      {
        ContainerSpec: {
          Image: 'docker.io/library/busybox:full@sha256:abc',
          Labels: { cl: '{{.Task.Slot}}' },
          Command: ['sleep'],
          Args: ['1000'],
          Hostname: 'h-{{.Task.Slot}}',
          Env: ['A=1', 'BARE'],
          Dir: '/tmp',
          User: 'alice',
          Groups: ['staff', '77'],
          Privileges: {
            SELinuxContext: { Level: 's0', Type: 't' },
            Seccomp: { Mode: 'custom', Profile: 'eyJrIjoiw6kifQ==' },
            AppArmor: { Mode: 'disabled' },
            NoNewPrivileges: true,
          },
          Init: true,
          StopSignal: 'SIGUSR1',
          TTY: true,
          OpenStdin: true,
          ReadOnly: true,
          Mounts: [
            {
              Type: 'volume',
              Source: 'v-{{.Task.Slot}}',
              Target: '/v',
              VolumeOptions: {
                NoCopy: true,
                Labels: { a: '{{.Task.Slot}}' },
                DriverConfig: { Name: 'd', Options: { o: '{{.Node.ID}}' } },
              },
            },
            { Type: 'bind', Source: '/tmp', Target: '/b', ReadOnly: true, BindOptions: { Propagation: 'rslave' } },
            { Type: 'tmpfs', Target: '/t', TmpfsOptions: { SizeBytes: 1048576, Mode: 1016 } },
          ],
          Healthcheck: { Test: ['CMD-SHELL', 'true'], Interval: 2e9, Retries: 2 },
          Hosts: ['1.2.3.4 a b'],
          DNSConfig: { Nameservers: ['1.1.1.1'], Search: ['x.y'], Options: ['ndots:1'] },
          Isolation: 'default',
          Sysctls: { 'net.ipv4.ip_forward': '1' },
          CapabilityAdd: ['CAP_NET_ADMIN'],
          CapabilityDrop: ['CAP_CHOWN'],
          Ulimits: [{ Name: 'nofile', Soft: 100, Hard: 200 }],
          OomScoreAdj: 5,
        },
        Resources: {
          Limits: { NanoCPUs: 5e8, MemoryBytes: 67108864, Pids: 30 },
          Reservations: { NanoCPUs: 1e8, MemoryBytes: 16777216 },
        },
        LogDriver: { Name: 'json-file', Options: { 'max-size': '1m' } },
      },
      {
        endpoint: {
          Ports: [
            { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' },
            { Protocol: 'udp', TargetPort: 81, PublishMode: 'host' },
            { Protocol: 'tcp', TargetPort: 85, PublishedPort: 8085, PublishMode: 'ingress' },
          ],
        },
      },
    ),
    NODE,
  );
  const { Labels, HostConfig, ...config } = body;
  t.match(Labels, { cl: '{{.Task.Slot}}' }, 'labels are not expanded');
  t.same(config, {
    Image: 'busybox:full@sha256:abc',
    Hostname: 'h-2',
    User: 'alice',
    Tty: true,
    OpenStdin: true,
    Env: ['A=1', 'BARE'],
    Entrypoint: ['sleep'],
    Cmd: ['1000'],
    Healthcheck: { Test: ['CMD-SHELL', 'true'], Interval: 2e9, Retries: 2 },
    WorkingDir: '/tmp',
    StopSignal: 'SIGUSR1',
    ExposedPorts: { '80/tcp': {}, '81/udp': {} },
  });
  t.same(HostConfig, {
    Init: true,
    Isolation: 'default',
    ReadonlyRootfs: true,
    GroupAdd: ['staff', '77'],
    CapAdd: ['CAP_NET_ADMIN'],
    CapDrop: ['CAP_CHOWN'],
    Sysctls: { 'net.ipv4.ip_forward': '1' },
    Ulimits: [{ Name: 'nofile', Soft: 100, Hard: 200 }],
    OomScoreAdj: 5,
    Dns: ['1.1.1.1'],
    DnsSearch: ['x.y'],
    DnsOptions: ['ndots:1'],
    ExtraHosts: ['a:1.2.3.4', 'b:1.2.3.4'],
    NanoCpus: 5e8,
    Memory: 67108864,
    PidsLimit: 30,
    Mounts: [
      {
        Type: 'volume',
        Source: 'v-2',
        Target: '/v',
        VolumeOptions: {
          NoCopy: true,
          Labels: { a: '2' },
          DriverConfig: { Name: 'd', Options: { o: 'n0de' } },
        },
      },
      { Type: 'bind', Source: '/tmp', Target: '/b', ReadOnly: true, BindOptions: { Propagation: 'rslave' } },
      { Type: 'tmpfs', Target: '/t', TmpfsOptions: { SizeBytes: 1048576, Mode: 1016 } },
    ],
    SecurityOpt: [
      'label=type:t',
      'label=level:s0',
      'seccomp={"k":"é"}',
      'apparmor=unconfined',
      'no-new-privileges=true',
    ],
    LogConfig: { Type: 'json-file', Config: { 'max-size': '1m' } },
    PortBindings: { '80/tcp': [{ HostPort: '8080' }], '81/udp': [{ HostPort: '' }] },
  });
});

t.test('what a container cannot be given yet is refused, not left out', async (t) => {
  const refused = [[{ Networks: [{ Target: 'n' }] }, /Networks is not supported/]] as const;
  for (const [template, message] of refused) {
    t.throws(() => containerConfigOf(task(template as unknown as AssignedTask['template']), NODE), {
      code: 'unimplemented',
      message,
    });
  }
});

t.test('what no engine on Linux has is refused on the node, in the words of Docker', async (t) => {
  const refused: [spec: object, words: string][] = [
    [{ Isolation: 'hyperv' }, "invalid isolation 'hyperv' on linux"],
    [
      { Mounts: [{ Type: 'bind', Source: 'a', Target: '/a' }] },
      'invalid bind mount source, must be an absolute path: a',
    ],
    [{ Mounts: [{ Source: 'a', Target: '/a' }] }, 'invalid bind mount source, must be an absolute path: a'],
    [{ Mounts: [{ Type: 'bind', Source: '/a' }] }, 'invalid mount target, must be an absolute path: '],
    [
      { Mounts: [{ Type: 'volume', Source: '/a', Target: '/a' }] },
      'invalid volume mount source, must not be an absolute path: /a',
    ],
    [{ Mounts: [{ Type: 'tmpfs', Source: 'a', Target: '/a' }] }, 'invalid tmpfs source, source must be empty'],
    [
      { Mounts: [{ Type: 'npipe', Source: '/a', Target: '/a' }] },
      'invalid mount config for type "npipe": mount type unknown',
    ],
  ];
  for (const [spec, message] of refused) {
    t.throws(() => containerConfigOf(task({ ContainerSpec: { Image: 'i', ...spec } }), NODE), { message });
  }
  const Mounts = [{ Source: '/{{.Service.Name}}', Target: '/b' }];
  const { body } = containerConfigOf(task({ ContainerSpec: { Image: 'i', Mounts } }), NODE);
  t.match(body['HostConfig'], { Mounts: [{ Type: 'bind', Source: '/web', Target: '/b' }] });
});

t.test('networks: overlay networks are asked of the host, those of the engine by name of the engine', async (t) => {
  const at = (networkId: string, engineNetwork = '') => ({
    networkId,
    name: networkId,
    address: '',
    aliases: [],
    engineNetwork,
  });
  const template = { ContainerSpec: { Image: 'i' }, Networks: [{ Target: 'front' }] };
  const { gateway } = containerConfigOf(task(template, { networks: [at('front')] }), NODE);
  t.same(gateway?.networks, [{ networkId: 'front', address: '', aliases: [] }]);
  for (const name of ['host', 'none', 'bridge']) {
    const own = containerConfigOf(task(template, { networks: [at(name, name)] }), NODE);
    t.equal(own.gateway, undefined);
    t.match(own.body['HostConfig'], { NetworkMode: name });
  }
  const both = task(template, { networks: [at('front'), at('host', 'host')] });
  t.throws(() => containerConfigOf(both, NODE), { message: /^container cannot be disconnected from host network/ });
  const published = { networks: [at('host', 'host')], endpoint: { Ports: [{ TargetPort: 80 }] } };
  t.throws(() => containerConfigOf(task(template, published), NODE), { message: /^container cannot be disconnected/ });
  const bridged = task(template, { networks: [at('front'), at('bridge', 'bridge')] });
  t.throws(() => containerConfigOf(bridged, NODE), { message: /network "bridge" is the engine's/ });
});

t.test('secrets and configs are files, each bound for reading at its place', async (t) => {
  const ContainerSpec = {
    Env: ['A=1'],
    Mounts: [{ Type: 'tmpfs', Target: '/run' }],
    Secrets: [
      { SecretID: 'k1', SecretName: 'key', File: { Name: 'key' } },
      { SecretID: 'follow', SecretName: 'Other', File: { Name: '/srv//k', UID: '1000', GID: '50', Mode: 0o400 } },
    ],
    Configs: [{ ConfigID: 'c1', ConfigName: 'conf', File: { Name: 'etc/hosts' } }],
  };
  const config = containerConfigOf({ ...task({ ContainerSpec }), contentIds: { 'secret/other': 'k2' } }, NODE);
  const plain = { uid: 0, gid: 0, mode: 0o444 };
  t.same(config.contents?.files, [
    { kind: 'secret', name: 'key', contentId: 'k1', target: 'key', path: '/run/secrets/key', ...plain },
    {
      kind: 'secret',
      name: 'Other',
      contentId: 'k2',
      target: '/srv//k',
      path: '/srv/k',
      uid: 1000,
      gid: 50,
      mode: 0o400,
    },
    { kind: 'config', name: 'conf', contentId: 'c1', target: 'etc/hosts', path: '/etc/hosts', ...plain },
  ]);
  t.match(config.contents, { env: ['A=1'], facts: { service: { name: 'web' } } });
  t.same(config.gateway?.files, ['resolvConf'], 'its own /etc/hosts stays');
  t.match(withContents(config, (i) => `/x/${i}`).body, {
    HostConfig: {
      Mounts: [
        { Type: 'tmpfs', Target: '/run' },
        { Type: 'bind', Source: '/x/0', Target: '/run/secrets/key', ReadOnly: true },
        { Type: 'bind', Source: '/x/1', Target: '/srv/k', ReadOnly: true },
        { Type: 'bind', Source: '/x/2', Target: '/etc/hosts', ReadOnly: true },
      ],
    },
  });
  t.equal(containerConfigOf(task({ ContainerSpec: { Image: 'i' } }), NODE).contents, undefined);
});

// What Docker 20.10 made of the same templates.
t.test('templates expand as Docker expands them', async (t) => {
  const expansions = [
    ['{{.Service.Name}}|{{.Service.ID}}|{{.Node.ID}}|{{.Node.Hostname}}', 'web|s3rvice|n0de|h1'],
    ['{{.Task.ID}}|{{.Task.Name}}|{{.Task.Slot}}', 't4sk|web.2.t4sk|2'],
    ['{{.Node.Platform.OS}}/{{ .Node.Platform.Architecture }}', 'linux/x86_64'],
    ['{{index .Service.Labels "sl"}}|{{index .Service.Labels `nope`}}|{{.Service.Labels.b}}', 'v||c'],
    ['{{.Service.Labels}} {{.Node}}', 'map[b:c sl:v] {n0de h1 {x86_64 linux}}'],
    [
      '{{len .Service.Name}} {{printf "%s-%v%%" .Task.ID .Task.Slot}} {{.Service.Name | printf "<%q>"}}',
      '3 t4sk-2% <"web">',
    ],
    ['a {{- "}}" -}} b{{/* a comment */}}{{(.Node).Platform.OS}}', 'a}}blinux'],
    ['no template } {', 'no template } {'],
    ['{{range $k, $v := .Service.Labels}}{{$k}}={{$v}};{{end}}', 'b=c;sl=v;'],
    ['{{if eq .Node.Platform.OS "linux"}}{{join "-" .Service.Name .Task.Slot}}{{else}}n{{end}}', 'web-2'],
    ['{{.Service.Name|}}', 'web'],
  ] as const;
  for (const [text, result] of expansions) t.equal(env(text), result, text);
});

t.test('a template that fails says so in the words of Docker', async (t) => {
  const faults = [
    ['{{.Foo}}', `1:2: executing "expansion" at <.Foo>: can't evaluate field Foo in type *template.Context`],
    [
      '{{.Service.Foo}}',
      `1:10: executing "expansion" at <.Service.Foo>: can't evaluate field Foo in type struct { ID string; Name string; Labels map[string]string }`,
    ],
    ['{{.Service.Labels.no}}', '1:10: executing "expansion" at <.Service.Labels.no>: map has no entry for key "no"'],
    ['{{.Service', '1: unclosed action'],
    ['{{foo}}', '1: function "foo" not defined'],
    ['{{}}', '1: missing value for command'],
    ['{{.Foo}}{{.Service', '1: unclosed action'],
    ['{{(.Service.Name}}', '1: unclosed left paren'],
    ['{{range .Service.Labels}}{{.}}', '1: unexpected EOF'],
    ['{{secret "x"}}', '1: function "secret" not defined'],
  ] as const;
  for (const [text, fault] of faults) {
    const message = `expanding env failed: expanding env ${JSON.stringify(`A=${text}`)}: template: expansion:${fault}`;
    t.throws(() => env(text), { code: 'invalid-argument', message }, text);
  }
  t.throws(() => containerConfigOf(task({ ContainerSpec: { Hostname: '{{foo}}' } }), NODE), {
    message: 'expanding hostname failed: template: expansion:1: function "foo" not defined',
  });
  t.throws(() => containerConfigOf(task({ ContainerSpec: { Mounts: [{ Source: '{{foo}}' }] } }), NODE), {
    message:
      'expanding mounts failed: expanding mount source "{{foo}}": template: expansion:1: function "foo" not defined',
  });
  const options = (VolumeOptions: object) => task({ ContainerSpec: { Mounts: [{ VolumeOptions }] } });
  t.throws(() => containerConfigOf(options({ Labels: { a: '{{foo}}' } }), NODE), {
    message:
      'expanding mounts failed: expanding volume labels: expanding map entry "a"="{{foo}}": ' +
      'template: expansion:1: function "foo" not defined',
  });
  t.throws(() => containerConfigOf(options({ DriverConfig: { Options: { a: '{{foo}}' } } }), NODE), {
    message:
      'expanding mounts failed: expanding volume driver config: expanding map entry "a"="{{foo}}": ' +
      'template: expansion:1: function "foo" not defined',
  });
});

t.test('a task is for the gateway network unless only the engine’s own will do', async (t) => {
  const wish = (spec: object, endpoint?: object) =>
    containerConfigOf({ ...task({ ContainerSpec: spec }), ...(endpoint && { endpoint }) }, NODE).gateway;
  const dns = { nameservers: [], search: [], options: [] };
  const files = ['hosts', 'resolvConf'];
  t.same(wish({}), { hostname: '', hosts: [], dns, networks: [], ports: [], isPublished: false, files });
  const asked = wish({
    Hostname: '{{.Service.Name}}-1',
    Hosts: ['192.0.2.9 db db.lan', 'host-gateway up'],
    DNSConfig: { Nameservers: ['192.0.2.1'], Search: ['lan'], Options: ['ndots:2'] },
  });
  t.match(asked, {
    hostname: 'web-1',
    hosts: [
      { name: 'db', address: '192.0.2.9' },
      { name: 'db.lan', address: '192.0.2.9' },
      { name: 'up', address: 'host-gateway' },
    ],
    dns: { nameservers: ['192.0.2.1'], search: ['lan'], options: ['ndots:2'] },
  });
  const mounts = (...targets: string[]) => ({
    Mounts: targets.map((Target) => ({ Type: 'bind', Source: '/x', Target })),
  });
  t.same(wish(mounts('/etc/hosts/'))?.files, ['resolvConf'], 'what it mounts itself is left to it');
  t.equal(wish(mounts('/etc/hosts', '/etc/resolv.conf')), undefined, 'with nothing to mount there is no gate');
  const everywhere = { TargetPort: 80, PublishedPort: 80, PublishMode: 'ingress' };
  t.match(wish({}, { Ports: [everywhere] }), { ports: [], isPublished: true });
  t.match(wish({}, { Ports: [everywhere, { TargetPort: 81, PublishMode: 'host' }] }), {
    ports: [{ protocol: 'tcp', targetPort: 81, publishedPort: 0 }],
    isPublished: true,
  });
});

t.test('what is for the gateway network has no other, and its files', async (t) => {
  const endpoint = { Ports: [{ TargetPort: 80, PublishMode: 'host' as const }] };
  const template = { ContainerSpec: { Hosts: ['192.0.2.9 db'], Labels: { a: 'b' } } };
  const config = containerConfigOf({ ...task(template), endpoint }, NODE);
  const place = {
    address: '10.224.3.2',
    ipv6Address: 'fd00::2',
    ports: [{ protocol: 'tcp', publishedPort: 32_767, targetPort: 80 }],
    gatePath: '/gate/t4sk',
    pathOf: (file: string) => `/files/${file}`,
  };
  const { body } = withGateway(config, place);
  t.match(body, {
    NetworkDisabled: true,
    Labels: {
      a: 'b',
      'apiary.gateway.address': '10.224.3.2',
      'apiary.gateway.ipv6': 'fd00::2',
      'apiary.gateway.ports': 'tcp/32767:80',
    },
    HostConfig: {
      ExtraHosts: ['db:192.0.2.9'],
      Binds: ['/gate/t4sk:/etc/hosts', '/files/resolvConf:/etc/resolv.conf'],
      PortBindings: {},
    },
  });
  const own = containerConfigOf(task({ ContainerSpec: { Mounts: [{ Source: '/x', Target: '/etc/hosts' }] } }), NODE);
  t.match(withGateway(own, place).body, { HostConfig: { Binds: ['/gate/t4sk:/etc/resolv.conf'] } });
});

t.test('image references are taken apart and put in the form that the engine shows', async (t) => {
  t.same(parseImageReference('localhost:5000/a/b'), { name: 'localhost:5000/a/b', tag: 'latest' });
  t.same(parseImageReference('a:1@sha256:f'), { name: 'a', tag: '1', digest: 'sha256:f' });
  t.same(parseImageReference('a@sha256:f'), { name: 'a', digest: 'sha256:f' });
  t.equal(familiarReference('docker.io/library/nginx'), 'nginx:latest');
  t.equal(familiarReference('index.docker.io/me/nginx:1'), 'me/nginx:1');
  t.equal(familiarReference('localhost:5000/library/x@sha256:f'), 'localhost:5000/library/x@sha256:f');
  t.equal(familiarReference(`sha256:${'a'.repeat(64)}`), `sha256:${'a'.repeat(64)}`);
});

t.test('what only newer engines know goes with the container, and says so', async (t) => {
  const needs = (spec: ContainerSpec) => {
    const config = containerConfigOf(task({ ContainerSpec: { Image: 'i', ...spec } }), NODE);
    return (config.engineNeeds ?? []).map(({ what, apiMinor }) => `${what} ${apiMinor}`);
  };
  t.same(needs({ Healthcheck: { Test: ['NONE'], StartInterval: 0 }, Mounts: [{ Type: 'volume', Target: '/v' }] }), []);
  t.same(needs({ Healthcheck: { StartInterval: 1e9 } }), ['--health-start-interval 44']);
  const mounts: [object, string][] = [
    [{ BindOptions: { ReadOnlyNonRecursive: true } }, '--mount with bind-recursive=writable 44'],
    [{ BindOptions: { ReadOnlyForceRecursive: true } }, '--mount with bind-recursive=readonly 44'],
    [{ BindOptions: { CreateMountpoint: true } }, 'bind mount that makes its source (CreateMountpoint) 42'],
    [{ VolumeOptions: { Subpath: 'sub' } }, '--mount with volume-subpath 45'],
    [{ TmpfsOptions: { Options: [['noexec']] } }, '--mount with tmpfs options 46'],
  ];
  for (const [options, need] of mounts) {
    const Mounts = [{ Type: 'bind', Source: '/s', Target: '/t', ...options }];
    t.same(needs({ Mounts }), [need]);
    const { body } = containerConfigOf(task({ ContainerSpec: { Image: 'i', Mounts } }), NODE);
    t.match(body, { HostConfig: { Mounts } });
  }
});
