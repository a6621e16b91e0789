import t from 'tap';
import { newId, SeededRng, TokenBucket, VirtualClock } from './index.js';

t.test('a generator of one seed repeats itself, and ids are of one length', async (t) => {
  const ids = (seed: number) => {
    const rng = new SeededRng(seed);
    return Array.from({ length: 100 }, () => newId(rng));
  };
  t.same(ids(7), ids(7));
  t.not(ids(7)[0], ids(8)[0]);
  t.equal(new Set(ids(7)).size, 100);
  for (const id of ids(7)) t.match(id, /^[0-9a-f][0-9a-z]{24}$/);
});

t.test('numbers below a bound are all drawn, and evenly', async (t) => {
  const rng = new SeededRng(1);
  const counts = Array.from({ length: 10 }, () => 0);
  for (let i = 0; i < 10_000; i++) {
    const n = rng.below(10);
    counts[n] = (counts[n] ?? 0) + 1;
  }
  for (const count of counts) t.ok(count > 850 && count < 1150, `${count} of 10000`);
});

t.test('virtual time calls what falls due in order, each at its own time', async (t) => {
  const clock = new VirtualClock(100);
  const seen: string[] = [];
  clock.after(20, () => seen.push(`b@${clock.now()}`));
  clock.after(10, () => {
    seen.push(`a@${clock.now()}`);
    clock.after(5, () => seen.push(`c@${clock.now()}`));
  });
  const cancelled = clock.after(12, () => seen.push('never'));
  cancelled.cancel();
  clock.advance(19);
  t.same(seen, ['a@110', 'c@115']);
  clock.advance(1);
  t.same(seen, ['a@110', 'c@115', 'b@120']);
  t.equal(clock.now(), 120);
});

t.test('no more is let through than a rate says, whatever the clock does', async (t) => {
  const bucket = new TokenBucket({ burst: 3, perSecond: 10 }, 1_000);
  const taken = (nowMs: number) => Array.from({ length: 9 }, () => bucket.take(nowMs)).filter(Boolean).length;
  t.equal(taken(1_000), 3);
  t.equal(taken(1_099), 0);
  t.equal(taken(1_200), 2, 'what was refused has cost nothing');
  t.equal(taken(500), 0, 'a clock that is set back gives nothing');
  t.equal(taken(600), 1, 'and goes on from there');
  t.equal(taken(60_000), 3, 'a long quiet gives a burst');
});
