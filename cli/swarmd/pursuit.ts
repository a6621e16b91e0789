import type { Clock, Timer } from '@apiary/std';

export interface PursuitOptions {
  /** @returns whether it is so; else it is tried again in a while, as when it throws */
  attempt: () => Promise<boolean>;
  /** Is told of what an attempt has thrown, unless it was stopped meanwhile. */
  onFailure: (error: unknown) => void;
  retryMs: number;
  clock: Clock;
}

/** Tries to make something so until it is: one attempt after the other, and each sees what was wanted last. */
export class Pursuit {
  readonly #options: PursuitOptions;
  #underWay: Promise<void> = Promise.resolve();
  #retry: Timer | undefined;
  #isStopped = false;

  constructor(options: PursuitOptions) {
    this.#options = options;
  }

  /** Something else may be wanted from now on. */
  begin(): void {
    this.#retry?.cancel();
    this.#underWay = this.#underWay.then(() => this.#try());
  }

  /** No attempt is under way once this has resolved, and none is made any more. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#retry?.cancel();
    await this.#underWay;
  }

  async #try(): Promise<void> {
    if (this.#isStopped) return;
    const { attempt, onFailure, retryMs, clock } = this.#options;
    try {
      if (await attempt()) return;
    } catch (error) {
      if (!this.#isStopped) onFailure(error);
    }
    if (this.#isStopped) return;
    // One that was begun meanwhile may have failed already.
    this.#retry?.cancel();
    this.#retry = clock.after(retryMs, () => this.begin());
  }
}
