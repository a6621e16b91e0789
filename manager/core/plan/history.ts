import { isTerminal } from '@apiary/api/model';
import type { Draft } from './draft.js';
import type { Rollout } from './rollout.js';
import { lastOf, refresh, type Slot } from './slot.js';

const DEFAULT_LIMIT = 5;

/** How many tasks a slot may hold, those that run included. Negative: any number. */
export function historyLimit(draft: Draft): number {
  return draft.view.cluster()?.spec.Orchestration?.TaskHistoryRetentionLimit ?? DEFAULT_LIMIT;
}

/**
 * Deletes the oldest of the slot's dead tasks beyond the limit, by Docker's count, and those that
 * never had a node. Whatever the limit, those stay that
 * a later pass decides by: the last task of a slot in which nothing lives, and of a rollout under way the tasks that it
 * put in and those that it replaced.
 *
 * @param created  how many tasks this pass has made in the slot
 */
export function trimHistory(draft: Draft, rollout: Rollout, slot: Slot, limit: number, created: number): void {
  if (limit < 0) return;
  refresh(slot, draft);
  const dead = slot.tasks.filter((task) => isTerminal(task.status.state));
  const room = Math.max(0, limit - (slot.tasks.length - dead.length) - created);
  const surplus = [...dead.slice(room), ...dead.slice(0, room).filter((task) => task.nodeId === undefined)];
  if (surplus.length === 0) return;
  const needed = new Set<string>();
  const last = lastOf(slot);
  if (last !== undefined && created === 0 && isTerminal(last.status.state)) needed.add(last.id);
  if (rollout.active) {
    for (const entrant of rollout.entrants(slot)) needed.add(entrant.id);
    for (const replaced of rollout.trail(slot)) needed.add(replaced.id);
  }
  for (const task of surplus) if (!needed.has(task.id)) draft.delete(task);
}
