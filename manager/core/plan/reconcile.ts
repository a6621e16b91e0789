import { isTerminal } from '@apiary/api/model';
import type { RestartHistory, TaskRecord } from '../store/records.js';
import { type Draft, isDispatched } from './draft.js';
import {
  backOffMs,
  endedAtMs,
  endedByItself,
  historyAfter,
  NO_RESTARTS,
  restartsOf,
  shouldRestart,
} from './restart.js';
import type { Rollout } from './rollout.js';
import { isLive, isRunning, isStopping, lastOf, refresh, type Slot } from './slot.js';

/** What a slot means to its service's rollout: nothing, one of the places that the parallelism allows, one to begin. */
export type SlotOutcome = 'settled' | 'taken' | 'to-begin';

/** A replacement stops waiting for its predecessor this long after the predecessor should have ended. */
const STOP_GRACE_MARGIN_MS = 10_000;
const STOP_PATIENCE_MS = 60_000;

/**
 * Brings a slot one step towards the one running task that it should have: drops what is too many, replaces what
 * ended or must leave its node, lets a replacement start whose time has come. Does not begin to update it.
 */
export function reconcileSlot(draft: Draft, rollout: Rollout, slot: Slot): SlotOutcome {
  const target = rollout.targetVersion(slot);
  const live = slot.tasks.filter(isLive);
  const mustLeave = (task: TaskRecord): boolean => slot.nodeId === undefined && mustLeaveNode(draft, task);
  const fitting = live.filter((task) => draft.isOf(task, target) && !mustLeave(task));
  const fit = keepBest(draft, fitting);
  const old = keepBest(
    draft,
    live.filter((task) => !fitting.includes(task)),
  );
  for (const task of slot.tasks) {
    const waits = fit === undefined && task === lastOf(slot) && endedBeforeItsTime(draft, rollout, slot, task);
    if (waits) draft.wake(task.serviceId, task.startAtMs ?? 0);
    else if (isTerminal(task.status.state)) draft.setDesired(task, 'shutdown');
  }
  refresh(slot, draft);

  if (fit !== undefined) {
    if (isRunning(fit) && old !== undefined) draft.stop(old);
    startWhenDue(draft, slot, fit);
    refresh(slot, draft);
    return rollout.takesPlace(slot) ? 'taken' : 'settled';
  }
  if (slot.frozen) return 'settled';
  const last = lastOf(slot);
  if (last === undefined) {
    place(draft, rollout, slot, { atMs: draft.nowMs, restarts: NO_RESTARTS });
    return 'settled';
  }
  if (!isLive(last) && (draft.isOf(last, target) || old === undefined)) {
    return replaceEnded(draft, rollout, slot, last);
  }
  if (old !== undefined && mustLeave(old)) {
    if (rollout.isReplacedElsewhere(slot, old)) {
      begin(draft, rollout, slot);
      return 'taken';
    }
    draft.stop(old);
    refresh(slot, draft);
    return draft.isOf(old, target) ? 'settled' : toBegin(draft, rollout, slot);
  }
  // Its turn to be updated has yet to come: until then it is as good as another.
  if (old !== undefined) startWhenDue(draft, slot, old);
  refresh(slot, draft);
  return toBegin(draft, rollout, slot);
}

/** The slot has still to be updated: where nothing runs that costs nothing, and waits for no place. */
function toBegin(draft: Draft, rollout: Rollout, slot: Slot): SlotOutcome {
  if (!rollout.active) return 'settled';
  if (rollout.servesBehind(slot)) return 'to-begin';
  begin(draft, rollout, slot);
  return 'settled';
}

/**
 * Puts a new task in the place of the slot's live one. With start-first, one that runs is left until the new one does;
 * else it is stopped now, and the new one starts once it has ended.
 */
export function begin(draft: Draft, rollout: Rollout, slot: Slot): void {
  const old = slot.tasks.find(isLive);
  const staysMeanwhile = old !== undefined && rollout.policy.startFirst && isRunning(old);
  if (old !== undefined && !staysMeanwhile) {
    draft.stop(old);
    refresh(slot, draft);
  }
  const inherits = old !== undefined && draft.isOf(old, rollout.targetVersion(slot));
  place(draft, rollout, slot, { atMs: draft.nowMs, restarts: inherits ? old.restarts : NO_RESTARTS });
}

/** The slot's last task is over, or lost: by the restart policy it is replaced now, later, or never. */
function replaceEnded(draft: Draft, rollout: Rollout, slot: Slot, ended: TaskRecord): SlotOutcome {
  const sameVersion = draft.isOf(ended, rollout.targetVersion(slot));
  const outcomeOf = (restarts: RestartHistory): SlotOutcome => {
    const takesPlace = sameVersion ? rollout.takesPlace(slot, restarts.attempts) : rollout.servesBehind(slot);
    return takesPlace ? 'taken' : 'settled';
  };
  if (!endedByItself(ended) && rollout.isReplacedElsewhere(slot, ended)) {
    const restarts = sameVersion ? ended.restarts : NO_RESTARTS;
    place(draft, rollout, slot, { atMs: draft.nowMs, restarts });
    return outcomeOf(restarts);
  }
  const policy = restartsOf(draft.specOf(ended).template.RestartPolicy);
  if (!shouldRestart(ended, policy)) return sameVersion ? 'settled' : toBegin(draft, rollout, slot);
  if (endedBeforeItsTime(draft, rollout, slot, ended)) return outcomeOf(ended.restarts);
  const restarts = sameVersion ? historyAfter(ended, policy) : NO_RESTARTS;
  const delayMs = backOffMs(restarts.failuresInARow, policy);
  const sinceMs = ended.runningAtMs === undefined ? draft.nowMs : endedAtMs(ended);
  place(draft, rollout, slot, { atMs: sinceMs + delayMs, restarts });
  return outcomeOf(restarts);
}

/**
 * Whether a task that was still to wait for its start failed in being prepared: its image is missing, say. The next
 * one is made when this one's time has come, for that one will be prepared as soon as it is made.
 */
function endedBeforeItsTime(draft: Draft, rollout: Rollout, slot: Slot, task: TaskRecord): boolean {
  if (!endedByItself(task) || !draft.isOf(task, rollout.targetVersion(slot))) return false;
  const policy = restartsOf(draft.specOf(task).template.RestartPolicy);
  return (task.startAtMs ?? 0) > draft.nowMs && shouldRestart(task, policy);
}

/** Makes the slot's next task: one that has to wait is prepared meanwhile. */
function place(draft: Draft, rollout: Rollout, slot: Slot, run: { atMs: number; restarts: RestartHistory }): void {
  const later = run.atMs > draft.nowMs;
  const waits = later || stoppingIn(slot, draft).length > 0;
  if (later) draft.wake(rollout.service.id, run.atMs);
  draft.create(
    rollout.service,
    { slot: slot.number, ...(slot.nodeId === undefined ? {} : { nodeId: slot.nodeId }) },
    {
      specVersion: rollout.targetVersion(slot),
      desiredState: waits ? 'ready' : 'running',
      ...(later ? { startAtMs: run.atMs } : {}),
      restarts: run.restarts,
    },
  );
}

/** Lets a prepared task start when its delay is over and whatever was in its slot before has ended. */
function startWhenDue(draft: Draft, slot: Slot, task: TaskRecord): void {
  if (task.desiredState !== 'ready') return;
  const startAtMs = task.startAtMs ?? 0;
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

/** Whether a task may not stay where it is, though its node is up: the node is drained, or is none it may run on. */
function mustLeaveNode(draft: Draft, task: TaskRecord): boolean {
  const node = task.nodeId === undefined ? undefined : draft.node(task.nodeId);
  if (node === undefined || !isDispatched(task)) return false;
  return node.spec.Availability === 'drain' || !draft.satisfiesConstraints(node, draft.specOf(task));
}

/** Of several live tasks where one should be, keeps one that runs, else the oldest, and stops the others. */
function keepBest(draft: Draft, tasks: readonly TaskRecord[]): TaskRecord | undefined {
  const best = tasks.find(isRunning) ?? tasks.at(-1);
  for (const task of tasks) if (task !== best) draft.stop(task);
  return best;
}
