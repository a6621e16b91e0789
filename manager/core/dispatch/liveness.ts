import type { ClusterSpec } from '@apiary/api/model';

const DEFAULT_PERIOD_MS = 1_000;
const SHORTEST_PERIOD_MS = 100;
/** Heartbeats that the managers are to see in a second, whatever the number of nodes. */
const HEARTBEATS_PER_SECOND = 500;
/** What Docker's clients write into every spec: not a user's choice. */
const DOCKER_DEFAULT_PERIOD_NS = 5_000_000_000;
/** A node that misses this many heartbeats in a row is down. */
export const MISSED_HEARTBEATS = 3;

/** How often a node of a cluster of `nodeCount` sends a heartbeat. */
export function heartbeatPeriodMs(spec: ClusterSpec, nodeCount: number): number {
  const chosenNs = spec.Dispatcher?.HeartbeatPeriod ?? 0;
  if (chosenNs > 0 && chosenNs !== DOCKER_DEFAULT_PERIOD_NS) return Math.max(SHORTEST_PERIOD_MS, chosenNs / 1e6);
  return Math.max(DEFAULT_PERIOD_MS, Math.ceil((nodeCount / HEARTBEATS_PER_SECOND) * 1_000));
}

/** By when each node must be heard of again. The time of now comes in with each call. */
export class Liveness {
  readonly #dueAtMs = new Map<string, number>();

  /** Node `id` was heard of: it has until `dueAtMs` to be heard of again. */
  expect(id: string, dueAtMs: number): void {
    this.#dueAtMs.set(id, dueAtMs);
  }

  /** Every node that is waited for has until `dueAtMs`: when it was the manager that could not hear. */
  expectAll(dueAtMs: number): void {
    for (const id of this.#dueAtMs.keys()) this.#dueAtMs.set(id, dueAtMs);
  }

  /** Nobody waits for node `id` any more. */
  forget(id: string): void {
    this.#dueAtMs.delete(id);
  }

  clear(): void {
    this.#dueAtMs.clear();
  }

  /** The nodes that were not heard of in time, by id. Nobody waits for them any more. */
  takeOverdue(nowMs: number): string[] {
    const overdue = [...this.#dueAtMs].filter(([, dueAtMs]) => dueAtMs <= nowMs).map(([id]) => id);
    for (const id of overdue) this.#dueAtMs.delete(id);
    return overdue.sort();
  }

  /** When the next node falls due unless it is heard of before. */
  nextDueMs(): number | undefined {
    let next: number | undefined;
    for (const dueAtMs of this.#dueAtMs.values()) if (next === undefined || dueAtMs < next) next = dueAtMs;
    return next;
  }
}
