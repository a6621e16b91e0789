import type { Entry, Membership } from '@apiary/raft/core';

/** What the simulated clients write: to the end of a key's list, each value once in a run. */
export interface Append {
  key: string;
  value: string;
}

interface Content {
  lists: Record<string, string[]>;
  /** As the entries' own data say, for comparison with the membership. */
  roles: Membership;
  /** A digest of all that was applied. */
  digest: number;
  index: number;
}

/** The state machine of the simulation: lists by key, the members' roles, a digest of its whole history. */
export class Machine {
  #content: Content = { lists: {}, roles: { voters: [], learners: [] }, digest: 0, index: 0 };

  get index(): number {
    return this.#content.index;
  }

  get digest(): number {
    return this.#content.digest;
  }

  get roles(): Membership {
    return this.#content.roles;
  }

  read(key: string): readonly string[] {
    return this.#content.lists[key] ?? [];
  }

  keys(): string[] {
    return Object.keys(this.#content.lists).sort();
  }

  apply(entry: Entry): void {
    const content = this.#content;
    content.index = entry.index;
    content.digest = mix(content.digest, digestOf(entry));
    if (entry.type === 'command') {
      const { key, value } = decodeAppend(entry.data);
      content.lists[key] = [...(content.lists[key] ?? []), value];
    }
    if (entry.type === 'membership') {
      content.roles = entry.data.length === 0 ? entry.membership : JSON.parse(Buffer.from(entry.data).toString());
    }
  }

  snapshot(): Uint8Array[] {
    const bytes = Buffer.from(JSON.stringify(this.#content));
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; at += 700) pieces.push(bytes.subarray(at, at + 700));
    return pieces;
  }

  restore(pieces: Iterable<Uint8Array>): void {
    this.#content = JSON.parse(Buffer.concat([...pieces]).toString());
  }
}

export function encodeAppend({ key, value }: Append): Uint8Array {
  return Buffer.from(`${key} ${value}`);
}

export function decodeAppend(data: Uint8Array): Append {
  const [key = '', value = ''] = Buffer.from(data).toString().split(' ');
  return { key, value };
}

/** FNV-1a over all that an entry is. */
export function digestOf(entry: Entry): number {
  const content = entry.type === 'membership' ? JSON.stringify(entry.membership) : '';
  let hash = mix(mix(0x811c9dc5, entry.index), entry.term);
  for (let i = 0; i < content.length; i++) hash = Math.imul(hash ^ content.charCodeAt(i), 0x01000193);
  if (entry.type !== 'empty') for (const byte of entry.data) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

export function mix(hash: number, value: number): number {
  return Math.imul((hash ^ value ^ (hash >>> 15)) >>> 0, 0x01000193) >>> 0;
}
