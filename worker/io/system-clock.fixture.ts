import type { Clock } from '@apiary/std';

/** The system's clock: for what waits for programs and kernels, which know of no other. */
export const SYSTEM_CLOCK: Clock = {
  now: () => Date.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};
