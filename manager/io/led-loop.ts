import type { Leadership } from '@apiary/raft/core';
import { ApiaryError, type Clock, type Timer } from '@apiary/std';
import type { Logger } from 'pino';
import type { Replica } from './ports.js';

export interface LedLoopOptions {
  replica: Pick<Replica, 'leadership' | 'onLeadership'>;
  /** Another term is led now, or none (undefined): what was in hand for the one before is to be forgotten. */
  onTerm: (term: number | undefined) => void;
  hasWork: () => boolean;
  /**
   * Does what there is to do, as the leader of `term`: after each wait, look with `leads` whether that still holds. What
   * fails with an ApiaryError is work again when this rejects.
   *
   * @returns how long to rest before the next pass, milliseconds
   */
  pass: (term: number) => Promise<number>;
  /** What is said of a pass that failed, before the reason. */
  failure: string;
  clock: Clock;
  logger: Logger;
  /** A bug of ours came to light. The loop has stopped, and the process should end. */
  onFatal: (error: unknown) => void;
}

const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 5_000;

/**
 * While this manager leads: one pass after the other for as long as there is work, never two at once, and again after a
 * while when one fails. With the term, what waits ends; a pass under way is the last of its term.
 */
export class LedLoop {
  readonly #options: LedLoopOptions;
  readonly #unsubscribe: () => void;
  #term: number | undefined;
  #isStopped = false;
  #passes: Promise<void> | undefined;
  #pause: { timer: Timer; end: () => void } | undefined;

  /** The first pass comes after the caller's turn. */
  constructor(options: LedLoopOptions) {
    this.#options = options;
    const { replica } = options;
    this.#unsubscribe = replica.onLeadership((leadership) => this.#onLeadership(leadership));
    this.#onLeadership(replica.leadership);
  }

  get isLeading(): boolean {
    return this.#term !== undefined;
  }

  leads(term: number): boolean {
    return this.#term === term;
  }

  /** There may be work now. */
  wake(): void {
    this.#passes ??= this.#passWhileWork()
      .catch((error: unknown) => {
        this.#isStopped = true;
        this.#enter(undefined);
        this.#options.onFatal(error);
      })
      .finally(() => {
        this.#passes = undefined;
        // What came between the last look and here.
        if (this.#goesOn()) this.wake();
      });
  }

  /** Resolves when no pass is under way any more. */
  async close(): Promise<void> {
    this.#isStopped = true;
    this.#unsubscribe();
    this.#enter(undefined);
    await this.#passes;
  }

  #onLeadership(leadership: Leadership): void {
    const term = leadership.role === 'leader' ? leadership.term : undefined;
    if (term === this.#term) return;
    this.#enter(term);
    if (term !== undefined) this.wake();
  }

  #enter(term: number | undefined): void {
    this.#term = term;
    this.#options.onTerm(term);
    this.#pause?.timer.cancel();
    this.#pause?.end();
  }

  #goesOn(): boolean {
    return !this.#isStopped && this.isLeading && this.#options.hasWork();
  }

  async #passWhileWork(): Promise<void> {
    const { pass, failure, logger } = this.#options;
    let delayMs = FIRST_RETRY_MS;
    // Whatever else is applied in the same turn belongs to the same pass.
    await Promise.resolve();
    while (this.#goesOn()) {
      const term = this.#term;
      if (term === undefined) return;
      try {
        const restMs = await pass(term);
        delayMs = FIRST_RETRY_MS;
        if (restMs > 0 && this.leads(term)) await this.#wait(restMs);
      } catch (error) {
        if (!(error instanceof ApiaryError)) throw error;
        if (!this.leads(term)) continue;
        logger.warn({ code: error.code, delayMs }, `${failure}: ${error.message}`);
        await this.#wait(delayMs);
        delayMs = Math.min(2 * delayMs, LAST_RETRY_MS);
      }
    }
  }

  async #wait(delayMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#pause = { timer: this.#options.clock.after(delayMs, resolve), end: resolve };
    });
    this.#pause = undefined;
  }
}
