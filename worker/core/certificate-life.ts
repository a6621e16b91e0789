import type { Rng } from '@apiary/std';

/** Between which moments a certificate is used: milliseconds since the epoch. */
export interface CertificateLife {
  issuedMs: number;
  notAfterMs: number;
}

const RNG_BOUND = 2 ** 32;

/**
 * When a certificate is to be renewed: at a random moment between half and four fifths of its life. Nodes that joined
 * together do not come back together, and a fifth of the life is left to try again in. Source of both bounds: SwarmKit.
 *
 * A certificate that was issued in the future is one of a node whose clock is behind: by that clock it would still be good
 * when it is over for everybody else, so its life is counted from now on.
 *
 * @param nowMs  by the clock of the node
 * @returns milliseconds since the epoch; in the past for a certificate that was not used for long
 */
export function renewalMs({ issuedMs, notAfterMs }: CertificateLife, nowMs: number, rng: Rng): number {
  const part = 0.5 + 0.3 * (rng.below(RNG_BOUND) / RNG_BOUND);
  return Math.round(Math.min(issuedMs, nowMs) + (notAfterMs - issuedMs) * part);
}
