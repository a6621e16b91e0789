import type { Rng } from '@apiary/std';

/** Draws from a seed what a simulation needs. */
export class Chance {
  readonly rng: Rng;

  constructor(rng: Rng) {
    this.rng = rng;
  }

  /** True with a probability of `percent` / 100. */
  percent(percent: number): boolean {
    return this.rng.below(10_000) < percent * 100;
  }

  /** A number of [from, to), not only whole ones. */
  between(from: number, to: number): number {
    return from + ((to - from) * this.rng.below(1_000_000)) / 1_000_000;
  }

  pick<T>(among: readonly T[]): T | undefined {
    return among.length === 0 ? undefined : among[this.rng.below(among.length)];
  }
}
