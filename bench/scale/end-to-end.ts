import { quantile, spread, table } from '../statistics.js';
import { calibration } from './calibration.js';
import { HollowCluster } from './hollow-cluster.js';

/** From the first request to all tasks reported running, through real sessions and a log that is synced. */
export async function benchDeployment(options: {
  tasks: number;
  nodes: number;
  replicas: number;
  runs: number;
}): Promise<void> {
  const { tasks, nodes, replicas, runs } = options;
  const services = Math.ceil(tasks / replicas);
  const count = services * replicas;
  const seconds: number[] = [];
  const cpu: number[] = [];
  for (let run = 0; run < runs; run++) {
    const cluster = await HollowCluster.open(nodes);
    const before = await cluster.ask({ type: 'usage' }, 'usage');
    const deployed = await cluster.ask({ type: 'deploy', services, replicas }, 'deployed');
    const cpuAfter = await cluster.ask({ type: 'usage' }, 'usage');
    seconds.push(deployed.seconds);
    cpu.push(cpuAfter.cpuSeconds - before.cpuSeconds);
    await cluster.close();
    process.stderr.write(`run ${run + 1} of ${runs}: ${deployed.seconds.toFixed(1)} s\n`);
  }
  process.stdout.write(
    `${table([
      [`${count} tasks in ${services} services on ${nodes} nodes`, ''],
      ['from the first request to all running, s', spread(seconds)],
      ["CPU of the manager's process meanwhile, s", spread(cpu)],
    ])}\n${calibration()}\n`,
  );
}

/**
 * What a task takes of the manager's memory beyond the base, which is a manager with all its nodes' sessions. The part of
 * the log that is in memory rises and falls between two snapshots whatever the number of tasks: each look takes a
 * snapshot first. What else has a bound, the last events, counts as the tasks'; the second half shows it apart.
 */
export async function benchMemory(options: { tasks: number; nodes: number; replicas: number }): Promise<void> {
  const { tasks, nodes, replicas } = options;
  const services = Math.ceil(tasks / replicas / 2);
  const cluster = await HollowCluster.open(nodes);
  const bytes = async (): Promise<number> => (await cluster.ask({ type: 'memory' }, 'memory')).bytes;
  const base = await bytes();
  await cluster.ask({ type: 'deploy', services, replicas, prefix: 'first' }, 'deployed');
  const half = await bytes();
  await cluster.ask({ type: 'deploy', services, replicas, prefix: 'second' }, 'deployed');
  const whole = await bytes();
  await cluster.close();
  const count = services * replicas;
  process.stdout.write(
    `${table([
      [`${2 * count} tasks in ${2 * services} services on ${nodes} nodes`, ''],
      ['bytes a task, all of them', ((whole - base) / count / 2).toFixed(0)],
      ['the second half of them', ((whole - half) / count).toFixed(0)],
      ['the manager before, MiB', (base / 2 ** 20).toFixed(0)],
    ])}\n${calibration()}\n`,
  );
}

/** From a request for one service of one replica to its task reported running, while nothing else happens. */
export async function benchLatency({ nodes, times }: { nodes: number; times: number }): Promise<void> {
  const cluster = await HollowCluster.open(nodes);
  await cluster.ask({ type: 'one-by-one', times: 20 }, 'one-by-one');
  const { milliseconds } = await cluster.ask({ type: 'one-by-one', times }, 'one-by-one');
  await cluster.close();
  const text = (q: number): string => quantile(milliseconds, q).toFixed(1);
  process.stdout.write(
    `${table([
      [`one service of one replica, ${times} times, on ${nodes} idle nodes`, ''],
      ['from the request to running, ms: p50', text(0.5)],
      ['p99', text(0.99)],
      ['longest', text(1)],
    ])}\n${calibration()}\n`,
  );
}

/** What the leader takes of a core while nothing happens but heartbeats. */
export async function benchIdle({ nodes, seconds }: { nodes: number; seconds: number }): Promise<void> {
  const cluster = await HollowCluster.open(nodes);
  // What the sessions' beginning has left behind.
  await passed(10);
  const before = await cluster.ask({ type: 'usage' }, 'usage');
  const startMs = performance.now();
  await passed(seconds);
  const after = await cluster.ask({ type: 'usage' }, 'usage');
  const tookSeconds = (performance.now() - startMs) / 1000;
  await cluster.close();
  const share = (100 * (after.cpuSeconds - before.cpuSeconds)) / tookSeconds;
  process.stdout.write(
    `${table([
      [`${nodes} idle nodes, for ${tookSeconds.toFixed(0)} s`, ''],
      ["the leader's share of one core, %", share.toFixed(1)],
      ["the leader's resident memory, MiB", (after.residentBytes / 2 ** 20).toFixed(0)],
    ])}\n${calibration()}\n`,
  );
}

function passed(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
}
