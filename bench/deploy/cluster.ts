import type { ApiClient } from '@apiary/api/client';
import { createClient } from '@apiary/api/client';
import type { ServiceSpec } from '@apiary/api/model';
import { type Host, type Hosts, until } from '@apiary/test/hosts';

/** A swarm on the test hosts, Docker's own or ours: both are driven through the same API. */
export interface Cluster {
  name: string;
  clientOf(host: Host): ApiClient;
  /** Where its managers listen: both swarms stand on the same hosts at once. */
  port: number;
}

export const docker: Cluster = {
  name: 'Docker Swarm',
  clientOf: (host) => createClient(`unix://${host.engineSocket}`),
  port: 2377,
};

export const apiary: Cluster = {
  name: 'Apiary',
  clientOf: (host) => createClient(`unix://${host.swarmdSocket}`),
  port: 2378,
};

/** Makes one swarm of the hosts: the first so many are its managers. Resolves when every node is ready. */
export async function form(cluster: Cluster, hosts: Hosts, managers = 1): Promise<void> {
  const [first, ...others] = hosts;
  if (first === undefined) return;
  const addressOf = (host: Host) => `${host.address}:${cluster.port}`;
  const listen = `0.0.0.0:${cluster.port}`;
  const manager = cluster.clientOf(first);
  await manager.swarmInit({ ListenAddr: listen, AdvertiseAddr: addressOf(first) });
  const { JoinTokens } = await manager.swarmInspect();
  for (const host of others) {
    await cluster.clientOf(host).swarmJoin({
      ListenAddr: listen,
      AdvertiseAddr: host.address,
      RemoteAddrs: [addressOf(first)],
      JoinToken: host.number <= managers ? JoinTokens.Manager : JoinTokens.Worker,
    });
  }
  await until(`${hosts.length} nodes of ${cluster.name} to be ready`, async () => {
    const nodes = await manager.nodes();
    return nodes.filter(({ Status }) => Status.State === 'ready').length === hosts.length;
  });
}

/** The host whose manager leads, once all the managers are reachable and every node is ready. */
export function leading(cluster: Cluster, hosts: Hosts, managers: number): Promise<Host> {
  return until(
    `${cluster.name} to be whole`,
    async () => {
      const said: string[] = [];
      for (const host of hosts.all.slice(0, managers)) {
        const nodes = await cluster.clientOf(host).nodes();
        if (nodes.some(({ Status }) => Status.State !== 'ready')) return false;
        const known = nodes.filter(({ ManagerStatus }) => ManagerStatus?.Reachability === 'reachable');
        if (known.length !== managers) return false;
        said.push(known.find(({ ManagerStatus }) => ManagerStatus?.Leader)?.Description.Hostname ?? '');
      }
      return new Set(said).size === 1 && hosts.all.find(({ name }) => name === said[0]);
    },
    { timeoutMs: 120_000 },
  );
}

export function sampleSpec(name: string, replicas: number): ServiceSpec {
  return {
    Name: name,
    TaskTemplate: {
      ContainerSpec: { Image: 'busybox:test', Command: ['sleep', '86400'], StopSignal: 'SIGKILL' },
      RestartPolicy: { Condition: 'any', Delay: 0 },
    },
    Mode: { Replicated: { Replicas: replicas } },
  };
}

/** Tasks of the service that should run and do, by node. */
export async function running(manager: ApiClient, service: string): Promise<string[]> {
  const tasks = await manager.tasks({ service: [service], 'desired-state': ['running'] });
  return tasks.filter(({ Status }) => Status.State === 'running').map(({ NodeID }) => NodeID ?? '');
}

/** Resolves once no engine has a container of the service left. */
export async function gone(hosts: Hosts, service: string): Promise<void> {
  const filters = JSON.stringify({ label: [`com.docker.swarm.service.name=${service}`] });
  await until(
    `the containers of ${service} to be gone`,
    async () => {
      for (const host of hosts) {
        const left = await docker
          .clientOf(host)
          .request<unknown[]>('GET', '/containers/json', { query: { all: true, filters } });
        if (left.length > 0) return false;
      }
      return true;
    },
    { timeoutMs: 120_000 },
  );
}
