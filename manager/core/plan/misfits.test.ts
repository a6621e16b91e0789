import fc from 'fast-check';
import t from 'tap';
import type { TaskRecord } from '../store/records.js';
import { HollowCluster } from './hollow-cluster.test.js';

const reserving = (NanoCPUs: number) => ({ TaskTemplate: { Resources: { Reservations: { NanoCPUs } } } });
const constrained = (...Constraints: string[]) => ({ TaskTemplate: { Placement: { Constraints } } });
const startFirst = { UpdateConfig: { Order: 'start-first' as const } };

function nodesOf(tasks: readonly TaskRecord[]): (string | undefined)[] {
  return tasks.map(({ nodeId }) => nodeId).sort();
}

function statesOf(tasks: readonly TaskRecord[]): string[] {
  return tasks.map(({ status }) => status.state).sort();
}

const CONSTRAINTS_NOT_MET = 'assigned node no longer meets constraints';
const TOO_LITTLE_LEFT = 'assigned node no longer has the resources that the task reserves';

t.test(
  'a task whose node meets its constraints no longer is replaced where they are met, with the reason',
  async (t) => {
    const cases: [string, (cluster: HollowCluster) => void][] = [
      ['node.labels.disk==ssd', (cluster) => cluster.setNode('h1', { Labels: { disk: 'hdd' } })],
      [
        'engine.labels.zone==a',
        (cluster) => cluster.describe('h1', (before) => ({ ...before, Engine: { ...before.Engine, Labels: {} } })),
      ],
      ['node.hostname!=gone', (cluster) => cluster.describe('h1', (before) => ({ ...before, Hostname: 'gone' }))],
      ['node.role==worker', (cluster) => cluster.commit({ type: 'node-role', id: 'h1', role: 'manager' })],
    ];
    for (const [constraint, change] of cases) {
      const cluster = new HollowCluster();
      for (const id of ['h1', 'h2']) {
        cluster.addNode(id, { labels: { disk: 'ssd' } });
        cluster.describe(id, (before) => ({ ...before, Engine: { ...before.Engine, Labels: { zone: 'a' } } }));
      }
      cluster.createService('web', { replicas: 2, ...constrained(constraint) });
      cluster.createService('everywhere', { Mode: { Global: {} }, ...constrained(constraint) });
      cluster.createService('other', { replicas: 2 });
      cluster.run(2_000);
      t.same(nodesOf(cluster.running('web')), ['h1', 'h2'], constraint);
      change(cluster);
      cluster.run(3_000);
      t.same(nodesOf(cluster.running('web')), ['h2', 'h2'], constraint);
      t.same(nodesOf(cluster.running('everywhere')), ['h2'], constraint);
      for (const name of ['web', 'everywhere']) {
        const ended = cluster.tasks(name).filter(({ nodeId }) => nodeId === 'h1');
        t.match(ended, [{ desiredState: 'shutdown', status: { state: 'shutdown' }, endReason: CONSTRAINTS_NOT_MET }]);
      }
      t.equal(cluster.tasks('other').length, 2, 'what asks for nothing stays');
    }
  },
);

t.test('a node that has shrunk loses as many of its tasks as it must, those that came last', async (t) => {
  const cluster = new HollowCluster();
  cluster.addNode('h1', { NanoCPUs: 8e9 });
  for (const name of ['first', 'second', 'third']) {
    cluster.createService(name, { ...reserving(2e9) });
    cluster.run(1_000);
  }
  cluster.addNode('h2', { NanoCPUs: 8e9 });
  cluster.resize('h1', { NanoCPUs: 5e9 });
  cluster.run(3_000);
  t.same(nodesOf([...cluster.running('first'), ...cluster.running('second')]), ['h1', 'h1']);
  t.same(nodesOf(cluster.running('third')), ['h2']);
  t.match(
    cluster.tasks('third').find(({ nodeId }) => nodeId === 'h1'),
    { status: { state: 'shutdown' }, endReason: TOO_LITTLE_LEFT },
  );
  cluster.resize('h1', { NanoCPUs: 8e9 });
  const { entries } = cluster;
  cluster.run(3_000);
  t.equal(cluster.entries, entries, 'what was moved stays where it is');
});

t.test('generic resources that are gone take their tasks with them, and no others', async (t) => {
  const cluster = new HollowCluster();
  const gpu = (Value: string) => ({ NamedResourceSpec: { Kind: 'gpu', Value } });
  const counted = (Kind: string, Value: number) => ({ DiscreteResourceSpec: { Kind, Value } });
  cluster.addNode('h1', { GenericResources: [gpu('A'), gpu('B'), counted('ssd', 2)] });
  const asking = (Kind: string) => ({
    replicas: 2,
    TaskTemplate: { Resources: { Reservations: { GenericResources: [counted(Kind, 1)] } } },
  });
  cluster.createService('learn', asking('gpu'));
  cluster.createService('store', asking('ssd'));
  cluster.run(2_000);
  cluster.resize('h1', { GenericResources: [gpu('B'), counted('ssd', 1)] });
  cluster.run(3_000);
  t.same(
    cluster.running('learn').map(({ genericResources }) => genericResources),
    [[gpu('B')]],
  );
  t.equal(cluster.running('store').length, 1);
  cluster.resize('h1', { GenericResources: [counted('gpu', 2), counted('ssd', 1)] });
  cluster.run(3_000);
  t.same(
    cluster.running('learn').map(({ genericResources }) => genericResources),
    [[counted('gpu', 1)], [counted('gpu', 1)]],
    'other pieces are not those that were given',
  );
});

t.test('a task that starts first stays until the next one runs, and a paused node keeps what it has', async (t) => {
  const cluster = new HollowCluster();
  cluster.addNode('h1', { NanoCPUs: 2e9 });
  cluster.createService('web', { ...reserving(2e9), ...startFirst });
  cluster.createService('everywhere', { Mode: { Global: {} }, ...startFirst, ...reserving(0) });
  cluster.run(2_000);
  cluster.setNode('h1', { Availability: 'pause' });
  cluster.resize('h1', { NanoCPUs: 1e9 });
  cluster.run(2_000);
  t.equal(cluster.tasks('web').length, 1);
  cluster.setNode('h1', { Availability: 'active' });
  cluster.check = () => t.ok(cluster.running('web').length > 0);
  cluster.run(2_000);
  t.equal(cluster.tasks('web').length, 2, 'one runs, and one waits for a node');
  cluster.addNode('h2', { NanoCPUs: 2e9 });
  cluster.run(2_000);
  t.same(nodesOf(cluster.running('web')), ['h2']);
});

t.test('of a global service and of a job, what does not fit any more waits until it does', async (t) => {
  const cluster = new HollowCluster();
  cluster.addNode('h1', { NanoCPUs: 2e9 });
  cluster.createService('agent', { Mode: { Global: {} }, ...reserving(2e9), ...startFirst });
  cluster.addNode('h2', { NanoCPUs: 4e9 });
  cluster.run(2_000);
  cluster.createService('batch', {
    Mode: { ReplicatedJob: { MaxConcurrent: 1, TotalCompletions: 1 } },
    ...reserving(2e9),
  });
  cluster.run(2_000);
  t.same(nodesOf(cluster.running('batch')), ['h2']);
  cluster.resize('h1', { NanoCPUs: 1e9 });
  cluster.resize('h2', { NanoCPUs: 2e9 });
  cluster.run(3_000);
  t.same(nodesOf(cluster.running('agent')), ['h2']);
  const waiting = [...cluster.tasks('agent'), ...cluster.tasks('batch')].filter(
    ({ status }) => status.state === 'pending',
  );
  t.same(nodesOf(waiting), [undefined, 'h1'].sort());
  for (const id of ['h1', 'h2']) cluster.resize(id, { NanoCPUs: 4e9 });
  cluster.run(2_000);
  t.same(nodesOf(cluster.running('agent')), ['h1', 'h2']);
  t.equal(cluster.running('batch').length, 1);
});

t.test('on a node that shrinks while the next task waits for room, the one before it makes room', async (t) => {
  const cluster = new HollowCluster();
  cluster.addNode('h1', { NanoCPUs: 4e9 });
  cluster.createService('first', reserving(1e9));
  cluster.run(2_000);
  cluster.createService('agent', { Mode: { Global: {} }, ...reserving(3e9), ...startFirst });
  cluster.run(2_000);
  cluster.setImage('agent', 'app:2');
  cluster.run(2_000);
  t.same(statesOf(cluster.tasks('agent')), ['pending', 'running']);
  cluster.resize('h1', { NanoCPUs: 3e9 });
  cluster.run(2_000);
  t.same(statesOf(cluster.tasks('agent')), ['pending', 'shutdown']);
  cluster.resize('h1', { NanoCPUs: 4e9 });
  cluster.run(2_000);
  t.match(cluster.running('agent'), [{ specVersion: 2 }]);
});

t.test('a task that has room again stays, and the one that waited for another node goes', async (t) => {
  const cluster = new HollowCluster();
  cluster.addNode('h1', { NanoCPUs: 4e9 });
  cluster.createService('first', reserving(1e9));
  cluster.run(2_000);
  cluster.createService('web', { ...reserving(2e9), ...startFirst });
  cluster.run(2_000);
  const [before] = cluster.running('web');
  cluster.resize('h1', { NanoCPUs: 2e9 });
  cluster.run(2_000);
  t.same(statesOf(cluster.tasks('web')), ['pending', 'running']);
  cluster.scale('first', 0);
  cluster.run(2_000);
  cluster.addNode('h2', { NanoCPUs: 4e9 });
  cluster.run(2_000);
  t.same(cluster.running('web'), [before]);
});

t.test('what stays on a node that has shrunk is what the oldest leave room for', async () => {
  const tasks = fc.array(fc.record({ cpus: fc.nat(5), memory: fc.nat(5) }), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(tasks, fc.nat(40), fc.nat(40), (asked, NanoCPUs, MemoryBytes) => {
      const cluster = new HollowCluster();
      cluster.addNode('h1', { NanoCPUs: 100, MemoryBytes: 100 });
      for (const [i, { cpus, memory }] of asked.entries()) {
        const Reservations = { NanoCPUs: cpus, MemoryBytes: memory };
        cluster.nowMs += 1_000;
        cluster.createService(`s${String(i).padStart(2, '0')}`, { TaskTemplate: { Resources: { Reservations } } });
        cluster.settle();
      }
      cluster.resize('h1', { NanoCPUs, MemoryBytes });
      cluster.settle();
      let [cpusLeft, memoryLeft] = [NanoCPUs, MemoryBytes];
      return asked.every(({ cpus, memory }, i) => {
        const fits = cpus <= cpusLeft && memory <= memoryLeft;
        if (fits) [cpusLeft, memoryLeft] = [cpusLeft - cpus, memoryLeft - memory];
        const stays = cluster
          .tasks(`s${String(i).padStart(2, '0')}`)
          .some(({ nodeId, desiredState }) => nodeId === 'h1' && desiredState === 'running');
        return stays === fits;
      });
    }),
    { numRuns: 60 },
  );
});
