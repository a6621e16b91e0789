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
   * Commits an entry. Resolves, with its index, once it is durable on a majority and `machine` has applied it.
   * The entry's bytes must stay as they are until then.
   *
   * @throws ApiaryError `unavailable` when there is no leader or it changed meanwhile (the entry may have been
   *   committed or not); `resource-exhausted` when the entry is too large or the disk is full (it was not committed)
   */
  propose(entry: Uint8Array): Promise<number>;

  /** Resolves once `machine` has applied all that was committed anywhere when this was called: a linearizable read. */
  barrier(): Promise<void>;

  readonly leadership: Leadership;
  /** Calls `listener` after each change of `leadership`; returns what ends that. */
  onLeadership(listener: (leadership: Leadership) => void): () => void;

  /** Stops: nothing is applied after this resolves. What was acknowledged stays on disk. */
  close(): Promise<void>;
}

export type Leadership = { role: 'leader'; term: number } | { role: 'follower'; term: number; leaderId?: string };

/** What the log drives. Its methods are called one at a time and do not wait. */
export interface StateMachine {
  apply(index: number, entry: Uint8Array): void;
  /**
   * The whole state after the last applied entry, in pieces of at most about 1 MiB. They are drawn one by one as the
   * disk takes them, and nothing is applied before the last is drawn; a snapshot may be given up half-way.
   */
  snapshot(): Iterable<Uint8Array>;
  /** Replaces the whole state with that of a snapshot taken after the entry at `index`. */
  restore(index: number, pieces: Iterable<Uint8Array>): void;
}
