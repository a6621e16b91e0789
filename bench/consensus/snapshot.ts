import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { TaskStatus } from '@apiary/api/model';
import type { Change } from '@apiary/manager/core';
import { StoreReplica } from '@apiary/manager/io';
import { noPeers, ReplicatedLog } from '@apiary/raft/io';
import { newId, SeededRng } from '@apiary/std';
import { SystemClock, SystemRng } from '@apiary/std/io';
import { quantile, spread, table } from '../statistics.js';
import { scratchDirectory } from './scratch.js';

const NODES = 500;
const TASKS_PER_ENTRY = 500;
const IN_FLIGHT = 16;
/** A run, in which two snapshots are taken. */
const WRITES = 20_000;

/** Acknowledged writes while something goes on: when each was, and how long it took, in ms. */
interface Watch {
  longestGapMs: number;
  p99Ms: number;
  loopMs: number;
}

/**
 * The manager's own state with so many tasks, a load of status reports upon it, and snapshots meanwhile: the longest that
 * nothing was acknowledged, and that the event loop stood still.
 */
export async function benchSnapshot({ tasks, runs }: { tasks: number; runs: number }): Promise<void> {
  const clock = new SystemClock();
  const log = new ReplicatedLog({
    directory: join(scratchDirectory(), 'raft'),
    identity: { clusterId: 'bench', memberId: 'm1' },
    start: 'bootstrap',
    transport: noPeers(),
    keys: {},
    clock,
    rng: new SystemRng(),
    snapshots: { everyEntries: WRITES / 2 },
  });
  const replica = new StoreReplica({
    log,
    clock,
    rng: new SystemRng(),
    onFatal: (error) => {
      throw error;
    },
  });
  await replica.open();
  const rng = new SeededRng(3);
  const ids = Array.from({ length: tasks }, () => newId(rng));
  await fill(replica, ids, clock.now());
  const rows = [['run', 'longest without an acknowledgement, ms', 'event loop held, ms', 'p99, ms']];
  const seen: Watch[] = [];
  for (let run = 0; run <= runs; run++) {
    const watch = await underLoad(replica, ids);
    if (run > 0) seen.push(watch);
  }
  rows.push([
    `${runs}`,
    spread(seen.map(({ longestGapMs }) => longestGapMs)),
    spread(seen.map(({ loopMs }) => loopMs)),
    spread(seen.map(({ p99Ms }) => p99Ms)),
  ]);
  process.stdout.write(`${table(rows)}\n`);
  await log.close();
}

function commit(replica: StoreReplica, changes: Change[]): Promise<unknown> {
  return replica.submit(() => ({ guards: [], changes, result: undefined }));
}

async function fill(replica: StoreReplica, ids: readonly string[], atMs: number): Promise<void> {
  const tasks = ids.length;
  const spec = {
    TaskTemplate: { ContainerSpec: { Image: 'busybox:test' } },
    Mode: { Replicated: { Replicas: tasks } },
  };
  await commit(replica, [{ type: 'service-create', id: 'service', spec: { Name: 'service', ...spec } }]);
  const status: TaskStatus = { state: 'running', atMs, message: 'started' };
  for (let from = 0; from < tasks; from += TASKS_PER_ENTRY) {
    const changes = Array.from({ length: Math.min(TASKS_PER_ENTRY, tasks - from) }, (_, i): Change => {
      const slot = from + i + 1;
      const restarts = { attempts: 0, failuresInARow: 0, recentMs: [] };
      const task = {
        id: ids[slot - 1] ?? '',
        serviceId: 'service',
        specVersion: 1,
        slot,
        nodeId: `node-${slot % NODES}`,
        restarts,
      };
      return { type: 'task-create', task: { ...task, desiredState: 'running', status } };
    });
    await commit(replica, changes);
  }
}

async function underLoad(replica: StoreReplica, ids: readonly string[]): Promise<Watch> {
  const loop = monitorEventLoopDelay({ resolution: 1 });
  loop.enable();
  const took: number[] = [];
  let left = WRITES;
  let lastMs = performance.now();
  let longestGapMs = 0;
  const writer = async (number: number) => {
    for (let i = number; left-- > 0; i += IN_FLIGHT) {
      const from = performance.now();
      const status: TaskStatus = { state: 'running', atMs: i, message: `report ${i}` };
      await commit(replica, [{ type: 'task-status', id: ids[(i * 7919) % ids.length] ?? '', status }]);
      const now = performance.now();
      took.push(now - from);
      longestGapMs = Math.max(longestGapMs, now - lastMs);
      lastMs = now;
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, (_, number) => writer(number)));
  loop.disable();
  return { longestGapMs, loopMs: loop.max / 1e6, p99Ms: quantile(took, 0.99) };
}
