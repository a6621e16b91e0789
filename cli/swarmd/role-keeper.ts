import { ApiaryError, type Clock, messageOf, type Rng, type Timer } from '@apiary/std';
import { backOffMs } from '@apiary/worker/core';
import type { Logger } from 'pino';
import { nextRoleStep, type RoleFacts, type RoleStep } from './role-step.js';

const RETRY = { firstMs: 500, capMs: 15_000 };

export interface RoleKeeperOptions {
  /** How things stand now. */
  facts(): Omit<RoleFacts, 'told'>;
  steps: Record<RoleStep, () => Promise<void>>;
  clock: Clock;
  rng: Rng;
  logger: Logger;
}

/** Takes a node to the role that it was told, step by step, and tries again what fails. */
export class RoleKeeper {
  readonly #options: RoleKeeperOptions;
  #told: RoleFacts['told'];
  #working: Promise<void> | undefined;
  #retry: Timer | undefined;
  #failures = 0;
  #stopped = false;
  /** Empty, or why the last step did not work. */
  #error = '';

  constructor(options: RoleKeeperOptions) {
    this.#options = options;
  }

  get told(): RoleFacts['told'] {
    return this.#told;
  }

  get error(): string {
    return this.#error;
  }

  /** The leader says what this node is to be; undefined when what it said holds no more and will be said anew. */
  tell(role: RoleFacts['told']): void {
    this.#told = role;
    this.#go();
  }

  /**
   * Does `work` when no step is under way, and lets none begin meanwhile.
   *
   * @throws ApiaryError `unavailable` when it is stopped before that; whatever `work` throws
   */
  async aside<T>(work: () => Promise<T>): Promise<T> {
    while (this.#working !== undefined) await this.#working;
    if (this.#stopped) throw new ApiaryError('unavailable', 'this node is stopping, or leaves');
    const working = work();
    this.#occupy(working.then(ignore, ignore));
    return working;
  }

  /** No step begins after this, and none is under way once it has resolved. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#retry?.cancel();
    while (this.#working !== undefined) await this.#working;
  }

  #go(): void {
    if (this.#stopped || this.#working !== undefined) return;
    this.#retry?.cancel();
    this.#retry = undefined;
    this.#occupy(this.#work());
  }

  #occupy(work: Promise<void>): void {
    this.#working = work.finally(() => {
      this.#working = undefined;
      // What was told meanwhile.
      if (this.#retry === undefined && this.#next() !== undefined) this.#go();
    });
  }

  async #work(): Promise<void> {
    const { steps, logger } = this.#options;
    for (let step = this.#next(); step !== undefined; step = this.#next()) {
      try {
        logger.info({ step, told: this.#told }, 'the role of this node changes');
        await steps[step]();
        this.#failures = 0;
        this.#error = '';
      } catch (error) {
        this.#tryAgain(step, error);
        return;
      }
    }
    // What did not work may be wanted no more.
    this.#failures = 0;
    this.#error = '';
  }

  #next(): RoleStep | undefined {
    return this.#stopped ? undefined : nextRoleStep({ ...this.#options.facts(), told: this.#told });
  }

  #tryAgain(step: RoleStep, error: unknown): void {
    if (this.#stopped) return;
    const { clock, rng, logger } = this.#options;
    const waitMs = backOffMs(++this.#failures, RETRY, rng);
    this.#error = `cannot ${step.replace('-', ' a ')}: ${messageOf(error)}`;
    logger.error({ err: error, step, waitMs }, 'the role of this node is not changed yet');
    this.#retry = clock.after(waitMs, () => {
      // It goes on after what is done aside now, and not before the next thing that is told.
      this.#retry = undefined;
      this.#go();
    });
  }
}

function ignore(): void {}
