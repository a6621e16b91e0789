import fc from 'fast-check';
import t from 'tap';
import { EntryLog } from './entry-log.js';
import { decodeEntry, type Entry, encodeEntry, type Position } from './index.js';

/** The terms of entries 1, 2, ..., never falling. */
const terms = fc.array(fc.nat(2), { maxLength: 14 }).map((steps) => {
  let term = 1;
  return steps.map((step) => (term += step));
});

const entriesOf = (terms: number[], after = 0): Entry[] =>
  terms.map((term, i) => ({ type: 'empty', index: after + i + 1, term }));
const logOf = (terms: number[]): EntryLog => new EntryLog({ index: 0, term: 0 }, entriesOf(terms));

function naiveLastAtOrBelowTerm(terms: number[], index: number, term: number): Position {
  for (let i = Math.min(index, terms.length); i > 0; i--) {
    const found = terms[i - 1] ?? 0;
    if (found <= term) return { index: i, term: found };
  }
  return { index: 0, term: 0 };
}

t.test('the last place of a term or an older one is the one that walking back finds', async () => {
  fc.assert(
    fc.property(terms, fc.nat(16), fc.nat(30), (terms, index, term) => {
      const found = logOf(terms).lastAtOrBelowTerm(index, term);
      const expected = naiveLastAtOrBelowTerm(terms, index, term);
      return found.index === expected.index && found.term === expected.term;
    }),
  );
});

t.test('hints lead to where two logs agree, never past it, in no more round trips than there are terms', async () => {
  fc.assert(
    fc.property(terms, terms, terms, (common, ofLeader, ofFollower) => {
      // After what they share, no entry of one is in the other: the leader's terms are odd there, the follower's even.
      const start = 2 * (common.at(-1) ?? 0);
      const leaderTerms = [...common.map((term) => 2 * term), ...ofLeader.map((term) => start + 2 * term + 1)];
      const followerTerms = [...common.map((term) => 2 * term), ...ofFollower.map((term) => start + 2 * term)];
      const [leader, follower] = [logOf(leaderTerms), logOf(followerTerms)];
      let previous = leader.lastIndex;
      let rounds = 0;
      for (; !follower.has({ index: previous, term: leader.termAt(previous) ?? 0 }); rounds++) {
        const hint = follower.lastAtOrBelowTerm(Math.min(previous, follower.lastIndex), leader.termAt(previous) ?? 0);
        previous = Math.min(previous - 1, leader.lastAtOrBelowTerm(hint.index, hint.term).index);
        // Walking back one by one stops at the end of what is common.
        if (previous < common.length) return false;
      }
      return rounds <= 1 + Math.min(new Set(leaderTerms).size, new Set(followerTerms).size);
    }),
    { numRuns: 500 },
  );
});

t.test('what is durable is what was written, however entries are replaced while writes are under way', async () => {
  type Step = { type: 'append' | 'replace' | 'emit' | 'settle' | 'fail'; at: number };
  const step = fc.record<Step>({
    type: fc.constantFrom('append', 'append', 'replace', 'emit', 'emit', 'settle', 'settle', 'fail' as const),
    at: fc.nat(5),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const log = logOf([]);
      let disk: number[] = [];
      let writes: Entry[][] = [];
      let [number, settledNumber, term] = [0, 0, 1];
      for (const { type, at } of steps) {
        if (type === 'append') log.append(entriesOf([term, term], log.lastIndex));
        if (type === 'replace' && log.lastIndex > 0) {
          const index = Math.max(1, log.lastIndex - at);
          log.truncateFrom(index);
          // Half of the time a leader of the old term repeats itself.
          if (at % 2 === 0) term++;
          log.append(entriesOf([term], index - 1));
        }
        if (type === 'emit') {
          writes.push(log.emit(++number));
        }
        const [first] = writes;
        if (type === 'settle' && first !== undefined) {
          for (const entry of first) {
            if (entry.index > disk.length + 1) return false;
            disk = [...disk.slice(0, entry.index - 1), entry.term];
          }
          writes = writes.slice(1);
          log.settle(++settledNumber);
        }
        if (type === 'fail') {
          writes = [];
          settledNumber = number;
          log.giveBack();
        }
        for (let i = 1; i <= log.stableIndex; i++) if (disk[i - 1] !== log.termAt(i)) return false;
      }
      return true;
    }),
    { numRuns: 1000 },
  );
});

t.test('a slice has one entry at least, and then keeps to both bounds', async (t) => {
  const data = new Uint8Array(76);
  const entries = [1, 2, 3, 4].map((index): Entry => ({ type: 'command', index, term: 1, data }));
  const log = new EntryLog({ index: 0, term: 0 }, entries);
  const indexes = (...args: [number, number, number]) => log.slice(...args).map(({ index }) => index);
  t.same(indexes(1, 10, 1), [1]);
  t.same(indexes(1, 10, 200), [1, 2]);
  t.same(indexes(2, 2, 1000), [2, 3]);
  t.same(indexes(5, 2, 1000), []);
  log.compactTo(2);
  t.throws(() => log.slice(2, 1, 1), /only in a snapshot/);
  t.same([log.base, log.termAt(2), log.termAt(1)], [{ index: 2, term: 1 }, 1, undefined]);
  t.throws(() => log.truncateFrom(2), /cannot be dropped/);
  t.throws(() => log.append([{ type: 'empty', index: 9, term: 1 }]), /cannot follow/);
});

t.test('entries come back from bytes as they were', async (t) => {
  const membership = { voters: ['a', 'bcdefghijklmnopqrstuvwxy'], learners: ['z'] };
  const data = new Uint8Array([1, 2, 3]);
  const entries: Entry[] = [
    { type: 'empty', index: 1, term: 2 },
    { type: 'command', index: 3, term: 4, data },
    { type: 'membership', index: 5, term: 6, membership, data },
    { type: 'membership', index: 5, term: 6, membership: { voters: [], learners: [] }, data: new Uint8Array(0) },
  ];
  for (const entry of entries) t.same(decodeEntry(entry, encodeEntry(entry)), entry);
  t.throws(() => decodeEntry({ index: 7, term: 1 }, new Uint8Array([9])), /entry 7 has content of type 9/);
});
