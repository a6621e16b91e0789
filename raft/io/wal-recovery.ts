import { join } from 'node:path';
import { ApiaryError } from '@apiary/std';
import { crc32c } from '@node-rs/crc32';
import type {
  EntryRecord,
  Frame,
  HardStateRecord,
  Identity,
  SegmentHeader,
  SnapshotRecord,
  WalRecord,
} from '../core/index.js';
import {
  claimedBytes,
  decodeBody,
  decodeRecord,
  decodeSegmentHeader,
  FILE_HEADER_BYTES,
  frameContext,
  judgeTail,
  RECORD_HEADER_BYTES,
  readFrame,
  sealedPayload,
  viewOf,
} from '../core/index.js';
import { acceptHeader, DamagedFileError } from './damaged-file.js';
import type { FileCipher } from './file-cipher.js';
import type { FileSystem, OpenFile } from './file-system.js';
import { cipherOf, type KeyRing } from './key-ring.js';

/** Where the segments are, whose they are, and what opens them. */
export interface LogSource {
  files: FileSystem;
  directory: string;
  identity: Identity;
  /** Undefined: they are in clear. */
  keys: KeyRing | undefined;
}

export interface SegmentInfo {
  path: string;
  sequence: number;
  /** The highest index of an entry in it, 0 without one. */
  highestIndex: number;
  /** Of the key that it is encrypted with, if it is. */
  keyId: string | undefined;
}

/** Where the newest segment's sound records end. */
export interface LogEnd {
  salt: number;
  /** The segment's, if it is encrypted. */
  cipher: FileCipher | undefined;
  /** Offset of the next record. */
  offset: number;
  /** crc of the last record. */
  crc: number;
  /** Start of the last batch: from here on, what is there may never have been synced. */
  batchOffset: number;
  /** Whether a torn write follows. */
  torn: boolean;
}

/** What the records say, each folded over those before it. */
export interface LogState {
  /** Highest index, of an entry or a snapshot; 0 in an empty log. */
  lastIndex: number;
  lastTerm: number;
  hardState: HardStateRecord;
  snapshot: SnapshotRecord;
}

/** A log as found on disk: sound from its first byte to its end. */
export interface RecoveredLog extends LogState {
  segments: [SegmentInfo, ...SegmentInfo[]];
  end: LogEnd;
  /** The first index that the segments reach back to. */
  firstIndex: number;
  /** The entries after index `after` that no later record replaced, in order, read from disk while they are drawn. */
  entries(after: number): Iterable<EntryRecord>;
}

export const EMPTY_LOG: LogState = {
  lastIndex: 0,
  lastTerm: 0,
  hardState: { type: 'hard-state', term: 0, vote: '', commit: 0 },
  snapshot: { type: 'snapshot', index: 0, term: 0 },
};

/** A segment's file name: `0000000000000001.wal`. */
export function segmentName(sequence: number): string {
  return `${String(sequence).padStart(16, '0')}.wal`;
}

/**
 * Reads and checks every segment.
 *
 * @returns undefined when there is none
 * @throws DamagedFileError for what is no torn write; ApiaryError `failed-precondition` for a log of another cluster,
 *   member or version
 */
export function recoverLog(source: LogSource): RecoveredLog | undefined {
  const segments = listSegments(source);
  const [first] = segments;
  if (first === undefined) return undefined;
  const scan = new LogScan(source, segments);
  const end = scan.run();
  return {
    ...scan.state,
    segments: [first, ...segments.slice(1)],
    end,
    firstIndex: scan.firstIndex,
    entries: (after) => scan.entries(after),
  };
}

function listSegments({ files, directory }: LogSource): SegmentInfo[] {
  const segments: SegmentInfo[] = [];
  for (const name of files.list(directory)) {
    const match = /^(\d{16})\.wal$/.exec(name);
    if (match === null) continue;
    const sequence = Number(match[1]);
    const previous = segments.at(-1);
    if (previous !== undefined && sequence !== previous.sequence + 1) {
      throw new DamagedFileError(
        join(directory, segmentName(previous.sequence + 1)),
        'is missing, and the log goes on after it',
      );
    }
    segments.push({ path: join(directory, name), sequence, highestIndex: 0, keyId: undefined });
  }
  return segments;
}

/** One walk over all segments; afterwards, walks for the entries alone. */
class LogScan {
  readonly #source: LogSource;
  readonly #segments: SegmentInfo[];
  /** Where entries replaced others: after `ordinal` records, all entries from `index` on. */
  readonly #replaced: { ordinal: number; index: number }[] = [];
  #ordinal = 0;
  state: LogState = EMPTY_LOG;
  firstIndex = 1;

  constructor(source: LogSource, segments: SegmentInfo[]) {
    this.#source = source;
    this.#segments = segments;
  }

  run(): LogEnd {
    let end: LogEnd | undefined;
    this.#segments.forEach((segment, i) => {
      const isNewest = i === this.#segments.length - 1;
      const reader = new SegmentReader(this.#source, segment);
      try {
        if (end === undefined) this.#begin(reader.header);
        else if (end.crc !== reader.header.chainStart)
          throw DamagedFileError.at(this.#segments[i - 1]?.path ?? '', end.offset, 'records are missing there');
        end = this.#scan(segment, reader, isNewest);
      } finally {
        reader.close();
      }
    });
    if (end === undefined) throw new ApiaryError('internal', 'a log without segments was scanned');
    return end;
  }

  *entries(after: number): Generator<EntryRecord> {
    let ordinal = 0;
    // After any record, the lowest index that is yet to be replaced decides whether an entry still stands.
    const pending = this.#replaced.map((replacement) => ({ ...replacement }));
    for (let i = pending.length - 2; i >= 0; i--) {
      const [here, next] = [pending[i], pending[i + 1]];
      if (here !== undefined && next !== undefined) here.index = Math.min(here.index, next.index);
    }
    let next = 0;
    for (const segment of this.#segments) {
      const reader = new SegmentReader(this.#source, segment);
      try {
        for (const { record } of recordsOf(reader.frames())) {
          ordinal++;
          while ((pending[next]?.ordinal ?? Infinity) <= ordinal) next++;
          if (record.type !== 'entry' || record.index <= after) continue;
          if (record.index < (pending[next]?.index ?? Infinity)) yield { ...record, data: record.data.slice() };
        }
      } finally {
        reader.close();
      }
    }
  }

  #begin(header: SegmentHeader): void {
    this.firstIndex = header.firstIndex;
    this.state = { ...EMPTY_LOG, lastIndex: header.firstIndex - 1 };
  }

  #scan(segment: SegmentInfo, reader: SegmentReader, isNewest: boolean): LogEnd {
    segment.keyId = reader.header.encryption?.keyId;
    const end: LogEnd = {
      salt: reader.header.salt,
      cipher: reader.cipher,
      offset: FILE_HEADER_BYTES,
      crc: reader.header.chainStart,
      batchOffset: FILE_HEADER_BYTES,
      torn: false,
    };
    for (const { frame, records } of reader.frames()) {
      if (frame.previous !== end.crc)
        throw DamagedFileError.at(segment.path, frame.offset, 'it does not follow the record before it');
      for (const record of records) this.#take(segment, frame, record);
      end.crc = frame.crc;
      end.offset = frame.offset + frame.bytes;
      end.batchOffset = Math.max(FILE_HEADER_BYTES, frame.durable);
    }
    if (reader.size === end.offset) return end;
    if (!isNewest)
      throw DamagedFileError.at(segment.path, end.offset, 'no sound record is there, and the log goes on after it');
    const tail = viewOf(reader.rest(end.offset));
    const verdict = judgeTail(tail, end.offset, { checksum: crc32c, salt: end.salt }, end.crc);
    if (verdict.kind === 'damaged')
      throw DamagedFileError.at(
        segment.path,
        end.offset,
        verdict.proofOffset === undefined
          ? 'the record there was written whole, and its checksum is wrong'
          : `no sound record is there, but one follows at byte ${verdict.proofOffset}`,
      );
    return { ...end, torn: verdict.kind === 'torn' };
  }

  #take(segment: SegmentInfo, frame: Frame, record: WalRecord): void {
    const { state } = this;
    this.#ordinal++;
    if (record.type === 'entry') {
      if (record.index > state.lastIndex + 1)
        throw DamagedFileError.at(segment.path, frame.offset, `entry ${record.index} follows entry ${state.lastIndex}`);
      if (record.index <= state.lastIndex) this.#replaced.push({ ordinal: this.#ordinal, index: record.index });
      segment.highestIndex = Math.max(segment.highestIndex, record.index);
    }
    this.state = follow(state, record);
  }
}

function* recordsOf(frames: Iterable<{ records: WalRecord[] }>): Generator<{ record: WalRecord }> {
  for (const { records } of frames) for (const record of records) yield { record };
}

/** What the log is after one more record. */
export function follow(state: LogState, record: WalRecord): LogState {
  switch (record.type) {
    case 'entry':
      return { ...state, lastIndex: record.index, lastTerm: record.term };
    case 'hard-state':
      return { ...state, hardState: record };
    case 'snapshot':
      if (record.index < state.lastIndex) return { ...state, snapshot: record };
      return { ...state, snapshot: record, lastIndex: record.index, lastTerm: record.term };
  }
}

const WINDOW_BYTES = 256 * 1024;

/** Reads one segment from its front, through a window, so that memory does not grow with the log. */
class SegmentReader {
  readonly header: SegmentHeader;
  readonly cipher: FileCipher | undefined;
  readonly size: number;
  readonly #segment: SegmentInfo;
  readonly #file: OpenFile;
  #window = new Uint8Array(0);
  #windowOffset = 0;

  constructor({ files, identity, keys }: LogSource, segment: SegmentInfo) {
    this.#segment = segment;
    this.#file = files.open(segment.path);
    try {
      this.size = this.#file.size();
      const header = this.#at(0, FILE_HEADER_BYTES);
      this.header = acceptHeader(segment.path, decodeSegmentHeader(header, crc32c), identity);
      this.cipher = cipherOf(segment.path, this.header.encryption, header, keys);
      if (this.header.sequence !== segment.sequence)
        throw DamagedFileError.at(segment.path, 16, `it is segment ${this.header.sequence} by its header`);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Every frame, with its records, up to the first offset where no sound one begins; an entry's data is good until the
   * next frame is drawn.
   */
  *frames(): Generator<{ frame: Frame; records: WalRecord[] }> {
    const seal = { checksum: crc32c, salt: this.header.salt };
    for (let offset = FILE_HEADER_BYTES; ; ) {
      const head = viewOf(this.#at(offset, RECORD_HEADER_BYTES));
      if (head.byteLength < RECORD_HEADER_BYTES) return;
      const bytes = claimedBytes(head, 0);
      if (bytes === undefined || offset + bytes > this.size) return;
      const view = viewOf(this.#at(offset, bytes));
      const frame = readFrame(view, 0, offset, seal);
      if (frame === undefined) return;
      yield { frame, records: this.#recordsOf(view, frame) };
      offset += bytes;
    }
  }

  #recordsOf(view: DataView, frame: Frame): WalRecord[] {
    const { path } = this.#segment;
    const sealed = sealedPayload(view, 0, frame);
    if ((sealed === undefined) !== (this.cipher === undefined))
      throw DamagedFileError.at(path, frame.offset, 'a record in clear and an encrypted one are in one file');
    let records: WalRecord[] | undefined;
    if (sealed === undefined || this.cipher === undefined) {
      const record = decodeRecord(view, 0, frame);
      records = record && [record];
    } else {
      const body = this.cipher.open(sealed, frameContext(view, 0, frame.offset));
      if (body === undefined)
        throw DamagedFileError.at(path, frame.offset, 'what is there was not encrypted by this manager for this place');
      records = decodeBody(body);
    }
    if (records !== undefined) return records;
    throw new ApiaryError(
      'failed-precondition',
      `${path} has at byte ${frame.offset} a record that this version cannot read: run the newer version that wrote it`,
    );
  }

  /** All bytes from `offset` on. */
  rest(offset: number): Uint8Array {
    const bytes = new Uint8Array(this.size - offset);
    return bytes.subarray(0, this.#file.read(bytes, offset));
  }

  close(): void {
    // Nothing was written: a close that fails loses nothing.
    this.#file.close().catch(() => {});
  }

  /** Up to `length` bytes from `offset` on, fewer at the end of the file; good until the next call. */
  #at(offset: number, length: number): Uint8Array {
    const from = offset - this.#windowOffset;
    if (from >= 0 && from + length <= this.#window.length) return this.#window.subarray(from, from + length);
    const window = new Uint8Array(Math.min(Math.max(length, WINDOW_BYTES), Math.max(0, this.size - offset)));
    this.#window = window.subarray(0, this.#file.read(window, offset));
    this.#windowOffset = offset;
    return this.#window.subarray(0, length);
  }
}
