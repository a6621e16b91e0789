import { invariant } from '@apiary/std';
import { type Entry, entryBytes, type MemberId, type Membership } from './entry.js';
import type { AppendRequest, AppendResponse, HeartbeatRequest, HeartbeatResponse } from './messages.js';
import { acceptedThrough, newProgress, type Progress, probe } from './progress.js';
import { quorumValue } from './quorum.js';
import { becomeFollower } from './roles.js';
import { beginSnapshot, sendDueChunk } from './snapshot-transfer.js';
import { isVoter, type Leader, type NodeState, others, voters } from './state.js';

type Content =
  | { type: 'empty' }
  | { type: 'command'; data: Uint8Array }
  | { type: 'membership'; membership: Membership; data: Uint8Array };

/** Writes an entry into the leader's own log; a membership counts from here on. */
export function appendAsLeader(state: NodeState, leader: Leader, content: Content): Entry {
  const { log } = state;
  const entry: Entry = { index: log.lastIndex + 1, term: state.term, ...content };
  log.append([entry]);
  leader.uncommittedBytes += entryBytes(entry);
  if (entry.type === 'membership') {
    state.memberships.append(entry.index, entry.membership);
    const members = others(state);
    for (const id of leader.progress.keys()) if (!members.includes(id)) leader.progress.delete(id);
    for (const id of members) {
      // Who was just added has not been heard from.
      if (!leader.progress.has(id)) leader.progress.set(id, newProgress(entry.index, Number.NEGATIVE_INFINITY));
    }
  }
  return entry;
}

/** Sends every member what it is ready for. What was proposed since the last time goes in one request. */
export function sendAppends(state: NodeState, leader: Leader): void {
  for (const [to, progress] of leader.progress) {
    if (progress.flow.type === 'probe' && !progress.flow.isWaiting) sendProbe(state, to, progress);
    if (progress.flow.type === 'replicate') sendPipelined(state, to, progress);
    if (progress.flow.type === 'snapshot') sendDueChunk(state, to, progress.flow);
  }
  const { transfer } = leader;
  if (transfer === undefined || transfer.isSent) return;
  if (leader.progress.get(transfer.to)?.matchIndex === state.log.lastIndex) {
    transfer.isSent = true;
    leader.mayHoldLease = false;
    sendTimeoutNow(state, transfer.to);
  }
}

function sendProbe(state: NodeState, to: MemberId, progress: Progress): void {
  const { maxAppendEntries, maxAppendBytes } = state.options;
  if (state.log.termAt(progress.nextIndex - 1) === undefined) {
    beginSnapshot(state, progress);
    return;
  }
  sendAppend(state, to, progress, state.log.slice(progress.nextIndex, maxAppendEntries, maxAppendBytes));
  progress.flow = { type: 'probe', isWaiting: true };
}

function sendPipelined(state: NodeState, to: MemberId, progress: Progress): void {
  const { flow } = progress;
  const { log, options } = state;
  if (flow.type !== 'replicate') return;
  if (log.termAt(progress.nextIndex - 1) === undefined) {
    beginSnapshot(state, progress);
    return;
  }
  while (progress.nextIndex <= log.lastIndex) {
    const entriesLeft = options.maxInFlightEntries - (progress.nextIndex - 1 - progress.matchIndex);
    const bytesLeft = options.maxInFlightBytes - flow.inFlightBytes;
    if (entriesLeft <= 0 || bytesLeft <= 0) break;
    const maxEntries = Math.min(options.maxAppendEntries, entriesLeft);
    const entries = log.slice(progress.nextIndex, maxEntries, Math.min(options.maxAppendBytes, bytesLeft));
    sendAppend(state, to, progress, entries);
    const bytes = entries.reduce((sum, entry) => sum + entryBytes(entry), 0);
    progress.nextIndex += entries.length;
    flow.inFlight.push({ lastIndex: progress.nextIndex - 1, bytes });
    flow.inFlightBytes += bytes;
    flow.isDoubtful = false;
  }
  if (flow.isDoubtful || Math.min(state.commit, progress.nextIndex - 1) > progress.sentCommit) {
    sendAppend(state, to, progress, []);
    flow.isDoubtful = false;
  }
}

function sendAppend(state: NodeState, to: MemberId, progress: Progress, entries: Entry[]): void {
  const { log, commit, term, options } = state;
  const index = progress.nextIndex - 1;
  const previous = { index, term: log.termAt(index) ?? 0 };
  state.outbox.send.push({ type: 'append-request', from: options.id, to, term, previous, entries, commit });
  progress.sentCommit = Math.max(progress.sentCommit, Math.min(commit, index + entries.length));
}

function sendTimeoutNow(state: NodeState, to: MemberId): void {
  state.outbox.send.push({ type: 'timeout-now', from: state.options.id, to, term: state.term });
}

/** The follower's part of appending; its answer waits for its disk. */
export function handleAppend(state: NodeState, { from, previous, entries, commit }: AppendRequest): void {
  const { log } = state;
  const answer = (outcome: AppendResponse['outcome']): void => {
    const { options, term, outbox } = state;
    outbox.sendOnceDurable.push({ type: 'append-response', from: options.id, to: from, term, outcome });
  };
  // All that is committed is in the log of any leader.
  if (previous.index < state.commit) {
    answer({ type: 'accepted', matchIndex: state.commit });
    return;
  }
  if (!log.has(previous)) {
    const hint = log.lastAtOrBelowTerm(Math.min(previous.index, log.lastIndex), previous.term);
    answer({ type: 'rejected', rejectedIndex: previous.index, hint });
    return;
  }
  const firstNew = entries.findIndex((entry) => !log.has(entry));
  const added = firstNew < 0 ? [] : entries.slice(firstNew);
  const [first] = added;
  if (first !== undefined) replaceFrom(state, first.index, added);
  const matchIndex = previous.index + entries.length;
  state.commit = Math.max(state.commit, Math.min(commit, matchIndex));
  answer({ type: 'accepted', matchIndex });
}

function replaceFrom(state: NodeState, index: number, entries: readonly Entry[]): void {
  const { log, memberships } = state;
  invariant(index > state.commit, `entry ${index} is committed, and a leader of term ${state.term} has another`);
  if (index <= log.lastIndex) {
    log.truncateFrom(index);
    if (memberships.currentIndex >= index) memberships.truncateFrom(index);
  }
  log.append(entries);
  for (const entry of entries) if (entry.type === 'membership') memberships.append(entry.index, entry.membership);
}

export function handleAppendResponse(state: NodeState, leader: Leader, { from, outcome }: AppendResponse): void {
  const progress = leader.progress.get(from);
  if (progress === undefined) return;
  progress.activeTick = state.tick;
  if (outcome.type === 'accepted') {
    invariant(outcome.matchIndex <= state.log.lastIndex, `${from} has entry ${outcome.matchIndex}, its leader has not`);
    acceptedThrough(progress, outcome.matchIndex);
    advanceCommit(state, leader);
    return;
  }
  const { rejectedIndex, hint } = outcome;
  const { flow } = progress;
  if (flow.type === 'replicate') {
    // An answer that was overtaken says nothing.
    if (rejectedIndex > progress.matchIndex) probe(progress);
  } else if (flow.type === 'probe' && rejectedIndex === progress.nextIndex - 1) {
    const agreed = state.log.lastAtOrBelowTerm(hint.index, hint.term).index;
    progress.nextIndex = Math.max(progress.matchIndex + 1, Math.min(rejectedIndex, agreed + 1));
    flow.isWaiting = false;
  }
}

/**
 * Commits what a majority has. Only an entry of the leader's own term is committed by counting, and all before it with
 * it: one of an older term might still be replaced (dissertation, 3.6.2).
 */
export function advanceCommit(state: NodeState, leader: Leader): void {
  const { log, options } = state;
  const index = quorumValue(voters(state), (id) =>
    id === options.id ? log.stableIndex : (leader.progress.get(id)?.matchIndex ?? 0),
  );
  if (index <= state.commit || log.termAt(index) !== state.term) return;
  const committed = log.slice(state.commit + 1, index - state.commit, Number.POSITIVE_INFINITY);
  for (const entry of committed) leader.uncommittedBytes -= entryBytes(entry);
  state.commit = index;
  if (isVoter(state) || state.memberships.currentIndex > index) return;
  // The others were told by nobody else that it is done with this leader (dissertation, 4.2.2).
  sendAppends(state, leader);
  handOver(state, leader);
}

/** Leads no more, and asks the voter that has most of the log to take over without waiting. */
export function handOver(state: NodeState, leader: Leader): void {
  const [best] = voters(state)
    .filter((id) => id !== state.options.id)
    .sort((a, b) => matchOf(leader, b) - matchOf(leader, a));
  if (best !== undefined) sendTimeoutNow(state, best);
  becomeFollower(state, state.term, undefined);
}

function matchOf(leader: Leader, id: MemberId): number {
  return leader.progress.get(id)?.matchIndex ?? 0;
}

export function sendHeartbeats(state: NodeState, leader: Leader): void {
  const { options, term, tick, commit, outbox } = state;
  leader.round++;
  leader.heartbeatTick = tick + options.heartbeatTicks;
  for (const [to, { matchIndex }] of leader.progress) {
    outbox.send.push({
      type: 'heartbeat-request',
      from: options.id,
      to,
      term,
      // What is not known to be there may be another entry there.
      commit: Math.min(commit, matchIndex),
      round: leader.round,
      sentTick: tick,
    });
  }
}

export function handleHeartbeat(state: NodeState, { from, commit, round, sentTick }: HeartbeatRequest): void {
  const { options, term, log, outbox } = state;
  invariant(commit <= log.lastIndex, `entry ${commit} was acknowledged here, and the log ends with ${log.lastIndex}`);
  state.commit = Math.max(state.commit, commit);
  outbox.send.push({ type: 'heartbeat-response', from: options.id, to: from, term, round, sentTick });
}

export function handleHeartbeatResponse(
  state: NodeState,
  leader: Leader,
  { from, round, sentTick }: HeartbeatResponse,
): void {
  const progress = leader.progress.get(from);
  if (progress === undefined) return;
  progress.activeTick = state.tick;
  progress.ackedRound = Math.max(progress.ackedRound, round);
  progress.ackedSentTick = Math.max(progress.ackedSentTick, sentTick);
  if (progress.flow.type === 'probe') progress.flow.isWaiting = false;
  // It answers, so what it has not acknowledged may have been lost.
  if (progress.flow.type === 'replicate') progress.flow.isDoubtful = progress.matchIndex < progress.nextIndex - 1;
}
