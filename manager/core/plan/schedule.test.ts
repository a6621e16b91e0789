import { genericResourceEnv, readGenericResources, type ServiceSpec } from '@apiary/api/model';
import fc from 'fast-check';
import t from 'tap';
import type { NodeRecord, TaskRecord } from '../store/records.js';
import { constraintTest, parseConstraint } from './constraint.js';
import { Heap } from './heap.js';
import { HollowCluster } from './hollow-cluster.test.js';
import { prefixContains } from './ip-prefix.js';
import { PendingReasons } from './pending-reasons.js';

function counts(tasks: readonly TaskRecord[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const task of tasks) counts[task.nodeId ?? '-'] = (counts[task.nodeId ?? '-'] ?? 0) + 1;
  return counts;
}

function errors(tasks: readonly TaskRecord[]): (string | undefined)[] {
  return [...new Set(tasks.filter((task) => task.nodeId === undefined).map((task) => task.status.err))];
}

const node: NodeRecord = {
  id: 'n1',
  meta: { version: 1, createdAtMs: 0, updatedAtMs: 0 },
  spec: { Labels: { Disk: 'ssd', empty: '' } },
  role: 'manager',
  description: {
    Hostname: 'Host-1',
    Platform: { Architecture: 'x86_64', OS: 'linux' },
    Resources: { NanoCPUs: 1, MemoryBytes: 1 },
    Engine: { EngineVersion: '', Labels: { zone: 'a b' }, Plugins: [] },
  },
  status: { state: 'ready', message: '', addr: '10.1.2.3' },
};

t.test('constraints', async (t) => {
  const met = (expression: string): boolean => constraintTest(expression)(node);
  const holds = [
    'node.id==n1',
    'node.id == N1',
    'node.hostname!=other',
    'node.role==manager',
    'node.platform.os==Linux',
    'node.platform.arch==x86_64',
    'node.labels.Disk==SSD',
    'node.labels.none!=x',
    'NODE.LABELS.Disk==ssd',
    'engine.labels.zone==a b',
    'node.ip==10.1.0.0/16',
    'node.ip!=10.2.0.0/16',
  ];
  for (const expression of holds) t.ok(met(expression), expression);
  const fails = [
    'node.role!=manager',
    'node.labels.disk==ssd',
    'node.ip==10.1.2.4',
    'node.color==red',
    'node.id=n1',
    '',
  ];
  for (const expression of fails) t.notOk(met(expression), expression);
  t.same(parseConstraint(' node.labels.a != b c '), { key: 'node.labels.a', equal: false, value: 'b c' });
});

t.test('address prefixes, of both kinds', async (t) => {
  t.ok(prefixContains('fd00::/8', 'fd12:3456::1'));
  t.ok(prefixContains('::1', '0:0:0:0:0:0:0:1'));
  t.notOk(prefixContains('fd00::/8', '10.0.0.1'));
  t.ok(prefixContains('0.0.0.0/0', '10.0.0.1'));
  for (const bad of ['10.0.0/8', '10.0.0.0/33', '1::2::3', 'fd00::/129', '10.0.0.256', 'x']) {
    t.notOk(prefixContains(bad, '10.0.0.1'), bad);
  }
});

t.test('a heap gives the least first, also while the first one changes', async () => {
  fc.assert(
    fc.property(fc.array(fc.nat(20)), fc.array(fc.nat(20)), (start, raises) => {
      const heap = new Heap<{ n: number }>((a, b) => a.n < b.n);
      const oracle = start.map((n) => ({ n }));
      for (const item of oracle) heap.push(item);
      for (const raise of raises) {
        const first = heap.first();
        if (first === undefined) return oracle.length === 0;
        if (first.n !== Math.min(...oracle.map(({ n }) => n))) return false;
        if (raise % 3 === 0) {
          oracle.splice(oracle.indexOf(first), 1);
          heap.dropFirst();
        } else {
          first.n += raise;
          heap.reorderFirst();
        }
      }
      return true;
    }),
  );
});

t.test('a task that finds no node says why, grouped and counted, and only when that changes', async (t) => {
  const cluster = new HollowCluster();
  for (const id of ['h1', 'h2', 'h3']) cluster.addNode(id, { MemoryBytes: 1000 });
  cluster.setNode('h3', { Availability: 'drain' });
  const Reservations = { MemoryBytes: 600 };
  const big = { TaskTemplate: { Resources: { Reservations }, Placement: { Constraints: ['node.id!=h2'] } } };
  cluster.createService('web', { replicas: 4, ...big });
  cluster.run(500);
  t.same(counts(cluster.tasks('web')), { h1: 1, '-': 3 });
  t.same(errors(cluster.tasks('web')), [
    'no suitable node (1 node not available for new tasks; insufficient resources on 1 node; ' +
      'scheduling constraints not satisfied on 1 node)',
  ]);
  const { entries } = cluster;
  cluster.createService('other', { replicas: 0 });
  cluster.setNode('h1', { Labels: { a: 'b' } });
  cluster.run(1_000);
  t.equal(cluster.entries, entries, 'nothing new, nothing written');
  cluster.setNode('h3', { Availability: 'active' });
  cluster.run(500);
  t.same(counts(cluster.tasks('web')), { h1: 1, h3: 1, '-': 2 });

  const empty = new HollowCluster();
  empty.createService('web');
  empty.settle();
  t.same(errors(empty.tasks('web')), ['no suitable node']);
});

t.test('who asks why a task waits hears of every node, what is needed and what the best has', async (t) => {
  const cluster = new HollowCluster();
  const GiB = 2 ** 30;
  const ssd = { labels: { disk: 'ssd' } };
  cluster.addNode('h1', { MemoryBytes: 2 * GiB, ...ssd });
  cluster.addNode('h2', { MemoryBytes: 3 * GiB, NanoCPUs: 1e9, ...ssd });
  cluster.addNode('h3', { MemoryBytes: 8 * GiB });
  const using = (MemoryBytes: number, NanoCPUs = 0) => ({ Resources: { Reservations: { MemoryBytes, NanoCPUs } } });
  const on = (...Constraints: string[]) => ({ Placement: { Constraints } });
  const ballast = { ContainerSpec: { Image: 'app:1' }, ...using(1.5 * GiB), ...on('node.id==h2') };
  cluster.createService('ballast', { TaskTemplate: ballast });
  cluster.run(1_000);
  const why = (id: string, TaskTemplate: ServiceSpec['TaskTemplate'], EndpointSpec?: ServiceSpec['EndpointSpec']) => {
    cluster.createService(id, { TaskTemplate, ...(EndpointSpec && { EndpointSpec }) });
    cluster.settle();
    const [task] = cluster.tasks(id).filter(({ status }) => status.state === 'pending');
    return task && new PendingReasons(cluster.store).of(task);
  };
  t.same(why('db', { ...using(4 * GiB), ...on('node.labels.disk == ssd') }), {
    reasons: [
      '2 nodes: insufficient memory (need 4 GiB, largest free 2 GiB on h1)',
      '1 node: constraint node.labels.disk==ssd',
    ],
    isVague: true,
  });
  t.same(why('both', { ...using(2 * GiB, 2e9), ...on('node.id!=h3', 'node.id!=h1') }), {
    reasons: [
      '1 node: constraint node.id!=h1',
      '1 node: insufficient CPU (need 2, largest free 1 on h2) and memory (need 2 GiB, largest free 1.5 GiB on h2)',
      '1 node: constraint node.id!=h3',
    ],
    isVague: true,
  });
  cluster.setNode('h3', { Availability: 'drain' });
  cluster.setNode('h2', { Availability: 'pause' });
  const Platforms = [{ OS: 'linux', Architecture: 'arm64' }];
  t.same(why('arm', { Placement: { Platforms } })?.reasons, [
    '1 node: unsupported platform (need linux/arm64)',
    '1 node: paused',
    '1 node: drained',
  ]);
  const Ports = [{ PublishMode: 'host', PublishedPort: 80, TargetPort: 80 }];
  t.equal(why('port', {}, { Ports }), undefined, 'it has a node');
  t.match(why('port2', {}, { Ports })?.reasons, ['1 node: host port 80/tcp in use']);
  t.match(why('most', { Placement: { MaxReplicas: 1 } }), undefined);
  cluster.scale('most', 2);
  cluster.settle();
  const [waiting] = cluster.tasks('most').filter(({ status }) => status.state === 'pending');
  t.ok(waiting);
  t.match(waiting && new PendingReasons(cluster.store).of(waiting), {
    reasons: ['1 node: runs as many tasks of the service as it may (1)'],
    isVague: false,
  });
  const { entries } = cluster;
  cluster.commit({ type: 'service-delete', id: 'ballast' });
  cluster.setNode('h2', { Availability: 'active' });
  cluster.run(1_000);
  t.equal(cluster.running('most').length, 2);
  t.ok(cluster.entries > entries);
});

t.test(
  'a task goes only where the drivers are that it asks for, and an engine that knows all of its words',
  async (t) => {
    const cluster = new HollowCluster();
    cluster.commit({
      type: 'network-create',
      network: {
        id: 'back',
        spec: { Name: 'back', Driver: 'overlay' },
        kind: 'overlay',
        vni: 4097,
        subnets: [{ subnet: '10.0.1.0/24', gateway: '10.0.1.1' }],
      },
    });
    const has = (id: string, EngineVersion: string, ...plugins: string[]) => {
      cluster.addNode(id);
      const Plugins = plugins.map((plugin) => {
        const [Type = '', Name = ''] = plugin.split('/');
        return { Type, Name };
      });
      cluster.describe(id, (before) => ({ ...before, Engine: { EngineVersion, Plugins } }));
    };
    has('all', '25.0.1', 'Log/json-file', 'Network/bridge', 'Network/overlay', 'Volume/local', 'Volume/nfs:latest');
    has('few', '20.10.24+dfsg1', 'Log/json-file', 'Network/bridge', 'Volume/local');
    has('silent', '');
    const asking: [string, ServiceSpec['TaskTemplate'], string][] = [
      ['network', { Networks: [{ Target: 'back' }] }, 'missing plugin (need network/overlay)'],
      [
        'volume',
        {
          ContainerSpec: {
            Mounts: [{ Type: 'volume', Target: '/v', VolumeOptions: { DriverConfig: { Name: 'nfs' } } }],
          },
        },
        'missing plugin (need volume/nfs)',
      ],
      ['log', { LogDriver: { Name: 'gelf' } }, 'missing plugin (need log/gelf)'],
      [
        'health',
        { ContainerSpec: { Healthcheck: { Test: ['CMD', 'true'], StartInterval: 1e9 } } },
        'engine 20.10.24+dfsg1 is too old for --health-start-interval (need 25.0)',
      ],
    ];
    for (const [name, TaskTemplate, refusal] of asking) {
      cluster.createService(name, { Mode: { Global: {} }, TaskTemplate });
      cluster.settle();
      const placed = cluster.tasks(name).filter(({ status }) => status.state === 'assigned');
      t.same(Object.keys(counts(placed)), name === 'log' ? ['silent'] : ['all', 'silent'], name);
      const waiting = cluster.tasks(name).find(({ nodeId }) => nodeId === 'few');
      t.same(waiting && new PendingReasons(cluster.store).of(waiting)?.reasons, [`1 node: ${refusal}`]);
    }
    t.equal(
      cluster.tasks('network').find(({ nodeId }) => nodeId === 'few')?.status.err,
      'missing plugin on 1 node',
      "Docker's words",
    );
  },
);

t.test('freed resources and ports wake what waits for them', async (t) => {
  const cluster = new HollowCluster();
  cluster.addNode('h1', { NanoCPUs: 1e9 });
  const Resources = { Reservations: { NanoCPUs: 1e9 } };
  const EndpointSpec = { Ports: [{ PublishMode: 'host', PublishedPort: 80, TargetPort: 80, Protocol: 'tcp' }] };
  cluster.createService('a', { TaskTemplate: { ContainerSpec: { Image: 'x' }, Resources }, EndpointSpec });
  cluster.run(1_000);
  cluster.createService('b', { TaskTemplate: { ContainerSpec: { Image: 'x' }, Resources } });
  cluster.createService('c', { EndpointSpec });
  cluster.run(1_000);
  t.same(errors(cluster.tasks('b')), ['no suitable node (insufficient resources on 1 node)']);
  t.same(errors(cluster.tasks('c')), ['no suitable node (host-mode port already in use on 1 node)']);
  cluster.commit({ type: 'service-delete', id: 'a' });
  cluster.run(1_000);
  t.equal(cluster.running('b').length, 1);
  t.equal(cluster.running('c').length, 1);
});

t.test(
  'generic resources, counted and named, are claimed for a task, never twice, and are free when it ends',
  async (t) => {
    const cluster = new HollowCluster();
    cluster.addNode('h1', { GenericResources: readGenericResources(['gpu=a', 'gpu=b', 'gpu=c', 'ssd=3']) });
    cluster.addNode('h2', { GenericResources: readGenericResources(['gpu=x']) });
    const asking = (...asked: [string, number][]) => {
      const GenericResources = asked.map(([Kind, Value]) => ({ DiscreteResourceSpec: { Kind, Value } }));
      return { TaskTemplate: { ContainerSpec: { Image: 'app:1' }, Resources: { Reservations: { GenericResources } } } };
    };
    cluster.createService('one', { replicas: 3, ...asking(['gpu', 1]) });
    cluster.createService('both', { replicas: 2, ...asking(['gpu', 1], ['ssd', 2]) });
    cluster.run(1_000);
    const env = (id: string) => cluster.running(id).map((task) => genericResourceEnv(task.genericResources ?? []));
    t.same(counts(cluster.tasks('both')), { h1: 1, '-': 1 });
    t.same(errors(cluster.tasks('both')), ['no suitable node (insufficient resources on 2 nodes)']);
    const given = [...env('one'), ...env('both')].map(([gpu]) => gpu).sort();
    const every = ['a', 'b', 'c', 'x'].map((name) => `DOCKER_RESOURCE_GPU=${name}`);
    t.same(given, every, 'each piece is one task’s');
    t.match(env('both'), [[/^DOCKER_RESOURCE_GPU=/, 'DOCKER_RESOURCE_SSD=2']]);

    cluster.commit({ type: 'service-delete', id: 'one' });
    cluster.run(1_000);
    t.equal(cluster.running('both').length, 1, 'of the ssd, one is left, and two are asked for');
    cluster.scale('both', 1);
    cluster.createService('two', { replicas: 2, ...asking(['gpu', 2]) });
    cluster.run(1_000);
    t.equal(cluster.running('two').length, 1);
    const [claimed] = cluster.running('two');
    t.equal(claimed?.nodeId, 'h1');
    t.match(genericResourceEnv(claimed?.genericResources ?? []), [/^DOCKER_RESOURCE_GPU=[abc],[abc]$/]);
  },
);

t.test('host ports, replicas per node and platforms are kept to, within one pass too', async (t) => {
  const cluster = new HollowCluster();
  for (const id of ['h1', 'h2']) cluster.addNode(id);
  const EndpointSpec = { Ports: [{ PublishMode: 'host', PublishedPort: 53, TargetPort: 53, Protocol: 'udp' }] };
  cluster.createService('dns', { replicas: 3, EndpointSpec });
  cluster.createService('two', { replicas: 5, TaskTemplate: { Placement: { MaxReplicas: 2 } } });
  const Platforms = [{ Architecture: 'arm64', OS: 'linux' }];
  cluster.createService('arm', { TaskTemplate: { Placement: { Platforms } } });
  const same = [{ Architecture: 'amd64', OS: 'linux' }];
  cluster.createService('amd', { TaskTemplate: { Placement: { Platforms: same } } });
  cluster.run(1_000);
  t.same(counts(cluster.tasks('dns')), { h1: 1, h2: 1, '-': 1 });
  t.same(counts(cluster.tasks('two')), { h1: 2, h2: 2, '-': 1 });
  t.same(errors(cluster.tasks('two')), ['no suitable node (max replicas per node limit exceed)']);
  t.same(errors(cluster.tasks('arm')), ['no suitable node (unsupported platform on 2 nodes)']);
  t.equal(cluster.running('amd').length, 1);
});

t.test('preferences spread over each level in turn, nodes without the label being a branch too', async (t) => {
  const cluster = new HollowCluster();
  const add = (id: string, dc?: string, rack = 'r1'): void =>
    cluster.addNode(id, { labels: dc === undefined ? {} : { dc, rack } });
  add('a1', 'east');
  add('a2', 'east');
  add('a3', 'east', 'r2');
  add('b1', 'west');
  add('c1');
  const spread = (key: string) => ({ Spread: { SpreadDescriptor: `node.labels.${key}` } });
  const Placement = { Preferences: [spread('dc'), spread('rack')] };
  cluster.createService('web', { replicas: 12, TaskTemplate: { Placement } });
  cluster.run(1_000);
  t.same(counts(cluster.tasks('web')), { a1: 1, a2: 1, a3: 2, b1: 4, c1: 4 });
});

t.test(
  'what is scarce is shared out between services: a large one that waits longer does not take it all',
  async (t) => {
    const cluster = new HollowCluster();
    const Resources = { Reservations: { NanoCPUs: 1e9 } };
    const TaskTemplate = { ContainerSpec: { Image: 'app:1' }, Resources };
    cluster.addNode('h1', { NanoCPUs: 4e9 });
    cluster.createService('large', { replicas: 20, TaskTemplate });
    cluster.run(1_000);
    cluster.createService('small', { replicas: 2, TaskTemplate });
    cluster.run(1_000);
    const running = () => [cluster.running('large').length, cluster.running('small').length];
    t.same(running(), [4, 0]);
    cluster.addNode('h2', { NanoCPUs: 1e9 });
    cluster.run(1_000);
    t.same(running(), [4, 1], 'who has nothing comes first');
    cluster.addNode('h3', { NanoCPUs: 2e9 });
    cluster.run(1_000);
    t.same(running(), [5, 2], 'and of two, each gets one');
  },
);

t.test('services spread over themselves first, then over the load', async (t) => {
  const cluster = new HollowCluster();
  for (const id of ['h1', 'h2', 'h3']) cluster.addNode(id);
  cluster.createService('ballast', { replicas: 5, TaskTemplate: { Placement: { Constraints: ['node.id==h1'] } } });
  cluster.createService('web', { replicas: 3 });
  cluster.createService('one', { replicas: 2 });
  cluster.run(1_000);
  t.same(counts(cluster.tasks('web')), { h1: 1, h2: 1, h3: 1 });
  t.same(counts(cluster.tasks('one')), { h2: 1, h3: 1 });
});
