import { SeededRng } from '@apiary/std';
import t from 'tap';
import type { Host } from '../hosts/index.js';
import { until } from '../hosts/index.js';
import { Cluster, type PlacedContainer, skipWithoutHosts } from './cluster.js';

t.setTimeout(240_000);

/** What tells a container that was left alone from one that was stopped and started, or replaced. */
async function lives(containers: PlacedContainer[]): Promise<string[]> {
  const format = '{{.Id}} {{.State.StartedAt}} {{.State.Pid}}';
  const inspect = async ({ host, Id }: PlacedContainer) =>
    (await host.engineDocker('inspect', '--format', format, Id)).stdout.trim();
  return (await Promise.all(containers.map(inspect))).sort();
}

async function crash(...hosts: Host[]): Promise<void> {
  await Promise.all(hosts.map((host) => host.killSwarmd()));
}

async function restart(...hosts: Host[]): Promise<void> {
  await Promise.all(hosts.map((host) => host.startSwarmd()));
}

t.test('swarmd', { skip: skipWithoutHosts }, async (t) => {
  const cluster = await Cluster.up(t, 3);
  const { manager } = cluster;
  const all = [...cluster.hosts];
  const [first, second] = [cluster.hosts.host(1), cluster.hosts.host(2)];
  const rng = new SeededRng(20);

  t.test('killed at any moment of a create: once it is back the service is as it was asked for', async (t) => {
    t.teardown(() => cluster.remove('web'));
    const replicas = 6;
    const count = (host: Host | undefined, states: readonly string[]) => async () => {
      const containers = await cluster.containers('web', host === undefined ? all : [host]);
      return containers.filter(({ State }) => states.includes(State)).length;
    };
    const made = ['created', 'running'];
    const moments: { who: Host[]; when: string; holds: () => Promise<boolean> }[] = [];
    for (const least of [0, 1, 2, 3, 5]) {
      const containers = count(undefined, made);
      moments.push({ who: [first], when: `${least} containers`, holds: async () => (await containers()) >= least });
    }
    for (const least of [0, 1, 2]) {
      const onSecond = count(second, made);
      moments.push({ who: [second], when: `${least} of its own`, holds: async () => (await onSecond()) >= least });
    }
    const runs = count(second, ['running']);
    moments.push({ who: [second], when: 'one of its own runs', holds: async () => (await runs()) >= 1 });
    const anywhere = count(undefined, ['running']);
    moments.push({ who: all, when: 'one runs', holds: async () => (await anywhere()) >= 1 });
    const some = async () => (await manager.tasks()).some(({ Status }) => Status.State === 'running');
    moments.push({ who: [first], when: 'a task is on record as running', holds: some });
    moments.push({ who: [second], when: 'a task is on record as running', holds: some });

    for (const { who, when, holds } of moments) {
      await cluster.create('web', { replicas });
      await until(when, holds, { intervalMs: 1 });
      await crash(...who);
      await restart(...who);
      const started = performance.now();
      await cluster.settled('web', replicas);
      const tookMs = (performance.now() - started).toFixed(0);
      t.pass(`${who.map(({ name }) => name)} killed once there were: ${when}; settled ${tookMs} ms after its start`);
      await cluster.remove('web');
    }
  });

  t.test('killed with requests under way: what it acknowledged is there, all that is there is whole', async (t) => {
    const names = Array.from({ length: 120 }, (_, i) => `kept-${i}`);
    for (let round = 0; round < 3; round++) {
      const acknowledged = new Map<string, string>();
      const waiting = [...names];
      const atCount = 1 + rng.below(60);
      let killed: Promise<void> | undefined;
      const client = async () => {
        for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
          try {
            acknowledged.set(name, await cluster.create(name, { replicas: 0 }));
          } catch {
            return;
          }
          if (acknowledged.size >= atCount) killed ??= crash(first);
        }
      };
      await Promise.all(Array.from({ length: 6 }, client));
      await killed;
      await restart(first);
      const services = await manager.services();
      const ids = new Map(services.map(({ ID, Spec }) => [Spec.Name, ID]));
      const lost = [...acknowledged].filter(([name, id]) => ids.get(name) !== id);
      t.same(lost, [], `${acknowledged.size} acknowledged, ${services.length} there`);
      t.ok(services.length <= acknowledged.size + 6, 'what was not asked for is not there');
      t.ok(
        services.every(({ Spec }) => Spec.Mode?.Replicated?.Replicas === 0),
        'all of them whole',
      );
      await Promise.all(services.map(({ ID }) => manager.removeService(ID)));
      t.same(await manager.services(), []);
    }
  });

  t.test('killed with removals and scalings under way: what it acknowledged has happened', async (t) => {
    t.teardown(() => cluster.remove('web'));
    await cluster.create('web', { replicas: 2 });
    await cluster.settled('web', 2);
    const { Spec, Version } = await manager.service('web');
    await manager.updateService('web', Version.Index, { ...Spec, Mode: { Replicated: { Replicas: 6 } } });
    await crash(first);
    await restart(first);
    await cluster.settled('web', 6);
    await manager.removeService('web');
    await crash(...all);
    await restart(...all);
    t.same(await manager.services(), []);
    await cluster.gone('web');
    await until('its tasks to go', async () => (await manager.tasks()).length === 0);
  });

  t.test('killed or stopped, touches no container; started again, adopts them all', async (t) => {
    t.teardown(() => cluster.remove('steady'));
    await cluster.create('steady', { replicas: 6 });
    const before = await lives(await cluster.settled('steady', 6));
    await crash(...all);
    t.same(await lives(await cluster.containers('steady')), before, 'they run on after kill -9');
    await restart(...all);
    for (const { number } of all) await cluster.nodeIs(number, 'ready');
    t.same(await lives(await cluster.settled('steady', 6)), before, 'adopted');
    for (const host of all) t.equal(await host.stopSwarmd(), 0, `${host.name} stops with code 0`);
    t.equal((await cluster.containers('steady')).filter(({ State }) => State === 'running').length, 6);
    await restart(...all);
    for (const { number } of all) await cluster.nodeIs(number, 'ready');
    t.same(await lives(await cluster.settled('steady', 6)), before, 'adopted again');
  });

  t.test('finds out what happened to its containers while it was away', async (t) => {
    t.teardown(() => cluster.remove('eventful'));
    await cluster.create('eventful', { replicas: 6, restartDelayMs: 0 });
    const before = await cluster.settled('eventful', 6);
    await crash(second);
    const [killed, removed] = before.filter(({ host }) => host === second);
    await second.engineDocker('kill', killed?.Id ?? '');
    await second.engineDocker('rm', '--force', removed?.Id ?? '');
    await restart(second);
    const after = await until('the two to be replaced', async () => {
      const containers = await cluster.settled('eventful', 6);
      return containers.every(({ Id }) => Id !== killed?.Id && Id !== removed?.Id) && containers;
    });
    const untouched = before.filter(({ host }) => host !== second).map(({ Id }) => Id);
    t.same(
      untouched.filter((id) => !after.some(({ Id }) => Id === id)),
      [],
      'the others are what they were',
    );
  });
});
