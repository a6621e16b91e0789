import fc from 'fast-check';
import t from 'tap';
import { changeMembership, type Membership, MembershipHistory, majority, quorumValue, voteResult } from './index.js';

const voters = fc.uniqueArray(fc.constantFrom<string[]>('a', 'b', 'c', 'd', 'e', 'f', 'g'), { minLength: 1 });

t.test('what a majority has reached is what counting one index after the other finds', async () => {
  fc.assert(
    fc.property(voters, fc.array(fc.nat(6), { minLength: 7, maxLength: 7 }), (voters, reached) => {
      const values = new Map(voters.map((id, i) => [id, reached[i] ?? 0]));
      let expected = 0;
      for (let index = 1; index <= 6; index++) {
        const have = [...values.values()].filter((value) => value >= index).length;
        if (2 * have > voters.length) expected = index;
      }
      return quorumValue(voters, (id) => values.get(id) ?? 0) === expected;
    }),
  );
});

t.test('an election is won or lost exactly when no answer still missing can change that', async () => {
  const votes = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g', 'x'), fc.boolean());
  fc.assert(
    fc.property(voters, votes, (voters, votes) => {
      const count = (missing: boolean) => voters.filter((id) => votes[id] ?? missing).length;
      const wins = (granted: number) => 2 * granted > voters.length;
      const expected = wins(count(false)) ? 'won' : wins(count(true)) ? 'pending' : 'lost';
      return voteResult(voters, new Map(Object.entries(votes))) === expected;
    }),
  );
});

t.test('majorities before and after any one change of membership share a member', async () => {
  const type = fc.constantFrom('add-learner', 'promote', 'demote', 'remove' as const);
  const membership = fc.record({ voters, learners: fc.uniqueArray(fc.constantFrom('x', 'y', 'z')) });
  fc.assert(
    fc.property(membership, type, fc.constantFrom('a', 'b', 'x', 'y', 'new'), (before, type, member) => {
      const after = changeMembership(before, { type, member });
      if (typeof after === 'string') return true;
      const all = new Set([...before.voters, ...after.voters]);
      return majority(before.voters.length) + majority(after.voters.length) > all.size && after.voters.length > 0;
    }),
    { numRuns: 300 },
  );
});

t.test('a change that makes no sense is refused with its reason', async (t) => {
  const membership: Membership = { voters: ['a'], learners: ['x'] };
  t.equal(changeMembership(membership, { type: 'remove', member: 'a' }), 'last-voter');
  t.equal(changeMembership(membership, { type: 'demote', member: 'a' }), 'last-voter');
  t.equal(changeMembership(membership, { type: 'demote', member: 'x' }), 'not-a-voter');
  t.equal(changeMembership(membership, { type: 'promote', member: 'a' }), 'not-a-learner');
  t.equal(changeMembership(membership, { type: 'promote', member: 'q' }), 'not-a-member');
  t.equal(changeMembership(membership, { type: 'remove', member: 'q' }), 'not-a-member');
  t.equal(changeMembership(membership, { type: 'add-learner', member: 'x' }), 'already-member');
  t.same(changeMembership(membership, { type: 'promote', member: 'x' }), { voters: ['a', 'x'], learners: [] });
  t.same(changeMembership(membership, { type: 'remove', member: 'x' }), { voters: ['a'], learners: [] });
});

t.test('a membership whose entry is replaced gives way to the one before', async (t) => {
  const of = (...voters: string[]): Membership => ({ voters, learners: [] });
  const history = new MembershipHistory(1, of('a'));
  history.append(4, of('a', 'b'));
  history.append(9, of('a', 'b', 'c'));
  t.same(history.at(3), of('a'));
  t.same(history.at(8), of('a', 'b'));
  history.truncateFrom(9);
  t.same([history.current, history.currentIndex], [of('a', 'b'), 4]);
  history.append(10, of('b'));
  history.compactTo(7);
  t.same([history.at(7), history.at(10), history.currentIndex], [of('a', 'b'), of('b'), 10]);
  t.throws(() => history.truncateFrom(3), /cannot be taken back/);
  t.throws(() => history.append(10, of('c')), /cannot follow/);
});
