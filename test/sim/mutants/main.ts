import { parseArgs } from 'node:util';
import { MUTANTS } from './mutants.js';
import { tryMutant } from './mutation.js';

/** `npm run sim:mutants`: shows that the simulator catches each of the deliberate faults; status 1 if one survives. */
const { values } = parseArgs({
  options: {
    /** Seeds that each is given. */
    count: { type: 'string', default: '1500' },
    /** Only those with this word in their name. */
    only: { type: 'string', default: '' },
    /** At a time. */
    jobs: { type: 'string', default: '2' },
  },
});

const chosen = MUTANTS.filter(({ name }) => name.includes(values.only));
const survivors: string[] = [];
const waiting = [...chosen];

async function work(): Promise<void> {
  for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
    const { caught, seconds } = await tryMutant(mutant, Number(values.count));
    if (caught === undefined) survivors.push(mutant.name);
    const verdict = caught === undefined ? 'SURVIVED' : `seed ${caught.seed}`;
    console.log(
      `${verdict.padEnd(10)} ${seconds.toFixed(1).padStart(6)} s  ${mutant.name.padEnd(76)} ${caught?.failure.slice(0, 110) ?? ''}`,
    );
  }
}

await Promise.all(Array.from({ length: Math.max(1, Number(values.jobs)) }, work));
console.log(`${chosen.length - survivors.length} of ${chosen.length} mutants caught`);
if (survivors.length > 0) process.exitCode = 1;
