import { isTerminal } from '@apiary/api/model';
import type { RestartHistory, TaskRecord } from '../store/records.js';
import type { Draft } from './draft.js';
import {
  dueAtMs,
  endedByItself,
  historyAfter,
  NO_RESTARTS,
  restartAtMs,
  restartsOf,
  shouldRestart,
} from './restart.js';
import type { Rollout } from './rollout.js';
import { isLive, isRunning, lastOf, refresh, type Slot } from './slot.js';
import { keepBest, mustLeaveNode, place, startWhenDue } from './slot-task.js';

/** What a slot means to its service's rollout: nothing, one of the places that the parallelism allows, one to begin. */
export type SlotOutcome = 'settled' | 'taken' | 'to-begin';

/**
 * Brings a slot one step towards the one running task that it should have: drops what is too many, replaces what
 * ended or must leave its node, lets a replacement start whose time has come. Does not begin to update it.
 */
export function reconcileSlot(draft: Draft, rollout: Rollout, slot: Slot): SlotOutcome {
  const target = rollout.targetVersion(slot);
  const live = slot.tasks.filter(isLive);
  const mustLeave = (task: TaskRecord): boolean => mustLeaveNode(draft, slot, task);
  const fitting = live.filter((task) => draft.isOf(task, target) && !mustLeave(task));
  const fit = keepBest(draft, fitting);
  const old = keepBest(
    draft,
    live.filter((task) => !fitting.includes(task)),
  );
  for (const task of slot.tasks) {
    const waits = fit === undefined && task === lastOf(slot) && endedBeforeItsTime(draft, rollout, slot, task);
    if (waits) draft.wake(task.serviceId, dueAtMs(task, draft.nowMs));
    else if (isTerminal(task.status.state)) draft.setDesired(task, 'shutdown');
  }
  refresh(slot, draft);

  if (fit !== undefined) {
    if (old !== undefined && (isRunning(fit) || isInTheWay(draft, slot, old))) draft.stop(old);
    startWhenDue(draft, slot, fit);
    refresh(slot, draft);
    return rollout.takesPlace(slot) ? 'taken' : 'settled';
  }
  if (slot.frozen) return 'settled';
  const last = lastOf(slot);
  if (last === undefined) {
    place(draft, rollout.service, slot, {
      specVersion: rollout.targetVersion(slot),
      atMs: draft.nowMs,
      restarts: NO_RESTARTS,
    });
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
 * else it is stopped now, and the new one starts once it has ended. So it is where there is too little for both of them.
 */
export function begin(draft: Draft, rollout: Rollout, slot: Slot): void {
  const old = slot.tasks.find(isLive);
  const isToEndFirst = old === undefined || !rollout.policy.startFirst || isInTheWay(draft, slot, old);
  const staysMeanwhile = !isToEndFirst && isRunning(old);
  if (old !== undefined && !staysMeanwhile) {
    draft.stop(old);
    refresh(slot, draft);
  }
  const inherits = old !== undefined && draft.isOf(old, rollout.targetVersion(slot));
  place(draft, rollout.service, slot, {
    specVersion: rollout.targetVersion(slot),
    atMs: draft.nowMs,
    restarts: inherits ? old.restarts : NO_RESTARTS,
    ...(old !== undefined && { instead: old }),
  });
}

/** Whether a task makes room for what follows it: both are for one node, which would not take this one any more. */
function isInTheWay(draft: Draft, slot: Slot, old: TaskRecord): boolean {
  return slot.nodeId !== undefined && draft.misfits.reasonOf(old) !== undefined;
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
    place(draft, rollout.service, slot, { specVersion: rollout.targetVersion(slot), atMs: draft.nowMs, restarts });
    return outcomeOf(restarts);
  }
  const policy = restartsOf(draft.specOf(ended).template.RestartPolicy);
  if (!shouldRestart(ended, policy)) return sameVersion ? 'settled' : toBegin(draft, rollout, slot);
  if (endedBeforeItsTime(draft, rollout, slot, ended)) return outcomeOf(ended.restarts);
  const restarts = sameVersion ? historyAfter(ended, policy) : NO_RESTARTS;
  const atMs = restartAtMs(ended, restarts, policy, draft.nowMs);
  place(draft, rollout.service, slot, { specVersion: rollout.targetVersion(slot), atMs, restarts });
  return outcomeOf(restarts);
}

/**
 * Whether a task that was still to wait for its start failed in being prepared: its image is missing, say. The next
 * one is made when this one's time has come, for that one will be prepared as soon as it is made.
 */
function endedBeforeItsTime(draft: Draft, rollout: Rollout, slot: Slot, task: TaskRecord): boolean {
  if (!endedByItself(task) || !draft.isOf(task, rollout.targetVersion(slot))) return false;
  const policy = restartsOf(draft.specOf(task).template.RestartPolicy);
  return dueAtMs(task, draft.nowMs) > draft.nowMs && shouldRestart(task, policy);
}
