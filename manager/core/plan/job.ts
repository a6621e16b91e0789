import { isTerminal } from '@apiary/api/model';
import type { JobRun, ServiceRecord, TaskRecord } from '../store/records.js';
import type { Draft } from './draft.js';
import { chooseNodes } from './global.js';
import { historyLimit } from './history.js';
import {
  dueAtMs,
  endedByItself,
  historyAfter,
  NO_RESTARTS,
  restartAtMs,
  restartsOf,
  shouldRestart,
} from './restart.js';
import { emptySlot, groupBySlot, isLive, refresh, type Slot } from './slot.js';
import { keepBest, mustLeaveNode, place, startWhenDue } from './slot-task.js';

/** What a slot means to its job: its task has ended well, or never will; one is under way; or none was begun. */
type JobSlotOutcome = 'over' | 'under-way' | 'to-begin';

/**
 * Decides which tasks a job is to have. Each slot (or node) is to see one task end well in this iteration; one that
 * ends badly is replaced by the restart policy. An update begins another iteration, as with Docker: what is under way
 * of the one before is removed, and what ended stays as history.
 *
 * @param tasks  the job's, none of which counts on a node that is gone or down
 */
export function orchestrateJob(draft: Draft, service: ServiceRecord, job: JobRun, tasks: readonly TaskRecord[]): void {
  const replicated = service.spec.Mode?.ReplicatedJob;
  const kept = tasks.map((task) => endIteration(draft, job, task)).filter((task) => task !== undefined);
  const slots = groupBySlot(kept, replicated === undefined);
  const chosen =
    replicated === undefined
      ? chooseNodes(service, slots, draft)
      : slotsUpTo(slots, replicated.TotalCompletions ?? replicated.MaxConcurrent ?? 1);
  const most = replicated === undefined ? Number.POSITIVE_INFINITY : (replicated.MaxConcurrent ?? 1);
  dropOthers(draft, slots, new Set(chosen));
  const madeBefore = draft.created.length;
  const outcomes = chosen.map((slot) => ({ slot, outcome: reconcileJobSlot(draft, service, job, slot) }));
  const underWay = outcomes.filter(({ outcome }) => outcome === 'under-way').length;
  const toBegin = outcomes.filter(({ outcome, slot }) => outcome === 'to-begin' && !slot.frozen);
  for (const { slot } of toBegin.slice(0, Math.max(0, most - underWay))) {
    const { specVersion } = service;
    place(draft, service, slot, { specVersion, atMs: draft.nowMs, restarts: NO_RESTARTS, jobIteration: job.iteration });
  }
  const made = new Set(draft.created.slice(madeBefore).map((task) => task.nodeId ?? task.slot));
  for (const slot of chosen) trimJobHistory(draft, job, slot, made.has(slot.nodeId ?? slot.number) ? 1 : 0);
}

/** What is left of an iteration that an update ended. */
function endIteration(draft: Draft, job: JobRun, task: TaskRecord): TaskRecord | undefined {
  if (task.jobIteration === job.iteration || isTerminal(task.status.state)) return task;
  return draft.remove(task);
}

function slotsUpTo(slots: ReadonlyMap<number | string, Slot>, total: number): Slot[] {
  return Array.from({ length: total }, (_, number) => slots.get(number) ?? emptySlot(number));
}

/** Slots that are too many go with their history; on a node that is none of the job's, what runs is stopped. */
function dropOthers(draft: Draft, slots: ReadonlyMap<number | string, Slot>, chosen: ReadonlySet<Slot>): void {
  for (const slot of slots.values()) {
    if (chosen.has(slot)) continue;
    const isGone = slot.nodeId === undefined || draft.node(slot.nodeId) === undefined;
    for (const task of slot.tasks) isGone ? draft.remove(task) : draft.stop(task);
  }
}

function reconcileJobSlot(draft: Draft, service: ServiceRecord, job: JobRun, slot: Slot): JobSlotOutcome {
  const current = slot.tasks.filter((task) => task.jobIteration === job.iteration);
  const isDone = current.some((task) => task.status.state === 'complete');
  const live = keepBest(draft, current.filter(isLive));
  if (isDone) {
    if (live !== undefined) draft.stop(live);
    refresh(slot, draft);
    return 'over';
  }
  if (live !== undefined) {
    if (!mustLeaveNode(draft, slot, live)) {
      startWhenDue(draft, slot, live);
      refresh(slot, draft);
      return 'under-way';
    }
    draft.stop(live);
  }
  refresh(slot, draft);
  const last = live ?? current[0];
  return last === undefined ? 'to-begin' : replace(draft, service, slot, last);
}

/** The slot's last task ended badly, or had to leave its node, or was lost with it. */
function replace(draft: Draft, service: ServiceRecord, slot: Slot, last: TaskRecord): JobSlotOutcome {
  const { specVersion } = service;
  const { jobIteration = 0 } = last;
  const policy = restartsOf(draft.specOf(last).template.RestartPolicy);
  if (!endedByItself(last)) {
    if (policy.condition === 'none') return 'over';
    place(draft, service, slot, { specVersion, atMs: draft.nowMs, restarts: last.restarts, jobIteration });
    return 'under-way';
  }
  const willRestart = shouldRestart(last, policy);
  if (willRestart && dueAtMs(last, draft.nowMs) > draft.nowMs) {
    // It failed in being prepared, before its time: the next one would be prepared as soon as it is made.
    draft.wake(last.serviceId, dueAtMs(last, draft.nowMs));
    return 'under-way';
  }
  draft.setDesired(last, 'shutdown');
  refresh(slot, draft);
  if (!willRestart) return 'over';
  const restarts = historyAfter(last, policy);
  const atMs = restartAtMs(last, restarts, policy, draft.nowMs);
  place(draft, service, slot, { specVersion, atMs, restarts, jobIteration });
  return 'under-way';
}

/** Deletes the oldest dead tasks beyond the limit; never the one that says how far this iteration is. */
function trimJobHistory(draft: Draft, job: JobRun, slot: Slot, created: number): void {
  const limit = historyLimit(draft);
  if (limit < 0) return;
  refresh(slot, draft);
  const dead = slot.tasks.filter((task) => isTerminal(task.status.state));
  const room = Math.max(0, limit - (slot.tasks.length - dead.length) - created);
  const current = dead.filter((task) => task.jobIteration === job.iteration);
  const telling = current.find((task) => task.status.state === 'complete') ?? (created === 0 ? current[0] : undefined);
  for (const task of dead.slice(room)) if (task !== telling) draft.delete(task);
}
