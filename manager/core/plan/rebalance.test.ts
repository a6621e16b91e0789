import fc from 'fast-check';
import t from 'tap';
import { rebalanceNodes, rebalanceService } from '../requests/index.js';
import { HollowCluster } from './hollow-cluster.test.js';

/** By node, how many tasks run there: of one service, or of all. */
function counts(cluster: HollowCluster, ...ids: string[]): Record<string, number> {
  const counts = Object.fromEntries(cluster.store.nodes().map(({ id }) => [id, 0]));
  for (const { nodeId = '' } of ids.flatMap((id) => cluster.running(id))) counts[nodeId] = (counts[nodeId] ?? 0) + 1;
  return counts;
}

function isRebalancing(cluster: HollowCluster): boolean {
  return cluster.store.rebalancing().length > 0;
}

const order = (Order: string) => ({ UpdateConfig: { Order, Parallelism: 1 } });

t.test('a rebalance moves tasks to a node that came later, so many at a time, and then rests', async (t) => {
  for (const [Order, most] of [
    ['start-first', 1],
    ['stop-first', 2],
  ] as const) {
    const cluster = new HollowCluster();
    for (const id of ['h1', 'h2']) cluster.addNode(id);
    cluster.createService('web', { replicas: 9, ...order(Order) });
    cluster.run(2_000);
    cluster.addNode('h3');
    cluster.run(5_000);
    t.equal(counts(cluster, 'web')['h3'], 0, 'nothing moves unasked');
    const before = cluster.running('web').map(({ id }) => id);
    cluster.commit(...rebalanceService(cluster.store, { id: 'web', most }).changes);
    let least = 9;
    cluster.check = () => {
      const away = cluster.tasks('web').filter(({ isToMove, status }) => isToMove && status.state === 'running');
      t.ok(away.length <= most);
      least = Math.min(least, cluster.running('web').length);
    };
    cluster.runUntil(() => !isRebalancing(cluster), 60_000);
    t.same(Object.values(counts(cluster, 'web')), [3, 3, 3]);
    t.equal(before.filter((id) => cluster.running('web').some((task) => task.id === id)).length, 6, 'three moved');
    t.equal(least, Order === 'start-first' ? 9 : 9 - most, 'availability is as the update order has it');
    const { entries } = cluster;
    cluster.run(10_000);
    t.equal(cluster.entries, entries, 'and then it rests');
  }
});

t.test('it goes by the spread preferences first, and keeps to what nodes refuse', async (t) => {
  const cluster = new HollowCluster();
  const add = (id: string, dc: string) => cluster.addNode(id, { labels: { dc } });
  for (const id of ['a1', 'a2', 'a3']) add(id, 'a');
  const Placement = { Preferences: [{ Spread: { SpreadDescriptor: 'node.labels.dc' } }], Constraints: ['node.id!=b2'] };
  cluster.createService('web', { replicas: 8, TaskTemplate: { ContainerSpec: { Image: 'app:1' }, Placement } });
  cluster.run(2_000);
  add('b1', 'b');
  add('b2', 'b');
  cluster.addNode('c1', { labels: { dc: 'c' } });
  cluster.setNode('c1', { Availability: 'pause' });
  cluster.commit(...rebalanceService(cluster.store, { id: 'web', most: 3 }).changes);
  cluster.runUntil(() => !isRebalancing(cluster), 60_000);
  const { a1 = 0, a2 = 0, a3 = 0, ...others } = counts(cluster, 'web');
  t.same([a1, a2, a3].sort(), [1, 1, 2]);
  t.same(others, { b1: 4, b2: 0, c1: 0 });
});

t.test('all services together: each spread evenly, the load after that, one move at a time', async (t) => {
  const cluster = new HollowCluster();
  for (const id of ['h1', 'h2']) cluster.addNode(id);
  const ids = ['a', 'b', 'c', 'd', 'e', 'f'];
  for (const id of ids) cluster.createService(id, { replicas: id === 'a' ? 4 : 1, ...order('start-first') });
  cluster.createService('g', { Mode: { Global: {} } });
  cluster.createService('once', { TaskTemplate: { RestartPolicy: { Condition: 'none' } } });
  cluster.run(2_000);
  for (const id of ['h3', 'h4']) cluster.addNode(id);
  cluster.run(2_000);
  const { changes, result } = rebalanceNodes(cluster.store, { most: 1 });
  t.equal(result, ids.length, 'neither what is everywhere anyway, nor what would be lost');
  cluster.commit(...changes);
  cluster.check = () => {
    const moving = ids
      .flatMap((id) => cluster.tasks(id))
      .filter(({ isToMove, status }) => isToMove && status.state === 'running');
    t.ok(moving.length <= 1, 'one at a time, of all services together');
  };
  cluster.runUntil(() => !isRebalancing(cluster), 120_000);
  t.same(Object.values(counts(cluster, 'a')), [1, 1, 1, 1]);
  const load = Object.values(counts(cluster, ...ids, 'once'));
  t.ok(Math.max(...load) - Math.min(...load) <= 1, `even: ${load}`);
});

t.test('where a moved task does not come to run, the service is left as it is', async (t) => {
  const cluster = new HollowCluster();
  cluster.addNode('h1');
  cluster.createService('web', { replicas: 4, ...order('start-first') });
  cluster.run(2_000);
  cluster.addNode('h2');
  cluster.images.set('app:1', { missing: true });
  cluster.commit(...rebalanceService(cluster.store, { id: 'web', most: 1 }).changes);
  cluster.runUntil(() => !isRebalancing(cluster), 60_000);
  t.equal(cluster.running('web').length, 4, 'what ran runs on');
  t.equal(cluster.tasks('web').filter(({ isToMove }) => isToMove).length, 1);
});

t.test('a rebalance can be ended, ends with an update, and is refused where tasks would be lost', async (t) => {
  const cluster = new HollowCluster();
  cluster.addNode('h1');
  cluster.createService('web', { replicas: 6 });
  cluster.createService('once', { TaskTemplate: { RestartPolicy: { Condition: 'none' } } });
  cluster.run(2_000);
  cluster.addNode('h2');
  const begin = () => cluster.commit(...rebalanceService(cluster.store, { id: 'web', most: 1 }).changes);
  begin();
  cluster.settle();
  cluster.commit(...rebalanceService(cluster.store, { id: 'web', most: 0 }).changes);
  cluster.run(5_000);
  t.same(counts(cluster, 'web'), { h1: 5, h2: 1 }, 'what was on the way got there');
  begin();
  cluster.setImage('web', 'app:2');
  t.notOk(isRebalancing(cluster));
  cluster.settle();
  t.throws(begin, { code: 'failed-precondition' });
  for (const id of ['once', 'nope']) t.throws(() => rebalanceService(cluster.store, { id, most: 1 }));
  t.throws(() => rebalanceService(cluster.store, { id: 'web', most: -1 }), { code: 'invalid-argument' });
});

t.test(
  'from wherever tasks are, also under new leaders, it ends evenly and with as few moves as that takes',
  async () => {
    const start = fc.array(fc.nat(6), { minLength: 2, maxLength: 5 });
    fc.assert(
      fc.property(start, fc.integer({ min: 1, max: 3 }), fc.boolean(), (onNodes, most, isStartFirst) => {
        const cluster = new HollowCluster();
        const replicas = onNodes.reduce((sum, count) => sum + count, 0);
        cluster.createService('web', { replicas: 0, ...order(isStartFirst ? 'start-first' : 'stop-first') });
        let so = 0;
        for (const [i, count] of onNodes.entries()) {
          // Each node fills while it is the only one that takes tasks.
          cluster.addNode(`h${i}`);
          for (let j = 0; j < i; j++) cluster.setNode(`h${j}`, { Availability: 'pause' });
          so += count;
          cluster.scale('web', so);
          cluster.run(1_000);
        }
        for (const { id } of cluster.store.nodes()) cluster.setNode(id, { Availability: 'active' });
        const before = new Set(cluster.running('web').map(({ id }) => id));
        cluster.commit(...rebalanceService(cluster.store, { id: 'web', most }).changes);
        for (let i = 0; isRebalancing(cluster) && i < 600; i++) {
          cluster.run(200);
          cluster.forget();
        }
        const after = cluster.running('web');
        const even = Object.values(counts(cluster, 'web'));
        const surplus = (share: number) => onNodes.reduce((sum, count) => sum + Math.max(0, count - share), 0);
        const least = replicas % onNodes.length === 0 ? surplus(replicas / onNodes.length) : undefined;
        const moves = after.filter(({ id }) => !before.has(id)).length;
        return (
          !isRebalancing(cluster) &&
          after.length === replicas &&
          Math.max(...even) - Math.min(...even) <= 1 &&
          (least === undefined ? moves <= surplus(Math.floor(replicas / onNodes.length)) : moves === least)
        );
      }),
      { numRuns: 60 },
    );
  },
);
