import { invariant } from '@apiary/std';
import type { MemberId, SnapshotMeta } from './entry.js';
import { MembershipHistory } from './membership.js';
import type { SnapshotChunk, SnapshotResponse } from './messages.js';
import { type Progress, probe, type SnapshotTransfer } from './progress.js';
import type { IncomingSnapshot, Leader, NodeState } from './state.js';

/**
 * A snapshot goes in pieces, each sent when the one before is stored: so a slow receiver is never sent more than it can
 * take, appends to others are not held up for long, and a transfer that was interrupted goes on where it was.
 */

/** What the member misses is in the log no more. */
export function beginSnapshot(state: NodeState, progress: Progress): void {
  invariant(state.snapshot.index >= state.log.base.index, 'the log begins after the newest snapshot');
  progress.flow = { type: 'snapshot', snapshot: state.snapshot, offset: 0, sentTick: undefined };
}

/** Orders the next piece, or the same again when nothing was heard of it for an election timeout. */
export function sendDueChunk(state: NodeState, to: MemberId, flow: SnapshotTransfer): void {
  const { tick, options, term, outbox } = state;
  if (flow.sentTick !== undefined && tick - flow.sentTick < options.electionTicks) return;
  flow.sentTick = tick;
  outbox.readChunks.push({ to, term, snapshot: flow.snapshot, offset: flow.offset });
}

export function handleSnapshotResponse(state: NodeState, leader: Leader, message: SnapshotResponse): void {
  const progress = leader.progress.get(message.from);
  if (progress === undefined) return;
  progress.activeTick = state.tick;
  const { flow } = progress;
  if (flow.type !== 'snapshot' || flow.snapshot.index !== message.snapshotIndex) return;
  if (flow.sentTick !== undefined && flow.offset === message.nextOffset) return;
  flow.offset = message.nextOffset;
  flow.sentTick = undefined;
}

/** The snapshot file is gone: another takes its place. */
export function chunkUnavailable(leader: Leader, to: MemberId): void {
  const progress = leader.progress.get(to);
  if (progress?.flow.type === 'snapshot') probe(progress);
}

export function handleChunk(state: NodeState, chunk: SnapshotChunk): void {
  const { from, snapshot, offset } = chunk;
  if (snapshot.index <= state.commit || state.log.has(snapshot)) {
    state.incoming = undefined;
    state.commit = Math.max(state.commit, snapshot.index);
    acknowledge(state, from);
    return;
  }
  if (state.incoming === undefined || !isSame(state.incoming, chunk)) {
    state.incoming = { from, snapshot, offset: 0, isStoring: false };
  }
  const { incoming } = state;
  // The answer to a piece that is being stored comes when it is.
  if (incoming.isStoring) return;
  if (offset !== incoming.offset) {
    respond(state, incoming);
    return;
  }
  incoming.isStoring = true;
  state.outbox.storeChunks.push(chunk);
}

/** A piece that was handed out is stored; the last one only when the whole file is sound, durable and has its name. */
export function chunkStored(state: NodeState, chunk: SnapshotChunk): void {
  const { incoming } = state;
  if (incoming === undefined || !isSame(incoming, chunk) || incoming.offset !== chunk.offset) return;
  incoming.offset += chunk.data.length;
  incoming.isStoring = false;
  if (!chunk.isLast) {
    respond(state, incoming);
    return;
  }
  state.incoming = undefined;
  install(state, chunk.snapshot);
  acknowledge(state, chunk.from);
}

function install(state: NodeState, snapshot: SnapshotMeta): void {
  if (snapshot.index <= state.commit) return;
  state.commit = snapshot.index;
  if (state.log.has(snapshot)) return;
  state.log.reset(snapshot);
  state.memberships = new MembershipHistory(snapshot.index, snapshot.membership);
  state.snapshot = snapshot;
  state.install = 'to-emit';
}

function isSame(incoming: IncomingSnapshot, { from, snapshot }: SnapshotChunk): boolean {
  const { index, term } = incoming.snapshot;
  return incoming.from === from && index === snapshot.index && term === snapshot.term;
}

function respond(state: NodeState, { from, snapshot, offset }: IncomingSnapshot): void {
  state.outbox.send.push({
    type: 'snapshot-response',
    from: state.options.id,
    to: from,
    term: state.term,
    snapshotIndex: snapshot.index,
    nextOffset: offset,
  });
}

function acknowledge(state: NodeState, to: MemberId): void {
  const { options, term, commit, outbox } = state;
  outbox.sendOnceDurable.push({
    type: 'append-response',
    from: options.id,
    to,
    term,
    outcome: { type: 'accepted', matchIndex: commit },
  });
}
