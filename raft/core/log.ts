import type { MemberId, Membership } from './entry.js';
import type { MembershipChange } from './membership.js';

/**
 * The consensus port: a log of entries that all members agree on, and who leads. The embedded Raft implements it,
 * a single member on disk does, and external stores do; one conformance suite runs on all of them.
 */
export interface Log {
  /**
   * Opens the log: restores the newest snapshot into `machine`, applies every committed entry after it, in order,
   * and from then on each newly committed one. Resolves when `machine` has all that was committed at the call.
   *
   * @throws ApiaryError `failed-precondition` when what is on disk is damaged, naming file and offset
   */
  open(machine: StateMachine): Promise<void>;

  /**
   * Commits an entry, from any member. Resolves, with its index, once it is durable on a majority and `machine` has
   * applied it. The entry's bytes must stay as they are until then. Waits a while for a leader when there is none.
   *
   * @throws ApiaryError `unavailable` when no leader was found (it was not committed), or the leader was lost meanwhile
   *   and it is unknown whether it was, or will be, committed; `resource-exhausted` when the entry is too large or the
   *   disk is full (it was not committed)
   */
  propose(entry: Uint8Array, options?: ProposeOptions): Promise<number>;

  /** Resolves once `machine` has applied all that was committed anywhere when this was called: a linearizable read. */
  barrier(): Promise<void>;

  readonly leadership: Leadership;
  /** Calls `listener` after each change of `leadership`; returns what ends that. */
  onLeadership(listener: (leadership: Leadership) => void): () => void;

  /** Who takes part, by the newest entry that says so. */
  readonly members: Membership;
  /** How the other members stand, as the leader sees it; empty on others. */
  readonly peers: readonly PeerStatus[];
  /** Calls `listener` after each change of `members` or `peers`; returns what ends that. */
  onMembers(listener: () => void): () => void;

  /**
   * One step of membership, by the leader only. `entry` is applied with it, in one log entry, so that what the state
   * says of members and the membership cannot disagree. Resolves, with its index, once `machine` has applied it.
   *
   * @throws ApiaryError `failed-precondition`, with words, when the step is none from where the membership is, or would
   *   take the quorum away (unless it is forced); `unavailable` when this member does not lead, or another step is
   *   under way, or as `propose`
   */
  changeMembers(change: MembershipChange, entry: Uint8Array, options?: { isForced?: boolean }): Promise<number>;

  /**
   * Hands leadership to another voter: `to`, or whoever is active and has most of the log. Resolves once this member
   * does not lead any more, at once if it does not lead.
   *
   * @throws ApiaryError `failed-precondition` when there is nobody to hand it to; `unavailable` when it did not happen
   */
  transferLeadership(to?: MemberId): Promise<void>;

  /** Stops: nothing is applied after this resolves. What was acknowledged stays on disk. */
  close(): Promise<void>;
}

export interface ProposeOptions {
  /**
   * Only as the leader of this term: refused with `unavailable` at once when this member does not lead it (it was not
   * committed), never handed to another leader and never proposed again. For what only a leader may decide.
   */
  asLeaderOf?: number;
}

export type Leadership = { role: 'leader'; term: number } | { role: 'follower'; term: number; leaderId?: string };

/** Another member, as the leader sees it. */
export interface PeerStatus {
  id: MemberId;
  /** It was heard from within the election timeout. */
  isActive: boolean;
  /** It lacks no more than is sent in one go. */
  isCaughtUp: boolean;
}

/** What the log drives. Its methods are called one at a time and do not wait. */
export interface StateMachine {
  apply(index: number, entry: Uint8Array): void;
  /**
   * The whole state as of the call, in pieces of at most about 1 MiB. They are drawn one by one as the disk takes them,
   * while further entries are applied; a snapshot may be given up half-way.
   */
  snapshot(): Iterable<Uint8Array>;
  /** Replaces the whole state with that of a snapshot taken after the entry at `index`. */
  restore(index: number, pieces: Iterable<Uint8Array>): void;
}
