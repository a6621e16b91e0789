import { VirtualClock } from '@apiary/std';
import t from 'tap';
import { Pursuit } from './pursuit.js';

const settled = () => new Promise((resolve) => setImmediate(resolve));

function setUp() {
  const clock = new VirtualClock();
  const failures: unknown[] = [];
  const state = { attempts: 0, next: async () => true };
  const pursuit = new Pursuit({
    attempt: () => {
      state.attempts++;
      return state.next();
    },
    onFailure: (error) => failures.push(error),
    retryMs: 1_000,
    clock,
  });
  const pass = async (ms: number) => {
    clock.advance(ms);
    await settled();
  };
  return { pursuit, state, failures, pass };
}

t.test('what is not so yet, or fails, is tried again until it is so', async (t) => {
  const { pursuit, state, failures, pass } = setUp();
  state.next = async () => false;
  pursuit.begin();
  await settled();
  await pass(999);
  t.equal(state.attempts, 1);
  state.next = async () => {
    throw new Error('not now');
  };
  await pass(1);
  t.same([state.attempts, failures.length], [2, 1]);
  state.next = async () => true;
  await pass(1_000);
  await pass(10_000);
  t.equal(state.attempts, 3);
});

t.test('attempts come one after the other, and none after a stop', async (t) => {
  const { pursuit, state, failures, pass } = setUp();
  let end = (_isSo: boolean) => {};
  state.next = () =>
    new Promise((resolve) => {
      end = resolve;
    });
  pursuit.begin();
  pursuit.begin();
  await settled();
  t.equal(state.attempts, 1);
  end(false);
  await settled();
  t.equal(state.attempts, 2, 'the second had been asked for');
  let isStopped = false;
  const stopped = pursuit.stop().then(() => {
    isStopped = true;
  });
  await settled();
  t.notOk(isStopped, 'while one is under way');
  end(false);
  await stopped;
  pursuit.begin();
  await pass(10_000);
  t.same([state.attempts, failures], [2, []]);
});
