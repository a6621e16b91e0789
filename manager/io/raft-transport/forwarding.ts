import { fromRpcError, rpcStatusOf } from '@apiary/api/client';
import { type Accepted, NotAcceptedError } from '@apiary/raft/io';
import { ApiaryError } from '@apiary/std';
import { framedBytes, type ItemCodec } from './frame.js';
import type { Source } from './outbox.js';

/** An entry on its way to the leader. `id` numbers those of one stream. */
export interface ForwardedEntry {
  id: number;
  entry: Uint8Array;
}

/** The number (4 bytes), then the entry. */
export const FORWARDED_CODEC: ItemCodec<ForwardedEntry> = {
  bytesOf: ({ entry }) => 4 + entry.length,
  write: ({ id, entry }, target, at) => {
    viewOf(target).setUint32(at, id, true);
    target.set(entry, at + 4);
  },
};

export function readForwarded(item: Uint8Array): ForwardedEntry {
  if (item.length < 4)
    throw new ApiaryError('invalid-argument', 'malformed entry from another manager: it has no number');
  return { id: viewOf(item).getUint32(0, true), entry: item.subarray(4) };
}

/** What became of an entry. */
export interface ForwardAnswer {
  id: number;
  outcome: Accepted | ApiaryError;
}

const KINDS = { accepted: 0, notAccepted: 1, refused: 2 } as const;
const ACCEPTED_BYTES = 21;

/** The number (4 bytes), the kind (1), then index and term (8 each), or a gRPC status (1) and words. */
export const ANSWER_CODEC: ItemCodec<ForwardAnswer> = {
  bytesOf: ({ outcome }) =>
    outcome instanceof ApiaryError ? 6 + Buffer.byteLength(rpcStatusOf(outcome).details) : ACCEPTED_BYTES,
  write: ({ id, outcome }, target, at) => {
    const view = viewOf(target);
    view.setUint32(at, id, true);
    if (outcome instanceof ApiaryError) {
      const { code, details } = rpcStatusOf(outcome);
      view.setUint8(at + 4, outcome instanceof NotAcceptedError ? KINDS.notAccepted : KINDS.refused);
      view.setUint8(at + 5, code);
      target.set(Buffer.from(details), at + 6);
    } else {
      view.setUint8(at + 4, KINDS.accepted);
      view.setBigUint64(at + 5, BigInt(outcome.index), true);
      view.setBigUint64(at + 13, BigInt(outcome.term), true);
    }
  },
};

/** @throws ApiaryError `invalid-argument` when it makes no sense */
export function readAnswer(item: Uint8Array): ForwardAnswer {
  const view = viewOf(item);
  const kind = item[4];
  if (kind === KINDS.accepted && item.length === ACCEPTED_BYTES) {
    const index = Number(view.getBigUint64(5, true));
    const term = Number(view.getBigUint64(13, true));
    return { id: view.getUint32(0, true), outcome: { index, term } };
  }
  if (item.length < 6 || (kind !== KINDS.notAccepted && kind !== KINDS.refused)) {
    throw new ApiaryError('invalid-argument', 'malformed answer of the leader');
  }
  const details = Buffer.from(item.subarray(6)).toString();
  const outcome = kind === KINDS.notAccepted ? new NotAcceptedError(details) : fromRpcError({ code: item[5], details });
  return { id: view.getUint32(0, true), outcome };
}

interface Waiting extends ForwardedEntry {
  bytes: number;
  settle: (outcome: Accepted | ApiaryError) => void;
}

/** Entries beyond this wait with whoever has them. */
const MAX_BYTES = 64 * 1024 * 1024;

/** This manager's entries on their way to a peer: first in a queue, then sent and not answered yet. */
export class Forwarding implements Source<ForwardedEntry> {
  readonly #peer: string;
  #nextId = 0;
  #bytes = 0;
  #queue: Waiting[] = [];
  readonly #sent = new Map<number, Waiting>();

  constructor(peer: string) {
    this.#peer = peer;
  }

  get isEmpty(): boolean {
    return this.#queue.length === 0 && this.#sent.size === 0;
  }

  /** @throws ApiaryError as `Transport.forward` */
  add(entry: Uint8Array): Promise<Accepted> {
    const id = this.#nextId;
    const bytes = framedBytes({ id, entry }, FORWARDED_CODEC);
    if (this.#bytes > 0 && this.#bytes + bytes > MAX_BYTES) {
      return Promise.reject(new NotAcceptedError(`too much is on its way to manager ${this.#peer} already: try again`));
    }
    this.#nextId = (id + 1) % 2 ** 32;
    this.#bytes += bytes;
    return new Promise((resolve, reject) => {
      const settle = (outcome: Accepted | ApiaryError): void => {
        this.#bytes -= bytes;
        if (outcome instanceof ApiaryError) reject(outcome);
        else resolve(outcome);
      };
      this.#queue.push({ id, entry, bytes, settle });
    });
  }

  take(maxBytes: number): { items: ForwardedEntry[]; bytes: number } {
    let bytes = 0;
    let count = 0;
    for (const waiting of this.#queue) {
      if (count > 0 && bytes + waiting.bytes > maxBytes) break;
      count++;
      bytes += waiting.bytes;
      this.#sent.set(waiting.id, waiting);
    }
    return { items: this.#queue.splice(0, count), bytes };
  }

  answered({ id, outcome }: ForwardAnswer): void {
    const waiting = this.#sent.get(id);
    if (waiting === undefined)
      throw new ApiaryError('invalid-argument', `an answer to entry ${id}, which was not sent`);
    this.#sent.delete(id);
    waiting.settle(outcome);
  }

  /** There is no connection (any more): what was sent may have been accepted, what was not was not. */
  lost(why: string): void {
    const sent = [...this.#sent.values()];
    const queue = this.#queue;
    this.#sent.clear();
    this.#queue = [];
    for (const { settle } of sent) {
      const message = `the connection to manager ${this.#peer} was lost (${why}): it is unknown whether it accepted the change`;
      settle(new ApiaryError('unavailable', message));
    }
    for (const { settle } of queue) settle(new NotAcceptedError(`manager ${this.#peer} cannot be reached: ${why}`));
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
