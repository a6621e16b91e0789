import { type Clock, messageOf, type Timer } from '@apiary/std';

export interface UpkeepOptions {
  clock: Clock;
  /**
   * Looks, and puts right what is not as it should be.
   *
   * @returns `incomplete` when it is to be tried again soon, as after a failure; whatever else is well
   */
  work: () => Promise<unknown>;
  /** How long after it ended the work is done again, if nobody asks for it before. */
  periodMs: number;
  /** How long one who asks waits for company. */
  gatherMs: number;
  onFailure: (reason: string) => void;
}

/** After the first failure; twice as long after each that follows, up to the period. */
const RETRY_MS = 250;

/** Does a piece of work again and again, never twice at a time: after a while, and soon after it was asked for or failed. */
export class Upkeep {
  readonly #options: UpkeepOptions;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #isAsked = false;
  /** In a row. */
  #failures = 0;
  #isOver = false;

  constructor(options: UpkeepOptions) {
    this.#options = options;
    this.#later(options.periodMs);
  }

  /** Something may have changed. */
  ask(): void {
    if (this.#isAsked) return;
    this.#isAsked = true;
    if (this.#running === undefined) this.#later(this.#options.gatherMs);
  }

  /** It has to be done at once. Resolves when work that was begun after this is over, whatever came of it. */
  now(): Promise<void> {
    this.#next ??= (this.#running ?? Promise.resolve()).then(() => {
      this.#next = undefined;
      if (this.#isOver) return;
      this.#timer?.cancel();
      this.#work();
      return this.#running;
    });
    return this.#next;
  }

  /** No work is begun any more; resolves when what is under way is over. */
  async stop(): Promise<void> {
    this.#isOver = true;
    this.#timer?.cancel();
    await this.#running;
  }

  #later(delayMs: number): void {
    this.#timer?.cancel();
    if (!this.#isOver) this.#timer = this.#options.clock.after(delayMs, () => this.#work());
  }

  #work(): void {
    this.#isAsked = false;
    this.#running = this.#options
      .work()
      .catch((error: unknown) => {
        this.#options.onFailure(messageOf(error));
        return 'incomplete' as const;
      })
      .then((outcome) => {
        this.#running = undefined;
        this.#failures = outcome === 'incomplete' ? this.#failures + 1 : 0;
        this.#later(this.#isAsked ? this.#options.gatherMs : this.#pauseMs());
      });
  }

  #pauseMs(): number {
    const { periodMs } = this.#options;
    return this.#failures === 0 ? periodMs : Math.min(periodMs, RETRY_MS * 2 ** (this.#failures - 1));
  }
}
