import { ApiaryError, SeededRng, VirtualClock } from '@apiary/std';
import t, { type Test } from 'tap';
import { EngineLink } from './engine-link.js';
import { FakeEngine } from './fake-engine.js';

/** A link whose handlers note what they are told, and may throw. */
function link(t: Test, onUp: () => void = () => {}) {
  const engine = new FakeEngine();
  const clock = new VirtualClock();
  const told: string[] = [];
  let wake = () => {};
  const tell = (what: string) => {
    told.push(what);
    wake();
  };
  const subject = new EngineLink(engine, clock, new SeededRng(1), {
    onUp: () => {
      tell('up');
      onUp();
    },
    onDown: (reason) => tell(`down: ${reason}`),
    onEvent: ({ kind }) => tell(kind),
    onDescription: ({ Resources }) => tell(`has ${Resources.MemoryBytes}`),
  });
  t.teardown(() => subject.stop());
  const until = async (count: number) => {
    while (told.length < count) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  return { engine, clock, told, subject, until };
}

t.test('an engine that stands still is noticed although nothing is asked of it, and its return too', async (t) => {
  const { engine, clock, told, subject, until } = link(t);
  let isFrozen = false;
  engine.before = () => {
    if (isFrozen) throw new ApiaryError('unavailable', 'no answer within 8 s');
  };
  subject.start();
  await until(1);
  const pinged = () =>
    new Promise<void>((resolve) => {
      engine.before = (call) => (call === 'ping' ? resolve() : undefined);
    });
  for (let i = 0; i < 2; i++) {
    const next = pinged();
    clock.advance(2_000);
    await next;
    // The answer to the ping arms the next one.
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  t.same(told, ['up'], 'one that answers is left alone');
  isFrozen = true;
  engine.before = () => {
    if (isFrozen) throw new ApiaryError('unavailable', 'no answer within 8 s');
  };
  clock.advance(2_000);
  await until(2);
  t.equal(told[1], 'down: no answer within 8 s');
  isFrozen = false;
  clock.advance(100);
  await until(3);
  t.equal(told[2], 'up');
});

t.test(
  'what the host has is looked at again every twenty seconds, and a failure of that alone says nothing',
  async (t) => {
    const { engine, clock, told, subject, until } = link(t);
    subject.start();
    await until(1);
    const calls: string[] = [];
    let called = () => {};
    engine.before = (call) => {
      calls.push(call);
      called();
      if (call === 'describe' && calls.length < 12) throw new ApiaryError('internal', 'busy');
    };
    const pass = async (pings: number) => {
      for (let i = 0; i < pings; i++) {
        const next = new Promise<void>((resolve) => {
          called = resolve;
        });
        clock.advance(2_000);
        await next;
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
    };
    await pass(10);
    t.same(calls, [...Array(10).fill('ping'), 'describe']);
    t.same(told, ['up']);
    await pass(10);
    await until(2);
    t.match(told[1], /^has \d+$/);
  },
);

t.test('a link that was stopped asks no more', async (t) => {
  const { engine, clock, told, subject, until } = link(t);
  subject.start();
  await until(1);
  engine.before = (call) => {
    t.fail(`asked for ${call}`);
  };
  subject.stop();
  clock.advance(60_000);
  t.same(told, ['up']);
});

t.test('what goes wrong in whoever listens is not the fault of the engine', async (t) => {
  const { told, subject } = link(t, () => {
    throw new TypeError('a bug');
  });
  const fault = new Promise((resolve) => {
    const others = process.listeners('unhandledRejection');
    process.removeAllListeners('unhandledRejection');
    process.once('unhandledRejection', (error) => {
      for (const other of others) process.on('unhandledRejection', other);
      resolve(error);
    });
  });
  subject.start();
  t.match(await fault, { message: 'a bug' });
  t.same(told, ['up']);
});
