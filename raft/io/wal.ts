import { ApiaryError, invariant, messageOf } from '@apiary/std';
import type { HardStateRecord, Identity, SnapshotRecord, WalRecord } from '../core/index.js';
import { encodedBytes } from '../core/index.js';
import type { FileSystem } from './file-system.js';
import { NodeFileSystem } from './file-system.js';
import type { KeyRing } from './key-ring.js';
import type { Logger } from './logger.js';
import { silentLogger } from './logger.js';
import type { LogState, RecoveredLog, SegmentInfo } from './wal-recovery.js';
import { EMPTY_LOG, follow, recoverLog } from './wal-recovery.js';
import { ActiveSegment } from './wal-segment.js';

export interface WalOptions {
  /** Made when missing. Nothing else belongs in it. */
  directory: string;
  /** Written into each segment; a log of another cluster or member is refused. */
  identity?: Identity;
  /** A new segment is begun once one has reached this: 16 MiB. */
  segmentBytes?: number;
  /** Segments are encrypted with these; undefined: in clear. */
  keys?: KeyRing | undefined;
  files?: FileSystem;
  logger?: Logger;
}

type CompleteOptions = Required<Omit<WalOptions, 'keys'>> & Pick<WalOptions, 'keys'>;

/** Room is made in a segment in steps of this, or of a whole segment if that is less. */
const ALLOCATION_BYTES = 1024 * 1024;
/** What waits beyond this goes into the next batch: a larger one is no faster by the byte. */
const BATCH_BYTES = 4 * 1024 * 1024;

interface Append {
  records: readonly WalRecord[];
  resolve: () => void;
  reject: (error: unknown) => void;
}

/**
 * A segmented write-ahead log. One `fdatasync` serves all that wait: what is appended during one goes with the next.
 *
 * Failures. When a batch cannot be written or synced, it and all that was appended after it is refused with
 * `resource-exhausted`, and the file is cut back to its last durable record; once the disk takes writes again, so does
 * the log. What a failed sync leaves in the kernel's memory is never trusted: it is cut off, not synced again. When
 * even cutting back fails, nobody knows what is on disk: then the log has failed for good, answers `unavailable`, and
 * must be opened anew.
 */
export class WriteAheadLog {
  /** What was on disk when the log was opened. */
  readonly recovered: RecoveredLog | undefined;
  readonly #files: FileSystem;
  readonly #directory: string;
  readonly #identity: Identity;
  readonly #segmentBytes: number;
  readonly #keys: KeyRing | undefined;
  readonly #logger: Logger;
  /** Segments before the active one, oldest first. */
  readonly #sealed: SegmentInfo[];
  #active: ActiveSegment;
  /** What is durable, and what will be once all that waits is. */
  #durable: LogState;
  #queued: LogState;
  #waiting: Append[] = [];
  #running: Promise<void> | undefined;
  /** Whether the next batch goes into a new segment, however much room the old one has. */
  #isRollDue: boolean;
  /** Of the segment that is being made. */
  #newKeyId: string | undefined;
  #failure: ApiaryError | undefined;

  private constructor(
    options: CompleteOptions,
    active: ActiveSegment,
    sealed: SegmentInfo[],
    recovered: RecoveredLog | undefined,
  ) {
    this.#files = options.files;
    this.#directory = options.directory;
    this.#identity = options.identity;
    this.#segmentBytes = options.segmentBytes;
    this.#keys = options.keys;
    // The process before may have ended between the new key and the segment that was to have it.
    this.#isRollDue = active.info.keyId !== options.keys?.currentId;
    this.#logger = options.logger;
    this.#active = active;
    this.#sealed = sealed;
    this.recovered = recovered;
    this.#durable = recovered === undefined ? EMPTY_LOG : stateOf(recovered);
    this.#queued = this.#durable;
  }

  /**
   * Opens the log, or makes a new one. A torn write at its end is cut off.
   *
   * @throws ApiaryError `failed-precondition`, with file and offset, when it is damaged elsewhere, of another cluster
   *   or member, or of a newer version; `resource-exhausted` when the disk refuses
   */
  static async open(options: WalOptions): Promise<WriteAheadLog> {
    const complete: CompleteOptions = {
      identity: { clusterId: '', memberId: '' },
      segmentBytes: 16 * 1024 * 1024,
      files: new NodeFileSystem(),
      logger: silentLogger,
      ...options,
    };
    const { files, directory, identity, keys, logger } = complete;
    await files.makeDirectory(directory);
    for (const name of files.list(directory)) if (name.endsWith('.tmp')) await files.remove(`${directory}/${name}`);
    const recovered = recoverLog({ files, directory, identity, keys });
    if (recovered?.end.torn) {
      const { path } = newest(recovered);
      logger.warn({ file: path, offset: recovered.end.offset }, 'a write was cut short at the end of the log: dropped');
    }
    const allocationBytes = Math.min(ALLOCATION_BYTES, complete.segmentBytes);
    const first = { identity, keys, sequence: 1, firstIndex: 1, chainStart: 0 };
    try {
      const active =
        recovered === undefined
          ? await ActiveSegment.create(files, directory, first, [], allocationBytes)
          : await ActiveSegment.resume(files, newest(recovered), recovered.end, allocationBytes);
      return new WriteAheadLog(complete, active, recovered?.segments.slice(0, -1) ?? [], recovered);
    } catch (error) {
      throw refusal(directory, error);
    }
  }

  /** Index of the last entry appended, durable or not yet. */
  get lastIndex(): number {
    return this.#queued.lastIndex;
  }

  /** The newest durable hard state. */
  get hardState(): HardStateRecord {
    return this.#durable.hardState;
  }

  /** The newest durable snapshot record. */
  get snapshot(): SnapshotRecord {
    return this.#durable.snapshot;
  }

  /**
   * Appends records, after all that was appended before. Resolves when they are durable.
   *
   * @throws ApiaryError `resource-exhausted` when the disk refused: none of them was kept, and `lastIndex` is that of
   *   before; `unavailable` when the log has failed for good or is closed: they may have been kept
   */
  append(records: readonly WalRecord[]): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    for (const record of records) {
      if (record.type === 'entry')
        invariant(
          record.index >= 1 && record.index <= this.#queued.lastIndex + 1,
          `entry ${record.index} cannot follow entry ${this.#queued.lastIndex}`,
        );
      this.#queued = follow(this.#queued, record);
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ records, resolve, reject });
      this.#running ??= this.#run();
    });
  }

  /**
   * Removes segments of which no entry above `index` is left. What `index` is covered by (a snapshot) must be durable.
   *
   * @returns how many were removed
   */
  async purgeThrough(index: number): Promise<number> {
    let removed = 0;
    for (;;) {
      const [oldest] = this.#sealed;
      if (oldest === undefined || oldest.highestIndex > index) break;
      // Oldest first, so that what is left after a crash has no gap.
      await this.#files.remove(oldest.path);
      this.#sealed.shift();
      removed++;
    }
    if (removed > 0) await this.#files.syncDirectory(this.#directory);
    return removed;
  }

  /**
   * Begins a new segment, after all that was appended before, so that what follows has the current key.
   *
   * @throws ApiaryError as `append` does
   */
  startSegment(): Promise<void> {
    this.#isRollDue = true;
    return this.append([]);
  }

  /** The ids of the keys that the segments need, of the one that is being made too. */
  keyIds(): string[] {
    const ids = [...this.#sealed.map(({ keyId }) => keyId), this.#active.info.keyId, this.#newKeyId];
    return ids.filter((id) => id !== undefined);
  }

  /** Waits for what was appended, and closes the file. */
  async close(): Promise<void> {
    this.#failure ??= new ApiaryError('unavailable', `${this.#directory}: the log is closed`);
    await this.#running;
    await this.#active.close();
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      // One turn of the event loop, so that all who were answered by the last batch can be in the next.
      await new Promise((resolve) => setImmediate(resolve));
      const batch = this.#nextBatch();
      const records = batch.flatMap((append) => append.records);
      try {
        if (this.#isRollDue || this.#active.offset >= this.#segmentBytes) await this.#rollOver();
        await this.#active.append(records);
      } catch (error) {
        await this.#refuse(batch, error);
        continue;
      }
      this.#durable = records.reduce(follow, this.#durable);
      for (const append of batch) append.resolve();
    }
    this.#running = undefined;
  }

  #nextBatch(): Append[] {
    let bytes = 0;
    let count = 0;
    for (const append of this.#waiting) {
      for (const record of append.records) bytes += encodedBytes(record);
      if (count > 0 && bytes > BATCH_BYTES) break;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  /** Each segment begins with the newest hard state and snapshot, so that those before it can go. */
  async #rollOver(): Promise<void> {
    const full = this.#active;
    await full.seal();
    const { lastIndex, hardState, snapshot } = this.#durable;
    this.#newKeyId = this.#keys?.currentId;
    this.#active = await ActiveSegment.create(
      this.#files,
      this.#directory,
      {
        identity: this.#identity,
        keys: this.#keys,
        sequence: full.info.sequence + 1,
        firstIndex: lastIndex + 1,
        chainStart: full.crc,
      },
      [hardState, snapshot],
      Math.min(ALLOCATION_BYTES, this.#segmentBytes),
    );
    this.#newKeyId = undefined;
    this.#isRollDue = this.#active.info.keyId !== this.#keys?.currentId;
    this.#sealed.push(full.info);
    await full.close();
  }

  /** Brings the file back to its durable end, and tells all who wait. */
  async #refuse(batch: Append[], cause: unknown): Promise<void> {
    let error: ApiaryError;
    try {
      await this.#active.rollBack();
      error = refusal(this.#directory, cause);
    } catch (second) {
      error = new ApiaryError(
        'unavailable',
        `${this.#directory}: the disk failed while the log was written (${messageOf(cause)}), and what was written could ` +
          `not be taken back (${messageOf(second)}). Check the disk and restart: the log is read again then`,
        { cause },
      );
      this.#failure ??= error;
    }
    this.#logger.warn({ directory: this.#directory, error: messageOf(cause) }, 'the log could not be written');
    // Whatever came after relied on what came before.
    const refused = [...batch, ...this.#waiting.splice(0)];
    this.#queued = this.#durable;
    for (const append of refused) append.reject(error);
  }
}

function newest(recovered: RecoveredLog): SegmentInfo {
  return recovered.segments.at(-1) ?? recovered.segments[0];
}

function stateOf({ lastIndex, lastTerm, hardState, snapshot }: RecoveredLog): LogState {
  return { lastIndex, lastTerm, hardState, snapshot };
}

/** What those hear whose write the disk refused. */
export function refusal(directory: string, cause: unknown): ApiaryError {
  return new ApiaryError(
    'resource-exhausted',
    `${directory}: the disk refused a write (${messageOf(cause)}); nothing of it was kept. Free space there, or check the disk`,
    { cause },
  );
}
