import { type Host, type Hosts, until } from '@apiary/test/hosts';
import { type Cluster, running, sampleSpec } from '../deploy/cluster.js';

const WAIT = { timeoutMs: 120_000, intervalMs: 20 };

/** How long after a worker's cut it was seen to be down, and all its tasks ran elsewhere, in seconds. */
export interface WorkerCut {
  down: number;
  moved: number;
}

/** Cuts a worker that has two tasks of each cluster, and watches what each cluster makes of the same cut. */
export async function cutWorker(clusters: readonly Cluster[], hosts: Hosts, worker: Host): Promise<WorkerCut[]> {
  const nodes = await Promise.all(clusters.map((cluster) => settle(cluster, hosts, worker)));
  // A heartbeat or two behind them, and no step with any of them.
  await new Promise((resolve) => setTimeout(resolve, 6_000 + Math.random() * 5_000));
  await worker.cut();
  const seen = await Promise.all(clusters.map((cluster, i) => watchCut(cluster, hosts, nodes[i] ?? '')));
  await worker.heal();
  for (const cluster of clusters) await cluster.clientOf(hosts.host(1)).removeService('moving');
  return seen;
}

async function watchCut(cluster: Cluster, hosts: Hosts, nodeId: string): Promise<WorkerCut> {
  const manager = cluster.clientOf(hosts.host(1));
  const replicas = 2 * hosts.length;
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
      return nodes.length === replicas && !nodes.includes(nodeId) && (performance.now() - start) / 1000;
    },
    WAIT,
  );
  return { down: await down, moved: await moved };
}

/** Two tasks a host. @returns the worker's node id */
async function settle(cluster: Cluster, hosts: Hosts, worker: Host): Promise<string> {
  const manager = cluster.clientOf(hosts.host(1));
  const everyone = async () => {
    const nodes = await manager.nodes();
    return nodes.every(({ Status }) => Status.State === 'ready') && nodes;
  };
  const nodes = await until(`the nodes of ${cluster.name} to be ready`, everyone, WAIT);
  await manager.createService(sampleSpec('moving', 2 * hosts.length));
  const spread = async () => new Set(await running(manager, 'moving')).size === hosts.length;
  await until(`the tasks of ${cluster.name}`, spread, WAIT);
  return nodes.find(({ Description }) => Description.Hostname === worker.name)?.ID ?? '';
}
