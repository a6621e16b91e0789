import type { Draft } from './draft.js';
import { endedAtMs, endedByItself } from './restart.js';

/**
 * A node where a service failed this often of late is taken only when the others refuse. SwarmKit counts to 5, but in
 * memory; of the failures in a slot the history keeps four at most.
 */
export const FAILURES_TO_AVOID = 3;
const RECENT_FAILURE_MS = 5 * 60_000;

/** By node, how often the service's tasks failed there of late. */
export function recentFailures(draft: Draft, serviceId: string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const task of draft.view.tasksOfService(serviceId)) {
    if (task.nodeId === undefined || !endedByItself(task) || task.status.state === 'complete') continue;
    if (endedAtMs(task) + RECENT_FAILURE_MS > draft.nowMs) counts.set(task.nodeId, (counts.get(task.nodeId) ?? 0) + 1);
  }
  return counts;
}
