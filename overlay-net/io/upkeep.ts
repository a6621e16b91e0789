import { type Clock, messageOf, type Timer } from '@apiary/std';

export interface UpkeepOptions {
  clock: Clock;
  /** Looks, and puts right what is not as it should be. */
  work: () => Promise<void>;
  /** How long after it ended the work is done again, if nobody asks for it before. */
  periodMs: number;
  /** How long one who asks waits for company. */
  gatherMs: number;
  onFailure: (reason: string) => void;
}

/** Does a piece of work again and again, never twice at a time: after a while, and soon after it was asked for. */
export class Upkeep {
  readonly #options: UpkeepOptions;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #isAsked = false;
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
      .catch((error: unknown) => this.#options.onFailure(messageOf(error)))
      .finally(() => {
        this.#running = undefined;
        this.#later(this.#isAsked ? this.#options.gatherMs : this.#options.periodMs);
      });
  }
}
