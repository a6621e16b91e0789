import { invariant } from '@apiary/std';
import { bytesOf, getAscii, getUint64, putAscii, putUint64, viewOf } from './binary.js';
import type { Checksum } from './checksum.js';

/**
 * What the write-ahead log holds. An entry whose index is not above the last one's replaces that one and all after
 * it: so a follower drops a conflicting suffix without rewriting what is on disk.
 */
export type WalRecord = EntryRecord | HardStateRecord | SnapshotRecord;

export interface EntryRecord {
  type: 'entry';
  index: number;
  term: number;
  data: Uint8Array;
}

/** What a member must not forget: the newest replaces the ones before. `vote` is a member id of at most 32 characters, or ''. */
export interface HardStateRecord {
  type: 'hard-state';
  term: number;
  vote: string;
  commit: number;
}

/** A snapshot of the state after entry `index` is durable. Entries up to there are needed no more. */
export interface SnapshotRecord {
  type: 'snapshot';
  index: number;
  term: number;
}

/**
 * A record on disk, little-endian, at an offset that is a multiple of 8:
 *
 *     0  crc       CRC32C of all that follows, padding included, begun with the segment's salt
 *     4  previous  the crc of the record before, or the segment's chain start: the chain
 *     8  length    of the payload, in bytes
 *    12  durable   every byte of the segment before this offset was synced before this record was written
 *    16  type      17 flags (0 in this version)   18 reserved (0)
 *    20  payload, then zeros up to a multiple of 8
 *
 * `previous` is stored, not only known, so that a record can be recognised without what is in front of it; the salt
 * keeps a log that somebody stores as data from being recognised inside of ours; `durable` tells a write that a power
 * cut tore apart (nothing after it can have been synced) from damage to what was once safe. See wal-tail.ts.
 *
 * In an encrypted segment such a frame (type 4) holds as many records as were written together: its payload is what
 * encrypting `encodeBody` gave, bound to the frame's head and place by `frameContext`. All of the above is there
 * without the key, so that a torn write is told from damage whoever looks.
 */
export const RECORD_HEADER_BYTES = 20;
/** The longest payload that a reader believes in. */
export const MAX_PAYLOAD_BYTES = 64 * 1024 * 1024;
const ENTRY_HEAD_BYTES = 16;
const VOTE_BYTES = 32;
const TYPES = { entry: 1, 'hard-state': 2, snapshot: 3 } as const;
const SEALED_TYPE = 4;
const BODY_HEAD_BYTES = 8;

/** How a segment's records are sealed. */
export interface Seal {
  checksum: Checksum;
  salt: number;
}

/** A record as found, its payload not yet read. */
export interface Frame {
  offset: number;
  /** From this record's start to the next one's. */
  bytes: number;
  crc: number;
  previous: number;
  durable: number;
  type: number;
  flags: number;
  payloadBytes: number;
}

/** Bytes that `record` takes on disk, a multiple of 8. */
export function encodedBytes(record: WalRecord): number {
  return frameBytes(payloadBytes(record));
}

function payloadBytes(record: WalRecord): number {
  switch (record.type) {
    case 'entry':
      return ENTRY_HEAD_BYTES + record.data.length;
    case 'hard-state':
      return 16 + VOTE_BYTES;
    case 'snapshot':
      return 16;
  }
}

/**
 * Writes `record` at `at` into `target`, over whatever is there.
 *
 * @param previous the crc of the record before
 * @param durable  offset in the segment, as the format has it
 * @returns        the record's crc
 */
export function encodeRecord(
  target: DataView,
  at: number,
  record: WalRecord,
  seal: Seal,
  previous: number,
  durable: number,
): number {
  const length = payloadBytes(record);
  const end = putHead(target, at, { type: TYPES[record.type], length, previous, durable });
  putPayload(target, at + RECORD_HEADER_BYTES, record);
  return finish(target, at, end, seal);
}

/** Bytes that a frame with a payload of `length` bytes takes on disk, a multiple of 8. */
export function frameBytes(length: number): number {
  return (RECORD_HEADER_BYTES + length + 7) & ~7;
}

/**
 * Writes a frame of an encrypted segment at `at` into `target`, over whatever is there.
 *
 * @param length  of what `encrypt` gives
 * @param offset  the offset in the segment of `at`
 * @param encrypt puts the frame's records, encrypted and bound to the context, into a target of that length
 * @returns       the frame's crc
 */
export function encodeSealed(
  target: DataView,
  at: number,
  { length, offset, previous, durable }: { length: number; offset: number; previous: number; durable: number },
  seal: Seal,
  encrypt: (target: Uint8Array, context: Uint8Array) => void,
): number {
  const end = putHead(target, at, { type: SEALED_TYPE, length, previous, durable });
  const payload = at + RECORD_HEADER_BYTES;
  encrypt(bytesOf(target, payload, payload + length), frameContext(target, at, offset));
  return finish(target, at, end, seal);
}

/** What the content of the frame at `at` is bound to: its offset in the segment (8 bytes), and its head without the crc. */
export function frameContext(view: DataView, at: number, offset: number): Uint8Array {
  const context = new Uint8Array(8 + RECORD_HEADER_BYTES - 4);
  putUint64(viewOf(context), 0, offset);
  context.set(bytesOf(view, at + 4, at + RECORD_HEADER_BYTES), 8);
  return context;
}

/** Bytes that `record` takes in a body. */
export function bodyBytes(record: WalRecord): number {
  return BODY_HEAD_BYTES + payloadBytes(record);
}

/** Records one after the other, to be encrypted: of each its type (1 byte, then 3 zeros), its length (4) and its payload. */
export function encodeBody(records: readonly WalRecord[]): Uint8Array {
  const body = new Uint8Array(records.reduce((sum, record) => sum + bodyBytes(record), 0));
  const view = viewOf(body);
  let at = 0;
  for (const record of records) {
    view.setUint8(at, TYPES[record.type]);
    view.setUint32(at + 4, payloadBytes(record), true);
    putPayload(view, at + BODY_HEAD_BYTES, record);
    at += bodyBytes(record);
  }
  return body;
}

/**
 * Reads what `encodeBody` wrote. An entry's data is a part of `body`, not a copy.
 *
 * @returns undefined when it is not of this version
 */
export function decodeBody(body: Uint8Array): WalRecord[] | undefined {
  const view = viewOf(body);
  const records: WalRecord[] = [];
  for (let at = 0; at < body.length; ) {
    if (at + BODY_HEAD_BYTES > body.length) return undefined;
    const length = view.getUint32(at + 4, true);
    const payload = at + BODY_HEAD_BYTES;
    if (view.getUint32(at, true) >= 256 || payload + length > body.length) return undefined;
    const record = readPayload(view, payload, view.getUint8(at), length);
    if (record === undefined) return undefined;
    records.push(record);
    at = payload + length;
  }
  return records;
}

function putHead(
  target: DataView,
  at: number,
  { type, length, previous, durable }: { type: number; length: number; previous: number; durable: number },
): number {
  invariant(length <= MAX_PAYLOAD_BYTES, `a record of ${length} bytes is over the format's ${MAX_PAYLOAD_BYTES}`);
  const end = at + frameBytes(length);
  bytesOf(target, at, at + RECORD_HEADER_BYTES).fill(0);
  bytesOf(target, at + RECORD_HEADER_BYTES + length, end).fill(0);
  target.setUint32(at + 4, previous, true);
  target.setUint32(at + 8, length, true);
  target.setUint32(at + 12, durable, true);
  target.setUint8(at + 16, type);
  return end;
}

function putPayload(target: DataView, payload: number, record: WalRecord): void {
  if (record.type === 'entry') {
    putUint64(target, payload, record.index);
    putUint64(target, payload + 8, record.term);
    bytesOf(target, payload + ENTRY_HEAD_BYTES, payload + payloadBytes(record)).set(record.data);
  } else if (record.type === 'hard-state') {
    bytesOf(target, payload, payload + payloadBytes(record)).fill(0);
    putUint64(target, payload, record.term);
    putUint64(target, payload + 8, record.commit);
    putAscii(target, payload + 16, VOTE_BYTES, record.vote);
  } else {
    putUint64(target, payload, record.index);
    putUint64(target, payload + 8, record.term);
  }
}

function finish(target: DataView, at: number, end: number, seal: Seal): number {
  const crc = seal.checksum(bytesOf(target, at + 4, end), seal.salt);
  target.setUint32(at, crc, true);
  return crc;
}

/**
 * The size that the record header at `at` claims for its record, or undefined when no record begins like that.
 * It needs `RECORD_HEADER_BYTES` bytes there.
 */
export function claimedBytes(view: DataView, at: number): number | undefined {
  const length = view.getUint32(at + 8, true);
  if (view.getUint8(at + 16) === 0 || view.getUint16(at + 18, true) !== 0 || length > MAX_PAYLOAD_BYTES)
    return undefined;
  return frameBytes(length);
}

/**
 * Reads the record at `at` if a whole one is there.
 *
 * @param offset the offset in the segment of `at`
 * @returns      undefined when there is none, or when its checksum does not fit
 */
export function readFrame(view: DataView, at: number, offset: number, seal: Seal): Frame | undefined {
  if (at + RECORD_HEADER_BYTES > view.byteLength) return undefined;
  const bytes = claimedBytes(view, at);
  if (bytes === undefined || at + bytes > view.byteLength) return undefined;
  const durable = view.getUint32(at + 12, true);
  if (durable > offset) return undefined;
  const crc = view.getUint32(at, true);
  if (seal.checksum(bytesOf(view, at + 4, at + bytes), seal.salt) !== crc) return undefined;
  return {
    offset,
    bytes,
    crc,
    previous: view.getUint32(at + 4, true),
    durable,
    type: view.getUint8(at + 16),
    flags: view.getUint8(at + 17),
    payloadBytes: view.getUint32(at + 8, true),
  };
}

/**
 * The record of a frame that `readFrame` found at `at`. An entry's data is a part of `view`, not a copy.
 *
 * @returns undefined when its type, its flags or its shape are not of this version
 */
export function decodeRecord(view: DataView, at: number, frame: Frame): WalRecord | undefined {
  if (frame.flags !== 0) return undefined;
  return readPayload(view, at + RECORD_HEADER_BYTES, frame.type, frame.payloadBytes);
}

/** The payload of the frame at `at` when it is encrypted, as a part of `view`; undefined when it is not. */
export function sealedPayload(view: DataView, at: number, frame: Frame): Uint8Array | undefined {
  if (frame.flags !== 0 || frame.type !== SEALED_TYPE) return undefined;
  return bytesOf(view, at + RECORD_HEADER_BYTES, at + RECORD_HEADER_BYTES + frame.payloadBytes);
}

function readPayload(view: DataView, payload: number, type: number, length: number): WalRecord | undefined {
  if (type === TYPES.entry && length >= ENTRY_HEAD_BYTES) {
    const data = bytesOf(view, payload + ENTRY_HEAD_BYTES, payload + length);
    return { type: 'entry', index: getUint64(view, payload), term: getUint64(view, payload + 8), data };
  }
  if (type === TYPES['hard-state'] && length === 16 + VOTE_BYTES) {
    const vote = getAscii(view, payload + 16, VOTE_BYTES);
    return { type: 'hard-state', term: getUint64(view, payload), vote, commit: getUint64(view, payload + 8) };
  }
  if (type === TYPES.snapshot && length === 16) {
    return { type: 'snapshot', index: getUint64(view, payload), term: getUint64(view, payload + 8) };
  }
  return undefined;
}
