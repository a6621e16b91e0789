import { viewOf } from '../core/index.js';
import { DamagedFileError } from './damaged-file.js';
import type { OpenFile } from './file-system.js';

/**
 * A snapshot on its way: each piece with its length before it (4 bytes, little-endian), cut wherever a chunk is full.
 * Not the sender's file: the receiver writes its own, with its own identity and checksums.
 */
const LENGTH_BYTES = 4;

/** The bytes to send, in order, read as they are taken. */
export class SnapshotStream {
  readonly index: number;
  readonly #pieces: Iterator<Uint8Array>;
  /** Framed and not taken yet. */
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #isExhausted = false;
  #offset = 0;

  constructor(index: number, pieces: Iterable<Uint8Array>) {
    this.index = index;
    this.#pieces = pieces[Symbol.iterator]();
  }

  get offset(): number {
    return this.#offset;
  }

  skip(bytes: number): void {
    while (this.#offset < bytes) if (this.take(Math.min(bytes - this.#offset, 256 * 1024)).isLast) return;
  }

  take(maxBytes: number): { data: Uint8Array; isLast: boolean } {
    // One byte more is looked for, to know whether this chunk is the last.
    while (this.#pendingBytes <= maxBytes && !this.#isExhausted) this.#draw();
    const all = Buffer.concat(this.#pending);
    const data = all.subarray(0, maxBytes);
    this.#pending = [all.subarray(data.length)];
    this.#pendingBytes = all.length - data.length;
    this.#offset += data.length;
    return { data, isLast: this.#pendingBytes === 0 && this.#isExhausted };
  }

  #draw(): void {
    const next = this.#pieces.next();
    if (next.done === true) {
      this.#isExhausted = true;
      return;
    }
    const length = new Uint8Array(LENGTH_BYTES);
    viewOf(length).setUint32(0, next.value.length, true);
    this.#pending.push(length, next.value);
    this.#pendingBytes += LENGTH_BYTES + next.value.length;
  }
}

/** The pieces that a file holds as they came; they are read while they are drawn. */
export function* readFramed(file: OpenFile, path: string): Generator<Uint8Array> {
  const size = file.size();
  const head = new Uint8Array(LENGTH_BYTES);
  for (let at = 0; at < size; ) {
    file.read(head, at);
    const length = viewOf(head).getUint32(0, true);
    if (at + LENGTH_BYTES + length > size) throw DamagedFileError.at(path, at, 'it is cut short');
    const piece = new Uint8Array(length);
    file.read(piece, at + LENGTH_BYTES);
    yield piece;
    at += LENGTH_BYTES + length;
  }
}
