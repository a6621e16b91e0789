import t from 'tap';
import { SystemClock, SystemRng } from './system.js';

t.test(
  'the clock calls back once what is due, and neither what was cancelled nor what is due in a month',
  async (t) => {
    const clock = new SystemClock();
    const calls: string[] = [];
    const inAMonth = clock.after(30 * 24 * 3600 * 1000, () => calls.push('in a month'));
    clock.after(1, () => calls.push('cancelled')).cancel();
    await new Promise<void>((resolve) => clock.after(5, resolve));
    t.same(calls, []);
    inAMonth.cancel();
  },
);

t.test('random numbers stay below their bound, the largest included', async (t) => {
  const rng = new SystemRng();
  t.equal(rng.below(1), 0);
  t.ok(rng.below(2 ** 32) < 2 ** 32);
  t.same(new Set(Array.from({ length: 200 }, () => rng.below(3))), new Set([0, 1, 2]));
});
