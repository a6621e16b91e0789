import { isTerminal } from '@apiary/api/model';
import t from 'tap';
import type { TaskRecord } from '../store/records.js';
import { HollowCluster } from './hollow-cluster.test.js';

const SECOND = 1e9;

function clusterOf(nodes: number, seed = 1): HollowCluster {
  const cluster = new HollowCluster(seed);
  for (let i = 1; i <= nodes; i++) cluster.addNode(`h${i}`);
  cluster.images.set('true:1', { exits: { afterMs: 300, code: 0 } });
  cluster.images.set('false:1', { exits: { afterMs: 300, code: 1 } });
  return cluster;
}

const job = (TotalCompletions: number, MaxConcurrent: number) => ({
  Mode: { ReplicatedJob: { TotalCompletions, MaxConcurrent } },
});

const alive = (tasks: readonly TaskRecord[]) => tasks.filter((task) => !isTerminal(task.status.state));

/** One task of each slot (or node) that has ended well in this run: more than one may have, after a partition. */
function done(cluster: HollowCluster, name: string): TaskRecord[] {
  const { job } = cluster.service(name);
  const complete = cluster
    .tasks(name)
    .filter((task) => task.status.state === 'complete' && task.jobIteration === job?.iteration);
  return [
    ...new Map(
      complete.map((task) => [cluster.service(name).spec.Mode?.GlobalJob ? (task.nodeId ?? '') : `${task.slot}`, task]),
    ).values(),
  ];
}

t.test('a replicated job fills its slots from 0, never more at once than it may, and then rests', async (t) => {
  const cluster = clusterOf(2);
  let most = 0;
  cluster.check = () => {
    most = Math.max(most, alive(cluster.tasks('j')).length);
  };
  cluster.createService('j', { image: 'true:1', ...job(5, 2) });
  cluster.runUntil(() => done(cluster, 'j').length === 5, 20_000);
  t.same(
    done(cluster, 'j')
      .map((task) => task.slot)
      .sort(),
    [0, 1, 2, 3, 4],
  );
  t.equal(most, 2);
  const { entries } = cluster;
  cluster.run(60_000);
  cluster.forget();
  cluster.run(1_000);
  t.equal(cluster.tasks('j').length, 5);
  t.equal(cluster.entries, entries, 'a job that is done needs no entry, from a new leader neither');
});

t.test('a task that fails is replaced in its slot by the restart policy, and given up at its end', async (t) => {
  const cluster = clusterOf(1);
  const TaskTemplate = {
    ContainerSpec: { Image: 'false:1' },
    RestartPolicy: { Condition: 'on-failure' as const, Delay: SECOND / 5, MaxAttempts: 2 },
  };
  cluster.createService('j', { TaskTemplate, ...job(2, 1) });
  cluster.run(30_000);
  const tasks = cluster.tasks('j');
  t.equal(tasks.length, 6, 'three tries in each of the two slots');
  t.ok(tasks.every((task) => task.status.state === 'failed' && task.desiredState === 'shutdown'));
  cluster.run(60_000);
  t.equal(cluster.tasks('j').length, 6);
});

t.test('an update runs the job again: what is under way is removed, what ended stays as history', async (t) => {
  const cluster = clusterOf(2);
  cluster.createService('j', { image: 'app:1', ...job(2, 2) });
  cluster.run(2_000);
  const before = cluster.tasks('j').map((task) => task.id);
  t.equal(before.length, 2);
  cluster.setImage('j', 'true:1');
  t.equal(cluster.service('j').job?.iteration, 1);
  cluster.runUntil(() => done(cluster, 'j').length === 2, 20_000);
  const after = cluster.tasks('j');
  t.notOk(
    after.some((task) => before.includes(task.id)),
    'those under way are gone',
  );
  cluster.updateService('j', (spec) => ({ ...spec, Labels: { a: 'b' } }));
  cluster.runUntil(() => done(cluster, 'j').length === 2, 20_000);
  t.equal(cluster.tasks('j').length, 4, 'any update runs it again, and the ended ones are kept');
});

t.test('history is trimmed, but never what tells that a slot is done', async (t) => {
  const cluster = clusterOf(1);
  cluster.createService('j', { image: 'true:1', ...job(1, 1) });
  for (let run = 0; run < 8; run++) {
    cluster.runUntil(() => done(cluster, 'j').length === 1, 20_000);
    cluster.updateService('j', (spec) => ({ ...spec, Labels: { run: `${run}` } }));
  }
  cluster.runUntil(() => done(cluster, 'j').length === 1, 20_000);
  cluster.run(5_000);
  t.equal(cluster.tasks('j').length, 5);
  t.equal(done(cluster, 'j').length, 1);
});

t.test('a global job runs once on every node that it fits, also on one that comes later', async (t) => {
  const cluster = clusterOf(2);
  const Mode = { GlobalJob: {} };
  cluster.createService('j', { image: 'true:1', Mode });
  cluster.runUntil(() => done(cluster, 'j').length === 2, 20_000);
  cluster.addNode('h3');
  cluster.setNode('h1', { Availability: 'drain' });
  cluster.runUntil(() => done(cluster, 'j').length === 3, 20_000);
  t.same(
    done(cluster, 'j')
      .map((task) => task.nodeId)
      .sort(),
    ['h1', 'h2', 'h3'],
  );
  cluster.deleteNode('h3');
  cluster.run(1_000);
  t.equal(cluster.tasks('j').length, 2);
});

t.test('a task that is lost with its node, or must leave it, is made anew elsewhere', async (t) => {
  const cluster = clusterOf(2);
  cluster.createService('j', { image: 'app:1', ...job(1, 1) });
  cluster.run(2_000);
  const [first] = cluster.tasks('j');
  t.ok(first?.nodeId);
  cluster.unlink(first?.nodeId ?? '');
  cluster.runUntil(() => cluster.running('j').some((task) => task.nodeId !== first?.nodeId), 20_000);
  cluster.link(first?.nodeId ?? '');
  cluster.run(5_000);
  t.equal(cluster.containersRunning().length, 1);
  const [second] = cluster.running('j');
  cluster.setNode(second?.nodeId ?? '', { Availability: 'drain' });
  cluster.runUntil(() => cluster.running('j').some((task) => task.nodeId === first?.nodeId), 20_000);
  cluster.run(5_000);
  t.equal(cluster.containersRunning().length, 1);
});

t.test(
  'whatever fails on the way, a job ends with one completion a slot, and more than its share never runs',
  async (t) => {
    for (let seed = 1; seed <= 40; seed++) {
      const cluster = clusterOf(3, seed);
      cluster.slowness = 40;
      cluster.images.set('work:1', { exits: { afterMs: 1_500, code: 0 } });
      cluster.check = () => {
        const wanted = cluster.tasks('j').filter((task) => task.desiredState === 'running');
        const perSlot = new Set(alive(wanted).map((task) => task.slot));
        t.ok(alive(wanted).length <= 3 && perSlot.size === alive(wanted).length, `seed ${seed}`);
      };
      const RestartPolicy = { Condition: 'on-failure' as const, Delay: SECOND / 2 };
      cluster.createService('j', {
        TaskTemplate: { ContainerSpec: { Image: 'work:1' }, RestartPolicy },
        ...job(7, 3),
      });
      for (let step = 0; step < 20; step++) {
        const node = `h${1 + cluster.rng.below(3)}`;
        const what = cluster.rng.below(5);
        if (what === 0) cluster.unlink(node);
        if (what === 1) cluster.link(node);
        if (what === 2) cluster.setNode(node, { Availability: cluster.rng.below(2) === 0 ? 'drain' : 'active' });
        if (what === 3) for (const task of cluster.running('j').slice(0, 1)) cluster.exit(task.id, 1);
        if (what === 4) cluster.forget();
        cluster.run(500);
      }
      for (const node of ['h1', 'h2', 'h3']) {
        cluster.link(node);
        cluster.setNode(node, { Availability: 'active' });
      }
      cluster.runUntil(() => done(cluster, 'j').length === 7, 300_000);
      cluster.run(30_000);
      t.equal(alive(cluster.tasks('j')).length, 0, `seed ${seed}`);
    }
  },
);
