import { ApiaryError, type Clock, messageOf } from '@apiary/std';
import type { Leadership, MemberId } from '../core/index.js';
import type { MemberDriver } from './member-driver.js';
import { PlacedProposals, type Proposal } from './placed-proposals.js';
import { busy, notMade, outcomeUnknown, tooLarge } from './refusals.js';
import { type Accepted, NotAcceptedError, type Transport } from './transport.js';

export interface ProposalsOptions {
  directory: string;
  driver: MemberDriver;
  transport: Transport;
  clock: Clock;
  maxEntryBytes: number;
  /** So long a proposal waits for a leader, and one whose leader was lost for its outcome. */
  timeoutMs: number;
  leadership: () => Leadership;
}

/** A proposal that was accepted and lost so many times is given up. */
const MAX_LOSSES = 3;

/**
 * Brings proposals to whoever leads, and finds out what became of them. One is proposed again only if it is certain
 * that it was not made.
 */
export class Proposals {
  readonly #options: ProposalsOptions;
  /** No leader has them. */
  #waiting: Proposal[] = [];
  /** Handed to a leader, whose answer is awaited. */
  readonly #forwarded = new Set<Proposal>();
  readonly #placed = new PlacedProposals();

  constructor(options: ProposalsOptions) {
    this.#options = options;
  }

  /** @param isRepeatable whether another leader may be asked, once it is certain that the first did not make it */
  submit(entry: Uint8Array, { isRepeatable }: { isRepeatable: boolean }): Promise<number> {
    const { directory, maxEntryBytes } = this.#options;
    if (entry.length > maxEntryBytes) return Promise.reject(tooLarge(directory, entry.length, maxEntryBytes));
    return new Promise((resolve, reject) => {
      this.#place({ entry, resolve, reject, isRepeatable, losses: 0, deadlineMs: this.#deadlineMs() });
    });
  }

  /** Waits for what this member has accepted as the leader; it is never proposed again. */
  follow(accepted: Accepted, entry: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) => {
      const proposal = { entry, resolve, reject, isRepeatable: false, losses: 0, deadlineMs: this.#deadlineMs() };
      this.#placed.add(accepted, proposal, undefined);
    });
  }

  /**
   * Accepts an entry as the leader, for another member.
   *
   * @throws NotAcceptedError, ApiaryError as `TransportReceiver.accept`
   */
  accept(entry: Uint8Array): Accepted {
    const { directory, driver, maxEntryBytes } = this.#options;
    const outcome = driver.node.propose(entry);
    if (outcome.type === 'accepted') {
      driver.schedule();
      return outcome;
    }
    if (outcome.reason === 'busy') throw busy();
    if (outcome.reason === 'too-large') throw tooLarge(directory, entry.length, maxEntryBytes);
    throw new NotAcceptedError('this manager does not lead');
  }

  applied(index: number, term: number): void {
    for (const proposal of this.#placed.applied(index, term)) this.#lost(proposal);
  }

  /** What stood up to `index` is in a snapshot: whether it was this or that, nobody can tell. */
  restored(index: number): void {
    for (const { reject } of this.#placed.restored(index)) reject(outcomeUnknown());
  }

  /** The disk of the only member refused what stood from `index` on: it was not made, and will not be. */
  takenBack(index: number, error: ApiaryError): void {
    for (const { reject } of this.#placed.takenBack(index)) reject(error);
  }

  /** Who leads has changed. */
  leaderChanged(): void {
    const term = this.#ledTerm();
    this.#placed.ledBy(term, this.#deadlineMs());
    if (term !== undefined) this.#placeWaiting();
  }

  /**
   * Tries again what nobody took, and gives up what has waited for too long.
   *
   * @param canApply whether this member's disk takes what the leader sends, so that it will hear of any outcome
   * @param unled    what they hear whose entry no leader has accepted
   */
  sweep({ canApply, unled }: { canApply: boolean; unled: () => ApiaryError }): void {
    const now = this.#options.clock.now();
    if (this.#placed.size > 0) this.#placed.ledBy(canApply ? this.#ledTerm() : undefined, this.#deadlineMs());
    for (const { reject } of this.#placed.expired(now)) reject(outcomeUnknown());
    for (const proposal of this.#forwarded) {
      // A leader that is there answers; and a wire that never says so is not waited for for ever.
      if (proposal.deadlineMs + this.#options.timeoutMs > now) continue;
      this.#forwarded.delete(proposal);
      proposal.reject(outcomeUnknown());
    }
    if (this.#waiting.length === 0) return;
    const late = this.#waiting.filter(({ deadlineMs }) => deadlineMs <= now);
    this.#waiting = this.#waiting.filter(({ deadlineMs }) => deadlineMs > now);
    for (const { reject } of late) reject(unled());
    this.#placeWaiting();
  }

  rejectAll(error: ApiaryError): void {
    const all = [...this.#placed.drain(), ...this.#forwarded, ...this.#waiting];
    this.#forwarded.clear();
    this.#waiting = [];
    for (const { reject } of all) reject(error);
  }

  /** The term of the leader that is known. */
  #ledTerm(): number | undefined {
    const leadership = this.#options.leadership();
    return leadership.role === 'leader' || leadership.leaderId !== undefined ? leadership.term : undefined;
  }

  #deadlineMs(): number {
    return this.#options.clock.now() + this.#options.timeoutMs;
  }

  #placeWaiting(): void {
    for (const proposal of this.#waiting.splice(0)) this.#place(proposal);
  }

  #place(proposal: Proposal): void {
    const { driver, leadership } = this.#options;
    const current = leadership();
    if (current.role === 'leader') this.#propose(proposal, driver);
    else if (!proposal.isRepeatable) proposal.reject(notMade('this manager does not lead any more'));
    else if (current.leaderId === undefined) this.#waiting.push(proposal);
    else this.#forward(proposal, current.leaderId);
  }

  #propose(proposal: Proposal, driver: MemberDriver): void {
    const outcome = driver.node.propose(proposal.entry);
    if (outcome.type === 'accepted') {
      this.#placed.add(outcome, proposal, undefined);
      driver.schedule();
    } else if (outcome.reason === 'busy') proposal.reject(busy());
    else if (proposal.isRepeatable) this.#waiting.push(proposal);
    else proposal.reject(notMade('this manager is handing over the leadership'));
  }

  #forward(proposal: Proposal, to: MemberId): void {
    this.#forwarded.add(proposal);
    this.#options.transport.forward(to, proposal.entry).then(
      (accepted) => {
        if (this.#forwarded.delete(proposal)) this.#track(accepted, proposal);
      },
      (error: unknown) => {
        if (this.#forwarded.delete(proposal)) this.#whenRefused(proposal, to, error);
      },
    );
  }

  #whenRefused(proposal: Proposal, to: MemberId, error: unknown): void {
    if (!(error instanceof NotAcceptedError)) {
      proposal.reject(error instanceof ApiaryError ? error : outcomeUnknown(messageOf(error)));
      return;
    }
    const current = this.#options.leadership();
    // Another leads by now; if it is still the same, it is asked again in a while.
    if (current.role === 'leader' || current.leaderId !== to) this.#place(proposal);
    else this.#waiting.push(proposal);
  }

  /** Another member has accepted it, and what follows from that may have come before its answer. */
  #track(accepted: Accepted, proposal: Proposal): void {
    const { driver } = this.#options;
    const { index, term } = accepted;
    const { applied } = driver;
    if (index <= applied.index) {
      const found = driver.node.termAt(index);
      if (found === term) proposal.resolve(index);
      else if (found === undefined) proposal.reject(outcomeUnknown());
      else this.#lost(proposal);
    } else if (applied.term > term) this.#lost(proposal);
    else {
      const isLed = this.#ledTerm() === term;
      this.#placed.add(accepted, proposal, isLed ? undefined : this.#deadlineMs());
    }
  }

  /** It is certain that it was not made. */
  #lost(proposal: Proposal): void {
    proposal.losses++;
    if (!proposal.isRepeatable || proposal.losses > MAX_LOSSES) {
      proposal.reject(notMade('another manager took over the leadership'));
      return;
    }
    proposal.deadlineMs = Math.max(proposal.deadlineMs, this.#deadlineMs());
    this.#place(proposal);
  }
}
