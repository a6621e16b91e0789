import type { StateMachine } from '@apiary/raft/core';
import { readPutRequest } from './put.js';

/** What the members of the bench agree on: values by key. An entry is a `Put` request as it came over the wire. */
export class KeyValues implements StateMachine {
  #values = new Map<string, Buffer>();
  #appliedIndex = 0;

  get appliedIndex(): number {
    return this.#appliedIndex;
  }

  apply(index: number, entry: Uint8Array): void {
    this.#appliedIndex = index;
    // What a leader adds by itself has no content.
    if (entry.length === 0) return;
    const { key, value } = readPutRequest(Buffer.from(entry.buffer, entry.byteOffset, entry.byteLength));
    this.#values.set(key.toString('latin1'), value);
  }

  snapshot(): Iterable<Uint8Array> {
    return pieces([...this.#values]);
  }

  restore(index: number, pieces: Iterable<Uint8Array>): void {
    const parts = Buffer.concat([...pieces])
      .toString('latin1')
      .split('\n');
    this.#values = new Map();
    for (let i = 0; i + 1 < parts.length; i += 2) {
      this.#values.set(parts[i] ?? '', Buffer.from(parts[i + 1] ?? '', 'latin1'));
    }
    this.#appliedIndex = index;
  }
}

/** Keys and values of this bench have no line ends. */
function* pieces(values: readonly (readonly [string, Buffer])[]): Generator<Uint8Array> {
  const PER_PIECE = 1_000;
  for (let from = 0; from < values.length; from += PER_PIECE) {
    const lines = values.slice(from, from + PER_PIECE).map(([key, value]) => `${key}\n${value.toString('latin1')}\n`);
    yield Buffer.from(lines.join(''), 'latin1');
  }
}
