import type { Entry, HardState, MemberId, SnapshotMeta } from './entry.js';
import type { Message, SnapshotChunk } from './messages.js';

/**
 * What a node wants done. Its parts are done in the order of the fields, and one Ready's parts after those of the
 * Ready before:
 *
 * 1. `send` and `readChunks` at once: they do not wait for the disk. So a leader's disk and its followers' write at
 *    the same time (dissertation, 10.2.1).
 * 2. `persist` is handed to the disk, after what was handed to it before; nobody waits for it.
 * 3. `restore`, then `apply`, go to the state machine: all of it is committed, and durable here.
 * 4. `storeChunks` go to the disk on their own; each is answered with `chunkStored` or `chunkRefused`.
 * 5. `reads` may be answered once the state machine has applied their index.
 * 6. `sendOnceDurable` is sent when `persist`, of this Ready and of all before it, is durable: what it says is a
 *    promise. Then the node is told `persisted(number)`. When the disk refuses, none of it is sent, nor of any Ready
 *    after it that is under way, and the node is told `diskFailed()`.
 */
export interface Ready {
  number: number;
  send: Message[];
  readChunks: ChunkOrder[];
  /** Undefined when there is nothing to write; 6 then waits only for the Readies before. */
  persist: Persist | undefined;
  /** Replace the state by that of this snapshot, which `chunkStored` told of. */
  restore: SnapshotMeta | undefined;
  apply: Entry[];
  storeChunks: SnapshotChunk[];
  reads: ReadOutcome[];
  sendOnceDurable: Message[];
}

/** To be written as one: all of it or nothing, in this order. */
export interface Persist {
  /** The log begins anew after it. Its file is durable already. */
  snapshot: SnapshotMeta | undefined;
  /** The first may replace one written before, and then all after that. */
  entries: Entry[];
  hardState: HardState | undefined;
}

/** Send `to` the piece of the snapshot file from `offset` on, in a `snapshot-chunk` of `term`. */
export interface ChunkOrder {
  to: MemberId;
  term: number;
  snapshot: SnapshotMeta;
  offset: number;
}

export type ReadOutcome =
  /** The state after entry `index`, or any later one, is one of after the read was asked for. */
  | { type: 'confirmed'; readId: string; index: number }
  /** No leader could be asked, or it did not answer. */
  | { type: 'failed'; readId: string };
