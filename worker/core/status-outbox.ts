import { type DesiredState, isTerminal, type TaskStatus } from '@apiary/api/model';

export interface StatusReport {
  /** Counts within a session, from 1. */
  sequence: number;
  updates: { taskId: string; status: TaskStatus }[];
}

/**
 * Statuses on their way to the managers: the latest of each task, kept until a manager says that it is committed.
 * One report is under way at a time; what changes meanwhile goes with the next, so that a burst of tasks costs the
 * managers a few log entries and a lone task no waiting.
 */
export class StatusOutbox {
  #waiting = new Map<string, { status: TaskStatus; urgent: boolean }>();
  #underWay = new Map<string, TaskStatus>();
  #sequence = 0;
  #sending = false;

  /** @param urgent  somebody waits for it; else it may wait for company (see `isUrgent`) */
  put(taskId: string, status: TaskStatus, urgent: boolean): void {
    this.#waiting.set(taskId, { status, urgent: urgent || (this.#waiting.get(taskId)?.urgent ?? false) });
  }

  /** The task is gone: nobody wants to hear of it. */
  forget(taskId: string): void {
    this.#waiting.delete(taskId);
    this.#underWay.delete(taskId);
  }

  /** Whether there is something to send, and whether it should go at once. */
  get due(): 'nothing' | 'lazy' | 'urgent' {
    if (this.#sending || this.#waiting.size === 0) return 'nothing';
    for (const { urgent } of this.#waiting.values()) if (urgent) return 'urgent';
    return 'lazy';
  }

  /** Takes all that waits, unless a report is under way. */
  nextReport(): StatusReport | undefined {
    if (this.#sending || this.#waiting.size === 0) return undefined;
    this.#sending = true;
    this.#sequence++;
    this.#underWay = new Map(Array.from(this.#waiting, ([taskId, { status }]) => [taskId, status]));
    this.#waiting.clear();
    return {
      sequence: this.#sequence,
      updates: Array.from(this.#underWay, ([taskId, status]) => ({ taskId, status })),
    };
  }

  acknowledge(sequence: number): void {
    if (sequence !== this.#sequence) return;
    this.#sending = false;
    this.#underWay.clear();
  }

  /** The session ended: what no manager acknowledged goes out again, unless there is later news of the same task. */
  sessionEnded(): void {
    const again = new Map(Array.from(this.#underWay, ([taskId, status]) => [taskId, { status, urgent: true }]));
    for (const [taskId, entry] of this.#waiting) again.set(taskId, entry);
    this.#waiting = again;
    this.#underWay.clear();
    this.#sending = false;
    this.#sequence = 0;
  }
}

/** Whether somebody waits for this status; the stages on the way to running are only of interest when they last. */
export function isUrgent(status: TaskStatus, desiredState: DesiredState): boolean {
  if (status.state === 'running' || isTerminal(status.state) || status.err !== undefined) return true;
  return status.state === 'ready' && desiredState === 'ready';
}
