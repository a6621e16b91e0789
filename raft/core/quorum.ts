import type { MemberId } from './entry.js';

/** How many of `count` voters are more than half of them. */
export function majority(count: number): number {
  return Math.floor(count / 2) + 1;
}

/**
 * The highest value that a majority of the voters has reached: of match indexes, what is committed; of ticks, since
 * when a lease runs. Nothing can be agreed on without voters: then it is 0.
 */
export function quorumValue(voters: readonly MemberId[], reachedBy: (id: MemberId) => number): number {
  const descending = voters.map(reachedBy).sort((a, b) => b - a);
  return descending[majority(voters.length) - 1] ?? 0;
}

export type VoteResult = 'won' | 'lost' | 'pending';

/** How an election stands. Answers of others than the voters do not count. */
export function voteResult(voters: readonly MemberId[], votes: ReadonlyMap<MemberId, boolean>): VoteResult {
  let granted = 0;
  let refused = 0;
  for (const voter of voters) {
    const vote = votes.get(voter);
    if (vote === true) granted++;
    if (vote === false) refused++;
  }
  if (voters.length > 0 && granted >= majority(voters.length)) return 'won';
  return voters.length - refused < majority(voters.length) ? 'lost' : 'pending';
}
