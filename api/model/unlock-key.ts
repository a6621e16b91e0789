import { ApiaryError, type Rng } from '@apiary/std';

const PREFIX = 'SWMKEY-1-';
const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
/** 32 bytes: the last of 43 digits has four bits. */
const WHOLE_DIGITS = 42;
const FORM = /^SWMKEY-1-[A-Za-z0-9+/]{43}$/;

/**
 * The key that a manager is unlocked with, as Docker writes them: `SWMKEY-1-` and 256 bits in base64 without padding.
 *
 * @param rng  one for secrets
 */
export function newUnlockKey(rng: Rng): string {
  const digits = Array.from({ length: WHOLE_DIGITS }, () => DIGITS.charAt(rng.below(64)));
  return `${PREFIX}${digits.join('')}${DIGITS.charAt(rng.below(16) * 4)}`;
}

/**
 * Checks the form of a key that somebody typed.
 *
 * @throws ApiaryError `invalid-argument` in Docker's words; the key is not in them
 */
export function checkUnlockKey(text: string): void {
  if (FORM.test(text)) return;
  throw new ApiaryError('invalid-argument', 'invalid key string');
}
