import { DEFAULT_OPTIONS, type ReadMode } from '@apiary/raft/core';
import { SeededRng } from '@apiary/std';
import { Chance } from './chance.js';
import { Clients } from './clients.js';
import { Cluster } from './cluster.js';
import { FAULTS, type Fault, Faults } from './faults.js';
import type { MemberSettings } from './member.js';
import { Operator } from './operator.js';
import { demand } from './oracle.js';
import { Story } from './story.js';

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
  acknowledged: number;
  reads: number;
  membershipChanges: number;
  faults: ReadonlyMap<Fault, number>;
}

/** What is drawn from a seed before anything happens. */
interface Plan {
  size: number;
  reads: ReadMode;
  /** How many times slower a clock may run. */
  clockSpread: { from: number; to: number };
  faults: Fault[];
  faultEveryMs: number;
  operatorEveryMs: number | undefined;
  clients: number;
  thinkMs: number;
  member: MemberSettings;
}

const FAULTY_MS = 15_000;
/** Once faults have stopped, a cluster that stands still for so long is stuck. */
const QUIET_MS = 60_000;
const TICK_MS = 50;
const STORY_LINES = 300;

function draw(chance: Chance, isEncrypted: boolean): Plan {
  const { rng } = chance;
  const hasLease = chance.percent(40);
  // Not every run has every fault: some bugs only show when others do not get in their way.
  const faults = FAULTS.filter((fault) => chance.percent(50) && !(hasLease && fault === 'pause'));
  return {
    size: chance.pick([1, 2, 3, 3, 3, 3, 5, 5]) ?? 3,
    reads: hasLease ? { type: 'lease', driftRatio: 1.5 } : { type: 'quorum' },
    clockSpread: hasLease ? { from: 0.82, to: 1.22 } : { from: 0.6, to: 1.7 },
    faults,
    faultEveryMs: chance.between(150, 2500),
    operatorEveryMs: chance.percent(60) ? chance.between(100, 1500) : undefined,
    clients: 2 + rng.below(5),
    thinkMs: chance.between(10, 120),
    member: {
      node: {
        ...DEFAULT_OPTIONS,
        electionTicks: 10,
        heartbeatTicks: 2,
        hintTicks: 3,
        reads: hasLease ? { type: 'lease', driftRatio: 1.5 } : { type: 'quorum' },
        maxAppendEntries: chance.pick([1, 1, 2, 4, 16]) ?? 1,
        maxAppendBytes: 50 + rng.below(500),
        maxInFlightEntries: 4 + rng.below(30),
        maxInFlightBytes: 100 + rng.below(2000),
      },
      tickMs: TICK_MS,
      chunkBytes: 100 + rng.below(1000),
      snapshotEveryEntries: 10 + rng.below(70),
      keepEntries: rng.below(20),
      segmentBytes: 4096 * (1 + rng.below(4)),
      isEncrypted,
    },
  };
}

/** Runs one cluster's life; all of it follows from the seed. */
export async function simulate(seed: number): Promise<Outcome> {
  const chance = new Chance(new SeededRng(seed));
  // By the seed itself, so that what is drawn from it stays the same.
  const plan = draw(chance, seed % 2 === 1);
  const cluster = new Cluster(plan.member, chance, new Story(STORY_LINES), plan.size);
  const clients = new Clients(cluster, plan.clients, plan.thinkMs);
  const operator = new Operator(cluster);
  const faults = new Faults(cluster, plan.clockSpread);
  cluster.tell(`${plan.size} members, reads by ${plan.reads.type}; ${plan.faults.join(', ') || 'no faults'}`);
  let failure: string | undefined;
  try {
    repeat(cluster, plan.faultEveryMs, () => {
      const fault = chance.pick(plan.faults);
      if (fault !== undefined) faults.cause(fault);
      return cluster.nowMs < FAULTY_MS;
    });
    repeat(cluster, plan.operatorEveryMs ?? 1000, () => {
      operator.isBusy = plan.operatorEveryMs !== undefined && cluster.nowMs < FAULTY_MS;
      operator.act();
      return true;
    });
    await cluster.run(FAULTY_MS);
    faults.end();
    await settle(cluster, clients);
    clients.check();
  } catch (error) {
    failure = error instanceof Error ? (error.name === 'Violation' ? error.message : `${error.stack}`) : String(error);
  }
  return {
    seed,
    failure,
    story: cluster.story,
    figures: {
      events: cluster.events,
      virtualMs: cluster.nowMs,
      leaderships: cluster.oracle.leaderships,
      entries: cluster.oracle.appliedIndex,
      acknowledged: clients.acknowledged,
      reads: clients.reads,
      membershipChanges: operator.changes,
      faults: faults.counts,
    },
  };
}

/** Calls `act` again and again, at random distances, until it says that this was the last time. */
function repeat(cluster: Cluster, everyMs: number, act: () => boolean): void {
  cluster.queue.after(cluster.chance.between(0, 2 * everyMs), () => {
    if (act()) repeat(cluster, everyMs, act);
  });
}

/** Liveness: without faults all members agree in bounded time, and clients are served. */
async function settle(cluster: Cluster, clients: Clients): Promise<void> {
  const endMs = cluster.nowMs + QUIET_MS;
  const { acknowledged, reads } = clients;
  const isServed = (): boolean => clients.acknowledged > acknowledged + 3 && clients.reads > reads + 3;
  await cluster.run(endMs, () => isServed() && areAllVoters(cluster));
  demand(isServed(), 'no client was served after the faults had ended');
  demand(areAllVoters(cluster), 'the membership did not settle after the faults had ended');
  clients.isStopped = true;
  const isCalm = (): boolean => {
    const { leader } = cluster;
    if (leader === undefined || leader.status.applied < leader.status.lastIndex) return false;
    return voters(cluster).every(({ process }) => process?.machine.index === leader.machine.index);
  };
  await cluster.run(endMs + QUIET_MS, isCalm);
  demand(isCalm(), 'the members did not come to one state after the faults had ended');
  for (const { id, process } of voters(cluster)) {
    if (process === undefined) continue;
    const { machine, status } = process;
    cluster.oracle.checkValues(
      id,
      machine.keys().flatMap((key) => machine.read(key)),
    );
    demand(
      JSON.stringify(machine.roles) === JSON.stringify(status.membership),
      `${id} has the members ${JSON.stringify(status.membership)} and the roles ${JSON.stringify(machine.roles)}`,
    );
  }
}

function voters(cluster: Cluster) {
  const ids = cluster.leader?.status.membership.voters ?? [];
  return ids.flatMap((id) => cluster.member(id) ?? []);
}

/** No learner is left, and no member is out of order. */
function areAllVoters(cluster: Cluster): boolean {
  const { leader } = cluster;
  if (leader === undefined || leader.status.membership.learners.length > 0) return false;
  return voters(cluster).every(({ state }) => state === 'running');
}
