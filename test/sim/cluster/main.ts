import { parseArgs } from 'node:util';
import { FAULTS } from './faults.js';
import { type Outcome, simulate } from './simulation.js';

/** `npm run sim:cluster -- --seed S --count N --seconds T`: simulates clusters from seed S on, and tells the story of the first that fails. */
const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    count: { type: 'string', default: '100' },
    /** No further seed is begun after so long of the processor's time. */
    seconds: { type: 'string', default: 'Infinity' },
    /** Tells the story of every run. */
    story: { type: 'boolean', default: false },
  },
});
const first = Number(values.seed);
const count = Number(values.count);
if (!Number.isSafeInteger(first) || !Number.isSafeInteger(count) || count < 1) {
  console.error('usage: npm run sim:cluster -- [--seed NUMBER] [--count NUMBER] [--seconds NUMBER] [--story]');
  process.exit(2);
}

const outcomes: Outcome[] = [];
const start = performance.now();
const isLate = (): boolean => process.cpuUsage().user > 1e6 * Number(values.seconds);
for (let seed = first; seed < first + count && !isLate(); seed++) {
  const outcome = await simulate(seed);
  outcomes.push({ ...outcome, story: [] });
  if (values.story || outcome.failure !== undefined) console.log(outcome.story.join('\n'));
  if (outcome.failure === undefined) continue;
  console.log(`\nseed ${seed} failed: ${outcome.failure}`);
  console.log(`once more: npm run sim:cluster -- --seed ${seed} --count 1`);
  process.exitCode = 1;
  break;
}
console.log(summary(outcomes, (performance.now() - start) / 1000));

function summary(outcomes: Outcome[], seconds: number): string {
  const sum = (of: (outcome: Outcome) => number): number => outcomes.reduce((total, each) => total + of(each), 0);
  const counted = (names: Iterable<string>, of: (outcome: Outcome) => ReadonlyMap<string, number>): string =>
    [...names].map((name) => `${name} ${sum((outcome) => of(outcome).get(name) ?? 0)}`).join(', ');
  const requests = new Set(outcomes.flatMap(({ figures }) => [...figures.requests.keys()]));
  const settledMs = Math.max(...outcomes.map(({ figures }) => figures.settledMs));
  return [
    `${outcomes.length} clusters in ${seconds.toFixed(1)} s (${((60 * outcomes.length) / seconds).toFixed(0)} a minute), ${(sum(({ figures }) => figures.virtualMs) / 3_600_000).toFixed(2)} hours of virtual time`,
    `${sum(({ figures }) => figures.leaderships)} terms with a leader, ${sum(({ figures }) => figures.entries)} entries, ${sum(({ figures }) => figures.containers)} containers started, settled after at most ${(settledMs / 1000).toFixed(0)} s`,
    `requests: ${counted(requests, ({ figures }) => figures.requests)}`,
    `faults: ${counted(FAULTS, ({ figures }) => figures.faults)}`,
  ].join('\n');
}
