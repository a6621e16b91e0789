import { isTerminal } from '@apiary/api/model';
import t from 'tap';
import type { TaskRecord } from '../store/records.js';
import { HollowCluster } from './hollow-cluster.test.js';
import { historyAfter, restartAtMs, restartsOf } from './restart.js';

function clusterOf(nodes: number, seed = 1): HollowCluster {
  const cluster = new HollowCluster(seed);
  for (let i = 1; i <= nodes; i++) cluster.addNode(`h${i}`);
  return cluster;
}

function slots(tasks: readonly TaskRecord[]): number[] {
  return tasks.map((task) => task.slot).sort((a, b) => a - b);
}

function nodesOf(tasks: readonly TaskRecord[]): string[] {
  return tasks.map((task) => task.nodeId ?? '').sort();
}

const SECOND = 1e9;

t.test('replicas', async (t) => {
  t.test('a new service gets slots 1 to N, spread over the nodes, in one entry', async (t) => {
    const cluster = clusterOf(3);
    cluster.createService('web', { replicas: 6 });
    cluster.run(1_000);
    t.same(slots(cluster.running('web')), [1, 2, 3, 4, 5, 6]);
    t.same(nodesOf(cluster.running('web')), ['h1', 'h1', 'h2', 'h2', 'h3', 'h3']);
    t.equal(cluster.entries, 1);
  });

  t.test('scaling down takes slots where nothing runs, then keeps the nodes balanced', async (t) => {
    const cluster = clusterOf(2);
    cluster.createService('web', { replicas: 6 });
    cluster.run(1_000);
    cluster.scale('web', 2);
    cluster.run(1_000);
    t.same(nodesOf(cluster.running('web')), ['h1', 'h2']);
    t.equal(cluster.tasks('web').length, 2, 'those that are too many leave no history');
    cluster.scale('web', 3);
    cluster.run(1_000);
    t.equal(cluster.running('web').length, 3);
  });

  t.test('scaling down prefers to lose what cannot run', async (t) => {
    const cluster = new HollowCluster();
    cluster.addNode('h1', { NanoCPUs: 2e9 });
    const Resources = { Reservations: { NanoCPUs: 1e9 } };
    cluster.createService('web', { replicas: 4, TaskTemplate: { ContainerSpec: { Image: 'app:1' }, Resources } });
    cluster.run(1_000);
    const running = cluster.running('web').map((task) => task.id);
    cluster.scale('web', 2);
    cluster.run(1_000);
    t.same(
      cluster.tasks('web').map((task) => task.id),
      running,
    );
  });

  t.test('a removed service takes its tasks along, those that never got a node at once', async (t) => {
    const cluster = clusterOf(1);
    cluster.createService('web', { replicas: 2 });
    const Placement = { Constraints: ['node.labels.nowhere==1'] };
    cluster.createService('stuck', { TaskTemplate: { Placement } });
    cluster.run(1_000);
    cluster.commit({ type: 'service-delete', id: 'web' }, { type: 'service-delete', id: 'stuck' });
    cluster.settle();
    t.equal(cluster.tasks('stuck').length, 0);
    t.same(new Set(cluster.tasks('web').map((task) => task.desiredState)), new Set(['remove']));
    cluster.run(1_000);
    t.equal(cluster.store.tasks().length, 0);
    t.same(cluster.containersRunning(), []);
  });
});

t.test('global services', async (t) => {
  t.test('run once on every node that takes them, and follow the nodes', async (t) => {
    const cluster = clusterOf(3);
    cluster.createService('agent', { Mode: { Global: {} } });
    cluster.run(1_000);
    t.same(nodesOf(cluster.running('agent')), ['h1', 'h2', 'h3']);
    t.match(cluster.tasks('agent')[0], { slot: 0 });

    cluster.addNode('h4');
    cluster.setNode('h1', { Availability: 'drain' });
    cluster.run(1_000);
    t.same(nodesOf(cluster.running('agent')), ['h2', 'h3', 'h4']);

    cluster.setNode('h1', { Availability: 'active' });
    cluster.setNode('h2', { Availability: 'pause' });
    cluster.run(1_000);
    t.same(nodesOf(cluster.running('agent')), ['h1', 'h2', 'h3', 'h4']);

    cluster.deleteNode('h3');
    cluster.run(1_000);
    t.same(nodesOf(cluster.running('agent')), ['h1', 'h2', 'h4']);
    t.equal(cluster.tasks('agent').filter((task) => task.nodeId === 'h3').length, 0);
  });

  t.test('come back to a node that was down, and never twice', async (t) => {
    const cluster = clusterOf(2);
    cluster.createService('agent', { Mode: { Global: {} } });
    cluster.run(1_000);
    cluster.unlink('h2');
    cluster.run(5_000);
    t.same(nodesOf(cluster.running('agent')), ['h1']);
    cluster.link('h2');
    cluster.runUntil(() => cluster.running('agent').length === 2, 2_000);
    t.equal(cluster.containersRunning().length, 2);
  });

  t.test('wait where they do not fit, and say why', async (t) => {
    const cluster = new HollowCluster();
    cluster.addNode('h1', { MemoryBytes: 100 });
    const Resources = { Reservations: { MemoryBytes: 200 } };
    cluster.createService('agent', { Mode: { Global: {} }, TaskTemplate: { Resources } });
    cluster.run(500);
    t.match(cluster.tasks('agent'), [
      { nodeId: 'h1', status: { state: 'pending', err: 'insufficient resources on 1 node' } },
    ]);
  });
});

t.test('restarts', async (t) => {
  t.test('a task that failed is replaced in its slot after the delay, and kept as history', async (t) => {
    const cluster = clusterOf(2);
    cluster.createService('web');
    cluster.run(1_000);
    const [first] = cluster.running('web');
    cluster.exit(first?.id ?? '', 1);
    cluster.run(200);
    t.match(cluster.store.task(first?.id ?? ''), { desiredState: 'shutdown', status: { state: 'failed' } });
    const next = cluster.tasks('web').find((task) => task.id !== first?.id);
    t.match(next, { slot: 1, desiredState: 'ready', restarts: { attempts: 1, failuresInARow: 1 } });
    cluster.run(4_500);
    t.equal(cluster.store.task(next?.id ?? '')?.status.state, 'ready', 'prepared, and waiting');
    cluster.run(1_000);
    t.equal(cluster.store.task(next?.id ?? '')?.status.state, 'running');
  });

  t.test('the condition decides: none never, on-failure not after exit 0', async (t) => {
    const cluster = clusterOf(1);
    cluster.images.set('once', { exits: { afterMs: 100, code: 0 } });
    cluster.images.set('bad', { exits: { afterMs: 100, code: 1 } });
    const policy = (image: string, Condition: string) => ({
      TaskTemplate: { ContainerSpec: { Image: image }, RestartPolicy: { Condition, Delay: SECOND } },
    });
    cluster.createService('none', policy('bad', 'none'));
    cluster.createService('once', policy('once', 'on-failure'));
    cluster.createService('bad', policy('bad', 'on-failure'));
    cluster.createService('any', policy('once', 'any'));
    cluster.run(10_000);
    t.match(cluster.tasks('none'), [{ desiredState: 'shutdown', status: { state: 'failed' } }]);
    t.match(cluster.tasks('once'), [{ desiredState: 'shutdown', status: { state: 'complete' } }]);
    t.ok(cluster.tasks('bad').length > 2);
    t.equal(cluster.tasks('any').length, 5);
  });

  t.test('attempts run out, also with no history kept', async (t) => {
    const cluster = clusterOf(1);
    setHistoryLimit(cluster, 0);
    cluster.images.set('bad', { exits: { afterMs: 100, code: 1 } });
    const RestartPolicy = { Delay: SECOND, MaxAttempts: 3 };
    cluster.createService('web', { TaskTemplate: { ContainerSpec: { Image: 'bad' }, RestartPolicy } });
    cluster.run(300_000);
    t.match(cluster.tasks('web'), [{ desiredState: 'shutdown', restarts: { attempts: 3 } }]);
  });

  t.test('a replacement does not wait for a clock that was ahead', async (t) => {
    const cluster = clusterOf(1);
    cluster.createService('web', { replicas: 1 });
    cluster.run(1_000);
    const [first] = cluster.running('web');
    cluster.exit(first?.id ?? '', 1);
    cluster.runUntil(() => cluster.tasks('web').some(({ desiredState }) => desiredState === 'ready'), 5_000);
    cluster.nowMs -= 600_000;
    cluster.forget();
    cluster.runUntil(() => cluster.running('web').length === 1, 10_000);
    const { id = '', endedAtMs = 0 } = cluster.tasks('web').find(({ status }) => status.state === 'failed') ?? {};
    t.equal(id, first?.id);
    t.ok(endedAtMs > cluster.nowMs + 500_000, 'by the clock of before');
    const policy = restartsOf(undefined);
    const [ended] = cluster.tasks('web').filter((task) => task.id === id);
    if (ended === undefined) throw new Error('it is gone');
    t.equal(restartAtMs(ended, historyAfter(ended, policy), policy, cluster.nowMs), cluster.nowMs + policy.delayMs);
  });

  t.test('with a window, only the restarts within it count', async (t) => {
    const cluster = clusterOf(1);
    cluster.images.set('bad', { exits: { afterMs: 30_000, code: 1 } });
    const RestartPolicy = { Delay: SECOND, MaxAttempts: 2, Window: 20 * SECOND };
    cluster.createService('web', { TaskTemplate: { ContainerSpec: { Image: 'bad' }, RestartPolicy } });
    cluster.run(200_000);
    t.ok(Math.max(...cluster.tasks('web').map((task) => task.restarts.attempts)) >= 4);
  });

  t.test('failures in a row back off to a minute, whatever the image does', async (t) => {
    const cluster = clusterOf(1);
    cluster.images.set('missing', { missing: true });
    cluster.createService('web', {
      TaskTemplate: { ContainerSpec: { Image: 'missing' }, RestartPolicy: { Delay: 0 } },
    });
    cluster.run(3_600_000);
    const attempts = Math.max(...cluster.tasks('web').map((task) => task.restarts.attempts));
    t.ok(attempts > 55 && attempts < 75, `${attempts} attempts in an hour`);
    t.ok(cluster.entries < 200, `${cluster.entries} entries`);
    t.equal(cluster.tasks('web').length, 5);
  });

  t.test('a long run starts the count of failures anew', async (t) => {
    const cluster = clusterOf(1);
    cluster.images.set('bad', { exits: { afterMs: 61_000, code: 1 } });
    cluster.createService('web', { image: 'bad' });
    cluster.run(600_000);
    t.same(Math.max(...cluster.tasks('web').map((task) => task.restarts.failuresInARow)), 1);
  });

  t.test('a node where the service keeps failing is avoided', async (t) => {
    const cluster = clusterOf(2);
    cluster.createService('filler', { replicas: 3, TaskTemplate: { Placement: { Constraints: ['node.id==h2'] } } });
    cluster.createService('web', { TaskTemplate: { RestartPolicy: { Delay: SECOND } } });
    cluster.run(1_000);
    for (let i = 0; i < 3; i++) {
      t.same(nodesOf(cluster.running('web')), ['h1'], 'the emptier node');
      cluster.exit(cluster.running('web')[0]?.id ?? '', 1);
      cluster.run(200);
      cluster.runUntil(() => cluster.running('web').length === 1, 10_000);
    }
    t.same(nodesOf(cluster.running('web')), ['h2']);
  });
});

t.test('nodes', async (t) => {
  t.test('what ran on a node that went down runs elsewhere at once, and once only after it is back', async (t) => {
    const cluster = clusterOf(3);
    cluster.createService('web', { replicas: 6 });
    cluster.run(1_000);
    cluster.unlink('h1');
    cluster.runUntil(
      () => cluster.running('web').length === 6 && !nodesOf(cluster.running('web')).includes('h1'),
      4_000,
    );
    t.equal(cluster.containersRunning().length, 8, 'the lost node’s containers go on');
    cluster.link('h1');
    cluster.run(1_000);
    t.equal(cluster.containersRunning().length, 6);
    t.same(slots(cluster.running('web')), [1, 2, 3, 4, 5, 6]);
  });

  t.test('a flapping node leaves nothing behind', async (t) => {
    const cluster = clusterOf(2);
    cluster.createService('web', { replicas: 4 });
    for (let i = 0; i < 20; i++) {
      cluster.unlink('h1');
      cluster.run(4_000);
      cluster.link('h1');
      cluster.run(1_000);
    }
    t.equal(cluster.containersRunning().length, 4);
    t.ok(cluster.tasks('web').length <= 20);
  });

  t.test('a drained node is emptied, by default stopping first', async (t) => {
    const cluster = clusterOf(2);
    cluster.createService('web', { replicas: 4 });
    cluster.run(1_000);
    cluster.setNode('h1', { Availability: 'drain' });
    cluster.settle();
    t.equal(cluster.tasks('web').filter((task) => task.desiredState === 'ready').length, 2);
    cluster.run(2_000);
    t.same(nodesOf(cluster.running('web')), ['h2', 'h2', 'h2', 'h2']);
  });

  t.test('a drain never dips below the replicas where the service starts first', async (t) => {
    const cluster = clusterOf(2);
    cluster.createService('web', { replicas: 4, UpdateConfig: { Order: 'start-first' } });
    cluster.run(1_000);
    cluster.check = () => t.ok(cluster.running('web').length >= 4);
    cluster.setNode('h1', { Availability: 'drain' });
    cluster.run(2_000);
    t.same(nodesOf(cluster.running('web')), ['h2', 'h2', 'h2', 'h2']);
  });

  t.test('a paused node keeps what it has and gets nothing new', async (t) => {
    const cluster = clusterOf(2);
    cluster.createService('web', { replicas: 2 });
    cluster.run(1_000);
    cluster.setNode('h1', { Availability: 'pause' });
    cluster.scale('web', 5);
    cluster.run(1_000);
    t.same(nodesOf(cluster.running('web')), ['h1', 'h2', 'h2', 'h2', 'h2']);
  });

  t.test('tasks of a node that was removed are orphaned, replaced and forgotten', async (t) => {
    const cluster = clusterOf(2);
    cluster.createService('web', { replicas: 2 });
    cluster.run(1_000);
    cluster.deleteNode('h1');
    cluster.run(1_000);
    t.same(nodesOf(cluster.running('web')), ['h2', 'h2']);
    t.match(
      cluster.tasks('web').find((task) => task.nodeId === 'h1'),
      { status: { state: 'orphaned' }, desiredState: 'shutdown' },
    );
    cluster.commit({ type: 'service-delete', id: 'web' });
    cluster.run(1_000);
    t.equal(cluster.store.tasks().length, 0);
  });

  t.test('a task that is never to be restarted runs once at most, whatever becomes of its node', async (t) => {
    const lose: Record<string, (cluster: HollowCluster) => void> = {
      drained: (cluster) => cluster.setNode('h1', { Availability: 'drain' }),
      down: (cluster) => cluster.unlink('h1'),
      removed: (cluster) => cluster.deleteNode('h1'),
    };
    for (const [how, loseNode] of Object.entries(lose)) {
      const cluster = clusterOf(2);
      cluster.createService('job', { replicas: 2, TaskTemplate: { RestartPolicy: { Condition: 'none' } } });
      cluster.run(1_000);
      loseNode(cluster);
      cluster.run(20_000);
      t.same(nodesOf(cluster.running('job')), ['h2'], how);
      t.equal(cluster.tasks('job').length, 2, 'and its end is on record');

      cluster.updateService('job', (spec) => ({ ...spec, TaskTemplate: { ...spec.TaskTemplate, ForceUpdate: 1 } }));
      cluster.run(20_000);
      t.same(nodesOf(cluster.running('job')), ['h2', 'h2'], 'an update begins anew');
      t.equal(cluster.service('job').update?.state, 'completed');
    }
  });

  t.test('an update of tasks that are never to be restarted ends where it loses a node', async (t) => {
    const cluster = clusterOf(2);
    cluster.createService('job', { replicas: 2, TaskTemplate: { RestartPolicy: { Condition: 'none' } } });
    cluster.run(1_000);
    cluster.updateService('job', (spec) => ({ ...spec, TaskTemplate: { ...spec.TaskTemplate, ForceUpdate: 1 } }));
    const fresh = () => cluster.tasks('job').find((task) => task.specVersion === 2 && task.nodeId !== undefined);
    cluster.runUntil(() => fresh()?.status.state === 'preparing', 5_000);
    cluster.unlink(fresh()?.nodeId ?? '');
    cluster.run(30_000);
    t.equal(cluster.service('job').update?.state, 'completed');
  });

  t.test('tasks of a node that stays down are orphaned after a day, and stopped should it come back', async (t) => {
    const HOUR_MS = 3_600_000;
    const cluster = clusterOf(2);
    cluster.createService('web', { replicas: 2 });
    cluster.createService('gone', { Mode: { Global: {} } });
    cluster.run(1_000);
    cluster.unlink('h1');
    cluster.run(5_000);
    cluster.commit({ type: 'service-delete', id: 'gone' });
    cluster.nowMs += 23 * HOUR_MS;
    cluster.run(1_000);
    const lost = () => cluster.tasks('web').find((task) => task.nodeId === 'h1');
    t.match(lost(), { status: { state: 'running' }, desiredState: 'shutdown' });
    t.match(cluster.tasks('gone'), [{ nodeId: 'h1', desiredState: 'remove' }]);

    cluster.nowMs += HOUR_MS;
    cluster.run(1_000);
    const message = 'Task belonged to a node that has been down for 24 hours';
    t.match(lost(), { status: { state: 'orphaned', message }, desiredState: 'shutdown' });
    t.same(cluster.tasks('gone'), []);
    t.equal(cluster.running('web').length, 2);

    t.equal(cluster.containersRunning().length, 4, 'though all of it still runs there');
    cluster.link('h1');
    cluster.run(1_000);
    t.equal(cluster.containersRunning().length, 2);
  });

  t.test('a task leaves a node that no longer satisfies its constraints', async (t) => {
    const cluster = new HollowCluster();
    cluster.addNode('h1', { labels: { disk: 'ssd' } });
    cluster.addNode('h2', { labels: { disk: 'ssd' } });
    cluster.createService('db', { TaskTemplate: { Placement: { Constraints: ['node.labels.disk==SSD'] } } });
    cluster.run(1_000);
    const was = nodesOf(cluster.running('db'))[0] ?? '';
    cluster.setNode(was, { Labels: { disk: 'hdd' } });
    cluster.run(1_000);
    t.same(nodesOf(cluster.running('db')), [was === 'h1' ? 'h2' : 'h1']);
  });
});

t.test('history', async (t) => {
  t.test('a slot holds at most as many tasks as the limit says, the oldest go', async (t) => {
    const cluster = clusterOf(1);
    setHistoryLimit(cluster, 3);
    cluster.createService('web', { replicas: 2 });
    for (let i = 0; i < 6; i++) {
      cluster.setImage('web', `app:${i}`);
      cluster.run(60_000);
    }
    for (const slot of [1, 2]) {
      const tasks = cluster.tasks('web').filter((task) => task.slot === slot);
      t.equal(tasks.length, 3);
      t.equal(tasks.filter((task) => isTerminal(task.status.state)).length, 2);
    }
  });

  t.test('a pending task that was superseded ends', async (t) => {
    const cluster = clusterOf(1);
    cluster.createService('web', { TaskTemplate: { Placement: { Constraints: ['node.labels.nowhere==1'] } } });
    cluster.run(500);
    cluster.updateService('web', (spec) => ({ ...spec, TaskTemplate: { ContainerSpec: { Image: 'app:1' } } }));
    cluster.run(20_000);
    t.match(cluster.tasks('web'), [{ status: { state: 'running' } }]);
    t.equal(cluster.service('web').update?.state, 'completed');
  });
});

function setHistoryLimit(cluster: HollowCluster, limit: number): void {
  const spec = { Orchestration: { TaskHistoryRetentionLimit: limit } };
  const joinSecrets = { worker: '', manager: '' };
  const rootCa = { certificatePem: '', keyPem: '' };
  cluster.commit({ type: 'cluster-create', cluster: { id: 'c', spec, joinSecrets, rootCa } });
}
