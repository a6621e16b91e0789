import { type Host, unixRequest, until } from '@apiary/test/hosts';
import { docker } from '../deploy/cluster.js';
import { median, quantile, table } from '../statistics.js';
import { BenchCluster } from './cluster.js';

export interface AttachOptions {
  times: number;
}

interface EngineEvent {
  Action: string;
  Actor: { ID: string; Attributes: Record<string, string> };
  timeNano: number;
}

/**
 * From a container's creation to its start, as the engine dates them: those of tasks on the gateway network, alone and with
 * one and three overlay networks, beside the same made by hand with `--network none`, each in turn.
 */
export async function measureAttach({ times }: AttachOptions): Promise<string> {
  const cluster = await BenchCluster.up(1);
  try {
    const host = cluster.host(1);
    const names = ['one', 'two', 'three'];
    for (const name of names) await cluster.network(name);
    const kinds = [
      { name: '--network none', start: () => startBare(host) },
      ...[0, 1, 3].map((count) => ({
        name: count === 0 ? 'gateway network' : `and ${count} overlay network${count === 1 ? '' : 's'}`,
        start: () => startTask(cluster, names.slice(0, count)),
      })),
    ].map((kind) => ({ ...kind, ms: [] as number[] }));
    for (let round = -2; round < times; round++) {
      for (const { start, ms } of kinds) {
        const taken = await start();
        if (round >= 0) ms.push(taken); // the others are for warming up
      }
    }
    const bare = median(kinds[0]?.ms ?? []);
    return table([
      [`${times} starts each`, 'p50, ms', 'p99', 'added at p50', 'allowed'],
      ...kinds.map(({ name, ms }, i) => [
        name,
        ...[0.5, 0.99].map((q) => quantile(ms, q).toFixed(1)),
        ...(i === 0 ? ['', ''] : [(median(ms) - bare).toFixed(1), '25']),
      ]),
    ]);
  } finally {
    await cluster.down();
  }
}

async function startBare(host: Host): Promise<number> {
  const engine = docker.clientOf(host);
  const body = { Image: 'busybox:test', Cmd: ['sleep', '1d'], HostConfig: { NetworkMode: 'none' } };
  const since = Date.now();
  const { Id } = await engine.request<{ Id: string }>('POST', '/containers/create', { body });
  await engine.request('POST', `/containers/${Id}/start`);
  const taken = await startMs(host, since, ({ Actor }) => Actor.ID === Id);
  await engine.request('DELETE', `/containers/${Id}`, { query: { force: true } });
  return taken;
}

async function startTask(cluster: BenchCluster, networks: readonly string[]): Promise<number> {
  const { manager } = cluster;
  const host = cluster.host(1);
  const since = Date.now();
  await manager.createService({
    Name: 'web',
    TaskTemplate: {
      ContainerSpec: { Image: 'busybox:test', Command: ['sleep', '1d'] },
      Networks: networks.map((Target) => ({ Target })),
    },
    Mode: { Replicated: { Replicas: 1 } },
  });
  await until('the task to run', async () => {
    const [task] = await manager.tasks({ service: ['web'] });
    return task?.Status.State === 'running';
  });
  const taken = await startMs(host, since, ({ Actor }) => Actor.Attributes['com.docker.swarm.service.name'] === 'web');
  await manager.removeService('web');
  await until('the container to go', async () => (await host.engineContainers()).length === 0);
  return taken;
}

/** From the creation of the container that is meant to its start. */
async function startMs(host: Host, sinceMs: number, isMeant: (event: EngineEvent) => boolean): Promise<number> {
  const filters = encodeURIComponent(JSON.stringify({ type: ['container'], event: ['create', 'start'] }));
  const [since, by] = [sinceMs, Date.now() + 1].map((ms) => (ms / 1000).toFixed(3));
  const { body } = await unixRequest(host.engineSocket, 'GET', `/events?since=${since}&until=${by}&filters=${filters}`);
  const events: EngineEvent[] = body.split('\n').flatMap((line) => (line === '' ? [] : JSON.parse(line)));
  const [created, started] = ['create', 'start'].map(
    (action) => events.filter(isMeant).findLast(({ Action }) => Action === action)?.timeNano ?? Number.NaN,
  );
  return ((started ?? Number.NaN) - (created ?? Number.NaN)) / 1e6;
}
