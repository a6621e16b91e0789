import type { Rng } from '@apiary/std';
import type { MemberId } from './entry.js';

/** How a node behaves; the same in all members of a cluster, but for `id` and `rng`. Times are in ticks. */
export interface NodeOptions {
  id: MemberId;
  /** Spreads the election timeouts. */
  rng: Rng;
  /** Without a word from a leader for this long, and up to twice as long, an election is begun. */
  electionTicks: number;
  heartbeatTicks: number;
  /** When the connection to the leader is lost, a pre-vote is begun within so many ticks. */
  hintTicks: number;
  reads: ReadMode;
  /** Bounds of one append request; an entry that is larger alone is sent alone. */
  maxAppendEntries: number;
  maxAppendBytes: number;
  /** Bounds of what is on its way to one member. */
  maxInFlightEntries: number;
  maxInFlightBytes: number;
  /** Proposals are refused while so many bytes wait to be committed. */
  maxUncommittedBytes: number;
  maxEntryBytes: number;
}

/**
 * `quorum`: a read is confirmed by a round of heartbeats (ReadIndex; dissertation, 6.4). `lease`: while a majority
 * answered heartbeats sent within the election timeout divided by `driftRatio`, none is needed. That is right only if
 * no member's clock ever runs `driftRatio` times faster than another's, pauses of a whole process included.
 */
export type ReadMode = { type: 'quorum' } | { type: 'lease'; driftRatio: number };

export const DEFAULT_OPTIONS: Omit<NodeOptions, 'id' | 'rng'> = {
  // With ticks of 20 ms: 1-2 s, 100 ms.
  electionTicks: 50,
  heartbeatTicks: 5,
  hintTicks: 10,
  reads: { type: 'quorum' },
  maxAppendEntries: 4096,
  maxAppendBytes: 1024 * 1024,
  maxInFlightEntries: 16 * 1024,
  maxInFlightBytes: 8 * 1024 * 1024,
  maxUncommittedBytes: 64 * 1024 * 1024,
  maxEntryBytes: 16 * 1024 * 1024,
};
