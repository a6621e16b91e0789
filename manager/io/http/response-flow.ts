import type { ServerResponse } from 'node:http';

/**
 * Calls `listener` once the client has gone, or has its answer: at once when that was before. It may have gone while its
 * answer was being looked up, and then says so no more.
 */
export function whenClosed(response: ServerResponse, listener: () => void): void {
  if (response.closed) listener();
  else response.once('close', listener);
}

/** Aborts once `whenClosed` calls. */
export function closingOf(response: ServerResponse): AbortSignal {
  const aborter = new AbortController();
  whenClosed(response, () => aborter.abort());
  return aborter.signal;
}

/** Resolves once what was written has gone out, or nobody reads it any more. */
export function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    if (response.closed) return resolve();
    const go = (): void => {
      response.off('drain', go).off('close', go);
      resolve();
    };
    response.on('drain', go).on('close', go);
  });
}
