import t from 'tap';
import { until } from '../hosts/index.js';
import { Cluster, skipWithoutHosts } from './cluster.js';

t.setTimeout(240_000);

t.test('a link', { skip: skipWithoutHosts }, async (t) => {
  const cluster = await Cluster.up(t, 3);
  const { manager } = cluster;
  const worker = cluster.hosts.host(3);
  const workerId = (await cluster.node(3)).ID;
  const runsElsewhere = (service: string, replicas: number) =>
    until(`${replicas} tasks to run on other nodes`, async () => {
      const running = (await cluster.tasks(service)).filter(
        ({ DesiredState, NodeID, Status }) =>
          DesiredState === 'running' && NodeID !== workerId && Status.State === 'running',
      );
      return running.length === replicas;
    });

  t.test('of a worker that is cut: its tasks run elsewhere; healed, it stops what runs twice', async (t) => {
    t.teardown(() => cluster.remove('web'));
    await cluster.create('web', { replicas: 6 });
    const before = await cluster.settled('web', 6);
    const started = performance.now();
    await worker.cut();
    const downMs = await cluster.nodeIs(3, 'down');
    t.ok(downMs < 10_000, `down after ${downMs.toFixed(0)} ms`);
    await runsElsewhere('web', 6);
    const elsewhereMs = performance.now() - started;
    t.ok(elsewhereMs < 15_000, `its tasks run elsewhere after ${elsewhereMs.toFixed(0)} ms`);
    const stranded = (await cluster.containers('web', [worker])).filter(({ State }) => State === 'running');
    t.equal(stranded.length, 2, 'cut off, a worker lets its containers run');
    await worker.heal();
    await cluster.nodeIs(3, 'ready');
    const after = await cluster.settled('web', 6);
    t.same(
      after.filter(({ host }) => host === worker),
      [],
      'the containers of before are stopped, not the replacements',
    );
    const kept = before.filter(({ host }) => host !== worker).map(({ Id }) => Id);
    t.same(
      kept.filter((id) => !after.some(({ Id }) => Id === id)),
      [],
      'what ran on the others was left alone',
    );
  });

  t.test('that is cut while services come, change and go: healed, the worker catches up', async (t) => {
    for (const name of ['stays', 'goes', 'comes']) t.teardown(() => cluster.remove(name));
    for (const name of ['stays', 'goes']) await cluster.create(name, { replicas: 3 });
    for (const name of ['stays', 'goes']) await cluster.settled(name, 3);
    await worker.cut();
    await manager.removeService('goes');
    const { Spec, Version } = await manager.service('stays');
    await manager.updateService('stays', Version.Index, { ...Spec, Mode: { Replicated: { Replicas: 5 } } });
    await cluster.create('comes', { replicas: 4 });
    await cluster.nodeIs(3, 'down');
    await runsElsewhere('stays', 5);
    await runsElsewhere('comes', 4);
    await worker.heal();
    await cluster.nodeIs(3, 'ready');
    await cluster.settled('stays', 5);
    await cluster.settled('comes', 4);
    await cluster.gone('goes');
    t.pass('settled');
  });

  t.test('that is cut again and again ends with each task running once', async (t) => {
    t.teardown(() => cluster.remove('web'));
    await cluster.create('web', { replicas: 6 });
    await cluster.settled('web', 6);
    for (let round = 0; round < 2; round++) {
      await worker.cut();
      await cluster.nodeIs(3, 'down');
      await worker.heal();
      await cluster.nodeIs(3, 'ready');
    }
    await cluster.settled('web', 6);
    t.pass('settled');
  });

  t.test('of the manager that is cut: it runs everything itself; healed, nothing runs twice', async (t) => {
    t.teardown(() => cluster.remove('web'));
    await cluster.create('web', { replicas: 6 });
    await cluster.settled('web', 6);
    await cluster.hosts.host(1).cut();
    for (const number of [2, 3]) await cluster.nodeIs(number, 'down');
    await cluster.hosts.host(1).heal();
    for (const number of [2, 3]) await cluster.nodeIs(number, 'ready');
    await cluster.settled('web', 6);
    t.pass('settled');
  });

  t.test('that is slow and drops packets is good enough', async (t) => {
    t.teardown(async () => {
      await worker.clearNetem();
      await cluster.remove('web');
    });
    await worker.netem({ delayMs: 50, lossPercent: 10 });
    await cluster.create('web', { replicas: 6 });
    await cluster.settled('web', 6);
    t.pass('settled');
  });
});
