/**
 * How soon a worker that is cut off is declared down, and its tasks run elsewhere: Docker Swarm and Apiary stand on the
 * same three hosts, and see the same cut.
 *
 *   node bench/dist/failover/main.js [--runs 5]
 */
import { parseArgs } from 'node:util';
import { type Hosts, hostsUp, until } from '@apiary/test/hosts';
import { apiary, type Cluster, docker, form, running, sampleSpec } from '../deploy/cluster.js';
import { spread, table } from '../statistics.js';

const REPLICAS = 6;
const WAIT = { timeoutMs: 120_000, intervalMs: 20 };

async function watchCut(cluster: Cluster, hosts: Hosts, nodeId: string): Promise<{ down: number; moved: number }> {
  const manager = cluster.clientOf(hosts.host(1));
  const start = performance.now();
  const down = until(
    `${cluster.name} to see the node down`,
    async () => {
      const { Status } = await manager.node(nodeId);
      return Status.State === 'down' && (performance.now() - start) / 1000;
    },
    WAIT,
  );
  const moved = until(
    `the tasks of ${cluster.name} to run elsewhere`,
    async () => {
      const nodes = await running(manager, 'moving');
      return nodes.length === REPLICAS && !nodes.includes(nodeId) && (performance.now() - start) / 1000;
    },
    WAIT,
  );
  return { down: await down, moved: await moved };
}

async function nodeOf(cluster: Cluster, hosts: Hosts, hostname: string): Promise<string> {
  const nodes = await cluster.clientOf(hosts.host(1)).nodes();
  return nodes.find(({ Description }) => Description.Hostname === hostname)?.ID ?? '';
}

/** Six tasks, two a host, and a heartbeat or two behind them. */
async function settle(cluster: Cluster, hosts: Hosts): Promise<void> {
  const manager = cluster.clientOf(hosts.host(1));
  await until(
    `three nodes of ${cluster.name} to be ready`,
    async () => {
      const nodes = await manager.nodes();
      return nodes.filter(({ Status }) => Status.State === 'ready').length === 3;
    },
    WAIT,
  );
  await manager.removeService('moving').catch(() => undefined);
  await manager.createService(sampleSpec('moving', REPLICAS));
  await until(`the tasks of ${cluster.name}`, async () => new Set(await running(manager, 'moving')).size === 3, WAIT);
}

const { values } = parseArgs({ options: { runs: { type: 'string', default: '5' } } });
const clusters = [docker, apiary];
const seen = new Map(clusters.map(({ name }) => [name, { down: [] as number[], moved: [] as number[] }]));
const hosts = await hostsUp(3);
try {
  await Promise.all(hosts.all.map((host) => host.startSwarmd()));
  for (const cluster of clusters) await form(cluster, hosts);
  const worker = hosts.host(3);
  const ids = await Promise.all(clusters.map((cluster) => nodeOf(cluster, hosts, worker.name)));
  for (let run = 0; run < Number(values.runs); run++) {
    for (const cluster of clusters) await settle(cluster, hosts);
    await new Promise((resolve) => setTimeout(resolve, 6_000 + Math.random() * 5_000));
    await worker.cut();
    const results = await Promise.all(clusters.map((cluster, i) => watchCut(cluster, hosts, ids[i] ?? '')));
    await worker.heal();
    for (const [i, { down, moved }] of results.entries()) {
      const name = clusters[i]?.name ?? '';
      seen.get(name)?.down.push(down);
      seen.get(name)?.moved.push(moved);
      process.stderr.write(`run ${run + 1}: ${name} down ${down.toFixed(2)} s, moved ${moved.toFixed(2)} s\n`);
    }
  }
  const rows = [...seen].map(([name, { down, moved }]) => [name, spread(down), spread(moved)]);
  process.stdout.write(`${table([['', 'node down, s', 'tasks elsewhere, s'], ...rows])}\n`);
} finally {
  await hosts.down();
}
