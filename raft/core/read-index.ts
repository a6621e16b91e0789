import type { MemberId } from './entry.js';
import type { ReadRequest, ReadResponse } from './messages.js';
import type { ReadMode } from './options.js';
import { quorumValue } from './quorum.js';
import { sendHeartbeats } from './replication.js';
import { type Leader, type NodeState, voters } from './state.js';

/**
 * Linearizable reads without an entry (dissertation, 6.4). A leader takes the commit index as of the request, and then
 * makes sure that it still leads: by a round of heartbeats that a majority answers, or by a lease. A new leader does
 * not know yet what is committed, but that all of it is before its own first entry: then that is the index.
 */

export function askRead(state: NodeState, readId: string): void {
  const { role, options, term, outbox } = state;
  if (role.type === 'leader') {
    addRead(state, role, readId, undefined);
    return;
  }
  if (role.type !== 'follower' || role.leaderId === undefined) {
    outbox.reads.push({ type: 'failed', readId });
    return;
  }
  state.remoteReads.set(readId, state.tick + options.electionTicks);
  outbox.send.push({ type: 'read-request', from: options.id, to: role.leaderId, term, readId });
}

export function handleReadRequest(state: NodeState, leader: Leader, { from, readId }: ReadRequest): void {
  addRead(state, leader, readId, from);
}

export function handleReadResponse(state: NodeState, { readId, index }: ReadResponse): void {
  if (state.remoteReads.delete(readId)) state.outbox.reads.push({ type: 'confirmed', readId, index });
}

function addRead(state: NodeState, leader: Leader, readId: string, from: MemberId | undefined): void {
  const index = Math.max(state.commit, leader.firstIndex);
  if (holdsLease(state, leader)) {
    confirm(state, from, readId, index);
    return;
  }
  leader.reads.push({ readId, from, index, round: undefined });
}

/** Begins a round for the reads that came since the last one. */
export function sendReadRound(state: NodeState, leader: Leader): void {
  if (leader.reads.every(({ round }) => round !== undefined)) return;
  sendHeartbeats(state, leader);
  for (const read of leader.reads) read.round ??= leader.round;
  confirmReads(state, leader);
}

export function confirmReads(state: NodeState, leader: Leader): void {
  const answered = quorumValue(voters(state), (id) =>
    id === state.options.id ? leader.round : (leader.progress.get(id)?.ackedRound ?? 0),
  );
  const isConfirmed = (round: number | undefined): boolean => round !== undefined && round <= answered;
  const confirmed = leader.reads.filter(({ round }) => isConfirmed(round));
  if (confirmed.length === 0) return;
  leader.reads = leader.reads.filter(({ round }) => !isConfirmed(round));
  for (const { from, readId, index } of confirmed) confirm(state, from, readId, index);
}

function confirm(state: NodeState, to: MemberId | undefined, readId: string, index: number): void {
  const { options, term, outbox } = state;
  if (to === undefined) outbox.reads.push({ type: 'confirmed', readId, index });
  else outbox.send.push({ type: 'read-response', from: options.id, to, term, readId, index });
}

/** Whether no other leader can have been elected yet, by this node's own clock. */
function holdsLease(state: NodeState, leader: Leader): boolean {
  const { options, tick } = state;
  if (options.reads.type !== 'lease' || !leader.mayHoldLease) return false;
  const since = quorumValue(voters(state), (id) =>
    id === options.id ? tick : (leader.progress.get(id)?.ackedSentTick ?? Number.NEGATIVE_INFINITY),
  );
  return tick - since <= leaseTicks(options.electionTicks, options.reads);
}

/** A voter waits for `electionTicks` ticks of its own; either clock may be within a tick when the count begins. */
function leaseTicks(electionTicks: number, { driftRatio }: Extract<ReadMode, { type: 'lease' }>): number {
  return Math.floor((electionTicks - 1) / driftRatio) - 1;
}

/** Fails the reads that the leader has not answered in time. */
export function expireReads(state: NodeState): void {
  for (const [readId, endTick] of state.remoteReads) {
    if (state.tick < endTick) continue;
    state.remoteReads.delete(readId);
    state.outbox.reads.push({ type: 'failed', readId });
  }
}
