import type { Entry, MemberId, Persist, SnapshotMeta } from '@apiary/raft/core';
import { digestOf } from './machine.js';

/** Something happened that must never happen. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

export function demand(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Violation(what);
}

/** The terms of a member's log, kept beside it from what it was told to write. */
export class MirrorLog {
  #base: { index: number; term: number };
  #terms: number[];

  constructor(snapshot: SnapshotMeta, entries: readonly Entry[]) {
    this.#base = snapshot;
    this.#terms = entries.map(({ term }) => term);
  }

  get baseIndex(): number {
    return this.#base.index;
  }

  /** Undefined for what is only in the snapshot, and after the end. */
  termAt(index: number): number | undefined {
    return index === this.#base.index ? this.#base.term : this.#terms[index - this.#base.index - 1];
  }

  get lastIndex(): number {
    return this.#base.index + this.#terms.length;
  }

  truncateFrom(index: number): void {
    this.#terms.length = Math.min(this.#terms.length, index - this.#base.index - 1);
  }

  write({ snapshot, entries }: Persist): void {
    if (snapshot !== undefined) {
      this.#base = snapshot;
      this.#terms = [];
    }
    const [first] = entries;
    if (first === undefined) return;
    demand(first.index > this.#base.index, `entry ${first.index} is written though a snapshot has it`);
    this.#terms.length = first.index - this.#base.index - 1;
    this.#terms.push(...entries.map(({ term }) => term));
  }
}

interface Applied {
  term: number;
  digest: number;
  /** Of the whole state after it. */
  stateDigest: number;
}

/** Knows all that happened in a cluster, and checks Raft's promises against it (dissertation, figure 3.2). */
export class Oracle {
  readonly #leaders = new Map<number, MemberId>();
  readonly #entries = new Map<string, { digest: number; previousTerm: number | undefined }>();
  /** By index, of each entry that somebody knew to be committed: its term, and the term in which it was committed. */
  readonly #committed: { term: number; inTerm: number }[] = [];
  readonly #applied: Applied[] = [];
  /** The values whose writers were told that they are kept. */
  readonly #acknowledged = new Map<string, number>();

  get appliedIndex(): number {
    return this.#applied.length - 1;
  }

  get leaderships(): number {
    return this.#leaders.size;
  }

  /** Election safety and leader completeness. */
  leads(id: MemberId, term: number, log: MirrorLog): void {
    const known = this.#leaders.get(term);
    if (known === id) return;
    demand(known === undefined, `election safety: ${known} and ${id} both lead in term ${term}`);
    this.#leaders.set(term, id);
    this.#committed.forEach(({ term: committedTerm, inTerm }, index) => {
      // A leader that slept since it was elected need not have what others committed meanwhile.
      if (index <= log.baseIndex || inTerm >= term) return;
      const found = log.termAt(index);
      demand(
        found === committedTerm,
        `leader completeness: entry ${index} of term ${committedTerm} is committed, and ${id}, leader of term ${term}, has ${found === undefined ? 'none' : `one of term ${found}`}`,
      );
    });
  }

  /** Log matching: an entry of an index and a term is one, and so is what it follows. */
  wrote(id: MemberId, entry: Entry, log: MirrorLog): void {
    const previousTerm = log.termAt(entry.index - 1);
    const key = `${entry.index}/${entry.term}`;
    const known = this.#entries.get(key);
    const digest = digestOf(entry);
    if (known === undefined) {
      this.#entries.set(key, { digest, previousTerm });
      return;
    }
    demand(known.digest === digest, `log matching: ${id} has another entry ${key} than others`);
    demand(
      known.previousTerm === undefined || previousTerm === undefined || known.previousTerm === previousTerm,
      `log matching: entry ${key} follows one of term ${previousTerm} in ${id}, and of ${known.previousTerm} elsewhere`,
    );
  }

  /** The entries from `index` on were refused by the only disk that they were meant for. */
  forgets(index: number, log: MirrorLog): void {
    for (let at = index; at <= log.lastIndex; at++) this.#entries.delete(`${at}/${log.termAt(at)}`);
  }

  /** What was committed stays so. */
  commits(id: MemberId, inTerm: number, { from, to }: { from: number; to: number }, log: MirrorLog): void {
    for (let index = from + 1; index <= to; index++) {
      if (index <= log.baseIndex) continue;
      const term = log.termAt(index);
      demand(term !== undefined, `${id} says that entry ${index} is committed, and has none`);
      const known = this.#committed[index];
      demand(
        known === undefined || known.term === term,
        `state machine safety: entry ${index} was committed with term ${known?.term}, and ${id} commits one of term ${term}`,
      );
      this.#committed[index] ??= { term, inTerm };
    }
  }

  /** State machine safety: all apply the same, in the same order. */
  applies(id: MemberId, entry: Entry, stateDigest: number): void {
    const known = this.#applied[entry.index];
    const applied = { term: entry.term, digest: digestOf(entry), stateDigest };
    if (known === undefined) {
      this.#applied[entry.index] = applied;
      return;
    }
    demand(
      known.term === applied.term && known.digest === applied.digest,
      `state machine safety: ${id} applies entry ${entry.index} of term ${entry.term}, others applied one of term ${known.term}`,
    );
    demand(known.stateDigest === stateDigest, `${id} came to another state than others with entry ${entry.index}`);
  }

  restores(id: MemberId, index: number, stateDigest: number): void {
    const known = this.#applied[index];
    demand(known !== undefined, `${id} restored a snapshot of entry ${index}, which nobody applied`);
    demand(known.stateDigest === stateDigest, `${id} restored another state of entry ${index} than others have`);
  }

  acknowledges(value: string, index: number): void {
    this.#acknowledged.set(value, index);
  }

  /** At the end: nothing acknowledged is missing, nothing is there twice. */
  checkValues(id: MemberId, values: readonly string[]): void {
    const found = new Set(values);
    demand(found.size === values.length, `${id} has a value twice`);
    for (const [value, index] of this.#acknowledged) {
      demand(found.has(value), `${value} was acknowledged as entry ${index}, and ${id} does not have it`);
    }
  }
}
