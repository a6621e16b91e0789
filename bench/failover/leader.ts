import { setMaxListeners } from 'node:events';
import { type Host, type Hosts, until } from '@apiary/test/hosts';
import { type Cluster, leading, sampleSpec } from '../deploy/cluster.js';

const LIMIT_MS = 120_000;
/** A write is tried at each other manager so often, whatever became of those before. */
const RETRY_MS = 25;
const MAX_UNDER_WAY = 200;

/** What is done to the leader's host, and what makes it good again. */
export interface Loss {
  name: string;
  lose(host: Host): Promise<void>;
  restore(host: Host): Promise<void>;
}

export const killed: Loss = {
  name: 'leader killed -9',
  lose: (host) => host.killSwarmd(),
  restore: (host) => host.startSwarmd(),
};

export const cut: Loss = {
  name: "leader's link cut",
  lose: (host) => host.cut(),
  restore: (host) => host.heal(),
};

/** Takes the leader away. @returns seconds from then to the first write that another manager accepts */
export async function loseLeader(cluster: Cluster, hosts: Hosts, managers: number, loss: Loss): Promise<number> {
  const leader = await leading(cluster, hosts, managers);
  const others = hosts.all.slice(0, managers).filter((host) => host !== leader);
  // Out of step with its heartbeats.
  await new Promise((resolve) => setTimeout(resolve, 500 + Math.random() * 1_000));
  const start = performance.now();
  await loss.lose(leader);
  const seconds = await firstWrite(cluster, others, start);
  await loss.restore(leader);
  await leading(cluster, hosts, managers);
  await removeProbes(cluster, hosts);
  return seconds;
}

async function firstWrite(cluster: Cluster, managers: readonly Host[], start: number): Promise<number> {
  const abandoned = new AbortController();
  setMaxListeners(0, abandoned.signal);
  let underWay = 0;
  let tries = 0;
  let accepted: number | undefined;
  let refusal: unknown = 'nothing was answered';
  const attempt = async (host: Host) => {
    underWay++;
    try {
      const body = sampleSpec(`probe-${++tries}`, 0);
      await cluster.clientOf(host).request('POST', '/services/create', { body, signal: abandoned.signal });
      accepted ??= (performance.now() - start) / 1000;
    } catch (error) {
      refusal = error;
    } finally {
      underWay--;
    }
  };
  try {
    const tried = () => {
      if (underWay < MAX_UNDER_WAY) for (const host of managers) void attempt(host);
      if (accepted !== undefined) return accepted;
      throw refusal;
    };
    return await until('a write to be accepted', tried, { timeoutMs: LIMIT_MS, intervalMs: RETRY_MS });
  } finally {
    abandoned.abort();
  }
}

async function removeProbes(cluster: Cluster, hosts: Hosts): Promise<void> {
  const client = cluster.clientOf(hosts.host(1));
  for (const { ID } of await client.services({ name: ['probe-'] })) await client.removeService(ID);
}
