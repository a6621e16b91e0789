import { isTerminal } from '@apiary/api/model';
import { SeededRng } from '@apiary/std';
import { demand } from '../raft/oracle.js';
import { Story } from '../raft/story.js';
import { lackOf } from './convergence.js';
import { FAULTS, type Fault, Faults } from './faults.js';
import { LeaderWatch } from './leader-watch.js';
import { IMAGES, Operator } from './operator.js';
import { SimulatedCluster } from './simulated-cluster.js';

export interface Outcome {
  seed: number;
  /** Undefined when all went well. */
  failure: string | undefined;
  story: string[];
  figures: Figures;
}

export interface Figures {
  events: number;
  virtualMs: number;
  leaderships: number;
  entries: number;
  containers: number;
  /** From the end of the faults until all was as asked for. */
  settledMs: number;
  faults: ReadonlyMap<Fault, number>;
  requests: ReadonlyMap<string, number>;
}

const FAULTY_MS = 120_000;
/** Once faults have stopped and what was asked for can be had, it must be there within this. */
const SETTLE_MS = 360_000;
/** Once all is as asked for, nothing more is to be committed. */
const QUIET_MS = 20_000;
const LATE_REQUESTS_MS = 15_000;
const STORY_LINES = 400;

/** Runs one cluster's life; all of it follows from the seed. */
export async function simulate(seed: number): Promise<Outcome> {
  const rng = new SeededRng(seed);
  const story = new Story(STORY_LINES);
  const managers = [1, 3, 3, 3, 3][rng.below(5)] ?? 3;
  const settings = { hosts: managers + 2 + rng.below(3), managers, images: IMAGES, skewMs: rng.below(3) * 1_000 };
  const cluster = new SimulatedCluster(settings, rng, story);
  const operator = new Operator(cluster);
  const faults = new Faults(cluster);
  const onRejection = (error: unknown): void => cluster.fail(error);
  process.on('unhandledRejection', onRejection);
  let settledMs = 0;
  let failure: string | undefined;
  try {
    await cluster.begin();
    await disturb(cluster, operator, faults);
    settledMs = await settle(cluster, operator);
  } catch (error) {
    failure = error instanceof Error ? (error.name === 'Violation' ? error.message : `${error.stack}`) : String(error);
    cluster.tell(tasksOf(cluster));
  }
  process.off('unhandledRejection', onRejection);
  return {
    seed,
    failure,
    story: cluster.story,
    figures: {
      events: cluster.events,
      virtualMs: cluster.nowMs,
      leaderships: cluster.oracle.leaderships,
      entries: cluster.oracle.entries,
      containers: cluster.oracle.containers,
      settledMs,
      faults: faults.counts,
      requests: operator.counts,
    },
  };
}

async function disturb(cluster: SimulatedCluster, operator: Operator, faults: Faults): Promise<void> {
  const { chance } = cluster;
  const chosen = FAULTS.filter(() => chance.percent(40));
  cluster.tell(`${cluster.hosts.length} hosts, ${cluster.managers.length} of them managers; ${chosen.join(', ')}`);
  const endMs = cluster.nowMs + FAULTY_MS;
  const leaderWatch = new LeaderWatch(cluster);
  const isOver = (): boolean => cluster.nowMs >= endMs;
  operator.begin();
  repeat(cluster, chance.between(1_000, 8_000), isOver, () => operator.act());
  repeat(cluster, chance.between(2_000, 15_000), isOver, () => {
    const fault = chance.pick(chosen);
    if (fault !== undefined) faults.cause(fault);
  });
  repeat(
    cluster,
    1_000,
    () => false,
    () => {
      cluster.oracle.checkRunning();
      leaderWatch.check();
    },
  );
  // Hosts that were removed join again.
  repeat(
    cluster,
    5_000,
    () => false,
    () => {
      for (const host of cluster.hosts) if (host.nodeId === undefined && host.isUp) cluster.join(host, 'worker');
    },
  );
  await cluster.run(endMs);
  faults.end();
  operator.end();
}

/** Calls `act` again and again, at random distances, until it is over. */
function repeat(cluster: SimulatedCluster, everyMs: number, isOver: () => boolean, act: () => void): void {
  cluster.queue.after(cluster.chance.between(0, 2 * everyMs), () => {
    if (isOver()) return;
    cluster.guard(act);
    repeat(cluster, everyMs, isOver, act);
  });
}

/** Liveness: without faults, what runs is soon exactly what was asked for, and then nothing moves any more. */
async function settle(cluster: SimulatedCluster, operator: Operator): Promise<number> {
  const startMs = cluster.nowMs;
  let isAsked = false;
  // What was asked before may still happen for a while.
  await cluster.run(startMs + LATE_REQUESTS_MS);
  await cluster.run(startMs + 60_000, () => cluster.leader !== undefined && lackOfHosts(cluster) === undefined);
  operator.calm(() => {
    isAsked = true;
  });
  await cluster.run(startMs + 120_000, () => isAsked);
  demand(isAsked, 'requests are not served after the faults have ended');
  const endMs = startMs + SETTLE_MS;
  let lack: string | undefined = 'not looked at';
  while (cluster.nowMs < endMs) {
    await cluster.run(Math.min(endMs, cluster.nowMs + 1_000));
    lack = lackOf(cluster);
    if (lack === undefined) break;
  }
  demand(lack === undefined, `after ${SETTLE_MS / 1000} s without faults: ${lack}`);
  const settledMs = cluster.nowMs - startMs;
  const index = cluster.view?.appliedIndex ?? 0;
  await cluster.run(cluster.nowMs + QUIET_MS);
  const after = (cluster.view?.appliedIndex ?? 0) - index;
  demand(after === 0, `${after} entries are committed although nothing happens`);
  const states = cluster.managers.map(({ replica }) => Buffer.concat([...replica.snapshot().pieces]).toString());
  demand(new Set(states).size === 1, 'the managers do not have the same state');
  return settledMs;
}

/** Every host is a node, and known to be there. */
function lackOfHosts({ hosts, view }: SimulatedCluster): string | undefined {
  const away = hosts.find(({ nodeId }) => nodeId === undefined || view?.node(nodeId)?.status.state !== 'ready');
  return away && `${away.name} is not there`;
}

/** Services and tasks as the managers have them, for the story of a failure. */
function tasksOf(cluster: SimulatedCluster): string {
  const { view } = cluster;
  if (view === undefined) return 'nobody leads';
  return view
    .services()
    .flatMap(({ id, spec, specVersion, previous, update, job }) => [
      `${spec.Name}: version ${specVersion}${previous === undefined ? '' : `, before ${previous.specVersion}`}, ${update?.state ?? 'no update'}${job === undefined ? '' : `, iteration ${job.iteration}`}`,
      ...view
        .tasksOfService(id)
        .filter(({ status }) => !isTerminal(status.state))
        .map(
          (task) =>
            `  ${task.slot} ${task.id.slice(0, 5)} v${task.specVersion} on ${cluster.hostOf(task.nodeId ?? '')?.name ?? '-'}: ${task.desiredState} / ${task.status.state} ${task.status.err ?? ''}`,
        ),
    ])
    .join('\n');
}
