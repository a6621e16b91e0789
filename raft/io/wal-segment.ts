import { randomInt } from 'node:crypto';
import { dirname, join } from 'node:path';
import { crc32c } from '@node-rs/crc32';
import type { Identity, WalRecord } from '../core/index.js';
import { encodeSegmentHeader, FILE_HEADER_BYTES, viewOf } from '../core/index.js';
import type { FileSystem, OpenFile } from './file-system.js';
import type { KeyRing } from './key-ring.js';
import { RecordWriter } from './record-writer.js';
import type { LogEnd, SegmentInfo } from './wal-recovery.js';
import { segmentName } from './wal-recovery.js';

/** What a new segment begins with. */
export interface SegmentStart {
  identity: Identity;
  sequence: number;
  firstIndex: number;
  chainStart: number;
  /** It is encrypted with the current one of these; undefined: in clear. */
  keys: KeyRing | undefined;
}

/**
 * The segment that records are appended to. Its methods are called one at a time.
 *
 * Zeros are written ahead of the records, `allocationBytes` at a time, so that most syncs need not write the file's
 * metadata, and so that a sector that a torn write left out can be told by its zeros.
 */
export class ActiveSegment {
  readonly info: SegmentInfo;
  readonly #file: OpenFile;
  readonly #allocationBytes: number;
  readonly #writer: RecordWriter;
  /** Where the next record goes: all before it is durable. */
  #offset: number;
  /** crc of the last durable record. */
  #crc: number;
  /** The file's size, zeros from `#offset` on. */
  #allocated: number;

  private constructor(
    info: SegmentInfo,
    file: OpenFile,
    end: Pick<LogEnd, 'salt' | 'cipher' | 'offset' | 'crc'>,
    allocationBytes: number,
  ) {
    this.info = info;
    this.#allocationBytes = allocationBytes;
    this.#file = file;
    this.#writer = new RecordWriter(end.salt, end.cipher);
    this.#offset = end.offset;
    this.#crc = end.crc;
    this.#allocated = end.offset;
  }

  /**
   * Makes a segment that begins with `records`. It appears under its name only once it is whole and durable, so that
   * a segment with a broken header is always damage.
   */
  static async create(
    files: FileSystem,
    directory: string,
    start: SegmentStart,
    records: readonly WalRecord[],
    allocationBytes: number,
  ): Promise<ActiveSegment> {
    const path = join(directory, segmentName(start.sequence));
    const { keys } = start;
    const salt = keys === undefined ? randomInt(2 ** 32) : viewOf(keys.random(4)).getUint32(0);
    const encryption = keys?.newFile();
    const header = encodeSegmentHeader({ ...start, encryption, salt }, crc32c);
    const cipher = encryption && keys?.cipherOf(path, encryption, header);
    const file = await files.create(`${path}.tmp`);
    try {
      await file.write(header, 0);
      const info = { path, sequence: start.sequence, highestIndex: 0, keyId: encryption?.keyId };
      const end = { salt, cipher, offset: FILE_HEADER_BYTES, crc: start.chainStart };
      const segment = new ActiveSegment(info, file, end, allocationBytes);
      await segment.append(records);
      await files.rename(`${path}.tmp`, path);
      await files.syncDirectory(directory);
      return segment;
    } catch (error) {
      await file.close().catch(() => {});
      await files.remove(`${path}.tmp`).catch(() => {});
      throw error;
    }
  }

  /**
   * Goes on where `end` says, without the torn write after it. The last batch is written once more: the process
   * before may have died because its sync failed, and then the kernel shows us what is not on the disk.
   */
  static async resume(
    files: FileSystem,
    info: SegmentInfo,
    end: LogEnd,
    allocationBytes: number,
  ): Promise<ActiveSegment> {
    const file = files.open(info.path);
    try {
      const lastBatch = new Uint8Array(end.offset - end.batchOffset);
      file.read(lastBatch, end.batchOffset);
      await file.truncate(end.offset);
      await file.write(lastBatch, end.batchOffset);
      await file.sync();
      await files.syncDirectory(dirname(info.path));
      return new ActiveSegment(info, file, end, allocationBytes);
    } catch (error) {
      await file.close().catch(() => {});
      throw error;
    }
  }

  get offset(): number {
    return this.#offset;
  }

  get crc(): number {
    return this.#crc;
  }

  /**
   * Writes records, and resolves when they are durable. When it fails, nothing counts as written, but the file must
   * be brought back by `rollBack` before anything else.
   */
  async append(records: readonly WalRecord[]): Promise<void> {
    const { bytes, crc } = this.#writer.encode(records, { offset: this.#offset, crc: this.#crc });
    const end = this.#offset + bytes.length;
    let highestIndex = this.info.highestIndex;
    for (const record of records) if (record.type === 'entry') highestIndex = Math.max(highestIndex, record.index);
    await this.#allocate(end);
    await this.#file.write(bytes, this.#offset);
    await this.#file.sync();
    this.#offset = end;
    this.#crc = crc;
    this.info.highestIndex = highestIndex;
  }

  /**
   * Drops whatever a failed `append` left. Once this resolves the file ends with its last durable record again,
   * durably: pages that the kernel gave up after a failed sync all lie beyond that.
   */
  async rollBack(): Promise<void> {
    await this.#file.truncate(this.#offset);
    this.#allocated = this.#offset;
    await this.#file.sync();
  }

  /** Gives back what was allocated ahead: a segment that others follow ends with its last record. */
  async seal(): Promise<void> {
    await this.rollBack();
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async #allocate(end: number): Promise<void> {
    if (end <= this.#allocated) return;
    const to = end + this.#allocationBytes;
    const from = Math.max(this.#allocated, end);
    // What `append` is about to write need not be zeroed first.
    await this.#file.write(new Uint8Array(to - from), from);
    this.#allocated = to;
  }
}
