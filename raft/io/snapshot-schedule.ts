import { type Entry, entryBytes } from '../core/index.js';

export interface SnapshotSettings {
  /** A snapshot is taken after so many entries since the last one (10,000), or ... */
  everyEntries: number;
  /** ... after so many bytes of them (32 MiB). */
  everyBytes: number;
  /** So many entries before a snapshot stay in memory, for members a little behind (500), ... */
  keepEntries: number;
  /** ... but no more bytes of them than this (8 MiB). */
  keepBytes: number;
  /** Snapshots that stay on disk besides the newest; two do anyway, for members that are being sent one. */
  keepOld: number;
}

/** What may be changed while a log runs. */
export type SnapshotChoice = Pick<SnapshotSettings, 'everyEntries' | 'keepEntries' | 'keepOld'>;

export const DEFAULT_SNAPSHOTS: SnapshotSettings = {
  everyEntries: 10_000,
  everyBytes: 32 * 1024 * 1024,
  keepEntries: 500,
  keepBytes: 8 * 1024 * 1024,
  keepOld: 0,
};

/** Says when a snapshot is due, and how much of the log before it is kept. */
export class SnapshotSchedule {
  #settings: SnapshotSettings;
  /** Sizes of the last `keepEntries` entries, each at its index modulo that. */
  #sizes: Float64Array;
  #countedIndex: number;
  #snapshotIndex: number;
  #bytes = 0;

  constructor(settings: SnapshotSettings, snapshotIndex: number) {
    this.#settings = settings;
    this.#sizes = new Float64Array(Math.max(1, settings.keepEntries));
    this.#snapshotIndex = snapshotIndex;
    this.#countedIndex = snapshotIndex;
  }

  /** Snapshots that stay on disk besides the newest. */
  get keepOld(): number {
    return this.#settings.keepOld;
  }

  configure(choice: SnapshotChoice): void {
    const sizes = new Float64Array(Math.max(1, choice.keepEntries));
    for (let i = 0; i < Math.min(sizes.length, this.#sizes.length, this.#countedIndex); i++) {
      const index = this.#countedIndex - i;
      sizes[index % sizes.length] = this.#sizes[index % this.#sizes.length] ?? 0;
    }
    this.#sizes = sizes;
    this.#settings = { ...this.#settings, ...choice };
  }

  count(entry: Entry): void {
    const bytes = entryBytes(entry);
    this.#bytes += bytes;
    this.#countedIndex = entry.index;
    this.#sizes[entry.index % this.#sizes.length] = bytes;
  }

  isDue(appliedIndex: number): boolean {
    const { everyEntries, everyBytes } = this.#settings;
    const entries = appliedIndex - this.#snapshotIndex;
    return entries >= everyEntries || (entries > 0 && this.#bytes >= everyBytes);
  }

  /**
   * A snapshot of the state after entry `index`, the last that was counted, is taken or was received.
   *
   * @returns how many entries up to that one are to be kept
   */
  taken(index: number): number {
    const { keepEntries, keepBytes } = this.#settings;
    this.#snapshotIndex = index;
    this.#bytes = 0;
    let bytes = 0;
    let kept = 0;
    for (; kept < Math.min(keepEntries, index); kept++) {
      bytes += this.#sizes[(index - kept) % this.#sizes.length] ?? 0;
      if (bytes > keepBytes) break;
    }
    return kept;
  }
}
