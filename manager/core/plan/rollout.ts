import { isTerminal } from '@apiary/api/model';
import type { ServiceRecord, TaskRecord } from '../store/records.js';
import { type Draft, isDispatched } from './draft.js';
import { endedAtMs, endedByItself, isOfClockAhead, restartsOf } from './restart.js';
import { type RolloutPolicy, rolloutPolicyOf } from './rollout-policy.js';
import { hasRun, isLive, isRunning, lastOf, type Slot } from './slot.js';

/**
 * A rolling update or rollback, seen from the tasks: which slots it has reached, which of their new tasks passed and
 * which failed is never written down, but read from what each slot holds.
 *
 * A slot is reached when a task of the current spec version follows one of another. That task, the slot's entrant, has
 * passed once it was seen running (with its health check satisfied), and fails when it ends by itself before that or
 * while it is monitored. Restarts of an entrant are not counted again: SwarmKit's updater counts so too.
 */
export class Rollout {
  readonly service: ServiceRecord;
  readonly policy: RolloutPolicy;
  /** Slots are being moved to the current spec version. */
  readonly active: boolean;
  /** Slots stay at the spec version that they have. */
  readonly paused: boolean;
  readonly #draft: Draft;

  constructor(service: ServiceRecord, draft: Draft) {
    const state = service.update?.state;
    this.service = service;
    this.#draft = draft;
    this.active = state === 'updating' || state === 'rollback_started';
    this.paused = state === 'paused' || state === 'rollback_paused';
    this.policy = rolloutPolicyOf(service.spec, state === 'rollback_started' || state === 'rollback_paused');
  }

  /** The spec version that the slot's task should have: while paused, the one that it has. */
  targetVersion(slot: Slot): number {
    const current = this.service.specVersion;
    if (!this.paused) return current;
    const live = slot.tasks.filter(isLive);
    if (live.some((task) => this.#isCurrent(task))) return current;
    return (live[0] ?? lastOf(slot))?.specVersion ?? current;
  }

  /** Whether the slot has still to be reached. */
  isBehind(slot: Slot): boolean {
    const last = lastOf(slot);
    if (slot.frozen || last === undefined) return false;
    if (slot.tasks.some((task) => isLive(task) && this.#isCurrent(task))) return false;
    // It may have been reached when this was the spec before, and left again at once: what was there then still is.
    return !this.#isCurrent(last) || (!endedByItself(last) && slot.tasks.some(isLive));
  }

  /** The slot's tasks that this rollout put in the place of another version's, newest first. */
  entrants(slot: Slot): TaskRecord[] {
    const startedAtMs = this.service.update?.startedAtMs;
    if (startedAtMs === undefined || !this.isReached(slot)) return [];
    return slot.tasks.filter(
      (task) => this.#isCurrent(task) && task.restarts.attempts === 0 && task.meta.createdAtMs >= startedAtMs,
    );
  }

  isReached(slot: Slot): boolean {
    return slot.tasks.some((task) => !this.#isCurrent(task)) && slot.tasks.some((task) => this.#isCurrent(task));
  }

  /** Whether the slot has been reached, and its new task has neither passed nor failed. */
  isUnderWay(slot: Slot): boolean {
    const [entrant] = this.entrants(slot);
    if (entrant === undefined || slot.frozen) return false;
    if (slot.tasks.some((task) => isLive(task) && this.#isCurrent(task) && isRunning(task))) return false;
    if (!isLive(entrant) && !this.isReplacedElsewhere(slot, entrant)) return false;
    return !endedByItself(entrant) && !(isLive(entrant) && isRunning(entrant));
  }

  /**
   * Whether a task that had to leave its node, or was lost with it, is made anew on another one. As with Docker, one
   * that is never to be restarted is not: it runs at most once. A global service's node gets its task when it is back.
   */
  isReplacedElsewhere(slot: Slot, task: TaskRecord): boolean {
    if (slot.nodeId !== undefined) return true;
    return restartsOf(this.#draft.specOf(task).template.RestartPolicy).condition !== 'none';
  }

  /**
   * When the slot's new task passed or failed: the last one, when a node that had to be left needed another. Undefined when
   * none has, or when it is not known how long ago.
   */
  settledAtMs(slot: Slot): number | undefined {
    const settled = this.entrants(slot)
      .map((task) => task.runningAtMs ?? (isTerminal(task.status.state) ? endedAtMs(task) : undefined))
      .filter((atMs) => atMs !== undefined)
      .filter((atMs) => !isOfClockAhead(atMs, this.#draft.nowMs));
    return settled.length === 0 ? undefined : Math.max(...settled);
  }

  failures(slots: readonly Slot[]): TaskRecord[] {
    return slots.flatMap((slot) => this.entrants(slot).filter((task) => this.#failed(task)));
  }

  /**
   * Whether the slot takes up one of the places that the parallelism allows: its new task has neither passed nor
   * failed, or did so less than the delay ago. One that waits for a node where nothing ran before either takes none: a
   * service that asks for more than there is can still be updated.
   *
   * @param starting  restarts before the current task that the slot waits for, when that is not among its tasks yet
   */
  takesPlace(slot: Slot, starting?: number): boolean {
    if (!this.active || !this.isReached(slot) || slot.frozen) return false;
    const newest = slot.tasks.find((task) => isLive(task) && this.#isCurrent(task));
    const attempts = newest !== undefined && !isRunning(newest) ? newest.restarts.attempts : starting;
    const hasNode = newest !== undefined && isDispatched(newest);
    if (attempts === 0 && (hasNode || this.servesBehind(slot))) return true;
    const settledAtMs = this.settledAtMs(slot);
    if (settledAtMs === undefined || settledAtMs + this.policy.delayMs <= this.#draft.nowMs) return false;
    this.#draft.wake(this.service.id, settledAtMs + this.policy.delayMs);
    return true;
  }

  /**
   * The slot's tasks from the newest one of another spec version on, newest first, back to the last one that was of use
   * or was lost. After a rollback, that one may be of the current version again.
   */
  trail(slot: Slot): TaskRecord[] {
    const newest = slot.tasks.findIndex((task) => !this.#isCurrent(task));
    const before = newest === -1 ? [] : slot.tasks.slice(newest);
    const end = before.findIndex((task) => hasRun(task) || task.status.state === 'orphaned');
    return end === -1 ? before : before.slice(0, end + 1);
  }

  /**
   * Whether the slot is, or was until a rollout reached it, of use with another spec version. One whose last task never
   * ran, or was lost with its node, is not, unless that one was itself part of a rollout and had taken the place of one
   * that did.
   */
  servesBehind(slot: Slot): boolean {
    const trail = this.trail(slot);
    const [last, newer] = [trail.at(-1), trail.at(-2)];
    if (last === undefined || !hasRun(last) || last.status.state === 'orphaned') return false;
    return newer === undefined || newer.specVersion !== last.specVersion;
  }

  #isCurrent(task: TaskRecord): boolean {
    return this.#draft.isOf(task, this.service.specVersion);
  }

  #failed(task: TaskRecord): boolean {
    if (!endedByItself(task)) return false;
    return task.runningAtMs === undefined || endedAtMs(task) - task.runningAtMs <= this.policy.monitorMs;
  }
}

/**
 * Moves the service's update status to what its slots say: started, paused, rolled back or completed, in Docker's
 * words. Source of the states and words: SwarmKit's updater.
 *
 * @param slots  those that the service is to have
 * @returns the service as it is from now on; after a roll-back its spec, and with it the slots to have, are others
 */
export function advance(draft: Draft, service: ServiceRecord, slots: readonly Slot[]): ServiceRecord {
  const begun = begunByNow(service, draft.nowMs);
  // Its end, when it is there already, is said next time: a rollout is known by when it began.
  return begun === undefined ? progress(draft, service, slots) : draft.updateService(service, begun);
}

/**
 * Who asked for a roll-back, or led before, may have a clock that is ahead. What is made now would then seem to be from
 * before the rollout, which would be over at once.
 */
function begunByNow({ update }: ServiceRecord, nowMs: number): NonNullable<ServiceRecord['update']> | undefined {
  return update === undefined || update.startedAtMs <= nowMs ? undefined : { ...update, startedAtMs: nowMs };
}

function progress(draft: Draft, service: ServiceRecord, slots: readonly Slot[]): ServiceRecord {
  const rollout = new Rollout(service, draft);
  const update = service.update;
  if (rollout.paused) return service;
  const behind = slots.filter((slot) => rollout.isBehind(slot)).length;
  if (update === undefined || !rollout.active) {
    if (behind === 0) return service;
    return draft.updateService(service, {
      state: 'updating',
      startedAtMs: draft.nowMs,
      message: 'update in progress',
    });
  }
  const failed = failedTooOften(rollout, slots, behind);
  if (failed !== undefined) return giveUp(draft, rollout, update, failed.id);
  if (behind > 0 || slots.some((slot) => rollout.isUnderWay(slot))) return service;

  const settled = slots.map((slot) => rollout.settledAtMs(slot)).filter((atMs) => atMs !== undefined);
  const completeAtMs = settled.reduce((latest, atMs) => Math.max(latest, atMs + rollout.policy.monitorMs), 0);
  if (completeAtMs > draft.nowMs) {
    draft.wake(service.id, completeAtMs);
    return service;
  }
  const rollingBack = update.state === 'rollback_started';
  return draft.updateService(service, {
    ...update,
    state: rollingBack ? 'rollback_completed' : 'completed',
    completedAtMs: draft.nowMs,
    message: rollingBack ? 'rollback completed' : 'update completed',
  });
}

/** The last of the failures, when they are more than the policy takes. */
function failedTooOften(rollout: Rollout, slots: readonly Slot[], behind: number): TaskRecord | undefined {
  if (rollout.policy.failureAction === 'continue') return undefined;
  const failures = rollout.failures(slots);
  const reached = slots.filter((slot) => rollout.entrants(slot).length > 0).length;
  if (failures.length === 0 || failures.length / (reached + behind) <= rollout.policy.maxFailureRatio) return undefined;
  return failures.reduce((last, task) => (endedAtMs(task) > endedAtMs(last) ? task : last));
}

function giveUp(
  draft: Draft,
  rollout: Rollout,
  update: NonNullable<ServiceRecord['update']>,
  taskId: string,
): ServiceRecord {
  const { service, policy } = rollout;
  const rollingBack = update.state === 'rollback_started';
  const why = `due to failure or early termination of task ${taskId}`;
  if (policy.failureAction === 'rollback' && !rollingBack && service.previous !== undefined) {
    return draft.rollBack(service, service.previous, {
      state: 'rollback_started',
      startedAtMs: update.startedAtMs,
      message: `update rolled back ${why}`,
    });
  }
  const what = policy.failureAction === 'rollback' && rollingBack ? 'rollback' : 'update';
  return draft.updateService(service, {
    ...update,
    state: rollingBack ? 'rollback_paused' : 'paused',
    message: `${what} paused ${why}`,
  });
}
