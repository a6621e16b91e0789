import { randomInt } from 'node:crypto';
import type { Clock, Rng, Timer } from '@apiary/std';

/** What `setTimeout` can wait at most: it calls back at once for more. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** The machine's clock. */
export class SystemClock implements Clock {
  now(): number {
    return Date.now();
  }

  after(delayMs: number, callback: () => void): Timer {
    let left = Math.max(0, delayMs);
    let timer: NodeJS.Timeout;
    const wait = (): void => {
      const now = Math.min(left, MAX_TIMEOUT_MS);
      left -= now;
      timer = setTimeout(left > 0 ? wait : callback, now);
    };
    wait();
    return { cancel: () => clearTimeout(timer) };
  }
}

/** The system's source of randomness: also for secrets. */
export class SystemRng implements Rng {
  below(bound: number): number {
    return randomInt(bound);
  }
}
