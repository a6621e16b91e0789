import { parseArgs } from 'node:util';
import { CLUSTER_MUTANTS } from './cluster-mutants.js';
import { tryMutant } from './mutation.js';
import { RAFT_MUTANTS } from './raft-mutants.js';

/** `npm run sim:mutants`: shows that the simulators catch each of the deliberate faults; status 1 if one survives. */
const { values } = parseArgs({
  options: {
    /** Seeds that each is given, and how much of the processor's time, in seconds. */
    count: { type: 'string', default: '1500' },
    seconds: { type: 'string', default: '240' },
    /** Only those with this word in their name, or in files below this folder. */
    only: { type: 'string', default: '' },
    /** At a time. */
    jobs: { type: 'string', default: '2' },
  },
});

const all = [
  ...RAFT_MUTANTS.map((mutant) => ({ ...mutant, simulator: 'raft' as const })),
  ...CLUSTER_MUTANTS.map((mutant) => ({ ...mutant, simulator: 'cluster' as const })),
];
const chosen = all.filter(({ name, file }) => name.includes(values.only) || file.startsWith(values.only));
const survivors: string[] = [];
const waiting = [...chosen];

async function work(): Promise<void> {
  for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
    const { caught, seconds } = await tryMutant(mutant, mutant.simulator, {
      count: Number(values.count),
      seconds: Number(values.seconds),
    });
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
