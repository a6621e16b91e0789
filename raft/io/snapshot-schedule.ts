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
}

export const DEFAULT_SNAPSHOTS: SnapshotSettings = {
  everyEntries: 10_000,
  everyBytes: 32 * 1024 * 1024,
  keepEntries: 500,
  keepBytes: 8 * 1024 * 1024,
};

/** Says when a snapshot is due, and how much of the log before it is kept. */
export class SnapshotSchedule {
  readonly #settings: SnapshotSettings;
  /** Sizes of the last `keepEntries` entries, each at its index modulo that. */
  readonly #sizes: Float64Array;
  #snapshotIndex: number;
  #bytes = 0;

  constructor(settings: SnapshotSettings, snapshotIndex: number) {
    this.#settings = settings;
    this.#sizes = new Float64Array(Math.max(1, settings.keepEntries));
    this.#snapshotIndex = snapshotIndex;
  }

  count(entry: Entry): void {
    const bytes = entryBytes(entry);
    this.#bytes += bytes;
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
