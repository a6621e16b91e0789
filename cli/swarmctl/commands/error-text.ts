import { ApiError } from '@apiary/api/client';
import { messageOf } from '@apiary/std';

/** An error as it is shown: the daemon's own words are marked as such, in Docker's way. */
export function errorText(error: unknown): string {
  return error instanceof ApiError ? `Error response from daemon: ${error.message}` : messageOf(error);
}
