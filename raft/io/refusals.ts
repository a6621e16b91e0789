import { ApiaryError } from '@apiary/std';
import type { MemberId, Membership, MembershipChange, NodeStatus, Proposal } from '../core/index.js';
import { changeMembership, majority } from '../core/index.js';

/** What those hear who asked for something that cannot be. */

type Reason = Extract<Proposal, { type: 'refused' }>['reason'];

/** Docker's words. */
export function noLeader(): ApiaryError {
  return new ApiaryError(
    'unavailable',
    "The swarm does not have a leader. It's possible that too few managers are online. " +
      'Make sure more than half of the managers are online.',
  );
}

export function tooLarge(directory: string, bytes: number, maxEntryBytes: number): ApiaryError {
  return new ApiaryError(
    'resource-exhausted',
    `${directory}: an entry of ${bytes} bytes is over the limit of ${maxEntryBytes}: split the request`,
  );
}

export function busy(): ApiaryError {
  return new ApiaryError('resource-exhausted', 'too much waits to be committed: try again in a while');
}

/** The entry may have been committed, or may still be: nobody here can tell. */
export function outcomeUnknown(cause?: unknown): ApiaryError {
  return new ApiaryError(
    'unavailable',
    'it is not known whether the change was made: the leader of the managers was lost meanwhile, or this one cannot ' +
      'follow it. Look whether it was, and try again if not',
    { cause },
  );
}

/** What was committed has not arrived here. */
export function behind(): ApiaryError {
  return new ApiaryError('unavailable', 'this manager is behind the others: ask another, or try again in a while');
}

/** It was not committed, and will not be. */
export function notMade(why: string): ApiaryError {
  return new ApiaryError('unavailable', `the change was not made: ${why}. Try again`);
}

/** Why a step of membership is refused, by who the members are and which of them answer. */
export function refusedChange(
  reason: Reason,
  { type, member }: MembershipChange,
  { membership, peers, lastIndex, id }: NodeStatus,
): ApiaryError {
  const wrong = (words: string): ApiaryError => new ApiaryError('failed-precondition', words);
  const later = (words: string): ApiaryError => new ApiaryError('unavailable', words);
  switch (reason) {
    case 'already-member':
      return wrong(`${member} takes part in the managers' log already`);
    case 'not-a-member':
      return wrong(`${member} does not take part in the managers' log`);
    case 'not-a-learner':
      return wrong(`${member} has a vote among the managers already`);
    case 'not-a-voter':
      return wrong(`${member} has no vote among the managers`);
    case 'last-voter':
      return wrong(`${member} is the only manager with a vote: it can not be taken away`);
    case 'learner-behind': {
      const peer = peers.find((each) => each.id === member);
      const state = peer?.isActive === true ? `lacks ${lastIndex - peer.matchIndex} entries` : 'does not answer';
      return wrong(`${member} has not caught up with the managers' log: it ${state}`);
    }
    case 'quorum-at-risk':
      return wrong(costOf({ type, member }, membership, (other) => other === id || isActive(peers, other)));
    case 'change-under-way':
      return later('another change of who the managers are is under way: try again');
    case 'transferring':
      return later('the leadership of the managers is being handed over: try again');
    case 'not-leader':
      return later('this manager does not lead: only the leader changes who the managers are');
    case 'busy':
      return busy();
    case 'too-large':
      return wrong('what is to be changed with the membership is too large for one entry');
  }
}

function isActive(peers: NodeStatus['peers'], id: MemberId): boolean {
  return peers.some((peer) => peer.id === id && peer.isActive);
}

/** What a step would leave of the majority. */
function costOf(change: MembershipChange, membership: Membership, answers: (id: MemberId) => boolean): string {
  const next = changeMembership(membership, change);
  const voters = typeof next === 'string' ? membership.voters : next.voters;
  const silent = voters.filter((id) => !answers(id));
  const doing = change.type === 'promote' ? `giving ${change.member} a vote` : `removing ${change.member}`;
  return (
    `${doing} would leave ${voters.length - silent.length} of ${voters.length} managers reachable, and ` +
    `${majority(voters.length)} are needed: bring ${silent.join(', ')} back first, or force it`
  );
}
