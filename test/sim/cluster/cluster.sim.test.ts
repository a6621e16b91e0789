import t from 'tap';
import { CLUSTER_MUTANTS } from '../mutants/cluster-mutants.js';
import { occurrences } from '../mutants/mutation.js';
import { type Outcome, simulate } from './simulation.js';

/**
 * The same clusters in every run: what fails here fails everywhere, and was brought about by what has changed. More of them
 * are a sweep's (README.md). On a machine that is too slow for all, fewer of them.
 */
const SEEDS = 40;
const AT_LEAST = 10;
const LONGEST_MS = 120_000;

t.setTimeout(300_000);

t.test('every deliberate fault fits the source', async (t) => {
  for (const mutant of CLUSTER_MUTANTS) t.equal(occurrences(mutant), 1, mutant.name);
});

t.test('a seed tells the same story each time', async (t) => {
  const [first, second] = [await simulate(2), await simulate(2)];
  t.same(first.story, second.story);
  t.equal(first.figures.events, second.figures.events);
});

t.test('clusters do what was asked, whatever fails', async (t) => {
  const endMs = performance.now() + LONGEST_MS;
  const outcomes: Outcome[] = [];
  for (let seed = 1; seed <= SEEDS && (performance.now() < endMs || seed <= AT_LEAST); seed++) {
    const outcome = await simulate(seed);
    if (outcome.failure !== undefined) {
      t.comment(outcome.story.join('\n'));
      t.fail(`seed ${seed}: ${outcome.failure}; once more: npm run sim:cluster -- --seed ${seed} --count 1`);
      break;
    }
    outcomes.push({ ...outcome, story: [] });
  }
  const containers = outcomes.reduce((sum, { figures }) => sum + figures.containers, 0);
  t.ok(containers > 40 * outcomes.length, `${containers} containers started in ${outcomes.length} clusters`);
});
