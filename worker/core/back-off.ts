import type { Rng } from '@apiary/std';

/**
 * How long to wait before trying again: twice as long each time up to a cap, and of that a random part between half
 * and all, so that those who failed together do not come back together.
 *
 * @param failures  how often it failed in a row, from 1
 */
export function backOffMs(failures: number, { firstMs, capMs }: { firstMs: number; capMs: number }, rng: Rng): number {
  const full = Math.min(capMs, firstMs * 2 ** Math.min(failures - 1, 30));
  return Math.ceil(full / 2) + rng.below(Math.floor(full / 2) + 1);
}
