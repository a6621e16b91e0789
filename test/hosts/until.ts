import { readFileSync } from 'node:fs';
import { setTimeout as elapse } from 'node:timers/promises';
import { ApiaryError, messageOf } from '@apiary/std';

export interface UntilOptions {
  timeoutMs?: number;
  intervalMs?: number;
  /** A file whose last lines belong in the error. */
  log?: string;
  /** Says why the condition can no longer come true, so that nobody waits for the deadline. */
  hopeless?: () => string | undefined;
}

/**
 * Watches a condition at another process's boundary until it holds: the one place of the test hosts that polls.
 *
 * @param what  what is waited for, as a sentence's end: `engine of h1 to answer`
 * @param fn    the condition: false, undefined or a throw is "not yet", anything else is the result
 * @throws ApiaryError `unavailable` at the deadline, with the last state and the log's last lines
 */
export async function until<T>(
  what: string,
  fn: () => Promise<T | false | undefined> | T | false | undefined,
  options: UntilOptions = {},
): Promise<T> {
  const { timeoutMs = 30_000, intervalMs = 20, log, hopeless = () => undefined } = options;
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    let state: string;
    try {
      const value = await fn();
      if (value !== false && value !== undefined) return value;
      state = 'not yet';
    } catch (error) {
      state = messageOf(error);
    }
    const reason = hopeless() ?? (performance.now() >= deadline ? `gave up after ${timeoutMs / 1000} s` : undefined);
    if (reason !== undefined) {
      throw new ApiaryError('unavailable', `waited for ${what}: ${reason}; last state: ${state}${logTail(log)}`);
    }
    await elapse(intervalMs);
  }
}

/** The last lines of a log as an error's appendix. */
export function logTail(path: string | undefined, lines = 15): string {
  if (path === undefined) return '';
  try {
    const tail = readFileSync(path, 'utf8').trimEnd().split('\n').slice(-lines);
    return `\n  last lines of ${path}:\n${tail.map((line) => `    ${line}`).join('\n')}`;
  } catch {
    return `\n  (no log at ${path})`;
  }
}
