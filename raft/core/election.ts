import type { MemberId } from './entry.js';
import type { PreVoteRequest, VoteRequest, VoteResponse } from './messages.js';
import { voteResult } from './quorum.js';
import { appendAsLeader } from './replication.js';
import {
  becomeCandidate,
  becomeFollower,
  becomeLeader,
  becomePreCandidate,
  waitForLeader,
  waitForVotes,
} from './roles.js';
import { isVoter, type NodeState, voters } from './state.js';

/**
 * Whether this node may be elected. One whose own removal is not committed yet may: the others may need its log to
 * commit it (dissertation, 4.2.2). One that cannot write may not: it could not even keep its vote.
 */
export function mayCampaign(state: NodeState): boolean {
  const { memberships, commit, options, role, disk, install } = state;
  if (role.type === 'leader' || disk.health.type === 'failed' || install !== 'none') return false;
  return isVoter(state) || (memberships.currentIndex > commit && memberships.at(commit).voters.includes(options.id));
}

/** Asks whether an election would be won, before one is begun (dissertation, 9.6). */
export function preVote(state: NodeState): void {
  if (!mayCampaign(state)) {
    waitForLeader(state);
    return;
  }
  const { votes } = becomePreCandidate(state);
  if (voteResult(voters(state), votes) === 'won') {
    campaign(state, { isTransfer: false });
    return;
  }
  const { options, term, log, outbox } = state;
  for (const to of votersToAsk(state)) {
    outbox.send.push({ type: 'pre-vote-request', from: options.id, to, term: term + 1, last: log.last });
  }
}

/** Begins a term and asks for votes; its own counts once it is durable. */
export function campaign(state: NodeState, { isTransfer }: { isTransfer: boolean }): void {
  becomeCandidate(state);
  const { options, term, log, outbox } = state;
  for (const to of votersToAsk(state)) {
    outbox.send.push({ type: 'vote-request', from: options.id, to, term, last: log.last, isTransfer });
  }
}

function votersToAsk(state: NodeState): MemberId[] {
  return voters(state).filter((id) => id !== state.options.id);
}

/**
 * Whether a leader is known to be alive, so that nobody else is to be voted for (check-quorum; dissertation, 6.2 and
 * 4.2.3). Where reads rely on a lease, that holds also across a change of term and a restart.
 */
export function hasLiveLeader(state: NodeState): boolean {
  const { role, tick, leaderContactTick, options } = state;
  if (role.type === 'leader') return true;
  if (tick - leaderContactTick >= options.electionTicks) return false;
  return options.reads.type === 'lease' || (role.type === 'follower' && role.leaderId !== undefined);
}

export function handlePreVote(state: NodeState, { from, term, last }: PreVoteRequest): void {
  const isGranted = term > state.term && state.log.isCoveredBy(last);
  state.outbox.sendOnceDurable.push({
    type: 'pre-vote-response',
    from: state.options.id,
    to: from,
    term: isGranted ? term : state.term,
    isGranted,
  });
}

/** A vote is given once a term, and only to who has all that may be committed (dissertation, 3.4 and 3.6.1). */
export function handleVoteRequest(state: NodeState, { from, last }: VoteRequest): void {
  const { role, vote, log, options, term } = state;
  const isFree = vote === '' && role.type === 'follower' && role.leaderId === undefined;
  const isGranted = (vote === from || isFree) && log.isCoveredBy(last);
  if (isGranted) {
    state.vote = from;
    waitForLeader(state);
  }
  state.outbox.sendOnceDurable.push({ type: 'vote-response', from: options.id, to: from, term, isGranted });
}

export function handleVoteResponse(state: NodeState, { type, from, term, isGranted }: VoteResponse): void {
  const { role } = state;
  if (type === 'pre-vote-response' && role.type === 'pre-candidate') {
    if (isGranted && term !== state.term + 1) return;
    role.votes.set(from, isGranted);
  } else if (type === 'vote-response' && role.type === 'candidate') {
    role.votes.set(from, isGranted);
  }
  countVotes(state);
}

export function countVotes(state: NodeState): void {
  const { role } = state;
  if (role.type !== 'candidate' && role.type !== 'pre-candidate') return;
  const result = voteResult(voters(state), role.votes);
  if (result === 'won' && role.type === 'pre-candidate') campaign(state, { isTransfer: false });
  if (result === 'won' && role.type === 'candidate') appendAsLeader(state, becomeLeader(state), { type: 'empty' });
  if (result !== 'lost') return;
  becomeFollower(state, state.term, undefined);
  waitForVotes(state);
}
