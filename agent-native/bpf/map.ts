import { binding, type NativeBpfMap, type NativeBpfObject } from '../binding.js';
import { integer, nameOf } from '../netlink/fields.js';
import { BpfObject, checkBpfName, KIND, lookUp, nativeCall } from './object.js';

const MAP_TYPES = {
  hash: 1,
  array: 2,
  'program-array': 3,
  'percpu-hash': 5,
  'percpu-array': 6,
  'lru-hash': 9,
  'lru-percpu-hash': 10,
  'lpm-trie': 11,
  'array-of-maps': 12,
  'hash-of-maps': 13,
  'socket-storage': 24,
} as const;

const MAP_FLAGS = {
  /** Entries are allocated when they are made: for large maps that are mostly empty. An lpm-trie must have it. */
  'no-prealloc': 1,
  'no-common-lru': 2,
  /** User space may read only; programs may write. */
  'read-only': 8,
  'write-only': 16,
  /** Programs may read only. */
  'program-read-only': 128,
  'program-write-only': 256,
  'inner-map': 4096,
} as const;

const WHEN = { always: 0, absent: 1, present: 2 } as const;

export type BpfMapType = keyof typeof MAP_TYPES;

export interface BpfMapOptions {
  type: BpfMapType;
  keyBytes: number;
  valueBytes: number;
  maxEntries: number;
  flags?: readonly (keyof typeof MAP_FLAGS)[];
  /** For bpftool: 15 characters at most. */
  name?: string;
  /** Of a map of maps: one that all of its maps are like. */
  innerMap?: BpfMap;
}

export interface BpfEntry {
  key: Uint8Array;
  value: Uint8Array;
}

/** A table that programs in the kernel and this process share. Keys and values are bytes of fixed lengths. */
export class BpfMap extends BpfObject {
  readonly type: string;
  readonly keyBytes: number;
  /** Bytes of a value as it is read and written: of a per-CPU map, 8-aligned and once for each CPU. */
  readonly valueBytes: number;
  readonly maxEntries: number;

  private constructor(native: NativeBpfMap) {
    super(KIND.map, native);
    this.type = nameOf(MAP_TYPES, native.type);
    this.keyBytes = native.keyBytes;
    this.valueBytes = native.valueBytes;
    this.maxEntries = native.maxEntries;
  }

  static async create(options: BpfMapOptions): Promise<BpfMap> {
    const flags = (options.flags ?? []).reduce((all, flag) => all | lookUp(MAP_FLAGS, flag, 'map flag'), 0);
    const { keyBytes, valueBytes, maxEntries, innerMap } = options;
    const [type, name] = [lookUp(MAP_TYPES, options.type, 'map type'), checkBpfName(options.name ?? '')];
    const native = await nativeCall(() =>
      binding.bpfMapCreate(type, keyBytes, valueBytes, maxEntries, flags, name, innerMap?.handle),
    );
    return BpfMap.#of(native);
  }

  /** @throws KernelError: `ENOENT` when nothing is pinned there, `EINVAL` when it is no map */
  static async openPinned(path: string): Promise<BpfMap> {
    return BpfMap.#of(await nativeCall(() => binding.bpfOpenPinned(KIND.map, path)));
  }

  /** @throws KernelError: `ENOENT` when there is none of that number */
  static async openById(id: number): Promise<BpfMap> {
    return BpfMap.#of(await nativeCall(() => binding.bpfOpenById(KIND.map, id)));
  }

  static #of(native: NativeBpfObject): BpfMap {
    return new BpfMap(native as NativeBpfMap);
  }

  /** The value of a key, or undefined. */
  async get(key: Uint8Array): Promise<Buffer | undefined> {
    return (await this.getMany([key]))[0];
  }

  /** The values of keys, at their places; undefined where there is none. */
  async getMany(keys: readonly Uint8Array[]): Promise<(Buffer | undefined)[]> {
    const { values, found } = await nativeCall(async () =>
      binding.bpfMapLookup(this.handle, joined(keys, this.keyBytes, 'key')),
    );
    return keys.map((_, i) =>
      found[i] === 1 ? values.subarray(i * this.valueBytes, (i + 1) * this.valueBytes) : undefined,
    );
  }

  /**
   * Sets a value.
   *
   * @throws KernelError: `E2BIG` when the map is full; `EEXIST` or `ENOENT` when it is not as `when` wants it
   */
  async set(key: Uint8Array, value: Uint8Array, when: keyof typeof WHEN = 'always'): Promise<void> {
    await this.setMany([{ key, value }], when);
  }

  /** Sets many values in one call. When one is refused those before it are set, and the error says how many. */
  async setMany(entries: readonly BpfEntry[], when: keyof typeof WHEN = 'always'): Promise<void> {
    if (entries.length === 0) return;
    const flags = lookUp(WHEN, when, 'condition');
    await nativeCall(async () => {
      const keys = entries.map(({ key }) => key);
      const values = entries.map(({ value }) => value);
      return binding.bpfMapUpdate(
        this.handle,
        joined(keys, this.keyBytes, 'key'),
        joined(values, this.valueBytes, 'value'),
        flags,
      );
    });
  }

  /** Of a map of maps or of programs: sets what stands at a key. Reading it gives the object's id. */
  async setObject(key: Uint8Array, object: BpfObject, when: keyof typeof WHEN = 'always'): Promise<void> {
    const flags = lookUp(WHEN, when, 'condition');
    const kind = object instanceof BpfMap ? KIND.map : KIND.program;
    await nativeCall(async () => binding.bpfMapUpdateObject(this.handle, key, kind, object.handle, flags));
  }

  /** Deletes an entry. @returns whether there was one */
  async delete(key: Uint8Array): Promise<boolean> {
    return (await this.deleteMany([key]))[0] === true;
  }

  /** Deletes entries. @returns for each key whether there was one */
  async deleteMany(keys: readonly Uint8Array[]): Promise<boolean[]> {
    const found = await nativeCall(async () => binding.bpfMapDelete(this.handle, joined(keys, this.keyBytes, 'key')));
    return keys.map((_, i) => found[i] === 1);
  }

  /** All entries. What changes meanwhile may be in it or not, and once or twice. */
  async entries(): Promise<{ key: Buffer; value: Buffer }[]> {
    const { keys, values } = await nativeCall(async () => binding.bpfMapEntries(this.handle));
    return Array.from({ length: keys.length / this.keyBytes }, (_, i) => ({
      key: keys.subarray(i * this.keyBytes, (i + 1) * this.keyBytes),
      value: values.subarray(i * this.valueBytes, (i + 1) * this.valueBytes),
    }));
  }

  /** From now on only programs can write it. */
  async freeze(): Promise<void> {
    await nativeCall(async () => binding.bpfMapFreeze(this.handle));
  }
}

/** Parts of one length, one after the other. */
function joined(parts: readonly Uint8Array[], bytes: number, what: string): Uint8Array {
  const all = new Uint8Array(integer(parts.length * bytes, 2 ** 31, 'the length of all entries'));
  for (const [i, part] of parts.entries()) {
    if (!(part instanceof Uint8Array) || part.length !== bytes) {
      throw new TypeError(`a ${what} of this map is ${bytes} bytes, not ${String(part?.length)}`);
    }
    all.set(part, i * bytes);
  }
  return all;
}
