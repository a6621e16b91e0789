/** A member's name in the log and in messages: printable ASCII, at most 32 characters. */
export type MemberId = string;

/** Who takes part: voters elect and commit, learners only receive. Both sorted, without repetition, disjoint. */
export interface Membership {
  voters: readonly MemberId[];
  learners: readonly MemberId[];
}

/** A place in the log. Two logs that have an entry of one index and term have it, and all before it, in common. */
export interface Position {
  index: number;
  term: number;
}

export type Entry = EmptyEntry | CommandEntry | MembershipEntry;

/** What a new leader writes first, so that there is something of its own term to commit. */
export interface EmptyEntry extends Position {
  type: 'empty';
}

/** What the state machine is driven by. */
export interface CommandEntry extends Position {
  type: 'command';
  data: Uint8Array;
}

/**
 * The whole membership from this entry on. `data` is for the state machine: what it keeps about members (a role, say)
 * changes by the same entry as the membership itself, so that the two cannot disagree.
 */
export interface MembershipEntry extends Position {
  type: 'membership';
  membership: Membership;
  data: Uint8Array;
}

/** A snapshot of the state after entry `index`, with the membership of that place. */
export interface SnapshotMeta extends Position {
  membership: Membership;
}

/** What a member must not forget. */
export interface HardState {
  term: number;
  /** Whom it voted for in `term`, or ''. */
  vote: MemberId | '';
  /** It may lag behind: it only spares waiting for a leader after a restart. */
  commit: number;
}

/** What an entry without data is reckoned at, so that flow control sees those too. */
const ENTRY_OVERHEAD_BYTES = 24;

/** What flow control reckons an entry at. */
export function entryBytes(entry: Entry): number {
  return ENTRY_OVERHEAD_BYTES + (entry.type === 'empty' ? 0 : entry.data.length);
}
