import { type Clock, messageOf, type Rng, type Timer } from '@apiary/std';
import type { Logger } from 'pino';

const HOUR_MS = 3600_000;
/** So old a key may become. */
export const LOG_KEY_LIFE_MS = 24 * HOUR_MS;

export interface LogKeyScheduleOptions {
  log: {
    /** When the current key was made; undefined when that is not known. */
    readonly keyMadeAtMs: number | undefined;
    rotateKey(): Promise<string>;
  };
  clock: Clock;
  rng: Rng;
  logger: Logger;
}

/**
 * Gives this manager's log another key every day, as `rotate-log-key` does: the one before is forgotten with the snapshot that
 * is taken then. It is looked once an hour, since a timer knows nothing of a machine that sleeps, nor of clocks that are set.
 * What fails is tried again an hour later.
 */
export class LogKeySchedule {
  readonly #options: LogKeyScheduleOptions;
  #timer: Timer;
  #underWay: Promise<void> = Promise.resolve();
  #isStopped = false;

  constructor(options: LogKeyScheduleOptions) {
    this.#options = options;
    // Managers that started together do not take their snapshots together.
    this.#timer = options.clock.after(options.rng.below(HOUR_MS), () => this.#look());
  }

  /** No key is made once this has resolved. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer.cancel();
    await this.#underWay;
  }

  #look(): void {
    if (this.#isDue()) this.#underWay = this.#rotate();
    this.#timer = this.#options.clock.after(HOUR_MS, () => this.#look());
  }

  #isDue(): boolean {
    const { log, clock } = this.#options;
    const ageMs = clock.now() - (log.keyMadeAtMs ?? Number.NEGATIVE_INFINITY);
    // One that is of the future was made before the clock was set: its age is not known.
    return ageMs + HOUR_MS > LOG_KEY_LIFE_MS || ageMs < -HOUR_MS;
  }

  async #rotate(): Promise<void> {
    const { log, logger } = this.#options;
    try {
      const id = await log.rotateKey();
      logger.info({ id }, "the key of this manager's log is changed: the one before was a day old");
    } catch (error) {
      if (!this.#isStopped)
        logger.warn({ reason: messageOf(error) }, "the key of this manager's log is not changed yet");
    }
  }
}
