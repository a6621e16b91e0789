import type { Entry, MemberId, Position, SnapshotMeta } from './entry.js';

/**
 * What members say to each other. Any message may be lost, delayed, doubled or overtaken. `term` is the sender's
 * current term, but in a pre-vote request, and in the answer that grants it: there it is the term that would be.
 */
export type Message =
  | PreVoteRequest
  | VoteRequest
  | VoteResponse
  | AppendRequest
  | AppendResponse
  | HeartbeatRequest
  | HeartbeatResponse
  | SnapshotChunk
  | SnapshotResponse
  | TimeoutNow
  | TermNotice
  | ReadRequest
  | ReadResponse;

interface Envelope {
  from: MemberId;
  to: MemberId;
  term: number;
}

/** Would you vote for me in `term`? Asked before a term is begun, so that a member that was cut off disturbs nobody. */
export interface PreVoteRequest extends Envelope {
  type: 'pre-vote-request';
  last: Position;
}

export interface VoteRequest extends Envelope {
  type: 'vote-request';
  last: Position;
  /** The leader itself asked for this election: it is no disturbance. */
  isTransfer: boolean;
}

export interface VoteResponse extends Envelope {
  type: 'pre-vote-response' | 'vote-response';
  isGranted: boolean;
}

export interface AppendRequest extends Envelope {
  type: 'append-request';
  /** Where `entries` follow on. */
  previous: Position;
  entries: readonly Entry[];
  commit: number;
}

/** Sent once what it says is durable. */
export interface AppendResponse extends Envelope {
  type: 'append-response';
  outcome:
    | { type: 'accepted'; matchIndex: number }
    /** `hint` is the last place before `rejectedIndex` where the logs may agree, a term's worth of entries skipped. */
    | { type: 'rejected'; rejectedIndex: number; hint: Position };
}

export interface HeartbeatRequest extends Envelope {
  type: 'heartbeat-request';
  commit: number;
  /** Numbers the leader's heartbeats, for reads: an answer to it confirms all reads asked for before it. */
  round: number;
  /** The leader's tick at sending, for its lease. */
  sentTick: number;
}

export interface HeartbeatResponse extends Envelope {
  type: 'heartbeat-response';
  round: number;
  sentTick: number;
}

/** A piece of the sender's snapshot file; `snapshot` and `from` together name that file. */
export interface SnapshotChunk extends Envelope {
  type: 'snapshot-chunk';
  snapshot: SnapshotMeta;
  offset: number;
  data: Uint8Array;
  isLast: boolean;
}

/** So much of the snapshot is kept: go on from there. */
export interface SnapshotResponse extends Envelope {
  type: 'snapshot-response';
  snapshotIndex: number;
  nextOffset: number;
}

/** Campaign at once: the leader hands over. */
export interface TimeoutNow extends Envelope {
  type: 'timeout-now';
}

/** To a leader of an older term, so that it learns that its time is over. */
export interface TermNotice extends Envelope {
  type: 'term-notice';
}

export interface ReadRequest extends Envelope {
  type: 'read-request';
  readId: string;
}

export interface ReadResponse extends Envelope {
  type: 'read-response';
  readId: string;
  index: number;
}
