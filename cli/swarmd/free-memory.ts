import { type Clock, messageOf, type Timer } from '@apiary/std';
import type { Logger } from 'pino';

const TRIM_MS = 10_000;
/** Nothing else is done meanwhile, so that a heap in many pieces, which takes tens of milliseconds, is trimmed seldom. */
const REST_RATIO = 10_000;

/**
 * Gives free memory back to the kernel, again and again: V8 takes megabytes to compile with, and malloc keeps them for
 * good, in pieces between what is in use.
 *
 * @returns what ends that
 */
export async function giveBackFreeMemory(clock: Clock, logger: Logger): Promise<() => void> {
  let timer: Timer | undefined;
  try {
    const { trimHeap } = await import('@apiary/agent-native');
    const trim = () => {
      const startMs = clock.now();
      trimHeap();
      timer = clock.after(Math.max(TRIM_MS, REST_RATIO * (clock.now() - startMs)), trim);
    };
    trim();
  } catch (error) {
    logger.warn({ reason: messageOf(error) }, 'memory that is free stays with this process');
  }
  return () => timer?.cancel();
}
