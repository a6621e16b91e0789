import { ApiaryError, SeededRng, VirtualClock } from '@apiary/std';
import { pino } from 'pino';
import t from 'tap';
import { LOG_KEY_LIFE_MS, LogKeySchedule } from './log-key-schedule.js';

const HOUR_MS = 3600_000;
const START_MS = 1_700_000_000_000;

/** A log that remembers when its keys were made. @param madeAtMs  of the key that it begins with */
function setUp(madeAtMs: number | undefined) {
  const clock = new VirtualClock(START_MS);
  const madeAt: number[] = [];
  let fails = false;
  let asked = 0;
  const log = {
    keyMadeAtMs: madeAtMs,
    rotateKey: async () => {
      asked++;
      if (fails) throw new ApiaryError('resource-exhausted', 'the disk is full');
      madeAt.push(clock.now());
      log.keyMadeAtMs = clock.now();
      return `k${asked}`;
    },
  };
  const schedule = new LogKeySchedule({ log, clock, rng: new SeededRng(1), logger: pino({ level: 'silent' }) });
  /** Lets time pass, hour after hour, and what it sets off be done. */
  const pass = async (hours: number) => {
    for (let hour = 0; hour < hours; hour++) {
      clock.advance(HOUR_MS);
      await Promise.resolve();
    }
  };
  const fail = (is: boolean) => {
    fails = is;
  };
  return { schedule, madeAt, pass, fail, asked: () => asked };
}

t.test('the key of the log is changed once a day', async (t) => {
  const { schedule, madeAt, pass } = setUp(START_MS);
  await pass(22);
  t.same(madeAt, []);
  await pass(24 * 30 - 22);
  t.equal(madeAt.length, 30);
  const [first = 0] = madeAt;
  t.ok(first - START_MS > LOG_KEY_LIFE_MS - HOUR_MS && first - START_MS <= LOG_KEY_LIFE_MS);
  await schedule.stop();
  await pass(48);
  t.equal(madeAt.length, 30, 'and no more once the manager stops');
});

t.test(
  'one that is older, of an unknown age, or of the future when the manager starts is changed within the hour',
  async (t) => {
    for (const madeAtMs of [START_MS - 2 * LOG_KEY_LIFE_MS, undefined, START_MS + LOG_KEY_LIFE_MS]) {
      const { schedule, madeAt, pass } = setUp(madeAtMs);
      await pass(1);
      t.equal(madeAt.length, 1);
      await pass(20);
      t.equal(madeAt.length, 1);
      await schedule.stop();
    }
    const young = setUp(START_MS - LOG_KEY_LIFE_MS / 2);
    await young.pass(11);
    t.same(young.madeAt, [], 'a restart does not begin the day anew, nor end it');
    await young.pass(2);
    t.equal(young.madeAt.length, 1);
    await young.schedule.stop();
  },
);

t.test('what fails is tried again every hour', async (t) => {
  const { schedule, madeAt, pass, fail, asked } = setUp(undefined);
  fail(true);
  await pass(5);
  t.same([asked(), madeAt.length], [5, 0]);
  fail(false);
  await pass(1);
  t.equal(madeAt.length, 1);
  await schedule.stop();
});
