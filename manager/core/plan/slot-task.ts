import type { RestartHistory, ServiceRecord, TaskRecord } from '../store/records.js';
import { type Draft, isDispatched } from './draft.js';
import { dueAtMs } from './restart.js';
import { isRunning, isStopping, type Slot } from './slot.js';

/** What a slot's next task is made from, when it may start, and what it inherits. */
export interface Run {
  specVersion: number;
  atMs: number;
  restarts: RestartHistory;
  jobIteration?: number;
  /** The task in whose place it comes, when that is to move. */
  instead?: TaskRecord;
}

/** A replacement stops waiting for its predecessor this long after the predecessor should have ended. */
const STOP_GRACE_MARGIN_MS = 10_000;
const STOP_PATIENCE_MS = 60_000;

/** Makes the slot's next task: one that has to wait is prepared meanwhile. */
export function place(draft: Draft, service: ServiceRecord, slot: Slot, run: Run): void {
  const { specVersion, atMs, restarts, jobIteration, instead } = run;
  const later = atMs > draft.nowMs;
  const waits = later || stoppingIn(slot, draft).length > 0;
  if (later) draft.wake(service.id, atMs);
  draft.create(
    service,
    { slot: slot.number, ...(slot.nodeId === undefined ? {} : { nodeId: slot.nodeId }) },
    {
      specVersion,
      desiredState: waits ? 'ready' : 'running',
      ...(later ? { startAtMs: atMs } : {}),
      ...(jobIteration === undefined ? {} : { jobIteration }),
      restarts,
    },
    instead,
  );
}

/** Lets a prepared task start when its delay is over and whatever was in its slot before has ended. */
export function startWhenDue(draft: Draft, slot: Slot, task: TaskRecord): void {
  if (task.desiredState !== 'ready') return;
  const startAtMs = dueAtMs(task, draft.nowMs);
  if (startAtMs > draft.nowMs) {
    draft.wake(task.serviceId, startAtMs);
    return;
  }
  const giveUpAtMs = stoppingIn(slot, draft).reduce((latest, stopping) => {
    const graceMs = (draft.specOf(stopping).template.ContainerSpec?.StopGracePeriod ?? 0) / 1e6;
    return Math.max(latest, task.meta.createdAtMs + Math.max(STOP_PATIENCE_MS, graceMs + STOP_GRACE_MARGIN_MS));
  }, 0);
  if (giveUpAtMs > draft.nowMs) draft.wake(task.serviceId, giveUpAtMs);
  else draft.setDesired(task, 'running');
}

function stoppingIn(slot: Slot, draft: Draft): TaskRecord[] {
  return [...slot.tasks, ...slot.leaving].filter((task) => !draft.isDeleted(task.id) && isStopping(task, draft));
}

/**
 * Whether a task may not stay where it is, though its node is up: the node is drained, or would not take it any more, or it
 * moves. Which nodes a slot of a global service may be on was decided with the slots.
 */
export function mustLeaveNode(draft: Draft, slot: Slot, task: TaskRecord): boolean {
  const node = task.nodeId === undefined ? undefined : draft.node(task.nodeId);
  if (node === undefined || !isDispatched(task)) return false;
  if (draft.misfits.reasonOf(task) !== undefined) return true;
  return slot.nodeId === undefined && (task.isToMove === true || node.spec.Availability === 'drain');
}

/** Of several live tasks where one should be, keeps one that runs, else the oldest, and stops the others. */
export function keepBest(draft: Draft, tasks: readonly TaskRecord[]): TaskRecord | undefined {
  const best = tasks.find(isRunning) ?? tasks.at(-1);
  for (const task of tasks) if (task !== best) draft.stop(task);
  return best;
}
