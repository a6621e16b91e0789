import { encodedMessageBytes, type Message, writeMessage } from '@apiary/raft/core';
import { framedBytes, type ItemCodec } from './frame.js';

export const MESSAGE_CODEC: ItemCodec<Message> = { bytesOf: encodedMessageBytes, write: writeMessage };

/** Messages without entries are small. So many wait only behind a link that takes nothing at all. */
const MAX_SMALL = 4096;
/** What is kept of them while there is no connection: an election under way, not a history. */
const SMALL_WITHOUT_CONNECTION = 16;

/** What a stream is fed from. */
export interface Source<T> {
  /** Removes the oldest items: as many as take `maxBytes`, or one that takes more alone. */
  take(maxBytes: number): { items: T[]; bytes: number };
}

/**
 * Messages that wait for the stream to a peer, in order and bounded. What carries entries or pieces of a snapshot is
 * dropped beyond its bound: Raft notices, and sends it again. The rest keeps its place.
 */
export class Outbox implements Source<Message> {
  readonly #maxBulkBytes: number;
  #waiting: { message: Message; bytes: number }[] = [];
  #bulkBytes = 0;
  #small = 0;

  constructor(maxBulkBytes: number) {
    this.#maxBulkBytes = maxBulkBytes;
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  push(message: Message): void {
    const bytes = framedBytes(message, MESSAGE_CODEC);
    if (isBulk(message)) {
      // One that is larger than the bound alone must get through too.
      if (this.#bulkBytes > 0 && this.#bulkBytes + bytes > this.#maxBulkBytes) return;
      this.#bulkBytes += bytes;
    } else {
      if (this.#small >= MAX_SMALL) return;
      this.#small++;
    }
    this.#waiting.push({ message, bytes });
  }

  take(maxBytes: number): { items: Message[]; bytes: number } {
    let count = 0;
    let bytes = 0;
    for (const next of this.#waiting) {
      if (count > 0 && bytes + next.bytes > maxBytes) break;
      count++;
      bytes += next.bytes;
      if (isBulk(next.message)) this.#bulkBytes -= next.bytes;
      else this.#small--;
    }
    const taken = this.#waiting.splice(0, count);
    return { items: taken.map(({ message }) => message), bytes };
  }

  /** There is no connection: keeps the newest of what is small. */
  trim(): void {
    this.#waiting = this.#waiting.filter(({ message }) => !isBulk(message)).slice(-SMALL_WITHOUT_CONNECTION);
    this.#small = this.#waiting.length;
    this.#bulkBytes = 0;
  }
}

function isBulk({ type }: Message): boolean {
  return type === 'append-request' || type === 'snapshot-chunk';
}
