import { invariant } from '@apiary/std';
import type { MemberId, Membership } from './entry.js';

/**
 * One step. Voters change by at most one at a time, so that any majority before shares a member with any majority
 * after (Ongaro's dissertation, 4.1). See docs/decisions/0010-membership-in-steps.md.
 */
export interface MembershipChange {
  type: 'add-learner' | 'promote' | 'demote' | 'remove';
  member: MemberId;
}

export type MembershipFault = 'already-member' | 'not-a-member' | 'not-a-learner' | 'not-a-voter' | 'last-voter';

/** The membership after `change`, or why it cannot be. */
export function changeMembership(
  { voters, learners }: Membership,
  { type, member }: MembershipChange,
): Membership | MembershipFault {
  const isVoter = voters.includes(member);
  const isLearner = learners.includes(member);
  switch (type) {
    case 'add-learner':
      if (isVoter || isLearner) return 'already-member';
      return { voters, learners: withMember(learners, member) };
    case 'promote':
      if (!isLearner) return isVoter ? 'not-a-learner' : 'not-a-member';
      return { voters: withMember(voters, member), learners: without(learners, member) };
    case 'demote':
      if (!isVoter) return isLearner ? 'not-a-voter' : 'not-a-member';
      if (voters.length === 1) return 'last-voter';
      return { voters: without(voters, member), learners: withMember(learners, member) };
    case 'remove':
      if (!isVoter && !isLearner) return 'not-a-member';
      if (isVoter && voters.length === 1) return 'last-voter';
      return { voters: without(voters, member), learners: without(learners, member) };
  }
}

function withMember(members: readonly MemberId[], member: MemberId): MemberId[] {
  return [...members, member].sort();
}

function without(members: readonly MemberId[], member: MemberId): MemberId[] {
  return members.filter((other) => other !== member);
}

export const NO_MEMBERSHIP: Membership = { voters: [], learners: [] };

/**
 * The memberships that the log names. The newest counts from the moment it is appended, committed or not; when its
 * entry is replaced by a new leader's, the one before counts again (dissertation, 4.1).
 */
export class MembershipHistory {
  /** Ascending; the first is that of the log's beginning. */
  #steps: [Step, ...Step[]];

  constructor(index: number, membership: Membership) {
    this.#steps = [{ index, membership }];
  }

  get current(): Membership {
    return this.#last.membership;
  }

  /** Index of the entry that `current` is of. */
  get currentIndex(): number {
    return this.#last.index;
  }

  /** The membership after the entry at `index`. */
  at(index: number): Membership {
    const step = this.#steps.findLast((each) => each.index <= index);
    invariant(step !== undefined, `the membership at entry ${index} is no longer known`);
    return step.membership;
  }

  append(index: number, membership: Membership): void {
    invariant(index > this.currentIndex, `membership ${index} cannot follow ${this.currentIndex}`);
    this.#steps.push({ index, membership });
  }

  /** Forgets those of entries from `index` on. */
  truncateFrom(index: number): void {
    const [first, ...rest] = this.#steps;
    invariant(first.index < index, `the membership of entry ${first.index} cannot be taken back`);
    this.#steps = [first, ...rest.filter((step) => step.index < index)];
  }

  /** Forgets what was before entry `index`. */
  compactTo(index: number): void {
    const membership = this.at(index);
    const since = this.#steps.findLast((step) => step.index <= index)?.index ?? index;
    this.#steps = [{ index: since, membership }, ...this.#steps.filter((step) => step.index > index)];
  }

  get #last(): Step {
    return this.#steps.at(-1) ?? this.#steps[0];
  }
}

interface Step {
  index: number;
  membership: Membership;
}
