import { crc32c } from '@node-rs/crc32';
import type { WalRecord } from '../core/index.js';
import { bodyBytes, encodeBody, encodedBytes, encodeRecord, encodeSealed, frameBytes, viewOf } from '../core/index.js';
import { type FileCipher, SEALED_EXTRA_BYTES } from './file-cipher.js';

/** A buffer of up to this size is kept from one batch to the next. */
const KEPT_BUFFER_BYTES = 256 * 1024;
/** Records are encrypted together up to this size: beyond it, one more encryption costs nothing beside the bytes. */
const BODY_BYTES = 1024 * 1024;

/** Where a batch is to be written: after a record with this crc. */
export interface Place {
  offset: number;
  crc: number;
}

/** Puts batches of records into the form that a segment has them in. */
export class RecordWriter {
  readonly #salt: number;
  readonly #cipher: FileCipher | undefined;
  #buffer = new Uint8Array(16 * 1024);

  /** @param cipher the segment's; undefined when it is in clear */
  constructor(salt: number, cipher: FileCipher | undefined) {
    this.#salt = salt;
    this.#cipher = cipher;
  }

  /** @returns the bytes, good until the next call, and the crc of the last record in them */
  encode(records: readonly WalRecord[], place: Place): { bytes: Uint8Array; crc: number } {
    return this.#cipher === undefined ? this.#inClear(records, place) : this.#encrypted(records, place, this.#cipher);
  }

  #inClear(records: readonly WalRecord[], { offset, crc }: Place): { bytes: Uint8Array; crc: number } {
    const bytes = this.#bufferOf(records.reduce((sum, record) => sum + encodedBytes(record), 0));
    const view = viewOf(bytes);
    let last = crc;
    let at = 0;
    for (const record of records) {
      last = encodeRecord(view, at, record, { checksum: crc32c, salt: this.#salt }, last, offset);
      at += encodedBytes(record);
    }
    return { bytes, crc: last };
  }

  /** One encryption for many records: by the record it would cost several times as much. */
  #encrypted(
    records: readonly WalRecord[],
    { offset, crc }: Place,
    cipher: FileCipher,
  ): { bytes: Uint8Array; crc: number } {
    const bodies = grouped(records).map(encodeBody);
    const bytes = this.#bufferOf(bodies.reduce((sum, body) => sum + frameBytes(body.length + SEALED_EXTRA_BYTES), 0));
    const view = viewOf(bytes);
    let previous = crc;
    let at = 0;
    for (const body of bodies) {
      const length = body.length + SEALED_EXTRA_BYTES;
      const head = { length, offset: offset + at, previous, durable: offset };
      const seal = { checksum: crc32c, salt: this.#salt };
      previous = encodeSealed(view, at, head, seal, (target, context) => cipher.sealInto(target, body, context));
      at += frameBytes(length);
    }
    return { bytes, crc: previous };
  }

  #bufferOf(length: number): Uint8Array {
    if (length > KEPT_BUFFER_BYTES) return new Uint8Array(length);
    if (length > this.#buffer.length) this.#buffer = new Uint8Array(Math.max(length, 2 * this.#buffer.length));
    return this.#buffer.subarray(0, length);
  }
}

function grouped(records: readonly WalRecord[]): WalRecord[][] {
  const groups: WalRecord[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const record of records) {
    if (bytes + bodyBytes(record) > BODY_BYTES) {
      groups.push([]);
      bytes = 0;
    }
    groups.at(-1)?.push(record);
    bytes += bodyBytes(record);
  }
  return groups;
}
