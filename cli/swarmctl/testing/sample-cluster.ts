import type { RecordedRequest, Reply } from './recording-server.js';

/** A small cluster for tests: services of each kind, tasks that run and that failed, a node that is down. */

export const NOW = '2026-01-02T03:04:05.678Z';
export const SERVICE = {
  ID: 'w1xvd36hjmg3cw9fhrmlbd85p',
  Version: { Index: 21 },
  CreatedAt: '2026-01-01T00:00:00.123456789Z',
  UpdatedAt: '2026-01-01T00:00:00.123456789Z',
  Spec: {
    Name: 'web',
    Labels: { tier: 'front', zone: 'a' },
    TaskTemplate: {
      ContainerSpec: {
        Image: 'nginx:1.25@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef',
        Labels: { c: '1' },
        Args: ['-v'],
        Env: ['A=1', 'B=2'],
        Init: false,
        Groups: ['wheel'],
        Mounts: [
          { Type: 'volume', Source: 'data', Target: '/data' },
          { Type: 'bind', Source: '/etc', Target: '/host', ReadOnly: true },
        ],
        StopGracePeriod: 10000000000,
        Healthcheck: { Test: ['CMD-SHELL', 'true'], Interval: 1000000000, Retries: 3 },
        Hosts: ['10.0.0.1 db database', '10.0.0.2 cache'],
        DNSConfig: { Nameservers: ['8.8.8.8'], Search: ['example.com'], Options: ['ndots:1'] },
        Isolation: 'default',
        Sysctls: { 'net.core.somaxconn': '10' },
        CapabilityAdd: ['CAP_NET_ADMIN'],
        CapabilityDrop: ['CAP_CHOWN'],
        Ulimits: [{ Name: 'nofile', Hard: 20, Soft: 10 }],
      },
      Resources: { Limits: { NanoCPUs: 500000000, MemoryBytes: 104857600 }, Reservations: { MemoryBytes: 1048576 } },
      RestartPolicy: { Condition: 'any', Delay: 5000000000, MaxAttempts: 0 },
      Placement: {
        Constraints: ['node.role==worker'],
        Preferences: [{ Spread: { SpreadDescriptor: 'node.labels.rack' } }],
        MaxReplicas: 2,
        Platforms: [{ Architecture: 'amd64', OS: 'linux' }],
      },
      LogDriver: { Name: 'json-file', Options: { 'max-size': '10m' } },
      ForceUpdate: 3,
      Runtime: 'container',
    },
    Mode: { Replicated: { Replicas: 2 } },
    UpdateConfig: {
      Parallelism: 2,
      Delay: 1000000000,
      FailureAction: 'rollback',
      MaxFailureRatio: 0.25,
      Order: 'start-first',
    },
    EndpointSpec: {
      Mode: 'vip',
      Ports: [
        { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' },
        { Protocol: 'tcp', TargetPort: 81, PublishedPort: 8081, PublishMode: 'ingress' },
        { Protocol: 'udp', TargetPort: 53, PublishedPort: 5353, PublishMode: 'host' },
      ],
    },
  },
  Endpoint: {
    Spec: { Mode: 'vip' },
    Ports: [
      { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' },
      { Protocol: 'tcp', TargetPort: 81, PublishedPort: 8081, PublishMode: 'ingress' },
      { Protocol: 'tcp', TargetPort: 80, PublishedPort: 9000, PublishMode: 'ingress' },
      { Protocol: 'udp', TargetPort: 53, PublishedPort: 5353, PublishMode: 'host' },
    ],
  },
  ServiceStatus: { RunningTasks: 1, DesiredTasks: 2, CompletedTasks: 0 },
};
const GLOBAL = {
  ...SERVICE,
  ID: 'zgxvd36hjmg3cw9fhrmlbd85p',
  Spec: {
    ...SERVICE.Spec,
    Name: 'agent10',
    Mode: { Global: {} },
    TaskTemplate: { ContainerSpec: { Image: 'localhost:5000/agent' } },
  },
  Endpoint: {},
  ServiceStatus: { RunningTasks: 3, DesiredTasks: 3, CompletedTasks: 0 },
};
const SERVICES = [
  SERVICE,
  GLOBAL,
  { ...GLOBAL, ID: 'abcvd36hjmg3cw9fhrmlbd85p', Spec: { ...GLOBAL.Spec, Name: 'agent9' } },
  {
    ...GLOBAL,
    ID: 'atcvd36hjmg3cw9fhrmlbd85p',
    Spec: {
      ...GLOBAL.Spec,
      Name: 'attached',
      TaskTemplate: {
        ContainerSpec: {
          Image: 'localhost:5000/agent',
          Secrets: [fileOf('Secret', 'key9', 'k1xvd36hjmg3cw9fhrmlbd85p')],
          Configs: [fileOf('Config', 'tmpl', 'k3xvd36hjmg3cw9fhrmlbd85p')],
        },
        Networks: [{ Target: 'zzzvd36hjmg3cw9fhrmlbd85p', Aliases: ['a'] }, { Target: '1etw0rk00000000000000001' }],
        Resources: { Reservations: { GenericResources: [{ DiscreteResourceSpec: { Kind: 'gpu', Value: 2 } }] } },
      },
    },
  },
];

function fileOf(kind: 'Secret' | 'Config', name: string, id: string): object {
  return { File: { Name: name, UID: '0', GID: '0', Mode: 292 }, [`${kind}ID`]: id, [`${kind}Name`]: name };
}

const taskOf = (id: string, slot: number, state: string, more: object) => ({
  ID: `${id}vd36hjmg3cw9fhrmlbd85p`,
  Version: { Index: 9 },
  CreatedAt: '2026-01-01T00:00:00Z',
  UpdatedAt: '2026-01-01T00:00:00Z',
  Spec: SERVICE.Spec.TaskTemplate,
  ServiceID: SERVICE.ID,
  Slot: slot,
  NodeID: 'n1xvd36hjmg3cw9fhrmlbd85p',
  Status: { Timestamp: '2026-01-01T00:00:00Z', State: state, PortStatus: {} },
  DesiredState: 'running',
  ...more,
});
const TASKS = [
  taskOf('aa', 10, 'running', {}),
  taskOf('bb', 2, 'running', { CreatedAt: '2026-01-02T00:00:00Z' }),
  taskOf('cc', 2, 'failed', {
    DesiredState: 'shutdown',
    Status: {
      Timestamp: '2026-01-01T00:00:00Z',
      State: 'failed',
      Err: 'task: non-zero exit (137): killed by who knows',
      PortStatus: {},
    },
  }),
  taskOf('dd', 3, 'running', {
    NodeID: 'n2xvd36hjmg3cw9fhrmlbd85p',
    Status: {
      Timestamp: '2025-12-01T00:00:00Z',
      State: 'running',
      PortStatus: { Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' }] },
    },
  }),
];

const nodeOf = (id: string, name: string, more: object) => ({
  ID: `${id}vd36hjmg3cw9fhrmlbd85p`,
  Version: { Index: 5 },
  CreatedAt: '2026-01-01T00:00:00.5Z',
  UpdatedAt: '2026-01-01T00:00:00Z',
  Spec: { Labels: { disk: 'ssd', empty: '' }, Role: 'worker', Availability: 'active' },
  Description: {
    Hostname: name,
    Platform: { Architecture: 'x86_64', OS: 'linux' },
    Resources: { NanoCPUs: 2000000000, MemoryBytes: 8589934592 },
    Engine: {
      EngineVersion: '20.10.24',
      Plugins: [
        { Type: 'Volume', Name: 'local' },
        { Type: 'Network', Name: 'bridge' },
        { Type: 'Network', Name: 'host' },
      ],
    },
    TLSInfo: { TrustRoot: 'PEM\n', CertIssuerSubject: 'c3Vi', CertIssuerPublicKey: 'a2V5' },
  },
  Status: { State: 'ready', Addr: '10.0.0.1' },
  ...more,
});
const NODES = [
  nodeOf('n2x', 'host10', { Status: { State: 'down', Message: 'heartbeat failure', Addr: '10.0.0.2' } }),
  nodeOf('n1x', 'host9', { ManagerStatus: { Leader: true, Reachability: 'reachable', Addr: '10.0.0.1:2377' } }),
];
const INFO = {
  Name: 'host9',
  Swarm: {
    NodeID: NODES[1]?.ID,
    LocalNodeState: 'active',
    ControlAvailable: true,
    Cluster: { TLSInfo: NODES[0]?.Description.TLSInfo, Spec: {}, DefaultAddrPool: null, SubnetSize: 24 },
  },
};

const NETWORKS = (['back', 'front'] as const).map((Name, i) => ({
  Name,
  Id: `${i}etw0rk0000000000000000${i}`,
  Created: '2026-01-01T00:00:00.25Z',
  Scope: 'swarm',
  Driver: 'overlay',
  EnableIPv6: i === 1,
  IPAM: { Driver: 'default', Options: null, Config: [{ Subnet: `10.0.${i}.0/24`, Gateway: `10.0.${i}.1` }] },
  Internal: i === 0,
  Attachable: false,
  Ingress: false,
  ConfigFrom: { Network: '' },
  ConfigOnly: false,
  Containers: null,
  Options: null,
  Labels: i === 0 ? { a: '1' } : {},
}));
const contentOf = (id: string, name: string, spec: object, createdAt: string) => ({
  ID: id,
  Version: { Index: 11 },
  CreatedAt: createdAt,
  UpdatedAt: '2026-01-01T00:00:00Z',
  Spec: { Name: name, Labels: {}, ...spec },
});
/** Secrets or configs, by the same names. */
function contentsOf(kind: string) {
  const data = (text: string) => (kind === 'configs' ? { Data: Buffer.from(text).toString('base64') } : {});
  const labels = { Labels: { b: '', a: '1' } };
  return [
    contentOf('k2xvd36hjmg3cw9fhrmlbd85p', 'key10', { ...labels, ...data('x') }, '2026-01-01T00:00:00.123456789Z'),
    contentOf('k1xvd36hjmg3cw9fhrmlbd85p', 'key9', data('a=1\n<b>'), '2026-01-01T00:00:00Z'),
    contentOf(
      'k3xvd36hjmg3cw9fhrmlbd85p',
      'tmpl',
      { ...data('{{.Service.Name}}'), Templating: { Name: 'golang' } },
      NOW,
    ),
  ];
}

/** What the daemon of the sample cluster answers. */
export function answerOfSampleCluster({ method, path, query }: RecordedRequest): Reply | undefined {
  if (path === '/_ping') return { json: 'OK' };
  if (path === '/services/create') return { json: { ID: SERVICE.ID } };
  if (path.endsWith('/update') && method === 'POST') return { json: { Warnings: null } };
  if (path === '/services') {
    const asked: unknown = JSON.parse(query['filters'] ?? '{}').name ?? [];
    // An older form of filters is a set, written as an object.
    const names = Array.isArray(asked) ? asked : Object.keys(Object(asked));
    return { json: names.length === 0 ? SERVICES : SERVICES.filter(({ Spec }) => names.includes(Spec.Name)) };
  }
  if (path === '/tasks') return { json: TASKS };
  if (path === '/nodes') return { json: NODES };
  if (path === '/networks') return { json: NETWORKS };
  if (path === '/networks/create') return { status: 201, json: { Id: 'made', Warning: '' } };
  if (path === '/networks/prune') return { json: { NetworksDeleted: ['front'] } };
  if (path === '/secrets' || path === '/configs') return { json: contentsOf(path.slice(1)) };
  if (/^\/(secrets|configs)\/create$/.test(path)) return { status: 201, json: { ID: 'k9xvd36hjmg3cw9fhrmlbd85p' } };
  if (path === '/info') return { json: INFO };
  const [, kind, id, part] = path.split('/');
  if (path === '/events') return (response) => response.end(EVENTS);
  if (part === 'logs' && id !== 'nope') return (response) => response.end(logsOf(query));
  if (kind === 'tasks')
    return found(
      TASKS.find((task) => task.ID === id),
      `task ${id}`,
    );
  if (kind === 'services')
    return found(
      SERVICES.find((service) => service.ID === id || service.Spec.Name === id),
      `service ${id}`,
    );
  if (kind === 'networks' && method === 'DELETE') {
    return id === 'back' ? (response) => response.writeHead(204).end() : found(undefined, `network ${id}`);
  }
  if (kind === 'networks')
    return found(
      NETWORKS.find((network) => network.Name === id || network.Id === id),
      `network ${id}`,
    );
  if (kind === 'secrets' || kind === 'configs')
    return found(
      contentsOf(kind).find((content) => content.ID === id || content.Spec.Name === id),
      `${kind.slice(0, -1)} ${id}`,
    );
  if (kind === 'nodes')
    return found(
      NODES.find((node) => node.ID === id || node.Description.Hostname === id),
      `node ${id}`,
    );
  if (kind === 'distribution' && id === 'known:1') {
    const digest = `sha256:${'ab'.repeat(32)}`;
    const platform = { os: 'linux', architecture: 'amd64' };
    return {
      json: {
        Descriptor: { mediaType: 'm', digest, size: 1 },
        Platforms: [platform, { ...platform, architecture: 'arm' }],
      },
    };
  }
  return undefined;
}

/** As the daemon writes them: one of the cluster, and one of an engine. */
const EVENTS = [
  '{"Type":"service","Action":"update","Actor":{"ID":"aavd","Attributes":{"name":"web","replicas.new":"2","replicas.old":"1"}},"scope":"swarm","time":1767225600,"timeNano":1767225600123456789}',
  '{"status":"start","id":"c1","from":"busybox","Type":"container","Action":"start","Actor":{"ID":"c1","Attributes":{"image":"busybox"}},"scope":"local","time":1767225601,"timeNano":1767225601000000000}',
  '{"Type":"network","Action":"prune","Actor":{"ID":"","Attributes":{}},"scope":"local","time":1767225602,"timeNano":1767225602000000001}',
  '',
].join('\n');

/** Lines of two tasks, as the daemon writes them; what `tail` asks for is taken for the end of all. */
function logsOf(query: RecordedRequest['query']): Buffer {
  const lines: [stream: number, second: number, task: number, text: string][] = [
    [1, 1, 0, 'one\n'],
    [2, 2, 1, 'two  with spaces, and ä\n'],
    [1, 3, 3, 'a part '],
    [1, 4, 3, 'and the rest\n'],
  ];
  const frames = lines.slice(-Number(query['tail'] === 'all' ? 9 : query['tail'])).map(([stream, second, at, text]) => {
    const { ID: taskId, NodeID: nodeId, ServiceID: serviceId } = TASKS[at] ?? {};
    const context = `com.docker.swarm.node.id=${nodeId},com.docker.swarm.service.id=${serviceId},com.docker.swarm.task.id=${taskId}`;
    const stamp = query['timestamps'] === '1' ? `2026-01-01T00:00:0${second}.000000000Z ` : '';
    const line = Buffer.from(`${stamp}${query['details'] === '1' ? `${context},extra=a+b%2Cc ` : ''}${text}`);
    const header = Buffer.alloc(8);
    header.writeUInt8(stream, 0);
    header.writeUInt32BE(line.length, 4);
    return Buffer.concat([header, line]);
  });
  if (query['since'] === undefined) return Buffer.concat(frames);
  const words = Buffer.from('Error grabbing logs: incomplete\n');
  return Buffer.concat([...frames, Buffer.from([3, 0, 0, 0, 0, 0, 0, words.length]), words]);
}

const found = (json: object | undefined, what: string): Reply =>
  json === undefined ? { status: 404, json: { message: `${what} not found` } } : { json };
