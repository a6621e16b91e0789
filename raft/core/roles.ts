import { entryBytes, type MemberId } from './entry.js';
import { newProgress } from './progress.js';
import { type Candidate, type Leader, type NodeState, others, type PreCandidate } from './state.js';

/** The one place where a node's role and term change. */

/** Follows `leaderId`, or nobody yet, in `term`; a newer term has no vote cast in it. */
export function becomeFollower(state: NodeState, term: number, leaderId: MemberId | undefined): void {
  if (term > state.term) {
    state.term = term;
    state.vote = '';
  }
  if (state.role.type === 'leader') {
    for (const { readId, from } of state.role.reads) {
      if (from === undefined) state.outbox.reads.push({ type: 'failed', readId });
    }
  }
  for (const readId of state.remoteReads.keys()) state.outbox.reads.push({ type: 'failed', readId });
  state.remoteReads.clear();
  state.role = { type: 'follower', leaderId };
  waitForLeader(state);
}

/** Gives a leader another whole timeout: drawn at random, so that not all lose patience at once (dissertation, 3.4). */
export function waitForLeader(state: NodeState): void {
  const { electionTicks, rng } = state.options;
  state.electionTick = state.tick + electionTicks + rng.below(electionTicks);
}

/** Gives an election some time, less than a leader gets: there is nobody whom trying again could disturb. */
export function waitForVotes(state: NodeState): void {
  const { electionTicks, rng } = state.options;
  state.electionTick = state.tick + Math.ceil(electionTicks / 4) + rng.below(Math.ceil(electionTicks / 2));
}

/** Neither the term nor the vote changes. */
export function becomePreCandidate(state: NodeState): PreCandidate {
  const role: PreCandidate = { type: 'pre-candidate', votes: new Map([[state.options.id, true]]) };
  state.role = role;
  waitForVotes(state);
  return role;
}

/** In a new term, with the own vote cast, to be counted once it is durable. */
export function becomeCandidate(state: NodeState): Candidate {
  state.term++;
  state.vote = state.options.id;
  const role: Candidate = { type: 'candidate', votes: new Map() };
  state.role = role;
  waitForVotes(state);
  return role;
}

/** The caller appends the term's first entry at `firstIndex`. */
export function becomeLeader(state: NodeState): Leader {
  const { log, tick, options } = state;
  const uncommitted = log.slice(state.commit + 1, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY);
  const role: Leader = {
    type: 'leader',
    progress: new Map(others(state).map((id) => [id, newProgress(log.lastIndex + 1, tick)])),
    firstIndex: log.lastIndex + 1,
    heartbeatTick: tick,
    quorumCheckTick: tick + options.electionTicks,
    uncommittedBytes: uncommitted.reduce((sum, entry) => sum + entryBytes(entry), 0),
    round: 0,
    reads: [],
    transfer: undefined,
    mayHoldLease: true,
  };
  state.role = role;
  return role;
}
