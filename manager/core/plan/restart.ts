import type { RestartPolicy } from '@apiary/api/model';
import type { RestartHistory, TaskRecord } from '../store/records.js';

/** Docker's `RestartPolicy` with its defaults filled in. Durations in milliseconds; 0 attempts means without end. */
export interface Restarts {
  condition: 'none' | 'on-failure' | 'any';
  delayMs: number;
  maxAttempts: number;
  windowMs: number;
}

/** A task that ran for this long has worked: its end starts a new count of failures. */
export const LONG_RUN_MS = 60_000;
const DEFAULT_DELAY_MS = 5_000;
/** The back-off grows from at least this, so that a delay of 0 grows too, and up to at most the other. */
const BACK_OFF_FLOOR_MS = 1_000;
const BACK_OFF_CEILING_MS = 60_000;
const FAILURES_BEFORE_BACK_OFF = 2;

export const NO_RESTARTS: RestartHistory = { attempts: 0, failuresInARow: 0, recentMs: [] };

export function restartsOf(policy: RestartPolicy | undefined): Restarts {
  const condition = policy?.Condition;
  return {
    condition: condition === 'none' || condition === 'on-failure' ? condition : 'any',
    delayMs: policy?.Delay === undefined ? DEFAULT_DELAY_MS : policy.Delay / 1e6,
    maxAttempts: policy?.MaxAttempts ?? 0,
    windowMs: (policy?.Window ?? 0) / 1e6,
  };
}

/** Whether a task ended without having been told to: by itself, well or badly, or because it could not be started. */
export function endedByItself(task: TaskRecord): boolean {
  return task.status.state === 'complete' || task.status.state === 'failed' || task.status.state === 'rejected';
}

/** When a task that is over ended, by the managers' clock. */
export function endedAtMs(task: TaskRecord): number {
  return task.endedAtMs ?? task.status.atMs;
}

/** The managers' clocks are apart by less, as a rule. */
const CLOCKS_APART_MS = 60_000;

/**
 * Whether a moment on record is of a clock that was far ahead of the leader's: that of the leader before, or its own before
 * it was set back. Nothing waits until it comes.
 */
export function isOfClockAhead(atMs: number, nowMs: number): boolean {
  return atMs > nowMs + CLOCKS_APART_MS;
}

/** When a task may start that was made to be prepared before its time. */
export function dueAtMs({ startAtMs = 0, meta }: Pick<TaskRecord, 'startAtMs' | 'meta'>, nowMs: number): number {
  return isOfClockAhead(meta.createdAtMs, nowMs) ? 0 : startAtMs;
}

/**
 * Whether a task that ended by itself is to be replaced. Depends on the task's own record only, so that every pass
 * and every leader answers alike, however late.
 */
export function shouldRestart(task: TaskRecord, policy: Restarts): boolean {
  if (policy.condition === 'none') return false;
  if (policy.condition === 'on-failure' && task.status.state === 'complete') return false;
  if (policy.maxAttempts === 0) return true;
  if (policy.windowMs === 0) return task.restarts.attempts < policy.maxAttempts;
  return recentRestarts(task, policy).length < policy.maxAttempts;
}

function recentRestarts(task: TaskRecord, policy: Restarts): number[] {
  const sinceMs = endedAtMs(task) - policy.windowMs;
  return task.restarts.recentMs.filter((atMs) => atMs > sinceMs);
}

/** What the replacement of a task that ended by itself remembers, under the same spec version. */
export function historyAfter(task: TaskRecord, policy: Restarts): RestartHistory {
  const ranLong = task.runningAtMs !== undefined && endedAtMs(task) - task.runningAtMs >= LONG_RUN_MS;
  const failed = task.status.state !== 'complete';
  return {
    attempts: task.restarts.attempts + 1,
    failuresInARow: failed ? (ranLong ? 1 : task.restarts.failuresInARow + 1) : 0,
    recentMs: policy.maxAttempts > 0 && policy.windowMs > 0 ? [...recentRestarts(task, policy), endedAtMs(task)] : [],
  };
}

/**
 * When the replacement of a task that ended by itself may start: so long after its end, or, where it never ran, from
 * now.
 *
 * @param restarts  what the replacement is to remember
 */
export function restartAtMs(ended: TaskRecord, restarts: RestartHistory, policy: Restarts, nowMs: number): number {
  const isEndKnown = ended.runningAtMs !== undefined && !isOfClockAhead(endedAtMs(ended), nowMs);
  const sinceMs = isEndKnown ? endedAtMs(ended) : nowMs;
  return sinceMs + backOffMs(restarts.failuresInARow, policy);
}

/**
 * How long after the end of its predecessor a replacement starts: the policy's delay, doubled from the third failure
 * in a row on, up to a minute (or the delay itself, where that is longer).
 */
function backOffMs(failuresInARow: number, policy: Restarts): number {
  if (failuresInARow <= FAILURES_BEFORE_BACK_OFF) return policy.delayMs;
  const ceilingMs = Math.max(policy.delayMs, BACK_OFF_CEILING_MS);
  const growing = Math.max(policy.delayMs, BACK_OFF_FLOOR_MS) * 2 ** (failuresInARow - FAILURES_BEFORE_BACK_OFF);
  return Math.min(growing, ceilingMs);
}
