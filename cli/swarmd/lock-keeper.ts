import { type Clock, messageOf, type Sealing } from '@apiary/std';
import type { Logger } from 'pino';
import { Lock, removeLock } from './lock-file.js';
import { Pursuit } from './pursuit.js';

const RETRY_MS = 5_000;

export interface LockKeeperOptions {
  dataRoot: string;
  /** The lock that this node was opened with, and the key that opened it. */
  opened: OpenedLock | undefined;
  /** Writes what is to be sealed anew: with `sealing`, or in clear. */
  reseal: (sealing: Sealing | undefined) => Promise<void>;
  clock: Clock;
  logger: Logger;
}

export interface OpenedLock {
  lock: Lock;
  unlockKey: string;
}

/** Keeps a manager's disk locked as the cluster's state says: by which key, or not at all. Tries until it is so. */
export class LockKeeper {
  readonly #options: LockKeeperOptions;
  readonly #pursuit: Pursuit;
  #opened: OpenedLock | undefined;
  /** Whether the files are known to be sealed, or in clear, as `#opened` says. */
  #isSettled: boolean;
  #wanted: string | undefined;

  constructor(options: LockKeeperOptions) {
    this.#options = options;
    this.#opened = options.opened;
    this.#wanted = options.opened?.unlockKey;
    // A stop between may have left files in clear.
    this.#isSettled = options.opened === undefined;
    const { clock, logger } = options;
    this.#pursuit = new Pursuit({
      attempt: () => this.#settle(),
      onFailure: (error) =>
        logger.error({ reason: messageOf(error) }, 'cannot change how this manager is locked: trying again'),
      retryMs: RETRY_MS,
      clock,
    });
  }

  /** With what whoever writes a file now is to seal it. */
  get sealing(): Sealing | undefined {
    return this.#opened?.lock.sealing;
  }

  /** @param unlockKey  undefined: no lock */
  follow(unlockKey: string | undefined): void {
    this.#wanted = unlockKey;
    this.#pursuit.begin();
  }

  /** Nothing is written once this has resolved. */
  stop(): Promise<void> {
    return this.#pursuit.stop();
  }

  async #settle(): Promise<boolean> {
    if (this.#isSettled && this.#opened?.unlockKey === this.#wanted) return true;
    if (this.#wanted === undefined) await this.#unlock();
    else await this.#lock(this.#wanted);
    return true;
  }

  async #lock(unlockKey: string): Promise<void> {
    const { dataRoot, reseal, logger } = this.#options;
    const lock = this.#opened?.lock ?? Lock.create();
    if (this.#opened?.unlockKey !== unlockKey) await lock.write(dataRoot, unlockKey);
    if (this.#opened === undefined) this.#isSettled = false;
    this.#opened = { lock, unlockKey };
    if (!this.#isSettled) await reseal(lock.sealing);
    this.#isSettled = true;
    logger.info('this manager is locked from its next start on: it takes the unlock key then');
  }

  async #unlock(): Promise<void> {
    const { dataRoot, reseal, logger } = this.#options;
    const was = this.#opened;
    this.#isSettled = false;
    // What is written meanwhile is in clear already; the lock is there until all is.
    this.#opened = undefined;
    try {
      await reseal(undefined);
      await removeLock(dataRoot);
    } catch (error) {
      this.#opened = was;
      throw error;
    }
    this.#isSettled = true;
    logger.info('this manager is not locked any more');
  }
}
