import { ApiaryError, messageOf, type Sealing } from '@apiary/std';
import {
  type Entry,
  type Message,
  type NodeOptions,
  type Position,
  RaftNode,
  type ReadOutcome,
  type Ready,
  type SnapshotChunk,
  type SnapshotMeta,
  type StateMachine,
} from '../core/index.js';
import type { Logger } from './logger.js';
import type { MemberStorage, Opened } from './member-storage.js';
import { type SnapshotChoice, SnapshotSchedule, type SnapshotSettings } from './snapshot-schedule.js';
import type { Transport } from './transport.js';

/** Pieces in which a snapshot goes to another member. */
const CHUNK_BYTES = 512 * 1024;

export interface MemberDriverOptions {
  directory: string;
  node: NodeOptions;
  snapshots: SnapshotSettings;
  transport: Transport;
  machine: StateMachine;
  logger: Logger;
  events: MemberEvents;
}

/** What a driver tells, in the course of its work. Nothing of this may wait, and the driver's node may be asked things. */
export interface MemberEvents {
  /** What waits to be asked of the node can be asked now. */
  pumping(): void;
  applied(entry: Entry): void;
  /** The state was replaced by that of a snapshot. */
  restored(snapshot: SnapshotMeta): void;
  read(outcome: ReadOutcome): void;
  /** The disk refused. @param givenUp the first of the entries that will never be committed, if there are any */
  refused(error: ApiaryError, givenUp: number | undefined): void;
  /** All that was to be done has been. */
  pumped(): void;
  /** It cannot go on. */
  failed(error: unknown): void;
}

/** Does what a node wants done, as `Ready` says: with the disk, the wire and the state machine. */
export class MemberDriver {
  readonly node: RaftNode;
  readonly #options: MemberDriverOptions;
  readonly #storage: MemberStorage;
  readonly #schedule: SnapshotSchedule;
  /** Under way, oldest first, with what may be said once they are durable. */
  readonly #writes: { messages: Message[] }[] = [];
  #applied: Position;
  #snapshotting: Promise<void> | undefined;
  #storing: Promise<void> = Promise.resolve();
  #isScheduled = false;
  #isStopped = false;

  constructor(options: MemberDriverOptions, { storage, initial, state }: Opened) {
    const { snapshot } = initial;
    this.#options = options;
    this.#storage = storage;
    this.#schedule = new SnapshotSchedule(options.snapshots, snapshot.index);
    this.#applied = { index: snapshot.index, term: snapshot.term };
    if (state !== undefined) options.machine.restore(snapshot.index, state);
    this.node = new RaftNode(options.node, initial);
  }

  /** The last entry that the state machine has. */
  get applied(): Position {
    return this.#applied;
  }

  /** Does what there is to do once this turn of the event loop is over: with all that others ask for until then. */
  schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.pump();
    });
  }

  pump(): void {
    if (this.#isStopped) return;
    const { events } = this.#options;
    try {
      events.pumping();
      for (let ready = this.node.ready(); ready !== undefined; ready = this.node.ready()) {
        this.#carryOut(ready);
        if (this.#isStopped) return;
      }
      events.pumped();
    } catch (error) {
      events.failed(error);
    }
  }

  /**
   * As `MemberStorage.rotateKey`. Then a snapshot is taken, so that the key before goes as soon as it can; when that
   * fails, it goes with the next one.
   */
  async rotateKey(): Promise<string> {
    const id = await this.#storage.rotateKey();
    // One that is being written was begun with the key before.
    await this.#snapshotting;
    if (!this.#isStopped && this.#snapshotting === undefined && this.#applied.index > 0) this.#takeSnapshot();
    await this.#snapshotting;
    return id;
  }

  /** As `MemberStorage.keyMadeAtMs`. */
  get keyMadeAtMs(): number | undefined {
    return this.#storage.keyMadeAtMs;
  }

  /** As `MemberStorage.sealKeys`. */
  sealKeys(sealing: Sealing | undefined): Promise<void> {
    return this.#storage.sealKeys(sealing);
  }

  /** From the next snapshot on. */
  configureSnapshots(choice: SnapshotChoice): void {
    this.#schedule.configure(choice);
  }

  /** Nothing is applied or sent from here on. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Waits for what the disk was given. */
  async close(): Promise<void> {
    this.stop();
    await this.#snapshotting;
    await this.#storing;
    await this.#storage.close();
  }

  #carryOut(ready: Ready): void {
    const { transport, events } = this.#options;
    for (const message of ready.send) transport.send(message);
    for (const { to, term, snapshot, offset } of ready.readChunks) {
      const chunk = this.#storage.readChunk(to, snapshot, offset, CHUNK_BYTES);
      if (chunk === undefined) this.node.chunkUnavailable(to);
      else {
        const from = this.#options.node.id;
        transport.send({ type: 'snapshot-chunk', from, to, term, snapshot, offset, ...chunk });
      }
    }
    this.#persist(ready);
    if (ready.restore !== undefined) this.#restore(ready.restore);
    for (const entry of ready.apply) {
      this.#apply(entry);
      if (this.#isStopped) return;
    }
    for (const chunk of ready.storeChunks) this.#storeChunk(chunk);
    for (const outcome of ready.reads) events.read(outcome);
  }

  #persist({ number, persist, sendOnceDurable }: Ready): void {
    if (persist === undefined) {
      const last = this.#writes.at(-1);
      if (last !== undefined) last.messages.push(...sendOnceDurable);
      else for (const message of sendOnceDurable) this.#options.transport.send(message);
      return;
    }
    const write = { messages: sendOnceDurable };
    this.#writes.push(write);
    this.#storage.write(persist).then(
      () => this.#whenWritten(number),
      (error: unknown) => this.#whenRefused(write, error),
    );
  }

  #whenWritten(number: number): void {
    if (this.#isStopped) return;
    for (const message of this.#writes.shift()?.messages ?? []) this.#options.transport.send(message);
    this.node.persisted(number);
    // One sync may have served several writes: the others are told of in this very turn.
    queueMicrotask(() => this.pump());
  }

  #whenRefused(write: { messages: Message[] }, error: unknown): void {
    // The first that is refused speaks for all that were under way.
    if (this.#isStopped || !this.#writes.includes(write)) return;
    const { events } = this.#options;
    if (!(error instanceof ApiaryError) || error.code === 'unavailable') {
      events.failed(error);
      return;
    }
    this.#writes.length = 0;
    events.refused(error, this.node.diskFailed());
    this.schedule();
  }

  #storeChunk(chunk: SnapshotChunk): void {
    this.#storing = this.#storage.storeChunk(chunk).then(
      () => this.#whenStored(() => this.node.chunkStored(chunk)),
      (error: unknown) => {
        const { directory, logger } = this.#options;
        logger.warn({ directory, from: chunk.from, error: messageOf(error) }, 'a snapshot could not be received');
        this.#whenStored(() => this.node.chunkRefused());
      },
    );
  }

  #whenStored(tell: () => void): void {
    if (this.#isStopped) return;
    tell();
    this.pump();
  }

  #restore(meta: SnapshotMeta): void {
    const { directory, logger, machine, events } = this.#options;
    machine.restore(meta.index, this.#storage.stateOf(meta));
    this.#applied = { index: meta.index, term: meta.term };
    this.#schedule.taken(meta.index);
    logger.info({ directory, index: meta.index }, 'snapshot received');
    events.restored(meta);
  }

  #apply(entry: Entry): void {
    const { machine, events } = this.#options;
    // What says nothing to the state only takes its place: a leader's first entry, the membership of a new cluster.
    const isForState = entry.type === 'command' || (entry.type === 'membership' && entry.data.length > 0);
    if (isForState) machine.apply(entry.index, entry.data);
    this.#applied = { index: entry.index, term: entry.term };
    this.#schedule.count(entry);
    events.applied(entry);
    if (this.#snapshotting === undefined && this.#schedule.isDue(entry.index)) this.#takeSnapshot();
  }

  /** Failed, it is tried again when the next one is due. */
  #takeSnapshot(): void {
    const { directory, logger, machine } = this.#options;
    const { index } = this.#applied;
    const meta = this.node.snapshotMeta(index);
    const keepEntries = this.#schedule.taken(index);
    const pieces = this.#untilStopped(machine.snapshot());
    this.#snapshotting = this.#storage
      .saveSnapshot(meta, pieces, this.#schedule.keepOld)
      .then(
        (isSaved) => {
          if (this.#isStopped || !isSaved) return;
          logger.info({ directory, index }, 'snapshot taken');
          this.node.compact(meta, keepEntries);
        },
        (error: unknown) => {
          if (this.#isStopped) return;
          logger.warn({ directory, index, error: messageOf(error) }, 'no snapshot could be taken: the log is kept');
        },
      )
      .finally(() => {
        this.#snapshotting = undefined;
      });
  }

  *#untilStopped(pieces: Iterable<Uint8Array>): Generator<Uint8Array> {
    for (const piece of pieces) {
      if (this.#isStopped) throw new ApiaryError('unavailable', 'the log is closed');
      yield piece;
    }
  }
}
