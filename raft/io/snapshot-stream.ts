import { viewOf } from '../core/index.js';

/**
 * A snapshot on its way: each piece with its length before it (4 bytes, little-endian), cut wherever a chunk is full.
 * Not the sender's file: that is encrypted with the sender's key, and the receiver writes its own, with its own
 * identity, key and checksums. What is on the way is in clear, inside the connection's TLS.
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

  /** Nothing more is taken. */
  end(): void {
    this.#pieces.return?.();
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

/**
 * The pieces that a stream carries.
 *
 * @param chunks the stream, cut anywhere
 * @returns      undefined in the place of the last piece when the stream ends inside of it
 */
export function* unframed(chunks: Iterable<Uint8Array>): Generator<Uint8Array | undefined> {
  let pending: Uint8Array[] = [];
  let pendingBytes = 0;
  for (const chunk of chunks) {
    pending.push(chunk);
    pendingBytes += chunk.length;
    let needed = neededBytes(pending, pendingBytes);
    if (pendingBytes < needed) continue;
    let rest: Uint8Array = Buffer.concat(pending);
    for (; rest.length >= needed; needed = neededBytes([rest], rest.length)) {
      yield rest.subarray(LENGTH_BYTES, needed);
      rest = rest.subarray(needed);
    }
    pending = [rest];
    pendingBytes = rest.length;
  }
  if (pendingBytes > 0) yield undefined;
}

/** Bytes of the piece that `pending` begins with, its length included; at least that length's when it is not there yet. */
function neededBytes(pending: Uint8Array[], pendingBytes: number): number {
  if (pendingBytes < LENGTH_BYTES) return LENGTH_BYTES;
  const head = Buffer.concat(pending, LENGTH_BYTES);
  return LENGTH_BYTES + viewOf(head).getUint32(0, true);
}
