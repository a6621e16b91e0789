import type { SnapshotMeta } from './entry.js';

/** What a leader knows of another member, and how it sends to it. */
export interface Progress {
  /** Durable there, and the same as here, up to this index. */
  matchIndex: number;
  /** The next entry to send. */
  nextIndex: number;
  /** The leader's tick when it last heard from there. */
  activeTick: number;
  /** The newest heartbeat round that was answered, and the leader's tick when that was sent. */
  ackedRound: number;
  ackedSentTick: number;
  /** The highest commit index sent. */
  sentCommit: number;
  flow: Flow;
}

/**
 * `probe`: one request at a time, until it is known where the logs agree. `replicate`: request after request without
 * waiting, within bounds. `snapshot`: what the member misses is in the log no more; it is sent the snapshot, piece by
 * piece.
 */
export type Flow = Probe | Replicate | SnapshotTransfer;

export interface Probe {
  type: 'probe';
  isWaiting: boolean;
}

export interface Replicate {
  type: 'replicate';
  /** Requests not yet answered, oldest first. */
  inFlight: { lastIndex: number; bytes: number }[];
  inFlightBytes: number;
  /** Ask, with an empty request if need be, whether all that was sent arrived. */
  isDoubtful: boolean;
}

export interface SnapshotTransfer {
  type: 'snapshot';
  snapshot: SnapshotMeta;
  /** So many bytes are kept there. */
  offset: number;
  /** The tick at which the piece from `offset` was sent, if it is under way. */
  sentTick: number | undefined;
}

export function newProgress(nextIndex: number, tick: number): Progress {
  return {
    matchIndex: 0,
    nextIndex,
    activeTick: tick,
    ackedRound: 0,
    ackedSentTick: Number.NEGATIVE_INFINITY,
    sentCommit: 0,
    flow: { type: 'probe', isWaiting: false },
  };
}

/** Begins to look for the place where the logs agree, from what is known to. */
export function probe(progress: Progress): void {
  progress.nextIndex = progress.matchIndex + 1;
  progress.flow = { type: 'probe', isWaiting: false };
}

/** The member has all up to `matchIndex`: what was in flight up to there has arrived. */
export function acceptedThrough(progress: Progress, matchIndex: number): void {
  progress.matchIndex = Math.max(progress.matchIndex, matchIndex);
  progress.nextIndex = Math.max(progress.nextIndex, progress.matchIndex + 1);
  const { flow } = progress;
  switch (flow.type) {
    case 'probe':
      progress.flow = { type: 'replicate', inFlight: [], inFlightBytes: 0, isDoubtful: false };
      progress.nextIndex = progress.matchIndex + 1;
      return;
    case 'replicate': {
      const arrived = flow.inFlight.findIndex(({ lastIndex }) => lastIndex > progress.matchIndex);
      const gone = flow.inFlight.splice(0, arrived < 0 ? flow.inFlight.length : arrived);
      for (const { bytes } of gone) flow.inFlightBytes -= bytes;
      return;
    }
    case 'snapshot':
      if (progress.matchIndex >= flow.snapshot.index) probe(progress);
  }
}
