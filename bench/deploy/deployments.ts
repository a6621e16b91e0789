import { type Hosts, until } from '@apiary/test/hosts';
import { type Cluster, docker, gone, running, sampleSpec } from './cluster.js';

/** How often the manager is asked, which costs it something: rarely enough to be a small part of what is measured. */
const pollMs = (replicas: number) => Math.max(10, replicas);

async function timed(work: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}

/** Seconds from asking for a service to all its tasks running. It is removed again. */
export async function deploy(cluster: Cluster, hosts: Hosts, replicas: number): Promise<number> {
  const manager = cluster.clientOf(hosts.host(1));
  const name = `bench${replicas}`;
  const seconds = await timed(async () => {
    await manager.createService(sampleSpec(name, replicas));
    const all = async () => (await running(manager, name)).length === replicas;
    await until(`${replicas} replicas of ${cluster.name} to run`, all, {
      timeoutMs: 120_000,
      intervalMs: pollMs(replicas),
    });
  });
  await manager.removeService(name);
  await gone(hosts, name);
  return seconds;
}

export interface EngineOptions {
  /** Containers under way at once, a host. */
  parallelism: number;
  /** Put into the container's config. */
  config?: object;
  hostConfig?: object;
}

/**
 * Seconds to create and start as many containers as a service would have, through the engines' own API, spread evenly.
 * They are removed again.
 */
export async function engines(hosts: Hosts, replicas: number, options: EngineOptions): Promise<number> {
  const { parallelism, config = {}, hostConfig = {} } = options;
  const body = {
    Image: 'busybox:test',
    Cmd: ['sleep', '86400'],
    Labels: { 'com.docker.swarm.service.name': 'bare' },
    StopSignal: 'SIGKILL',
    ...config,
    HostConfig: hostConfig,
  };
  const ids = new Map<(typeof hosts.all)[number], string[]>(hosts.all.map((host) => [host, []]));
  const onHost = async (host: (typeof hosts.all)[number], count: number) => {
    const engine = docker.clientOf(host);
    let left = count;
    const worker = async () => {
      while (left-- > 0) {
        const { Id } = await engine.request<{ Id: string }>('POST', '/containers/create', { body });
        ids.get(host)?.push(Id);
        await engine.request('POST', `/containers/${Id}/start`);
      }
    };
    await Promise.all(Array.from({ length: parallelism }, worker));
  };
  const share = (i: number) => Math.floor((replicas + hosts.all.length - 1 - i) / hosts.all.length);
  const seconds = await timed(async () => {
    await Promise.all(hosts.all.map((host, i) => onHost(host, share(i))));
  });
  const remove = async (host: (typeof hosts.all)[number], id: string) =>
    docker.clientOf(host).request('DELETE', `/containers/${id}`, { query: { force: true } });
  await Promise.all([...ids].flatMap(([host, own]) => own.map((id) => remove(host, id))));
  return seconds;
}
