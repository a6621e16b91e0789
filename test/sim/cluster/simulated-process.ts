import type { Clock, Timer } from '@apiary/std';
import type { EventQueue } from '../raft/event-queue.js';

/** When virtual time begins, milliseconds since the epoch. */
const EPOCH_MS = Date.UTC(2026, 0, 1);

/**
 * A process of the simulation. Whatever reaches it, its own timers included, does so through `run`: once it is dead
 * nothing does, and while it stands still it all waits.
 */
export class SimulatedProcess {
  readonly clock: Clock;
  #isDead = false;
  #backlog: (() => void)[] | undefined;

  /** @param skewMs  how far the clock of its host is ahead of true time */
  constructor(queue: EventQueue, skewMs: number) {
    this.clock = {
      now: () => EPOCH_MS + Math.floor(queue.now + skewMs),
      after: (delayMs, callback) => this.#timer(queue, delayMs, callback),
    };
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  run(act: () => void): void {
    if (this.#isDead) return;
    if (this.#backlog === undefined) act();
    else this.#backlog.push(act);
  }

  /** As SIGSTOP does. */
  pause(): void {
    this.#backlog ??= [];
  }

  resume(): void {
    const backlog = this.#backlog ?? [];
    this.#backlog = undefined;
    for (const act of backlog) this.run(act);
  }

  /** As SIGKILL does: nobody is told anything any more. */
  kill(): void {
    this.#isDead = true;
  }

  #timer(queue: EventQueue, delayMs: number, callback: () => void): Timer {
    let isCancelled = false;
    queue.after(delayMs, () =>
      this.run(() => {
        if (!isCancelled) callback();
      }),
    );
    return {
      cancel: () => {
        isCancelled = true;
      },
    };
  }
}
