import { ApiaryError, type Clock } from '@apiary/std';

/**
 * Waits for `work`, but no longer than `timeoutMs`; it goes on all the same then.
 *
 * @throws ApiaryError `unavailable` with `message` when the time is over; what `work` throws before
 */
export async function within<T>(clock: Clock, timeoutMs: number, message: string, work: Promise<T>): Promise<T> {
  let cancel = () => {};
  const passed = new Promise<never>((_, reject) => {
    const timer = clock.after(timeoutMs, () => reject(new ApiaryError('unavailable', message)));
    cancel = () => timer.cancel();
  });
  try {
    return await Promise.race([work, passed]);
  } finally {
    cancel();
    // Nobody hears of it any more.
    work.catch(() => undefined);
  }
}
