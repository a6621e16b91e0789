import { randomInt } from 'node:crypto';
import { dirname, join } from 'node:path';
import { crc32c } from '@node-rs/crc32';
import type { Identity, WalRecord } from '../core/index.js';
import { encodedBytes, encodeRecord, encodeSegmentHeader, FILE_HEADER_BYTES, viewOf } from '../core/index.js';
import type { FileSystem, OpenFile } from './file-system.js';
import type { LogEnd, SegmentInfo } from './wal-recovery.js';
import { segmentName } from './wal-recovery.js';

/** A buffer of up to this size is kept from one batch to the next. */
const KEPT_BUFFER_BYTES = 256 * 1024;

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
  readonly #salt: number;
  /** Where the next record goes: all before it is durable. */
  #offset: number;
  /** crc of the last durable record. */
  #crc: number;
  /** The file's size, zeros from `#offset` on. */
  #allocated: number;
  #buffer = new Uint8Array(16 * 1024);

  private constructor(
    info: SegmentInfo,
    file: OpenFile,
    end: { salt: number; offset: number; crc: number },
    allocationBytes: number,
  ) {
    this.info = info;
    this.#allocationBytes = allocationBytes;
    this.#file = file;
    this.#salt = end.salt;
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
    start: { identity: Identity; sequence: number; firstIndex: number; chainStart: number },
    records: readonly WalRecord[],
    allocationBytes: number,
  ): Promise<ActiveSegment> {
    const path = join(directory, segmentName(start.sequence));
    const salt = randomInt(2 ** 32);
    const file = await files.create(`${path}.tmp`);
    try {
      await file.write(encodeSegmentHeader({ ...start, salt }, crc32c), 0);
      const info = { path, sequence: start.sequence, highestIndex: 0 };
      const end = { salt, offset: FILE_HEADER_BYTES, crc: start.chainStart };
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
    const length = records.reduce((sum, record) => sum + encodedBytes(record), 0);
    const bytes = this.#bufferOf(length);
    const view = viewOf(bytes);
    const seal = { checksum: crc32c, salt: this.#salt };
    let crc = this.#crc;
    let at = 0;
    let highestIndex = this.info.highestIndex;
    for (const record of records) {
      crc = encodeRecord(view, at, record, seal, crc, this.#offset);
      at += encodedBytes(record);
      if (record.type === 'entry') highestIndex = Math.max(highestIndex, record.index);
    }
    await this.#allocate(this.#offset + length);
    await this.#file.write(bytes, this.#offset);
    await this.#file.sync();
    this.#offset += length;
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

  #bufferOf(length: number): Uint8Array {
    if (length > KEPT_BUFFER_BYTES) return new Uint8Array(length);
    if (length > this.#buffer.length) this.#buffer = new Uint8Array(Math.max(length, 2 * this.#buffer.length));
    return this.#buffer.subarray(0, length);
  }
}
