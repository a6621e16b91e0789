import type { Rng } from '@apiary/std';
import { backOffMs } from './back-off.js';

const RETRY = { firstMs: 100, capMs: 2_000 };
/** So many times in a row one manager may send on to another: while leadership moves, two may name each other. */
const MOST_REDIRECTS = 3;

/** How an attempt at a session ended, or a session. */
export interface SearchedAttempt {
  manager: string;
  /**
   * The leader's address, as the manager said at the end: empty when it knew none; undefined when it said nothing of
   * the kind, so that it has stopped, broke, or cannot be reached.
   */
  leaderAddr: string | undefined;
  /** How long the attempt took; undefined of one that became a session. */
  durationMs: number | undefined;
}

/**
 * Which manager to ask for a session, and when. A manager that does not lead names the one that does, who is asked at
 * once; otherwise agents spread over the managers, and leave alone for a while those that have just failed them.
 */
export class ManagerSearch {
  readonly #rng: Rng;
  #next: number;
  #hint: string | undefined;
  #redirects = 0;
  #failures = 0;
  readonly #lost = new Set<string>();
  /** Those that were asked since all of them could be. */
  readonly #asked = new Set<string>();

  constructor(rng: Rng) {
    this.#rng = rng;
    this.#next = rng.below(1 << 16);
  }

  /** @param known  where managers are; undefined is returned when that is nowhere */
  next(known: readonly string[]): string | undefined {
    const hint = this.#hint;
    this.#hint = undefined;
    if (hint !== undefined) return hint;
    const sound = known.filter((manager) => !this.#lost.has(manager) && !this.#asked.has(manager));
    if (sound.length === 0) this.#forgive();
    const among = sound.length === 0 ? known : sound;
    const manager = among[this.#next++ % Math.max(1, among.length)];
    if (manager !== undefined) this.#asked.add(manager);
    return manager;
  }

  /** A session lasts. */
  succeeded(): void {
    this.#failures = 0;
    this.#redirects = 0;
    this.#forgive();
  }

  /** There is nobody to ask. @returns milliseconds until the next attempt */
  foundNobody(): number {
    return this.#pauseMs(0);
  }

  /** @returns milliseconds until the next attempt */
  ended({ manager, leaderAddr, durationMs = 0 }: SearchedAttempt): number {
    if (leaderAddr === undefined) this.#lost.add(manager);
    if (leaderAddr === undefined || leaderAddr === '' || leaderAddr === manager) {
      this.#redirects = 0;
      return this.#pauseMs(durationMs);
    }
    this.#hint = leaderAddr;
    // One that has just failed may not have been missed by the others yet, or it may be back.
    const isDoubtful = this.#lost.delete(leaderAddr) || this.#redirects >= MOST_REDIRECTS;
    this.#redirects = isDoubtful ? 0 : this.#redirects + 1;
    return isDoubtful ? this.#pauseMs(durationMs) : 0;
  }

  /** Whoever was lost may be back: one that answers, and knows no leader for ever, must not be all that is left. */
  #forgive(): void {
    this.#lost.clear();
    this.#asked.clear();
  }

  /** What an attempt took counts: a manager that has no leader to name keeps the agent waiting until there is one. */
  #pauseMs(durationMs: number): number {
    this.#failures++;
    return Math.max(0, backOffMs(this.#failures, RETRY, this.#rng) - durationMs);
  }
}
