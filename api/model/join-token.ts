import { ApiaryError } from '@apiary/std';

/**
 * A join token, in Docker Swarm's form: `SWMTKN-1-<digest>-<secret>`. The digest is the SHA-256 of the root
 * certificate's PEM text as a number in base 36, 50 characters; the secret is 25 characters of base 36.
 */
export interface JoinToken {
  rootDigest: string;
  secret: string;
}

const FORM = /^SWMTKN-1-([0-9a-z]{50})-([0-9a-z]{25})$/;

export function formatJoinToken({ rootDigest, secret }: JoinToken): string {
  return `SWMTKN-1-${rootDigest}-${secret}`;
}

/** @throws ApiaryError `invalid-argument` when it is not of the form */
export function parseJoinToken(text: string): JoinToken {
  const [, rootDigest, secret] = FORM.exec(text.trim()) ?? [];
  if (rootDigest === undefined || secret === undefined) {
    throw new ApiaryError('invalid-argument', 'invalid join token: expected SWMTKN-1-<50 characters>-<25 characters>');
  }
  return { rootDigest, secret };
}

/** @param sha256  32 bytes: the SHA-256 of the root certificate's PEM text */
export function rootDigestOf(sha256: Uint8Array): string {
  let number = 0n;
  for (const byte of sha256) number = (number << 8n) | BigInt(byte);
  return number.toString(36).padStart(50, '0');
}
