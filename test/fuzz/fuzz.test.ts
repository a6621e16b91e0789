import t from 'tap';
import { fuzz, TARGETS } from './fuzz.js';

t.setTimeout(120_000);

for (const target of TARGETS) {
  t.test(`${target.name}: what makes no sense is refused, and harms nothing`, async (t) => {
    const { counts } = await fuzz(target, { seed: 1, inputs: 3_000 });
    t.ok(counts.refused > 0, `${counts.taken} taken, ${counts.refused} refused`);
  });
}
