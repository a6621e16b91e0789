import t from 'tap';
import { until } from '../hosts/index.js';
import { Cluster, skipWithoutHosts } from './cluster.js';

t.setTimeout(240_000);

t.test('an engine', { skip: skipWithoutHosts }, async (t) => {
  const cluster = await Cluster.up(t, 3);
  const host = cluster.hosts.host(2);
  const nodeId = (await cluster.node(2)).ID;

  /** Waits until every task that should run on h2 says that its engine is away. */
  const toldAway = (service: string) =>
    until('the tasks of h2 to say that their engine is away', async () => {
      const tasks = (await cluster.tasks(service)).filter(
        ({ NodeID, DesiredState }) => NodeID === nodeId && DesiredState === 'running',
      );
      return tasks.length > 0 && tasks.every(({ Status }) => Status.Err?.startsWith('engine unavailable: '));
    });

  t.test('killed and back at once: its tasks are reported so, and resumed or replaced', async (t) => {
    t.teardown(() => cluster.remove('web'));
    await cluster.create('web', { replicas: 6, restartDelayMs: 0 });
    const before = await cluster.settled('web', 6);
    await host.killEngine();
    await toldAway('web');
    t.equal((await cluster.node(2)).Status.State, 'ready', 'a short absence moves no tasks');
    await host.startEngine();
    const after = await until('the error to go', async () => {
      const containers = await cluster.settled('web', 6);
      return (
        (await cluster.tasks('web')).every(
          ({ DesiredState, Status }) => DesiredState !== 'running' || Status.Err === undefined,
        ) && containers
      );
    });
    const elsewhere = before.filter((container) => container.host !== host).map(({ Id }) => Id);
    t.same(
      elsewhere.filter((id) => !after.some(({ Id }) => Id === id)),
      [],
      'what ran on the other hosts was left alone',
    );
  });

  t.test('killed in the middle of a create: in the end each task runs once', async (t) => {
    t.teardown(() => cluster.remove('web'));
    for (const least of [0, 2]) {
      await cluster.create('web', { replicas: 9, restartDelayMs: 0 });
      const count = async () => (await cluster.containers('web', [host])).length;
      await until(`${least} containers`, async () => (await count()) >= least, { intervalMs: 1 });
      await host.killEngine();
      await host.startEngine();
      await cluster.settled('web', 9);
      t.pass(`killed when it had ${least} containers`);
      await cluster.remove('web');
    }
  });

  t.test(
    'away for long: its node is down, its tasks run elsewhere, and once it is back nothing runs twice',
    async (t) => {
      t.teardown(() => cluster.remove('web'));
      await cluster.create('web', { replicas: 6, restartDelayMs: 0 });
      await cluster.settled('web', 6);
      await host.killEngine();
      await cluster.nodeIs(2, 'down');
      t.match((await cluster.node(2)).Status.Message, /^engine unavailable: /);
      await until('six tasks to run elsewhere', async () => {
        const running = (await cluster.tasks('web')).filter(
          ({ DesiredState, NodeID, Status }) =>
            DesiredState === 'running' && NodeID !== nodeId && Status.State === 'running',
        );
        return running.length === 6;
      });
      await host.startEngine();
      await cluster.nodeIs(2, 'ready');
      const after = await cluster.settled('web', 6);
      t.same(
        after.filter((container) => container.host === host),
        [],
        'its containers of before are stopped',
      );
    },
  );

  t.test('away when swarmd starts: the node joins in once the engine is there', async (t) => {
    t.teardown(() => cluster.remove('web'));
    await cluster.create('web', { replicas: 6, restartDelayMs: 0 });
    await cluster.settled('web', 6);
    await host.killSwarmd();
    await host.killEngine();
    await host.startSwarmd();
    await toldAway('web');
    await host.startEngine();
    await cluster.nodeIs(2, 'ready');
    await until('h2 to be whole', async () => (await host.engineContainers()).length > 0);
    await cluster.settled('web', 6);
  });
});
