import { parseArgs } from 'node:util';
import { fuzz, TARGETS } from './fuzz.js';

/** `npm run fuzz -- --seed S --inputs N --only WORD`: N inputs, shared out between the targets. */
const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    inputs: { type: 'string', default: '200000' },
    only: { type: 'string', default: '' },
  },
});
const [seed, inputs] = [Number(values.seed), Number(values.inputs)];
if (!Number.isSafeInteger(seed) || !Number.isSafeInteger(inputs) || inputs < 1) {
  console.error('usage: npm run fuzz -- [--seed NUMBER] [--inputs NUMBER] [--only WORD]');
  process.exit(2);
}

console.log(`seed ${seed}`);
let total = 0;
for (const target of TARGETS.filter(({ name }) => name.includes(values.only))) {
  const startMs = performance.now();
  try {
    const { name, counts, slowestMs, growthBytes } = await fuzz(target, { seed, inputs });
    const sum = counts.taken + counts.refused;
    total += sum;
    const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
    const growth = growthBytes === undefined ? '' : `, heap ${(growthBytes / 2 ** 20).toFixed(1)} MiB more`;
    console.log(
      `${name}: ${sum} inputs, ${counts.taken} taken, ${counts.refused} refused, ` +
        `${seconds} s, slowest ${slowestMs.toFixed(0)} ms${growth}`,
    );
  } catch (error) {
    process.exitCode = 1;
    console.log(`${target.name} failed; once more: npm run fuzz -- --seed ${seed} --only '${target.name}'`);
    console.log(error);
  }
}
console.log(`${total} inputs in all`);
