import type { Clock, Timer } from '@apiary/std';
import { hasStandIns, type KnownEndpoints, takesConnections } from '../../core/index.js';

/** For the other hosts to do as this one has done: they are told at the same time. */
const OTHERS_MS = 700;
/** A task that is to stop stops, whatever the managers and the kernel say. */
const LONGEST_MS = 1_000;

interface Withdrawal {
  taskId: string;
  serviceId: string;
  sinceMs: number;
  timer: Timer;
  /** It is in no set any more, and this host's kernel knows. */
  isOut: boolean;
  done: () => void;
}

/**
 * Holds up the end of tasks until nobody is led to them any more: what is under way can be brought to its end, and no new
 * connection finds a process that is about to go.
 */
export class Withdrawals {
  readonly #clock: Clock;
  readonly #waiting = new Set<Withdrawal>();
  #known: KnownEndpoints | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** This host's kernel does as these say. */
  applied(known: KnownEndpoints): void {
    this.#known = known;
    for (const each of [...this.#waiting]) this.#look(each);
  }

  /** Resolves when a task may be stopped. */
  async of(taskId: string, serviceId: string): Promise<void> {
    const known = this.#known;
    // One that nobody was led to, or that there is no other for: nothing is won by waiting.
    if (known === undefined || !takesConnections(known, taskId)) {
      if (known === undefined || !hasStandIns(known, serviceId, taskId)) return;
    }
    await new Promise<void>((resolve) => {
      const withdrawal: Withdrawal = {
        taskId,
        serviceId,
        sinceMs: this.#clock.now(),
        timer: this.#clock.after(LONGEST_MS, () => this.#end(withdrawal)),
        isOut: false,
        done: resolve,
      };
      this.#waiting.add(withdrawal);
      this.#look(withdrawal);
    });
  }

  /** Nobody waits any longer. */
  close(): void {
    for (const each of [...this.#waiting]) this.#end(each);
  }

  #look(withdrawal: Withdrawal): void {
    const { taskId, serviceId, sinceMs, isOut } = withdrawal;
    if (isOut || this.#known === undefined || takesConnections(this.#known, taskId)) return;
    withdrawal.isOut = true;
    if (!hasStandIns(this.#known, serviceId, taskId)) {
      this.#end(withdrawal);
      return;
    }
    withdrawal.timer.cancel();
    const restMs = Math.max(0, sinceMs + OTHERS_MS - this.#clock.now());
    withdrawal.timer = this.#clock.after(restMs, () => this.#end(withdrawal));
  }

  #end(withdrawal: Withdrawal): void {
    withdrawal.timer.cancel();
    this.#waiting.delete(withdrawal);
    withdrawal.done();
  }
}
