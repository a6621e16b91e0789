import fc from 'fast-check';
import t from 'tap';
import { occurrences, tryMutant } from '../mutants/mutation.js';
import { RAFT_MUTANTS } from '../mutants/raft-mutants.js';
import { isLinearizable, isListLinearizable, type ListCall, listModel, type Operation } from './linearizability.js';
import { type Outcome, simulate } from './simulation.js';

/** So long clusters are simulated, and so many at least; at most so many that no run is the first to see a seed. */
const LONGEST_MS = 120_000;
const AT_LEAST = 25;
const AT_MOST = 1500;

t.setTimeout(400_000);

/** Whether any order of the operations that keeps to their times explains what was read: the definition, tried out. */
function isExplained(history: readonly Operation<ListCall>[]): boolean {
  const search = (done: readonly Operation<ListCall>[], values: readonly string[]): boolean => {
    const left = history.filter((operation) => !done.includes(operation));
    if (left.every(({ returnedMs }) => returnedMs === Number.POSITIVE_INFINITY)) return true;
    return left.some((operation) => {
      if (left.some(({ returnedMs }) => returnedMs < operation.calledMs)) return false;
      const next = listModel.step(values, operation.call);
      return next !== undefined && search([...done, operation], next);
    });
  };
  return search([], []);
}

t.test('a history is linearizable when some order of it explains it, and only then', async (t) => {
  const call = fc.oneof(
    fc.record({ type: fc.constant('append' as const) }),
    fc.record({ type: fc.constant('read' as const), values: fc.subarray(['v0', 'v1', 'v2', 'v3']) }),
  );
  const operation = fc.record({ call, calledMs: fc.nat(12), tookMs: fc.nat(6), isKnown: fc.nat(3) });
  let linearizable = 0;
  const history = fc.array(operation, { maxLength: 6 });
  fc.assert(
    fc.property(history, (drawn) => {
      const operations = drawn.map(
        ({ call, calledMs, tookMs, isKnown }, i): Operation<ListCall> => ({
          call: call.type === 'append' ? { type: 'append', value: `v${i}` } : call,
          calledMs,
          returnedMs: isKnown === 0 && call.type === 'append' ? Number.POSITIVE_INFINITY : calledMs + tookMs,
        }),
      );
      const expected = isExplained(operations);
      if (expected) linearizable++;
      return isLinearizable(listModel, operations) === expected && isListLinearizable(operations) === expected;
    }),
    { numRuns: 1500, seed: 1 },
  );
  t.ok(linearizable > 100 && linearizable < 1400, `${linearizable} of 1500 histories were linearizable`);
});

t.test('a seed tells the same story each time', { timeout: 250_000 }, async (t) => {
  const [first, second] = [await simulate(7), await simulate(7)];
  t.same(first.story, second.story);
  t.equal(first.figures.events, second.figures.events);
});

t.test('clusters keep their promises, whatever fails', { timeout: 250_000 }, async (t) => {
  const endMs = performance.now() + LONGEST_MS;
  const outcomes: Outcome[] = [];
  for (let seed = 1; seed <= AT_MOST && (performance.now() < endMs || seed <= AT_LEAST); seed++) {
    const outcome = await simulate(seed);
    if (outcome.failure !== undefined) {
      t.comment(outcome.story.join('\n'));
      t.fail(`seed ${seed}: ${outcome.failure}; once more: npm run sim:raft -- --seed ${seed} --count 1`);
      break;
    }
    outcomes.push({ ...outcome, story: [] });
  }
  const acknowledged = outcomes.reduce((sum, { figures }) => sum + figures.acknowledged, 0);
  const changes = outcomes.reduce((sum, { figures }) => sum + figures.membershipChanges, 0);
  t.ok(acknowledged > 50 * outcomes.length, `${acknowledged} writes acknowledged by ${outcomes.length} clusters`);
  t.ok(changes > outcomes.length, `${changes} membership changes`);
});

t.test('every deliberate fault fits the source', async (t) => {
  for (const mutant of RAFT_MUTANTS) t.equal(occurrences(mutant), 1, mutant.name);
});

t.test('the simulator sees deliberate faults', { timeout: 250_000 }, async (t) => {
  const quick = ['a member votes twice', 'nothing is synced', 'a deposed leader answers reads'];
  for (const mutant of RAFT_MUTANTS.filter(({ name }) => quick.some((words) => name.startsWith(words)))) {
    const { caught } = await tryMutant(mutant, 'raft', { count: 300, seconds: 60 });
    t.ok(caught, `${mutant.name}: ${caught?.failure}`);
  }
});
