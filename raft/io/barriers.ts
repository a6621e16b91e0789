import type { ReadOutcome } from '../core/index.js';

interface Barrier {
  resolve: () => void;
  reject: (error: unknown) => void;
  deadlineMs: number;
}

/** Those who wait until all has been applied that was committed when they asked. One read serves all that wait for it. */
export class Barriers {
  readonly #prefix: string;
  #sequence = 0;
  #unasked: Barrier[] = [];
  readonly #asked = new Map<string, Barrier[]>();
  #confirmed: { index: number; barriers: Barrier[] }[] = [];

  /** @param prefix makes the ids of reads unlike those of any other process, this member's former ones included */
  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  wait(deadlineMs: number): Promise<void> {
    return new Promise((resolve, reject) => this.#unasked.push({ resolve, reject, deadlineMs }));
  }

  /** @returns the id of a read that is to be asked for all that wait, if any do */
  ask(): string | undefined {
    if (this.#unasked.length === 0) return undefined;
    const readId = `${this.#prefix}-${++this.#sequence}`;
    this.#asked.set(readId, this.#unasked);
    this.#unasked = [];
    return readId;
  }

  /** A read that failed is asked again, until nobody waits for it any more. */
  answered(outcome: ReadOutcome, appliedIndex: number): void {
    const barriers = this.#asked.get(outcome.readId);
    if (barriers === undefined) return;
    this.#asked.delete(outcome.readId);
    if (outcome.type === 'failed') this.#unasked.push(...barriers);
    else if (outcome.index <= appliedIndex) for (const { resolve } of barriers) resolve();
    else this.#confirmed.push({ index: outcome.index, barriers });
  }

  applied(appliedIndex: number): void {
    if (this.#confirmed.length === 0) return;
    const reached = this.#confirmed.filter(({ index }) => index <= appliedIndex);
    if (reached.length === 0) return;
    this.#confirmed = this.#confirmed.filter(({ index }) => index > appliedIndex);
    for (const { barriers } of reached) for (const { resolve } of barriers) resolve();
  }

  /**
   * Gives up those whose time is over.
   *
   * @param unled  what they hear whom no leader has answered
   * @param behind what they hear for whom what was committed has not arrived here
   */
  expire(nowMs: number, { unled, behind }: { unled: () => Error; behind: () => Error }): void {
    const isLate = ({ deadlineMs }: Barrier): boolean => deadlineMs <= nowMs;
    if (this.#unasked.some(isLate)) {
      const late = this.#unasked.filter(isLate);
      this.#unasked = this.#unasked.filter((barrier) => !isLate(barrier));
      for (const { reject } of late) reject(unled());
    }
    for (const confirmed of this.#confirmed) {
      const late = confirmed.barriers.filter(isLate);
      if (late.length === 0) continue;
      confirmed.barriers = confirmed.barriers.filter((barrier) => !isLate(barrier));
      for (const { reject } of late) reject(behind());
    }
  }

  rejectAll(error: unknown): void {
    const all = [...this.#asked.values(), ...this.#confirmed.map(({ barriers }) => barriers), this.#unasked].flat();
    this.#asked.clear();
    this.#confirmed = [];
    this.#unasked = [];
    for (const { reject } of all) reject(error);
  }
}
