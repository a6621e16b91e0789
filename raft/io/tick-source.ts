import type { Clock, Timer } from '@apiary/std';

/**
 * So many ticks are made up for at once. Who was held up for longer (stopped, suspended, starved) has not heard what was
 * said to it meanwhile: were all that time to pass in one go, it would take the silence for its leader's death.
 */
const MAX_TICKS_AT_ONCE = 5;

/** Counts time in ticks, for as long as nobody stops it. */
export class TickSource {
  readonly #clock: Clock;
  readonly #tickMs: number;
  readonly #onTicks: (count: number) => void;
  #lastMs: number;
  #timer: Timer;

  /** @param onTicks told how many ticks have passed, one at least */
  constructor(clock: Clock, tickMs: number, onTicks: (count: number) => void) {
    this.#clock = clock;
    this.#tickMs = tickMs;
    this.#onTicks = onTicks;
    this.#lastMs = clock.now();
    this.#timer = clock.after(tickMs, () => this.#wake());
  }

  stop(): void {
    this.#timer.cancel();
  }

  #wake(): void {
    const now = this.#clock.now();
    const owed = Math.floor((now - this.#lastMs) / this.#tickMs);
    // A timer may be a little early, and a clock may be set.
    const count = Math.min(Math.max(owed, 1), MAX_TICKS_AT_ONCE);
    this.#lastMs = owed === count ? this.#lastMs + count * this.#tickMs : now;
    this.#timer = this.#clock.after(this.#tickMs, () => this.#wake());
    this.#onTicks(count);
  }
}
