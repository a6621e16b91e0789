import type { HardState, MemberId, SnapshotMeta } from './entry.js';
import type { EntryLog } from './entry-log.js';
import type { MembershipHistory } from './membership.js';
import type { Message, SnapshotChunk } from './messages.js';
import type { NodeOptions } from './options.js';
import type { Progress } from './progress.js';
import { majority } from './quorum.js';
import type { ChunkOrder, ReadOutcome } from './ready.js';

/** What the parts of a node (election, replication, reads, snapshots) work on together. */
export interface NodeState {
  readonly options: NodeOptions;
  /** Ticks since the start. */
  tick: number;
  term: number;
  vote: MemberId | '';
  readonly log: EntryLog;
  commit: number;
  /** Handed out to be applied, up to here. */
  applied: number;
  memberships: MembershipHistory;
  /** The newest snapshot that is on disk, or, while `isInstalling`, about to be part of the log there. */
  snapshot: SnapshotMeta;
  install: Install;
  /** A snapshot that is being received. */
  incoming: IncomingSnapshot | undefined;
  role: Role;
  /** An election is begun at this tick, unless the node leads. */
  electionTick: number;
  /** When a leader, of whatever term, was last heard. */
  leaderContactTick: number;
  readonly disk: Disk;
  /** Reads asked of a leader, by id, with the tick at which they fail. */
  readonly remoteReads: Map<string, number>;
  readonly outbox: Outbox;
}

export type Role = Follower | PreCandidate | Candidate | Leader;

export interface Follower {
  type: 'follower';
  leaderId: MemberId | undefined;
}

/** Asks whether it would be elected; its term is still the old one. */
export interface PreCandidate {
  type: 'pre-candidate';
  votes: Map<MemberId, boolean>;
}

export interface Candidate {
  type: 'candidate';
  /** Its own vote is among them once that is durable. */
  votes: Map<MemberId, boolean>;
}

export interface Leader {
  type: 'leader';
  /** Of every other member. */
  progress: Map<MemberId, Progress>;
  /** Index of the empty entry that began its term. */
  firstIndex: number;
  heartbeatTick: number;
  /** Whether a majority was heard from is looked at then. */
  quorumCheckTick: number;
  uncommittedBytes: number;
  /** Number of the newest round of heartbeats. */
  round: number;
  reads: LeaderRead[];
  /** To whom it is handing over, and when it gives that up. */
  transfer: { to: MemberId; endTick: number; isSent: boolean } | undefined;
  /** Once it asked another to take over, that one may be elected before a lease has run out. */
  mayHoldLease: boolean;
}

/** A read waits for its `round`, which is undefined until the next heartbeats go out. */
export interface LeaderRead {
  readId: string;
  /** Another member, or undefined for itself. */
  from: MemberId | undefined;
  index: number;
  round: number | undefined;
}

/** From a received snapshot's last piece to the restored state machine. */
export type Install = 'none' | 'to-emit' | { writeNumber: number } | 'to-restore';

export interface IncomingSnapshot {
  from: MemberId;
  snapshot: SnapshotMeta;
  /** So many bytes are stored. */
  offset: number;
  /** A piece was handed out, and its answer is awaited. */
  isStoring: boolean;
}

/** What the disk has of the hard state, and what it has been given. */
export interface Disk {
  /** Once it refused, nothing is promised and no election begun until a write succeeds; the next is tried at `retryTick`. */
  health: { type: 'sound' } | { type: 'failed'; retryTick: number };
  stable: HardState;
  emitted: HardState;
  writes: DiskWrite[];
}

/** Under way. Once durable, the node's own vote counts, and so do its own entries. */
export interface DiskWrite {
  number: number;
  hardState: HardState;
}

export interface Outbox {
  send: Message[];
  sendOnceDurable: Message[];
  readChunks: ChunkOrder[];
  storeChunks: SnapshotChunk[];
  reads: ReadOutcome[];
}

export function voters(state: NodeState): readonly MemberId[] {
  return state.memberships.current.voters;
}

/** Every member but this one. */
export function others(state: NodeState): MemberId[] {
  const { voters, learners } = state.memberships.current;
  return [...voters, ...learners].filter((id) => id !== state.options.id);
}

export function isVoter(state: NodeState): boolean {
  return voters(state).includes(state.options.id);
}

export function isMajority(state: NodeState, holds: (id: MemberId) => boolean): boolean {
  const all = voters(state);
  return all.length > 0 && all.filter(holds).length >= majority(all.length);
}
