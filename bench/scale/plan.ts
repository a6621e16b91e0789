import type { ServiceSpec } from '@apiary/api/model';
import { type Change, plan, Store } from '@apiary/manager/core';
import { SystemRng } from '@apiary/std/io';
import { median, spread, table } from '../statistics.js';
import { calibration, secondsOf } from './calibration.js';

export interface PlanBenchOptions {
  /** How many tasks, for each size to measure. */
  tasks: number[];
  nodes: number;
  replicas: number;
  runs: number;
}

const NOW_MS = Date.UTC(2026, 0, 1);
const ZONES = 10;

/**
 * From services without a task to every task on its node, in one pass: services of so many replicas each, with a
 * constraint (which one node in ten fails), a spread preference over ten zones, and reservations of CPU and memory.
 */
export function benchPlan({ tasks: sizes, nodes, replicas, runs }: PlanBenchOptions): void {
  const measured = new Map<number, number[]>(sizes.map((size) => [size, []]));
  for (let run = -1; run < runs; run++) {
    for (const size of sizes) {
      const seconds = secondsToPlan(size, nodes, replicas);
      if (run >= 0) measured.get(size)?.push(seconds);
    }
    process.stderr.write(run < 0 ? 'warm-up done\n' : `run ${run + 1} of ${runs} done\n`);
  }
  const perTask = (size: number) => (median(measured.get(size) ?? []) / size) * 1e6;
  const smallest = Math.min(...sizes);
  process.stdout.write(
    `${table([
      [`tasks onto ${nodes} nodes`, 'seconds', 'µs a task', `beside ${smallest}`],
      ...[...measured].map(([size, seconds]) => [
        `${size}`,
        spread(seconds),
        perTask(size).toFixed(2),
        (perTask(size) / perTask(smallest)).toFixed(2),
      ]),
    ])}\n${calibration()}\n`,
  );
}

function secondsToPlan(tasks: number, nodes: number, replicas: number): number {
  const store = new Store();
  const changes = [...nodeChanges(nodes), ...serviceChanges(tasks, replicas)];
  store.apply(1, { atMs: NOW_MS, guards: [], changes });
  const rng = new SystemRng();
  const dirty = { all: true, services: new Set<string>(), nodes: new Set<string>() };
  let planned: Change[] = [];
  const seconds = secondsOf(() => {
    planned = plan(store, dirty, NOW_MS, rng).changes;
  });
  checkPlacement(planned, tasks, nodes);
  return seconds;
}

function nodeChanges(count: number): Change[] {
  return Array.from(
    { length: count },
    (_, i): Change => ({
      type: 'node-create',
      node: {
        id: nodeId(i),
        spec: {
          Role: 'worker',
          Availability: 'active',
          Labels: { zone: `z${i % ZONES}`, disk: isSuitable(i) ? 'ssd' : 'hdd' },
        },
        role: 'worker',
        description: {
          Hostname: `host-${i}`,
          Platform: { Architecture: 'x86_64', OS: 'linux' },
          Resources: { NanoCPUs: 64e9, MemoryBytes: 2 ** 38 },
          Engine: { EngineVersion: '28.2.2', Plugins: [] },
        },
        status: { state: 'ready', message: '', addr: '10.0.0.1' },
      },
    }),
  );
}

function serviceChanges(tasks: number, replicas: number): Change[] {
  const count = Math.ceil(tasks / replicas);
  return Array.from({ length: count }, (_, i): Change => {
    const spec: ServiceSpec = {
      Name: `service-${i}`,
      TaskTemplate: {
        ContainerSpec: { Image: 'app:1' },
        Resources: { Reservations: { NanoCPUs: 1e8, MemoryBytes: 2 ** 26 } },
        Placement: {
          Constraints: ['node.labels.disk==ssd'],
          Preferences: [{ Spread: { SpreadDescriptor: 'node.labels.zone' } }],
        },
      },
      Mode: { Replicated: { Replicas: Math.min(replicas, tasks - i * replicas) } },
    };
    return { type: 'service-create', id: `service-${String(i).padStart(18, '0')}`, spec };
  });
}

function nodeId(i: number): string {
  return `node-${String(i).padStart(20, '0')}`;
}

/** Not by zone, or one zone would have no suitable node. */
function isSuitable(node: number): boolean {
  return Math.floor(node / ZONES) % 10 !== 0;
}

/** A fast plan that is wrong is worth nothing. */
function checkPlacement(changes: readonly Change[], tasks: number, nodes: number): void {
  const byZone = new Array<number>(ZONES).fill(0);
  let placed = 0;
  const suitable = new Map(Array.from({ length: nodes }, (_, i) => [nodeId(i), isSuitable(i) ? i % ZONES : undefined]));
  for (const change of changes) {
    if (change.type !== 'task-create' || change.task.nodeId === undefined) continue;
    const zone = suitable.get(change.task.nodeId);
    if (zone === undefined)
      throw new Error(`task ${change.task.id} is on ${change.task.nodeId}, which is not suitable`);
    byZone[zone] = (byZone[zone] ?? 0) + 1;
    placed++;
  }
  if (placed !== tasks) throw new Error(`${placed} of ${tasks} tasks have a node`);
  const least = Math.min(...byZone);
  if (Math.max(...byZone) > least * 1.1 + 10) throw new Error(`zones are uneven: ${byZone.join(', ')}`);
}
