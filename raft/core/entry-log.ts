import { invariant } from '@apiary/std';
import { type Entry, entryBytes, type Position } from './entry.js';

/** What a write under way will have made durable. */
interface Write {
  number: number;
  /** Of the entries in it that still stand, the last; 0 without one. */
  lastIndex: number;
}

/**
 * The entries after a snapshot, in memory: those on disk, those being written, those not handed out yet. All up to
 * `stableIndex` are durable.
 */
export class EntryLog {
  #base: Position;
  #entries: Entry[] = [];
  #stableIndex: number;
  /** All up to here has been handed out to be written. */
  #emittedIndex: number;
  #writes: Write[] = [];

  /** @param entries what follows `base`; all of it durable */
  constructor(base: Position, entries: readonly Entry[]) {
    this.#base = base;
    this.append(entries);
    this.#stableIndex = this.lastIndex;
    this.#emittedIndex = this.lastIndex;
  }

  /** What the first entry follows: it, and all before it, is only in a snapshot. */
  get base(): Position {
    return this.#base;
  }

  get lastIndex(): number {
    return this.#base.index + this.#entries.length;
  }

  get last(): Position {
    const { index, term } = this.#entries.at(-1) ?? this.#base;
    return { index, term };
  }

  get stableIndex(): number {
    return this.#stableIndex;
  }

  /** Undefined before the base and after the end. */
  termAt(index: number): number | undefined {
    if (index === this.#base.index) return this.#base.term;
    return this.#entries[index - this.#base.index - 1]?.term;
  }

  has({ index, term }: Position): boolean {
    return this.termAt(index) === term;
  }

  /** Whether a log that ends at `last` has all that this one may have committed (dissertation, 3.6.1). */
  isCoveredBy(last: Position): boolean {
    const own = this.last;
    return last.term > own.term || (last.term === own.term && last.index >= own.index);
  }

  /**
   * The last place at or before `index` whose term is not above `term`: whoever has an entry of that term at `index`
   * cannot agree with this log any later than there. A place before the base has term 0. Source: the hints of the
   * dissertation's 5.3 as etcd's Raft sharpens them, one round trip a term on either side.
   */
  lastAtOrBelowTerm(index: number, term: number): Position {
    // Terms never fall along a log, so the place is found by halving.
    let low = this.#base.index;
    let high = Math.min(index, this.lastIndex);
    if (high < low || this.#base.term > term) return { index: Math.min(high, low - 1), term: 0 };
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((this.termAt(middle) ?? 0) <= term) low = middle;
      else high = middle - 1;
    }
    return { index: low, term: this.termAt(low) ?? 0 };
  }

  /** Entries from `from` on: one at least if there is one, then as many as the bounds allow. */
  slice(from: number, maxEntries: number, maxBytes: number): Entry[] {
    const start = from - this.#base.index - 1;
    invariant(start >= 0, `entry ${from} is only in a snapshot`);
    const limit = Math.min(this.#entries.length, start + maxEntries);
    let end = start;
    let bytes = 0;
    for (; end < limit; end++) {
      const entry = this.#entries[end];
      bytes += entry === undefined ? 0 : entryBytes(entry);
      if (end > start && bytes > maxBytes) break;
    }
    return this.#entries.slice(start, end);
  }

  append(entries: readonly Entry[]): void {
    for (const entry of entries) {
      const last = this.#entries.at(-1) ?? this.#base;
      invariant(
        entry.index === last.index + 1 && entry.term >= last.term,
        `entry ${entry.index} of term ${entry.term} cannot follow ${last.index} of ${last.term}`,
      );
      this.#entries.push(entry);
    }
  }

  /** Drops all from `index` on. */
  truncateFrom(index: number): void {
    invariant(index > this.#base.index, `entry ${index} is in a snapshot and cannot be dropped`);
    this.#entries.length = Math.min(this.#entries.length, index - this.#base.index - 1);
    this.#forget(index - 1);
  }

  /** Forgets the entries up to `index`, which a snapshot covers. */
  compactTo(index: number): void {
    if (index <= this.#base.index) return;
    const term = this.termAt(index);
    invariant(term !== undefined && index <= this.#stableIndex, `entry ${index} is not durable yet`);
    this.#entries = this.#entries.slice(index - this.#base.index);
    this.#base = { index, term };
  }

  /** Begins anew after a snapshot that was received. What was written before does not count. */
  reset({ index, term }: Position): void {
    this.#base = { index, term };
    this.#entries = [];
    this.#forget(0);
    this.#emittedIndex = index;
  }

  /** What has not been handed out to be written; it is from now on, as part of write `number`. */
  emit(number: number): Entry[] {
    const entries = this.#entries.slice(this.#emittedIndex - this.#base.index);
    this.#emittedIndex = this.lastIndex;
    this.#writes.push({ number, lastIndex: this.lastIndex });
    return entries;
  }

  get hasUnemitted(): boolean {
    return this.#emittedIndex < this.lastIndex;
  }

  /** Write `number`, and all before it, is durable. */
  settle(number: number): void {
    const settled = this.#writes.filter((write) => write.number <= number);
    this.#writes = this.#writes.filter((write) => write.number > number);
    for (const { lastIndex } of settled) this.#stableIndex = Math.max(this.#stableIndex, lastIndex);
  }

  /** None of the writes under way was kept: what was in them is handed out again. */
  giveBack(): void {
    this.#writes = [];
    this.#emittedIndex = Math.max(this.#stableIndex, this.#base.index);
  }

  #forget(lastKept: number): void {
    this.#stableIndex = Math.min(this.#stableIndex, lastKept);
    this.#emittedIndex = Math.min(this.#emittedIndex, lastKept);
    // A write's entry that was dropped and came again is not durable by the write that it was dropped from.
    for (const write of this.#writes) write.lastIndex = Math.min(write.lastIndex, lastKept);
  }
}
