import { invariant, unreachable } from '@apiary/std';
import { diskFailed, isDiskBlocked, nextPersist, persisted } from './durability.js';
import {
  campaign,
  handlePreVote,
  handleVoteRequest,
  handleVoteResponse,
  hasLiveLeader,
  mayCampaign,
  preVote,
} from './election.js';
import type { Entry, HardState, MemberId, Membership, SnapshotMeta } from './entry.js';
import { EntryLog } from './entry-log.js';
import { changeMembership, type MembershipChange, type MembershipFault, MembershipHistory } from './membership.js';
import type { Message, SnapshotChunk } from './messages.js';
import type { NodeOptions } from './options.js';
import { type Flow, probe } from './progress.js';
import { majority } from './quorum.js';
import {
  askRead,
  confirmReads,
  expireReads,
  handleReadRequest,
  handleReadResponse,
  sendReadRound,
} from './read-index.js';
import type { Ready } from './ready.js';
import {
  appendAsLeader,
  handleAppend,
  handleAppendResponse,
  handleHeartbeat,
  handleHeartbeatResponse,
  sendAppends,
  sendHeartbeats,
} from './replication.js';
import { becomeFollower, waitForLeader } from './roles.js';
import { chunkStored, chunkUnavailable, handleChunk, handleSnapshotResponse } from './snapshot-transfer.js';
import { isMajority, type Leader, type NodeState } from './state.js';

/** What was on disk when the node was started. */
export interface InitialState {
  hardState: HardState;
  /** The newest snapshot, which the state machine was restored from; index 0 and nobody in it without one. */
  snapshot: SnapshotMeta;
  /** All that follow the snapshot. */
  entries: readonly Entry[];
}

export type Proposal =
  | { type: 'accepted'; index: number; term: number }
  | { type: 'refused'; reason: ProposalRefusal | MembershipFault };

export type ProposalRefusal =
  | 'not-leader'
  /** It is handing over. */
  | 'transferring'
  /** Too much waits to be committed. */
  | 'busy'
  | 'too-large'
  /** The membership change before is not committed, or the leader is so new that it cannot know. */
  | 'change-under-way'
  /** The learner does not answer, or lacks more than is sent in one go: as a voter it would hold up the others. */
  | 'learner-behind'
  /** Fewer than a majority of the voters that would remain answer now. */
  | 'quorum-at-risk';

export interface NodeStatus {
  id: MemberId;
  term: number;
  role: 'follower' | 'pre-candidate' | 'candidate' | 'leader';
  leaderId: MemberId | undefined;
  commit: number;
  applied: number;
  lastIndex: number;
  stableIndex: number;
  snapshotIndex: number;
  membership: Membership;
  isTransferring: boolean;
  /** The disk refused, and has not taken anything since. */
  isDiskFailed: boolean;
  /** Of a leader. */
  peers: { id: MemberId; matchIndex: number; flow: Flow['type']; isActive: boolean }[];
}

/**
 * One member's part of Raft (D. Ongaro, "Consensus: Bridging Theory and Practice", 2014), without disk, wire and clock:
 * messages, ticks and requests come in, and `ready` says what to do. It is deterministic: all randomness is in
 * `options.rng`.
 *
 * A caller feeds in what happened, calls `ready` until it gives nothing, and carries each out as its type says.
 */
export class RaftNode {
  readonly #state: NodeState;
  #readyNumber = 0;

  constructor(options: NodeOptions, { hardState, snapshot, entries }: InitialState) {
    const memberships = new MembershipHistory(snapshot.index, snapshot.membership);
    for (const entry of entries) if (entry.type === 'membership') memberships.append(entry.index, entry.membership);
    const log = new EntryLog(snapshot, entries);
    invariant(hardState.commit <= log.lastIndex, `entry ${hardState.commit} was committed, and is not in the log`);
    this.#state = {
      options,
      tick: 0,
      ...resumedTerm(hardState, log.last.term),
      log,
      commit: Math.max(hardState.commit, snapshot.index),
      applied: snapshot.index,
      memberships,
      snapshot,
      install: 'none',
      incoming: undefined,
      role: { type: 'follower', leaderId: undefined },
      electionTick: 0,
      // Whom it promised a lease before a restart is forgotten, but the promise is not.
      leaderContactTick: options.reads.type === 'lease' ? 0 : Number.NEGATIVE_INFINITY,
      disk: { health: { type: 'sound' }, stable: hardState, emitted: hardState, writes: [] },
      remoteReads: new Map(),
      outbox: { send: [], sendOnceDurable: [], readChunks: [], storeChunks: [], reads: [] },
    };
    waitForLeader(this.#state);
  }

  /** Time has passed. */
  tick(): void {
    const state = this.#state;
    const { role, options } = state;
    state.tick++;
    expireReads(state);
    if (role.type !== 'leader') {
      if (state.tick >= state.electionTick) preVote(state);
      return;
    }
    if (state.tick >= role.quorumCheckTick) {
      role.quorumCheckTick = state.tick + options.electionTicks;
      // Cut off from the majority, it must not let anybody believe in it (dissertation, 6.2).
      if (!isMajority(state, (id) => this.#isActive(role, id))) {
        becomeFollower(state, state.term, undefined);
        return;
      }
    }
    if (role.transfer !== undefined && state.tick >= role.transfer.endTick) role.transfer = undefined;
    if (state.tick >= role.heartbeatTick) sendHeartbeats(state, role);
  }

  /** A message has arrived. One that is not for this node, or of the past, is dropped. */
  step(message: Message): void {
    const state = this.#state;
    const { type, term, from } = message;
    if (message.to !== state.options.id) return;
    const isElection = type === 'pre-vote-request' || (type === 'vote-request' && !message.isTransfer);
    if (isElection && term > state.term && hasLiveLeader(state)) return;
    if (term < state.term) {
      this.#answerStale(message);
      return;
    }
    if (term > state.term && !isProspective(message)) {
      becomeFollower(state, term, isFromLeader(message) ? from : undefined);
    }
    if (isFromLeader(message)) {
      invariant(state.role.type !== 'leader', `${from} and ${state.options.id} both lead in term ${term}`);
      const { role } = state;
      if (role.type !== 'follower' || role.leaderId !== from) becomeFollower(state, term, from);
      waitForLeader(state);
      state.leaderContactTick = state.tick;
    }
    this.#handle(message);
  }

  /** Starts an election at once, as a test or an operator may want. */
  campaign(): void {
    preVote(this.#state);
  }

  /** Asks for an entry. It is sent with the next `ready`; it is committed once `apply` has it, or never. */
  propose(data: Uint8Array): Proposal {
    const state = this.#state;
    const { role, options } = state;
    if (role.type !== 'leader') return { type: 'refused', reason: 'not-leader' };
    if (role.transfer !== undefined) return { type: 'refused', reason: 'transferring' };
    if (data.length > options.maxEntryBytes) return { type: 'refused', reason: 'too-large' };
    if (role.uncommittedBytes > 0 && role.uncommittedBytes + data.length > options.maxUncommittedBytes) {
      return { type: 'refused', reason: 'busy' };
    }
    const { index, term } = appendAsLeader(state, role, { type: 'command', data });
    return { type: 'accepted', index, term };
  }

  /**
   * Asks for a step of membership.
   *
   * @param data    for the state machine, which gets it with the entry
   * @param isForced takes a voter away even when too few of those that remain answer now
   */
  proposeMembership(change: MembershipChange, data: Uint8Array, { isForced = false } = {}): Proposal {
    const state = this.#state;
    const { role, memberships, commit, log, options } = state;
    const refuse = (reason: ProposalRefusal | MembershipFault): Proposal => ({ type: 'refused', reason });
    if (role.type !== 'leader') return refuse('not-leader');
    if (role.transfer !== undefined) return refuse('transferring');
    const next = changeMembership(memberships.current, change);
    if (typeof next === 'string') return refuse(next);
    // Two changes under way, or one on top of an older leader's that may be lost, need not share a majority.
    if (memberships.currentIndex > commit || commit < role.firstIndex) return refuse('change-under-way');
    if (change.type === 'promote') {
      const matchIndex = role.progress.get(change.member)?.matchIndex ?? 0;
      const isBehind = matchIndex === 0 || log.lastIndex - matchIndex > options.maxAppendEntries;
      if (isBehind || !this.#isActive(role, change.member)) return refuse('learner-behind');
    }
    if (!isForced && change.type !== 'add-learner') {
      const active = next.voters.filter((id) => this.#isActive(role, id)).length;
      if (active < majority(next.voters.length)) return refuse('quorum-at-risk');
    }
    const { index, term } = appendAsLeader(state, role, { type: 'membership', membership: next, data });
    return { type: 'accepted', index, term };
  }

  /**
   * Asks for a linearizable read; `reads` of a Ready answers it.
   *
   * @param readId never used before by this member, its former processes included: an answer may be very late
   */
  readIndex(readId: string): void {
    askRead(this.#state, readId);
  }

  /**
   * Hands leadership to `to` once it has the whole log (dissertation, 3.10); given up after an election timeout.
   *
   * @returns false when this node does not lead, or `to` is no other voter
   */
  transfer(to: MemberId): boolean {
    const { role, memberships, tick, options } = this.#state;
    if (role.type !== 'leader' || to === options.id || !memberships.current.voters.includes(to)) return false;
    role.transfer = { to, endTick: tick + options.electionTicks, isSent: false };
    return true;
  }

  /** The connection to `member` was lost: a hint, nothing more. */
  unreachable(member: MemberId): void {
    const state = this.#state;
    const { role, options } = state;
    if (role.type === 'leader') {
      const progress = role.progress.get(member);
      if (progress?.flow.type === 'replicate') probe(progress);
    }
    // A lease is a promise not to vote before its time, hint or not.
    if (role.type !== 'follower' || role.leaderId !== member || options.reads.type === 'lease') return;
    becomeFollower(state, state.term, undefined);
    state.electionTick = state.tick + 1 + options.rng.below(options.hintTicks);
  }

  /** What Ready `number` had to persist, and all before it, is durable. */
  persisted(number: number): void {
    persisted(this.#state, number);
  }

  /**
   * The disk refused a write, and with it all that are under way. They are handed out again in a while, but by a leader
   * that is the only member: that gives them up and goes on.
   *
   * @returns the first entry that was given up, if any was: it and those after it are in no log
   */
  diskFailed(): number | undefined {
    return diskFailed(this.#state);
  }

  chunkStored(chunk: SnapshotChunk): void {
    chunkStored(this.#state, chunk);
  }

  /** The disk did not take a piece, or the whole file is not sound: its transfer begins anew. */
  chunkRefused(): void {
    this.#state.incoming = undefined;
  }

  /** The file that a `ChunkOrder` names is gone. */
  chunkUnavailable(to: MemberId): void {
    const { role } = this.#state;
    if (role.type === 'leader') chunkUnavailable(role, to);
  }

  /** The term of an entry; undefined when it is only in a snapshot, or not there. */
  termAt(index: number): number | undefined {
    return this.#state.log.termAt(index);
  }

  /** What a snapshot of the state after entry `index`, which was applied, has to carry. */
  snapshotMeta(index: number): SnapshotMeta {
    const { log, memberships } = this.#state;
    const term = log.termAt(index);
    invariant(term !== undefined, `entry ${index} is not in the log`);
    return { index, term, membership: memberships.at(index) };
  }

  /** A snapshot is durable: of the entries that it covers, the last `keepEntries` stay, for members a little behind. */
  compact(snapshot: SnapshotMeta, keepEntries: number): void {
    const state = this.#state;
    if (snapshot.index <= state.snapshot.index || state.install !== 'none') return;
    invariant(snapshot.index <= state.applied, `a snapshot of entry ${snapshot.index}, which was not applied`);
    state.snapshot = snapshot;
    state.log.compactTo(snapshot.index - keepEntries);
    state.memberships.compactTo(state.log.base.index);
  }

  get status(): NodeStatus {
    const { options, term, role, commit, applied, log, snapshot, memberships, disk } = this.#state;
    const leaderId = role.type === 'leader' ? options.id : role.type === 'follower' ? role.leaderId : undefined;
    return {
      id: options.id,
      term,
      role: role.type,
      leaderId,
      commit,
      applied,
      lastIndex: log.lastIndex,
      stableIndex: log.stableIndex,
      snapshotIndex: snapshot.index,
      membership: memberships.current,
      isDiskFailed: disk.health.type === 'failed',
      isTransferring: role.type === 'leader' && role.transfer !== undefined,
      peers:
        role.type === 'leader'
          ? [...role.progress].map(([id, { matchIndex, flow }]) => ({
              id,
              matchIndex,
              flow: flow.type,
              isActive: this.#isActive(role, id),
            }))
          : [],
    };
  }

  /** What is to be done now, or undefined when that is nothing. What it holds is handed over for good. */
  ready(): Ready | undefined {
    const state = this.#state;
    const { role, outbox } = state;
    if (role.type === 'leader') {
      sendReadRound(state, role);
      sendAppends(state, role);
    }
    const isBlocked = isDiskBlocked(state);
    // What cannot be made durable is not promised; who waits for it asks again.
    if (isBlocked) outbox.sendOnceDurable.length = 0;
    const number = this.#readyNumber + 1;
    const persist = isBlocked ? undefined : nextPersist(state, number);
    const restore = this.#takeRestore();
    const apply = this.#takeCommitted();
    const { send, sendOnceDurable, readChunks, storeChunks, reads } = outbox;
    const hasMessages = send.length + sendOnceDurable.length + readChunks.length + storeChunks.length > 0;
    if (!hasMessages && persist === undefined && restore === undefined && apply.length + reads.length === 0) return;
    this.#readyNumber = number;
    return {
      number,
      send: send.splice(0),
      readChunks: readChunks.splice(0),
      persist,
      restore,
      apply,
      storeChunks: storeChunks.splice(0),
      reads: reads.splice(0),
      sendOnceDurable: sendOnceDurable.splice(0),
    };
  }

  #takeRestore(): SnapshotMeta | undefined {
    const state = this.#state;
    if (state.install !== 'to-restore') return undefined;
    state.install = 'none';
    state.applied = state.snapshot.index;
    return state.snapshot;
  }

  /** Only what is durable here is applied, so that the state never is ahead of the own log. */
  #takeCommitted(): Entry[] {
    const state = this.#state;
    const { log, commit, applied, install } = state;
    const to = Math.min(commit, log.stableIndex);
    if (install !== 'none' || to <= applied) return [];
    state.applied = to;
    return log.slice(applied + 1, to - applied, Number.POSITIVE_INFINITY);
  }

  #isActive({ progress }: Leader, id: MemberId): boolean {
    const { options, tick } = this.#state;
    const activeTick = id === options.id ? tick : progress.get(id)?.activeTick;
    return activeTick !== undefined && tick - activeTick < options.electionTicks;
  }

  /** To a message of an older term. */
  #answerStale(message: Message): void {
    const { options, term, outbox } = this.#state;
    if (message.type === 'pre-vote-request') handlePreVote(this.#state, message);
    if (!isFromLeader(message)) return;
    // It cannot know, as nobody's vote request reaches it while all are loyal to it: this member would never follow.
    outbox.sendOnceDurable.push({ type: 'term-notice', from: options.id, to: message.from, term });
  }

  #handle(message: Message): void {
    const state = this.#state;
    const { role } = state;
    switch (message.type) {
      case 'pre-vote-request':
        handlePreVote(state, message);
        return;
      case 'vote-request':
        handleVoteRequest(state, message);
        return;
      case 'pre-vote-response':
      case 'vote-response':
        handleVoteResponse(state, message);
        return;
      case 'append-request':
        handleAppend(state, message);
        return;
      case 'heartbeat-request':
        handleHeartbeat(state, message);
        return;
      case 'snapshot-chunk':
        handleChunk(state, message);
        return;
      case 'timeout-now':
        if (mayCampaign(state)) campaign(state, { isTransfer: true });
        return;
      case 'read-response':
        handleReadResponse(state, message);
        return;
      case 'term-notice':
        return;
      default:
        if (role.type === 'leader') this.#handleAsLeader(role, message);
    }
  }

  #handleAsLeader(
    leader: Leader,
    message: Extract<
      Message,
      { type: 'append-response' | 'heartbeat-response' | 'snapshot-response' | 'read-request' }
    >,
  ): void {
    const state = this.#state;
    switch (message.type) {
      case 'append-response':
        handleAppendResponse(state, leader, message);
        return;
      case 'heartbeat-response':
        handleHeartbeatResponse(state, leader, message);
        confirmReads(state, leader);
        return;
      case 'snapshot-response':
        handleSnapshotResponse(state, leader, message);
        return;
      case 'read-request':
        handleReadRequest(state, leader, message);
        return;
      default:
        unreachable(message);
        return;
    }
  }
}

/** A write may have been cut short between entries of a new term and that term: then it has no vote cast in it. */
function resumedTerm({ term, vote }: HardState, lastTerm: number): { term: number; vote: MemberId | '' } {
  return lastTerm > term ? { term: lastTerm, vote: '' } : { term, vote };
}

/** Its term is one that would be, and nobody has begun. */
function isProspective(message: Message): boolean {
  return message.type === 'pre-vote-request' || (message.type === 'pre-vote-response' && message.isGranted);
}

/** Only the leader of its term sends such. */
function isFromLeader({ type }: Message): boolean {
  return type === 'append-request' || type === 'heartbeat-request' || type === 'snapshot-chunk';
}
