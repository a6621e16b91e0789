import type { Clock, Timer } from '@apiary/std';
import { Liveness, MISSED_HEARTBEATS } from '../../core/dispatch/liveness.js';

/** A check that comes this late, or early, says that the manager itself stood still, or that its clock was set. */
const STALL_MS = 250;

export interface HeartbeatWatchOptions {
  clock: Clock;
  /** How often nodes are to be heard of. */
  periodMs: number;
  /** Whether a node's silence says nothing, because this manager leaves unread what it says. */
  isExcused: (nodeId: string) => boolean;
  onSilence: (nodeId: string) => void;
}

/** Watches that nodes are heard of in time, by the clock of a manager that may itself stand still. */
export class HeartbeatWatch {
  readonly #options: HeartbeatWatchOptions;
  readonly #liveness = new Liveness();
  #periodMs: number;
  /** Until then, agents may still beat at the period before. */
  #oldPeriodUntilMs = 0;
  #check: { timer: Timer; dueMs: number } | undefined;
  #lastHeardMs = 0;

  constructor(options: HeartbeatWatchOptions) {
    this.#options = options;
    this.#periodMs = options.periodMs;
  }

  /** Each of the nodes has so long to be heard of. */
  expectWithin(nodeIds: string[], durationMs: number): void {
    const dueMs = this.#options.clock.now() + durationMs;
    for (const nodeId of nodeIds) this.#liveness.expect(nodeId, dueMs);
    this.#armCheck();
  }

  /** The node was heard of. */
  heard(nodeId: string): void {
    const nowMs = this.#options.clock.now();
    // Set back, the clock would give those that are silent the time that it has to go once more.
    if (nowMs < this.#lastHeardMs - STALL_MS) {
      this.#oldPeriodUntilMs = 0;
      this.#liveness.expectAll(nowMs + MISSED_HEARTBEATS * this.#periodMs);
    }
    this.#lastHeardMs = nowMs;
    const dueMs = Math.max(nowMs + MISSED_HEARTBEATS * this.#periodMs, this.#oldPeriodUntilMs);
    this.#liveness.expect(nodeId, dueMs);
    if (this.#check === undefined || dueMs < this.#check.dueMs) this.#armCheck();
  }

  /** Nobody waits for the node any more. */
  forget(nodeId: string): void {
    this.#liveness.forget(nodeId);
  }

  clear(): void {
    this.#check?.timer.cancel();
    this.#check = undefined;
    this.#liveness.clear();
  }

  /** Agents are told another period. */
  setPeriod(periodMs: number): void {
    if (periodMs === this.#periodMs) return;
    const slowestMs = Math.max(periodMs, this.#periodMs);
    this.#periodMs = periodMs;
    this.#oldPeriodUntilMs = this.#options.clock.now() + MISSED_HEARTBEATS * slowestMs;
    this.#liveness.expectAll(this.#oldPeriodUntilMs);
    this.#armCheck();
  }

  #armCheck(): void {
    const { clock } = this.#options;
    this.#check?.timer.cancel();
    const dueMs = this.#liveness.nextDueMs();
    if (dueMs === undefined) this.#check = undefined;
    else this.#check = { dueMs, timer: clock.after(dueMs - clock.now(), () => this.#lookForSilence(dueMs)) };
  }

  #lookForSilence(dueMs: number): void {
    const { clock, isExcused, onSilence } = this.#options;
    const nowMs = clock.now();
    if (Math.abs(nowMs - dueMs) > STALL_MS) this.#liveness.expectAll(nowMs + MISSED_HEARTBEATS * this.#periodMs);
    for (const nodeId of this.#liveness.takeOverdue(nowMs)) {
      if (isExcused(nodeId)) this.heard(nodeId);
      else onSilence(nodeId);
    }
    this.#armCheck();
  }
}
