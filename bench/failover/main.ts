/**
 * How soon a cluster of three managers and a worker goes on when it loses a part, Docker Swarm and Apiary on the same four
 * hosts: a worker that is cut off (both see the same cut) is declared down and its tasks run elsewhere; the leader is
 * killed -9 or cut off (each its own), and another manager accepts a write.
 *
 *   node bench/dist/failover/main.js [--runs 20] [--docker-runs 3] [--worker-runs 5]
 *
 * Docker Swarm's leader is not killed: it is the engine that the other cluster's tasks run on.
 */
import { parseArgs } from 'node:util';
import { hostsUp } from '@apiary/test/hosts';
import { apiary, type Cluster, docker, form } from '../deploy/cluster.js';
import { quantile, spread, table } from '../statistics.js';
import { cut, killed, type Loss, loseLeader } from './leader.js';
import { cutWorker, type WorkerCut } from './worker.js';

const MANAGERS = 3;

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '20' },
    'docker-runs': { type: 'string', default: '3' },
    'worker-runs': { type: 'string', default: '5' },
  },
});
const dockerRuns = Number(values['docker-runs']);
const clusters = dockerRuns > 0 ? [docker, apiary] : [apiary];
const hosts = await hostsUp(MANAGERS + 1);

async function leaderRows(cluster: Cluster, loss: Loss, runs: number): Promise<string[][]> {
  const seen: number[] = [];
  for (let run = 1; run <= runs; run++) {
    const seconds = await loseLeader(cluster, hosts, MANAGERS, loss);
    seen.push(seconds);
    process.stderr.write(`run ${run}: ${cluster.name}, ${loss.name}: next write after ${seconds.toFixed(3)} s\n`);
  }
  if (runs === 0) return [];
  return [[loss.name, cluster.name, `${runs}`, spread(seen), quantile(seen, 0.99).toFixed(2)]];
}

async function workerRows(runs: number): Promise<string[][]> {
  const seen = clusters.map((): WorkerCut[] => []);
  for (let run = 1; run <= runs; run++) {
    const cuts = await cutWorker(clusters, hosts, hosts.host(MANAGERS + 1));
    for (const [i, { down, moved }] of cuts.entries()) {
      seen[i]?.push({ down, moved });
      process.stderr.write(`run ${run}: ${clusters[i]?.name} down ${down.toFixed(2)} s, moved ${moved.toFixed(2)} s\n`);
    }
  }
  return clusters.map(({ name }, i) => [
    name,
    spread(seen[i]?.map(({ down }) => down) ?? []),
    spread(seen[i]?.map(({ moved }) => moved) ?? []),
  ]);
}

try {
  await Promise.all(hosts.all.map((host) => host.startSwarmd()));
  for (const cluster of clusters) await form(cluster, hosts, MANAGERS);
  const rows = [['', '', 'runs', 'next write accepted, s', 'p99, s']];
  rows.push(...(await leaderRows(apiary, killed, Number(values.runs))));
  rows.push(...(await leaderRows(apiary, cut, Number(values.runs))));
  rows.push(...(await leaderRows(docker, cut, dockerRuns)));
  process.stdout.write(`${table(rows)}\n`);
  if (Number(values['worker-runs']) > 0) {
    const moved = await workerRows(Number(values['worker-runs']));
    process.stdout.write(`\n${table([['worker cut off', 'node down, s', 'tasks elsewhere, s'], ...moved])}\n`);
  }
} finally {
  await hosts.down();
}
