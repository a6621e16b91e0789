import type { ServiceSpec } from '@apiary/api/model';
import { invariant } from '@apiary/std';
import fc from 'fast-check';
import t from 'tap';
import type { TaskRecord } from '../store/records.js';
import { HollowCluster } from './hollow-cluster.test.js';

const SECOND = 1e9;

/** A service `web` of app:1, running, on 3 nodes. */
function running(replicas: number, spec: Partial<ServiceSpec> = {}): HollowCluster {
  const cluster = new HollowCluster();
  for (const id of ['h1', 'h2', 'h3']) cluster.addNode(id);
  cluster.images.set('bad', { exits: { afterMs: 1_000, code: 1 } });
  cluster.images.set('missing', { missing: true });
  cluster.createService('web', { replicas, ...spec });
  cluster.run(1_000);
  return cluster;
}

function ofImage(cluster: HollowCluster, tasks: readonly TaskRecord[], image: string): TaskRecord[] {
  return tasks.filter((task) => cluster.store.spec('web', task.specVersion).template.ContainerSpec?.Image === image);
}

function stateOf(cluster: HollowCluster): string | undefined {
  return cluster.service('web').update?.state;
}

t.test(
  'an update replaces one slot after the other, the old task first stopped, then the new one started',
  async (t) => {
    const cluster = running(3);
    cluster.check = () => {
      t.ok(cluster.running('web').length >= 2, 'never below replicas - parallelism');
      for (const fresh of ofImage(cluster, cluster.tasks('web'), 'app:2')) {
        if (fresh.desiredState !== 'running') continue;
        const old = ofImage(cluster, cluster.tasks('web'), 'app:1').find((task) => task.slot === fresh.slot);
        t.ok(old?.status.state === 'shutdown', 'the old one has stopped');
      }
    };
    cluster.setImage('web', 'app:2');
    t.match(cluster.service('web').update, { state: 'updating', message: 'update in progress' });
    cluster.runUntil(() => ofImage(cluster, cluster.running('web'), 'app:2').length === 3, 10_000);
    t.equal(stateOf(cluster), 'updating', 'the last task is still monitored');
    cluster.run(6_000);
    t.match(cluster.service('web').update, { state: 'completed', message: 'update completed' });
    t.same(cluster.containersRunning().length, 3);
  },
);

t.test('start-first never stops a healthy task before its replacement runs', async (t) => {
  const cluster = running(3, { UpdateConfig: { Order: 'start-first', Parallelism: 2 } });
  cluster.check = () => t.ok(cluster.running('web').length >= 3);
  cluster.setImage('web', 'app:2');
  cluster.run(20_000);
  t.equal(stateOf(cluster), 'completed');
  t.equal(ofImage(cluster, cluster.running('web'), 'app:2').length, 3);
  cluster.setImage('web', 'missing');
  cluster.run(20_000);
  t.equal(stateOf(cluster), 'paused');
  t.equal(ofImage(cluster, cluster.running('web'), 'app:2').length, 3, 'an image that is missing takes nothing down');
});

t.test('parallelism and delay: so many slots at once, and each place is free again after the delay', async (t) => {
  const cluster = running(6, { UpdateConfig: { Parallelism: 2, Delay: 10 * SECOND } });
  cluster.setImage('web', 'app:2');
  cluster.run(8_000);
  t.equal(ofImage(cluster, cluster.running('web'), 'app:2').length, 2);
  cluster.run(10_000);
  t.equal(ofImage(cluster, cluster.running('web'), 'app:2').length, 4);
  cluster.run(10_000);
  t.equal(ofImage(cluster, cluster.running('web'), 'app:2').length, 6);

  const all = running(6, { UpdateConfig: { Parallelism: 0 } });
  all.setImage('web', 'app:2');
  all.settle();
  t.equal(ofImage(all, all.tasks('web'), 'app:2').length, 6);
});

t.test('a failure pauses the update, by default the first', async (t) => {
  const cluster = running(3, { TaskTemplate: { RestartPolicy: { Delay: SECOND } } });
  cluster.setImage('web', 'missing');
  cluster.runUntil(() => stateOf(cluster) === 'paused', 10_000);
  const [failed] = ofImage(cluster, cluster.tasks('web'), 'missing').filter((task) => task.status.state === 'rejected');
  const message = `update paused due to failure or early termination of task ${failed?.id}`;
  t.equal(cluster.service('web').update?.message, message);
  cluster.run(60_000);
  t.equal(ofImage(cluster, cluster.running('web'), 'app:1').length, 2, 'the others stay as they are');

  const [old] = ofImage(cluster, cluster.running('web'), 'app:1');
  cluster.exit(old?.id ?? '', 1);
  cluster.runUntil(() => ofImage(cluster, cluster.running('web'), 'app:1').length === 2, 10_000);
  t.pass('an old task that fails meanwhile is replaced by one of its own version');

  cluster.setImage('web', 'app:3');
  cluster.run(30_000);
  t.equal(stateOf(cluster), 'completed');
  t.equal(ofImage(cluster, cluster.running('web'), 'app:3').length, 3);
});

t.test('failures up to the ratio are taken', async (t) => {
  const cluster = running(4, { UpdateConfig: { MaxFailureRatio: 0.5, Parallelism: 1 } });
  cluster.setImage('web', 'missing');
  cluster.run(120_000);
  t.equal(stateOf(cluster), 'paused');
  t.ok(ofImage(cluster, cluster.running('web'), 'app:1').length < 4);
});

t.test('with continue, the update goes through whatever fails', async (t) => {
  const cluster = running(3, { UpdateConfig: { FailureAction: 'continue', Parallelism: 1 } });
  cluster.setImage('web', 'missing');
  cluster.run(30_000);
  t.equal(stateOf(cluster), 'completed');
  t.equal(ofImage(cluster, cluster.running('web'), 'app:1').length, 0);
});

t.test('with rollback, a failed update goes back to what ran before', async (t) => {
  const cluster = running(3, { UpdateConfig: { FailureAction: 'rollback', Parallelism: 1 } });
  cluster.setImage('web', 'bad');
  cluster.runUntil(() => stateOf(cluster) === 'rollback_started', 10_000);
  t.match(cluster.service('web').update?.message, /^update rolled back due to failure or early termination of task /);
  cluster.run(30_000);
  t.match(cluster.service('web').update, { state: 'rollback_completed', message: 'rollback completed' });
  t.equal(ofImage(cluster, cluster.running('web'), 'app:1').length, 3);
  t.equal(cluster.service('web').previous, undefined);
  t.equal(cluster.containersRunning().length, 3);
});

t.test('a rollback that was asked for by a clock ahead is not over before it has begun', async (t) => {
  const cluster = running(3, { UpdateConfig: { Parallelism: 1 } });
  cluster.setImage('web', 'app:2');
  cluster.run(30_000);
  const { previous } = cluster.service('web');
  invariant(previous, 'there is a spec to go back to');
  const update = { state: 'rollback_started', startedAtMs: cluster.nowMs + 60_000, message: 'asked for' } as const;
  cluster.check = () => t.ok(cluster.running('web').length >= 2, 'never below replicas - parallelism');
  cluster.commit({ type: 'service-spec', id: 'web', ...previous, previous: 'keep-as-previous', update });
  cluster.settle();
  t.match(cluster.service('web').update, { state: 'rollback_started', startedAtMs: cluster.nowMs });
  cluster.runUntil(() => stateOf(cluster) === 'rollback_completed', 60_000);
  t.equal(ofImage(cluster, cluster.running('web'), 'app:1').length, 3);
});

t.test('an update goes on when the clock is set back, or another leads whose clock is behind', async (t) => {
  const cluster = running(3, { UpdateConfig: { Parallelism: 1, Delay: 1e9 } });
  cluster.setImage('web', 'app:2');
  cluster.runUntil(() => ofImage(cluster, cluster.running('web'), 'app:2').length === 1, 30_000);
  cluster.nowMs -= 600_000;
  cluster.forget();
  cluster.runUntil(() => stateOf(cluster) === 'completed', 60_000);
  t.equal(ofImage(cluster, cluster.running('web'), 'app:2').length, 3);
});

t.test('an update to what was the spec a moment before is over when all slots have it', async (t) => {
  const cluster = running(3, { UpdateConfig: { Order: 'start-first', Parallelism: 1 } });
  cluster.setImage('web', 'app:2');
  const fresh = () => ofImage(cluster, cluster.tasks('web'), 'app:2').filter(({ slot }) => slot === 3);
  cluster.runUntil(() => fresh().length === 1, 10_000);
  cluster.setImage('web', 'app:3');
  cluster.runUntil(() => fresh()[0]?.status.state === 'shutdown', 10_000);
  cluster.setImage('web', 'app:2');
  cluster.runUntil(() => stateOf(cluster) === 'completed', 60_000);
  t.equal(ofImage(cluster, cluster.running('web'), 'app:2').length, 3);
});

t.test('a rollback that fails is paused, never rolled back', async (t) => {
  const cluster = running(2, {
    UpdateConfig: { FailureAction: 'rollback', Parallelism: 1 },
    RollbackConfig: { FailureAction: 'rollback', Parallelism: 1 },
  });
  cluster.setImage('web', 'bad');
  cluster.images.set('app:1', { missing: true });
  cluster.run(60_000);
  t.equal(stateOf(cluster), 'rollback_paused');
  t.match(cluster.service('web').update?.message, /^rollback paused due to failure/);
});

t.test('a rollback to what could never run either is paused, whether or not its tasks are restarted', async (t) => {
  for (const Condition of ['any', 'none'] as const) {
    const cluster = running(1, {
      UpdateConfig: { FailureAction: 'rollback', Parallelism: 1 },
      TaskTemplate: { ContainerSpec: { Image: 'missing' }, RestartPolicy: { Condition } },
    });
    cluster.setImage('web', 'bad');
    cluster.run(60_000);
    t.match(cluster.service('web').update, {
      state: 'rollback_paused',
      message: /^update paused due to failure or early termination of task /,
    });
  }
});

t.test('an update supersedes the one under way', async (t) => {
  for (const order of ['stop-first', 'start-first']) {
    const cluster = running(4, { UpdateConfig: { Order: order, Parallelism: 1 } });
    cluster.setImage('web', 'app:2');
    cluster.run(1_200);
    cluster.setImage('web', 'app:3');
    cluster.check = () => t.ok(cluster.running('web').length >= (order === 'start-first' ? 4 : 3));
    cluster.run(30_000);
    t.equal(stateOf(cluster), 'completed');
    t.equal(ofImage(cluster, cluster.running('web'), 'app:3').length, 4);
    t.equal(cluster.containersRunning().length, 4);
  }
});

t.test('going back to the spec of before leaves alone what never left it', async (t) => {
  const cluster = running(4);
  const before = new Set(cluster.tasks('web').map((task) => task.id));
  cluster.setImage('web', 'app:2');
  cluster.run(300);
  cluster.setImage('web', 'app:1');
  cluster.run(30_000);
  t.equal(stateOf(cluster), 'completed');
  t.ok(cluster.running('web').filter((task) => before.has(task.id)).length === 3);
});

t.test('a task that outlived its would-be successor is restarted by its own record', async (t) => {
  const cluster = running(1, { UpdateConfig: { Order: 'start-first', Parallelism: 1 } });
  const [first] = cluster.running('web');
  cluster.setImage('web', 'app:2');
  cluster.run(200);
  cluster.setImage('web', 'app:1');
  cluster.run(20_000);
  t.equal(stateOf(cluster), 'completed');
  t.equal(cluster.running('web')[0]?.id, first?.id);
  cluster.exit(first?.id ?? '', 1);
  cluster.run(300);
  t.equal(stateOf(cluster), 'completed', 'no update starts');
  const next = cluster.tasks('web').filter((task) => task.desiredState === 'ready');
  t.match(next, [{ restarts: { attempts: 1 } }], 'and its delay is kept');
});

t.test('scaling during an update', async (t) => {
  const cluster = running(4);
  cluster.setImage('web', 'app:2');
  cluster.run(1_000);
  cluster.scale('web', 8);
  cluster.run(2_000);
  t.equal(cluster.running('web').length >= 7, true);
  cluster.scale('web', 3);
  cluster.run(30_000);
  t.equal(stateOf(cluster), 'completed');
  t.equal(ofImage(cluster, cluster.running('web'), 'app:2').length, 3);
});

t.test('an update goes on where a node goes down in the middle of it', async (t) => {
  const cluster = running(6);
  cluster.setImage('web', 'app:2');
  cluster.run(1_000);
  cluster.unlink('h1');
  cluster.run(60_000);
  t.equal(stateOf(cluster), 'completed');
  t.equal(ofImage(cluster, cluster.running('web'), 'app:2').length, 6);
});

t.test('an update of no tasks is complete at once', async (t) => {
  const cluster = running(0);
  cluster.setImage('web', 'app:2');
  cluster.settle();
  t.match(cluster.service('web').update, { state: 'completed', message: 'update completed' });
});

t.test('an update works without any history', async (t) => {
  const cluster = running(2);
  const spec = { Orchestration: { TaskHistoryRetentionLimit: 0 } };
  const keys = { joinSecrets: { worker: '', manager: '' }, rootCa: { certificatePem: '', keyPem: '' } };
  cluster.commit({ type: 'cluster-create', cluster: { id: 'c', spec, ...keys } });
  cluster.setImage('web', 'bad');
  cluster.runUntil(() => stateOf(cluster) === 'paused', 10_000);
  cluster.setImage('web', 'app:2');
  cluster.run(30_000);
  t.equal(stateOf(cluster), 'completed');
  t.equal(cluster.tasks('web').length, 2);
});

t.test('a global service is updated node by node, and never on one that is paused', async (t) => {
  const cluster = new HollowCluster();
  for (const id of ['h1', 'h2', 'h3']) cluster.addNode(id);
  cluster.createService('web', { Mode: { Global: {} } });
  cluster.run(1_000);
  cluster.setNode('h3', { Availability: 'pause' });
  cluster.setImage('web', 'app:2');
  cluster.check = () => t.ok(cluster.running('web').length >= 2);
  cluster.run(20_000);
  t.equal(stateOf(cluster), 'completed');
  const old = ofImage(cluster, cluster.running('web'), 'app:1');
  t.match(old, [{ nodeId: 'h3' }]);
  t.equal(cluster.running('web').length, 3);
});

t.test('a new leader goes on with the update from what is committed', async (t) => {
  const cluster = running(4);
  cluster.setImage('web', 'app:2');
  for (let i = 0; i < 40; i++) {
    cluster.run(500);
    cluster.forget();
  }
  t.equal(stateOf(cluster), 'completed');
  t.equal(ofImage(cluster, cluster.running('web'), 'app:2').length, 4);
});

t.test('constraints that change move only the tasks that may not stay, as an update', async (t) => {
  const constrained =
    (...Constraints: string[]) =>
    (spec: ServiceSpec): ServiceSpec => ({
      ...spec,
      TaskTemplate: { ...spec.TaskTemplate, Placement: { ...spec.TaskTemplate.Placement, Constraints } },
    });
  /** As a request changes a spec: whether that is an update is for the pass to find out. */
  const change = (cluster: HollowCluster, how: (spec: ServiceSpec) => ServiceSpec): void => {
    const spec = how(cluster.service('web').spec);
    cluster.commit({ type: 'service-spec', id: 'web', spec, previous: 'keep-as-previous' });
  };
  const ids = (cluster: HollowCluster): string[] => cluster.running('web').map((task) => task.id);
  const nodes = (cluster: HollowCluster): (string | undefined)[] =>
    cluster
      .running('web')
      .map((task) => task.nodeId)
      .sort();

  t.test('none that may stay', async (t) => {
    const cluster = running(3);
    const before = ids(cluster);
    change(cluster, constrained('node.role==worker'));
    cluster.run(20_000);
    t.same(ids(cluster), before);
    t.equal(stateOf(cluster), undefined, 'nothing to update');

    cluster.exit(before[0] ?? '', 1);
    cluster.run(20_000);
    t.equal(cluster.running('web').length, 3);
    t.equal(stateOf(cluster), undefined, 'a restart is no update either');
  });

  t.test('the others one after the other', async (t) => {
    const cluster = running(6);
    const before = new Set(ids(cluster));
    change(cluster, constrained('node.id!=h3'));
    cluster.check = () => t.ok(cluster.running('web').length >= 5, 'never below replicas - parallelism');
    cluster.run(30_000);
    t.equal(stateOf(cluster), 'completed');
    t.same(nodes(cluster), ['h1', 'h1', 'h1', 'h2', 'h2', 'h2']);
    t.equal(ids(cluster).filter((id) => before.has(id)).length, 4);
    t.equal(cluster.containersRunning().length, 6);
  });

  t.test('a global service leaves nodes and comes to others', async (t) => {
    const cluster = running(0);
    cluster.createService('agent', { Mode: { Global: {} } });
    cluster.run(1_000);
    const before = new Set(cluster.running('agent').map((task) => task.id));
    const spec = constrained('node.id!=h3')(cluster.service('agent').spec);
    cluster.commit({ type: 'service-spec', id: 'agent', spec, previous: 'keep-as-previous' });
    cluster.run(20_000);
    t.same(
      cluster.running('agent').map((task) => [task.nodeId, before.has(task.id)]),
      [
        ['h1', true],
        ['h2', true],
      ],
    );
  });

  t.test('together with another change, an update like any', async (t) => {
    const cluster = running(3);
    const before = new Set(ids(cluster));
    change(cluster, constrained('node.role==worker'));
    change(cluster, (spec) => ({ ...spec, TaskTemplate: { ...spec.TaskTemplate, ForceUpdate: 1 } }));
    cluster.run(30_000);
    t.equal(stateOf(cluster), 'completed');
    t.equal(ids(cluster).filter((id) => before.has(id)).length, 0);
  });
});

t.test(
  'whatever supersedes what, and whoever leads, what runs is never less than the order and the places allow',
  async () => {
    const step = fc.record({
      image: fc.constantFrom('app:2', 'app:3', 'app:4'),
      forgets: fc.boolean(),
      runMs: fc.integer({ min: 100, max: 4_000 }),
    });
    const policy = fc.record({
      Order: fc.constantFrom('stop-first', 'start-first'),
      Parallelism: fc.integer({ min: 1, max: 3 }),
      Delay: fc.constantFrom(0, SECOND),
    });
    const steps = fc.array(step, { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(
        policy,
        fc.integer({ min: 3, max: 6 }),
        fc.nat(60),
        steps,
        (UpdateConfig, replicas, slowness, steps) => {
          const cluster = running(replicas, { UpdateConfig });
          cluster.slowness = slowness;
          const least = UpdateConfig.Order === 'start-first' ? replicas : replicas - UpdateConfig.Parallelism;
          let seen = replicas;
          cluster.check = () => {
            seen = Math.min(seen, cluster.running('web').length);
          };
          for (const { image, forgets, runMs } of steps) {
            cluster.setImage('web', image);
            if (forgets) cluster.forget();
            cluster.run(runMs);
          }
          cluster.runUntil(() => stateOf(cluster) === 'completed', 300_000);
          const last = steps.at(-1)?.image ?? '';
          return seen >= least && ofImage(cluster, cluster.running('web'), last).length === replicas;
        },
      ),
      { numRuns: 60 },
    );
  },
);
