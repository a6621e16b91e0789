import { SeededRng } from '@apiary/std';
import fc from 'fast-check';
import t from 'tap';
import { renewalMs } from './certificate-life.js';

const HOUR_S = 3600;
const DAY_S = 24 * HOUR_S;

t.test('a certificate is renewed between half and four fifths of its life, however long that is', async () => {
  const lifeS = fc.oneof(fc.integer({ min: HOUR_S, max: 100 * DAY_S }), fc.integer({ min: HOUR_S, max: 7300 * DAY_S }));
  const issuedS = fc.integer({ min: 0, max: 4e9 });
  fc.assert(
    fc.property(issuedS, lifeS, fc.integer(), (issued, life, seed) => {
      const rng = new SeededRng(seed);
      const dueMs = renewalMs({ issuedMs: issued * 1000, notAfterMs: (issued + life) * 1000 }, issued * 1000, rng);
      return dueMs >= (issued + life * 0.5) * 1000 && dueMs <= (issued + life * 0.8) * 1000;
    }),
  );
});

t.test('the draw spans the whole of that range, and moments differ between nodes', async (t) => {
  const life = { issuedMs: 0, notAfterMs: 90 * DAY_S * 1000 };
  const at = (drawn: number) => renewalMs(life, 0, { below: (bound) => Math.min(drawn, bound - 1) }) / (DAY_S * 1000);
  t.equal(at(0), 45);
  t.ok(Math.abs(at(2 ** 32) - 72) < 1e-6);
  const moments = Array.from({ length: 200 }, (_, seed) => renewalMs(life, 0, new SeededRng(seed)));
  t.ok(new Set(moments).size > 195);
});

t.test('a node whose clock is behind renews in time by the clocks of the others', async () => {
  const skewS = fc.integer({ min: 0, max: 10 * HOUR_S });
  fc.assert(
    fc.property(fc.integer({ min: HOUR_S, max: 100 * DAY_S }), skewS, fc.integer(), (life, skew, seed) => {
      const [issuedMs, notAfterMs] = [DAY_S * 1000, (DAY_S + life) * 1000];
      const dueMs = renewalMs({ issuedMs, notAfterMs }, issuedMs - skew * 1000, new SeededRng(seed)) + skew * 1000;
      return dueMs >= issuedMs + life * 500 && dueMs <= issuedMs + life * 800;
    }),
  );
});
