import type { Accepted } from './transport.js';

/** Somebody waits to hear that an entry was applied. */
export interface Proposal {
  readonly entry: Uint8Array;
  readonly resolve: (index: number) => void;
  readonly reject: (error: unknown) => void;
  /** Whether it may be proposed again, by whoever leads then, once it is certain that it was not made. */
  readonly isRepeatable: boolean;
  /** So many times it was accepted and then lost. */
  losses: number;
  /** It is given up when no leader has accepted it by then. */
  deadlineMs: number;
}

interface Placed extends Accepted {
  proposal: Proposal;
  /** Set while its leader is lost: after that nobody waits any longer for its outcome. */
  endMs: number | undefined;
  /** Another at the same index, of another term. */
  next: Placed | undefined;
}

/**
 * The proposals that a leader has accepted and whose outcome is not known. What is applied at an index tells: an entry of
 * the same term is the proposal, one of another term took its place. And as terms never fall along a log, an entry of
 * a later term tells that none of an earlier term follows.
 */
export class PlacedProposals {
  readonly #byIndex = new Map<number, Placed>();
  #appliedTerm = 0;

  get size(): number {
    return this.#byIndex.size;
  }

  /** @param endMs when to give up waiting, if its leader does not lead any more */
  add({ index, term }: Accepted, proposal: Proposal, endMs: number | undefined): void {
    this.#byIndex.set(index, { index, term, proposal, endMs, next: this.#byIndex.get(index) });
  }

  /**
   * An entry was applied: answers those who waited for it.
   *
   * @returns what certainly was not made, by this
   */
  applied(index: number, term: number): Proposal[] {
    const lost: Proposal[] = [];
    for (let at = this.#byIndex.get(index); at !== undefined; at = at.next) {
      if (at.term === term) at.proposal.resolve(index);
      else lost.push(at.proposal);
    }
    this.#byIndex.delete(index);
    if (term === this.#appliedTerm) return lost;
    this.#appliedTerm = term;
    for (const placed of this.#remove((each) => each.term < term)) lost.push(placed.proposal);
    return lost;
  }

  /** What stood up to `index` is in a snapshot, and nobody saw it: @returns those whose outcome is unknown. */
  restored(index: number): Proposal[] {
    return this.#remove((each) => each.index <= index).map(({ proposal }) => proposal);
  }

  /** The log gave up what stood from `index` on. */
  takenBack(index: number): Proposal[] {
    return this.#remove((each) => each.index >= index).map(({ proposal }) => proposal);
  }

  /** Who leads has changed: those accepted by a leader of another term than `term` wait until `endMs` at most. */
  ledBy(term: number | undefined, endMs: number): void {
    for (const first of this.#byIndex.values()) {
      for (let at: Placed | undefined = first; at !== undefined; at = at.next) {
        at.endMs = at.term === term ? undefined : (at.endMs ?? endMs);
      }
    }
  }

  expired(nowMs: number): Proposal[] {
    return this.#remove(({ endMs }) => endMs !== undefined && endMs <= nowMs).map(({ proposal }) => proposal);
  }

  drain(): Proposal[] {
    return this.#remove(() => true).map(({ proposal }) => proposal);
  }

  /** In the order of indexes. */
  #remove(isMeant: (placed: Placed) => boolean): Placed[] {
    const removed: Placed[] = [];
    for (const [index, first] of this.#byIndex) {
      let kept: Placed | undefined;
      let next: Placed | undefined;
      for (let at: Placed | undefined = first; at !== undefined; at = next) {
        next = at.next;
        if (isMeant(at)) removed.push(at);
        else kept = Object.assign(at, { next: kept });
      }
      if (kept === undefined) this.#byIndex.delete(index);
      else this.#byIndex.set(index, kept);
    }
    return removed.sort((a, b) => a.index - b.index);
  }
}
