import type { Rng } from '@apiary/std';

/** As Docker, whose own ingress network has the one before. */
export const FIRST_VNI = 4097;
/** 24 bits (RFC 7348, 5). */
export const LAST_VNI = 2 ** 24 - 1;

/**
 * A number for a network on the wire between hosts, which no other network has: from a place that is drawn, so that
 * one that was given back is not soon another network's, while a host that was cut off may still use it for the first.
 * Undefined when all are taken.
 */
export function freeVni(taken: ReadonlySet<number>, rng: Rng): number | undefined {
  const count = LAST_VNI - FIRST_VNI + 1;
  const start = rng.below(count);
  for (let i = 0; i < Math.min(count, taken.size + 1); i++) {
    const vni = FIRST_VNI + ((start + i) % count);
    if (!taken.has(vni)) return vni;
  }
  return undefined;
}
