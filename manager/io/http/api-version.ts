import { ApiaryError } from '@apiary/std';

/** The newest Engine API whose words we know, and what we speak when there is no engine to ask. */
const NEWEST_API_VERSION = '1.48';
const FALLBACK_API_VERSION = '1.41';
export const OLDEST_API_VERSION = '1.24';

const PREFIX = /^\/v(\d+\.\d+)(?=\/|$)/;

/** The version at the head of a path (`/v1.41/services`), or undefined. */
export function versionInPath(url: string): string | undefined {
  return PREFIX.exec(url)?.[1];
}

export function withoutVersion(url: string): string {
  return url.replace(PREFIX, '');
}

/** The version that we and the engine both speak: requests for the engine's own objects reach it as they are. */
export function commonVersion(engineVersion: string | undefined): string {
  if (engineVersion === undefined) return FALLBACK_API_VERSION;
  return compare(engineVersion, NEWEST_API_VERSION) > 0 ? NEWEST_API_VERSION : engineVersion;
}

/** @throws ApiaryError `invalid-argument`, in Docker's words, when a client speaks a version that we do not */
export function checkVersion(asked: string | undefined, newest: string): void {
  if (asked === undefined) return;
  if (compare(asked, newest) > 0) {
    throw new ApiaryError(
      'invalid-argument',
      `client version ${asked} is too new. Maximum supported API version is ${newest}`,
    );
  }
  if (compare(asked, OLDEST_API_VERSION) < 0) {
    throw new ApiaryError(
      'invalid-argument',
      `client version ${asked} is too old. Minimum supported API version is ${OLDEST_API_VERSION}, ` +
        'please upgrade your client to a newer version',
    );
  }
}

function compare(a: string, b: string): number {
  const [aMajor = 0, aMinor = 0] = a.split('.').map(Number);
  const [bMajor = 0, bMinor = 0] = b.split('.').map(Number);
  return aMajor - bMajor || aMinor - bMinor;
}
