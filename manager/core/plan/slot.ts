import { isTerminal, rankOf } from '@apiary/api/model';
import type { NodeRecord, TaskRecord } from '../store/records.js';
import { type Draft, isDispatched } from './draft.js';
import { endedAtMs, endedByItself } from './restart.js';

/** One of the places that a service's tasks follow each other in: a slot, or for a global service a node. */
export interface Slot {
  /** From 1; from 0 for a replicated job; 0 for whatever has one task a node. */
  number: number;
  /** Set for a global service. */
  nodeId?: string;
  /** A global service's node that takes no new task: what runs there stays as it is. */
  frozen: boolean;
  /** Newest first. */
  tasks: TaskRecord[];
  /** Tasks that are being removed, and may still run. */
  leaving: TaskRecord[];
}

export function emptySlot(number: number, nodeId?: string): Slot {
  return { number, ...(nodeId === undefined ? {} : { nodeId }), frozen: false, tasks: [], leaving: [] };
}

/** Groups a service's tasks, newest first in each group. */
export function groupBySlot(tasks: readonly TaskRecord[], isGlobal: boolean): Map<number | string, Slot> {
  const slots = new Map<number | string, Slot>();
  for (const task of tasks) {
    const key = isGlobal ? (task.nodeId ?? '') : task.slot;
    let slot = slots.get(key);
    if (slot === undefined) {
      slot = emptySlot(task.slot, isGlobal ? task.nodeId : undefined);
      slots.set(key, slot);
    }
    (task.desiredState === 'remove' ? slot.leaving : slot.tasks).push(task);
  }
  for (const slot of slots.values()) slot.tasks.sort(newestFirst);
  return slots;
}

/** Of two that were made in the same millisecond, the one that lives was made for the one that does not. */
function newestFirst(a: TaskRecord, b: TaskRecord): number {
  return (
    b.meta.createdAtMs - a.meta.createdAtMs ||
    (b.jobIteration ?? 0) - (a.jobIteration ?? 0) ||
    Number(isLive(b)) - Number(isLive(a)) ||
    b.specVersion - a.specVersion ||
    b.restarts.attempts - a.restarts.attempts ||
    (a.id < b.id ? 1 : -1)
  );
}

/** Whether the task should run and may yet do so. */
export function isLive(task: TaskRecord): boolean {
  return rankOf(task.desiredState) <= rankOf('running') && !isTerminal(task.status.state);
}

export function isRunning(task: TaskRecord): boolean {
  return task.status.state === 'running';
}

/** Whether the task was ever of use. */
export function hasRun(task: TaskRecord): boolean {
  return task.runningAtMs !== undefined || isRunning(task);
}

/** Whether the task has been told to end, and its node has yet to say that it did. */
export function isStopping(task: TaskRecord, draft: Draft): boolean {
  if (rankOf(task.desiredState) <= rankOf('running') || isTerminal(task.status.state)) return false;
  return isDispatched(task) && !isLost(draft.node(task.nodeId ?? ''));
}

/** Whether nothing that a node runs can be counted on. */
export function isLost(node: NodeRecord | undefined): boolean {
  return node === undefined || node.status.state === 'down';
}

/**
 * The task that the slot is judged by when nothing lives in it: its newest, unless one of another version went on
 * beside that (start-first) and ended by itself later.
 */
export function lastOf(slot: Slot): TaskRecord | undefined {
  let last = slot.tasks[0];
  if (last === undefined || isLive(last)) return last;
  for (const task of slot.tasks) {
    if (!endedByItself(task) || task.specVersion === last.specVersion) continue;
    const outlivedMs = endedByItself(last) ? endedAtMs(last) : last.meta.createdAtMs;
    if (endedAtMs(task) > outlivedMs) last = task;
  }
  return last;
}

/** Puts in place of each task what the pass has made of it, and drops what it deleted. */
export function refresh(slot: Slot, draft: Draft): void {
  slot.tasks = slot.tasks.filter((task) => !draft.isDeleted(task.id)).map((task) => draft.current(task));
}
