import { join } from 'node:path';
import { ApiaryError, invariant, messageOf } from '@apiary/std';
import type { Identity, Leadership, Log, Membership, StateMachine } from '../core/index.js';
import { MAX_PAYLOAD_BYTES } from '../core/index.js';
import { DamagedFileError } from './damaged-file.js';
import type { FileSystem } from './file-system.js';
import { NodeFileSystem } from './file-system.js';
import type { Logger } from './logger.js';
import { silentLogger } from './logger.js';
import { SnapshotStore } from './snapshot-file.js';

import { WriteAheadLog } from './wal.js';

export interface SingleMemberLogOptions {
  /** Made when missing, for the owner only. Holds `wal/` and `snapshots/`. */
  directory: string;
  /** Written into each file; the data of another cluster or member is refused. */
  identity?: Identity;
  /** A snapshot is taken after so many entries since the last one (10,000), or ... */
  snapshotEveryEntries?: number;
  /** ... after so many bytes of them (32 MiB). */
  snapshotEveryBytes?: number;
  /** A longer entry is refused: 16 MiB. */
  maxEntryBytes?: number;
  segmentBytes?: number;
  files?: FileSystem;
  logger?: Logger;
}

/** The newest, and the one before: the log is kept back to that, so that one damaged snapshot loses nothing. */
const SNAPSHOTS_KEPT = 2;

interface Running {
  wal: WriteAheadLog;
  snapshots: SnapshotStore;
  machine: StateMachine;
}

interface Proposal {
  index: number;
  entry: Uint8Array;
  resolve: (index: number) => void;
  reject: (error: unknown) => void;
}

/**
 * The log of a cluster with one manager: an entry is committed once this disk has it. It leads from `open` on, in a
 * new term each time, until it is closed or its disk fails for good.
 */
export class SingleMemberLog implements Log {
  readonly #options: Required<SingleMemberLogOptions>;
  readonly #listeners = new Set<(leadership: Leadership) => void>();
  #leadership: Leadership = { role: 'follower', term: 0 };
  /** From `open` to `close`. */
  #running: Running | undefined;
  /** Why nothing is accepted any more, or not yet. */
  #refusal: ApiaryError | undefined;
  #isOpened = false;
  /** Appended and not yet applied, in the order of their indexes. */
  #pending: Proposal[] = [];
  #applied = { index: 0, term: 0 };
  /** Of the last snapshot that was taken, or at least begun. */
  #snapshotIndex = 0;
  #bytesSinceSnapshot = 0;
  /** While pieces of a snapshot are drawn, the state must not move. */
  #isHeld = false;
  #snapshotting: Promise<void> | undefined;
  #barriers: { index: number; resolve: () => void; reject: (error: unknown) => void }[] = [];

  constructor(options: SingleMemberLogOptions) {
    this.#options = {
      identity: { clusterId: '', memberId: '' },
      snapshotEveryEntries: 10_000,
      snapshotEveryBytes: 32 * 1024 * 1024,
      maxEntryBytes: 16 * 1024 * 1024,
      segmentBytes: 16 * 1024 * 1024,
      files: new NodeFileSystem(),
      logger: silentLogger,
      ...options,
    };
    invariant(this.#options.maxEntryBytes < MAX_PAYLOAD_BYTES, `an entry must fit ${MAX_PAYLOAD_BYTES} bytes`);
    this.#refusal = new ApiaryError('unavailable', `${this.#options.directory}: the log is not open`);
  }

  get leadership(): Leadership {
    return this.#leadership;
  }

  onLeadership(listener: (leadership: Leadership) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get members(): Membership {
    return { voters: [this.#options.identity.memberId], learners: [] };
  }

  get peers(): [] {
    return [];
  }

  onMembers(): () => void {
    return () => {};
  }

  async changeMembers(): Promise<number> {
    throw new ApiaryError('failed-precondition', `${this.#options.directory}: this log has a single member`);
  }

  async transferLeadership(): Promise<void> {
    throw new ApiaryError('failed-precondition', `${this.#options.directory}: this log has a single member`);
  }

  async open(machine: StateMachine): Promise<void> {
    invariant(!this.#isOpened, 'a log is opened once');
    this.#isOpened = true;
    const { directory, files, identity, segmentBytes, logger } = this.#options;
    const snapshots = await SnapshotStore.open(files, join(directory, 'snapshots'), identity);
    const wal = await WriteAheadLog.open({ directory: join(directory, 'wal'), identity, segmentBytes, files, logger });
    try {
      await this.#replay(wal, snapshots, machine);
      const term = wal.hardState.term + 1;
      await wal.append([{ type: 'hard-state', term, vote: identity.memberId, commit: wal.lastIndex }]);
      this.#running = { wal, snapshots, machine };
      this.#refusal = undefined;
      this.#lead({ role: 'leader', term });
      this.#snapshotIfDue();
    } catch (error) {
      await wal.close();
      throw error;
    }
  }

  propose(entry: Uint8Array): Promise<number> {
    if (this.#refusal !== undefined || this.#running === undefined) return Promise.reject(this.#refusal);
    const { directory, maxEntryBytes } = this.#options;
    if (entry.length > maxEntryBytes) {
      return Promise.reject(
        new ApiaryError(
          'resource-exhausted',
          `${directory}: an entry of ${entry.length} bytes is over the limit of ${maxEntryBytes}: split the request`,
        ),
      );
    }
    const { wal } = this.#running;
    const index = wal.lastIndex + 1;
    const { term } = this.#leadership;
    return new Promise((resolve, reject) => {
      const proposal = { index, entry, resolve, reject };
      this.#pending.push(proposal);
      wal.append([{ type: 'entry', index, term, data: entry }]).then(
        () => this.#applyDurable(),
        (error: unknown) => this.#refuse(proposal, error),
      );
    });
  }

  barrier(): Promise<void> {
    if (this.#refusal !== undefined || this.#running === undefined) return Promise.reject(this.#refusal);
    const index = this.#running.wal.durableIndex;
    if (this.#applied.index >= index) return Promise.resolve();
    return new Promise((resolve, reject) => this.#barriers.push({ index, resolve, reject }));
  }

  async close(): Promise<void> {
    this.#stop(new ApiaryError('unavailable', `${this.#options.directory}: the log is closed`));
    const running = this.#running;
    this.#running = undefined;
    if (running === undefined) return;
    await this.#snapshotting;
    await running.wal.close();
  }

  /** Brings `machine` to the state after the last entry on disk. */
  async #replay(wal: WriteAheadLog, snapshots: SnapshotStore, machine: StateMachine): Promise<void> {
    const { recovered } = wal;
    const { directory, logger } = this.#options;
    const firstIndex = recovered?.firstIndex ?? 1;
    const snapshot = await snapshots.newest((index) => firstIndex <= index + 1 && index <= wal.lastIndex, logger);
    checkReach(join(directory, 'wal'), wal, firstIndex, snapshot?.index ?? 0);
    if (snapshot !== undefined) {
      machine.restore(snapshot.index, snapshot.pieces);
      this.#applied = { index: snapshot.index, term: snapshot.term };
      this.#snapshotIndex = snapshot.index;
    }
    for (const { index, term, data } of recovered?.entries(this.#snapshotIndex) ?? []) {
      invariant(index === this.#applied.index + 1, `entry ${index} was replayed after entry ${this.#applied.index}`);
      machine.apply(index, data);
      this.#applied = { index, term };
      this.#bytesSinceSnapshot += data.length;
    }
    logger.info({ directory, snapshotIndex: this.#snapshotIndex, appliedIndex: this.#applied.index }, 'log read');
  }

  /** Applies what is durable and not held back, and answers those who proposed it. */
  #applyDurable(): void {
    if (this.#running === undefined || this.#isHeld) return;
    const { wal, machine } = this.#running;
    const { durableIndex } = wal;
    let count = 0;
    try {
      for (const { index, entry, resolve } of this.#pending) {
        if (index > durableIndex || this.#isHeld) break;
        machine.apply(index, entry);
        this.#applied = { index, term: this.#leadership.term };
        this.#bytesSinceSnapshot += entry.length;
        count++;
        resolve(index);
        this.#snapshotIfDue();
      }
    } catch (error) {
      // A state machine that cannot apply what is committed is in no known state: nothing may follow.
      this.#stop(error);
      return;
    }
    this.#pending.splice(0, count);
    const reached = this.#barriers.filter(({ index }) => index <= this.#applied.index);
    if (reached.length === 0) return;
    this.#barriers = this.#barriers.filter(({ index }) => index > this.#applied.index);
    for (const { resolve } of reached) resolve();
  }

  #refuse(proposal: Proposal, error: unknown): void {
    const at = this.#pending.indexOf(proposal);
    if (at >= 0) this.#pending.splice(at, 1);
    proposal.reject(error);
    if (error instanceof ApiaryError && error.code === 'unavailable') this.#stop(error);
  }

  /** Refuses all that waits and all that comes, and leads no more. */
  #stop(cause: unknown): void {
    const error = cause instanceof ApiaryError ? cause : new ApiaryError('internal', messageOf(cause), { cause });
    this.#refusal = error;
    for (const { reject } of [...this.#pending.splice(0), ...this.#barriers.splice(0)]) reject(error);
    if (this.#leadership.role === 'leader') this.#lead({ role: 'follower', term: this.#leadership.term });
  }

  #lead(leadership: Leadership): void {
    this.#leadership = leadership;
    for (const listener of this.#listeners) listener(leadership);
  }

  #snapshotIfDue(): void {
    const { snapshotEveryEntries, snapshotEveryBytes } = this.#options;
    const entries = this.#applied.index - this.#snapshotIndex;
    const isDue = entries >= snapshotEveryEntries || this.#bytesSinceSnapshot >= snapshotEveryBytes;
    if (this.#running === undefined || entries === 0 || !isDue || this.#snapshotting !== undefined) return;
    this.#snapshotting = this.#snapshot(this.#running).finally(() => {
      this.#snapshotting = undefined;
      this.#snapshotIfDue();
    });
  }

  /** Writes the state of now, and drops what it makes superfluous. Failed, it is tried again when the next one is due. */
  async #snapshot({ wal, snapshots, machine }: Running): Promise<void> {
    const { index, term } = this.#applied;
    const { directory, logger } = this.#options;
    this.#snapshotIndex = index;
    this.#bytesSinceSnapshot = 0;
    this.#isHeld = true;
    try {
      const bytes = await snapshots.write(index, term, this.#draw(machine));
      await wal.append([{ type: 'snapshot', index, term }]);
      const kept = await snapshots.purge(SNAPSHOTS_KEPT);
      const oldest = kept.length < SNAPSHOTS_KEPT ? undefined : kept.at(-1);
      const segments = oldest === undefined ? 0 : await wal.purgeThrough(oldest.index);
      logger.info({ directory, index, bytes, segmentsRemoved: segments }, 'snapshot taken');
    } catch (error) {
      if (this.#refusal === undefined)
        logger.warn({ directory, index, error: messageOf(error) }, 'no snapshot could be taken: the log is kept');
    } finally {
      this.#release();
    }
  }

  *#draw(machine: StateMachine): Generator<Uint8Array> {
    for (const piece of machine.snapshot()) {
      if (this.#refusal !== undefined) throw this.#refusal;
      yield piece;
    }
    this.#release();
  }

  #release(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    this.#applyDurable();
  }
}

/** Refuses a log that has lost what a snapshot or a commit shows was there. */
function checkReach(directory: string, wal: WriteAheadLog, firstIndex: number, snapshotIndex: number): void {
  const { lastIndex, hardState } = wal;
  if (lastIndex < snapshotIndex)
    throw new DamagedFileError(
      directory,
      `ends with entry ${lastIndex}, before the snapshot of entry ${snapshotIndex}`,
    );
  if (lastIndex < hardState.commit)
    throw new DamagedFileError(
      directory,
      `ends with entry ${lastIndex}, though entry ${hardState.commit} was committed`,
    );
  if (firstIndex > snapshotIndex + 1)
    throw new DamagedFileError(
      directory,
      `begins with entry ${firstIndex}, and the newest snapshot is of entry ${snapshotIndex}: what was between is missing`,
    );
}
