import {
  changeMembership,
  type Leadership,
  type Membership,
  type MembershipChange,
  type PeerStatus,
  type ProposeOptions,
} from '@apiary/raft/core';
import { ApiaryError, type Clock, SeededRng, VirtualClock } from '@apiary/std';
import type { Change, Entry, Touched } from '../../core/store/change.js';
import { Store } from '../../core/store/store.js';
import { encoded } from '../entry-bytes.js';
import type { Decision, Replica } from '../ports.js';

/** A replica whose log is a list: it commits at once, or when the test lets it. For tests of what stands on the port. */
export class ListReplica implements Replica {
  readonly view = new Store();
  readonly entries: Entry[] = [];
  leadership: Leadership = { role: 'leader', term: 1 };
  members: Membership = { voters: ['m1'], learners: [] };
  peers: readonly PeerStatus[] = [];
  readonly memberChanges: (MembershipChange & { isForced?: boolean })[] = [];
  /** While it is set, entries wait for it before they are applied. */
  gate: Promise<void> | undefined;
  refusal: ApiaryError | undefined;
  /** What others committed arrives. */
  beforeBarrier: (() => void) | undefined;
  barrierFailure: ApiaryError | undefined;
  readonly #clock: Clock;
  readonly #rng = new SeededRng(7);
  readonly #listeners = new Set<(touched: Touched) => void>();
  readonly #memberListeners = new Set<() => void>();
  readonly #leadershipListeners = new Set<(leadership: Leadership) => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async submit<R>(
    decide: (view: Store, context: { nowMs: number; rng: SeededRng }) => Decision<R>,
    { asLeaderOf }: ProposeOptions = {},
  ): Promise<R> {
    const decision = decide(this.view, { nowMs: this.#clock.now(), rng: this.#rng });
    if (this.refusal !== undefined) throw this.refusal;
    await this.gate;
    const { role, term } = this.leadership;
    if (asLeaderOf !== undefined && (role !== 'leader' || term !== asLeaderOf)) {
      throw new ApiaryError('unavailable', `this manager does not lead term ${asLeaderOf}`);
    }
    this.apply(decision.changes, decision.guards);
    return decision.result;
  }

  apply(changes: Change[], guards: Entry['guards'] = []): void {
    const entry = { atMs: this.#clock.now(), guards, changes };
    this.entries.push(entry);
    const { touched } = this.view.apply(this.entries.length, entry);
    for (const listener of this.#listeners) listener(touched);
  }

  get isHeard(): boolean {
    return this.#listeners.size > 0;
  }

  /** What was told of events is told again, as by a state that is restored. */
  tellAgain(): void {
    const { touched } = this.view.apply(this.entries.push({ atMs: 0, guards: [], changes: [] }), {
      atMs: 0,
      guards: [],
      changes: [],
    });
    for (const listener of this.#listeners) listener({ ...touched, events: this.view.events() });
  }

  snapshot(): { index: number; pieces: Iterable<Uint8Array> } {
    return { index: this.view.appliedIndex, pieces: encoded(this.view.snapshot()) };
  }

  async barrier(): Promise<void> {
    this.beforeBarrier?.();
    if (this.barrierFailure !== undefined) throw this.barrierFailure;
  }

  subscribe(listener: (touched: Touched) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  onLeadership(listener: (leadership: Leadership) => void): () => void {
    this.#leadershipListeners.add(listener);
    return () => this.#leadershipListeners.delete(listener);
  }

  onMembers(listener: () => void): () => void {
    this.#memberListeners.add(listener);
    return () => this.#memberListeners.delete(listener);
  }

  async changeMembers(change: MembershipChange, changes: Change[], options?: { isForced?: boolean }): Promise<void> {
    this.memberChanges.push({ ...change, ...options });
    if (this.refusal !== undefined) throw this.refusal;
    await this.gate;
    const next = changeMembership(this.members, change);
    if (typeof next === 'string') throw new ApiaryError('failed-precondition', next);
    this.members = next;
    this.apply(changes);
    this.standing(...this.peers);
  }

  async transferLeadership(): Promise<void> {
    this.become({ role: 'follower', term: this.leadership.term + 1 });
  }

  /** How the other members stand has changed. */
  standing(...peers: PeerStatus[]): void {
    this.peers = peers;
    for (const listener of this.#memberListeners) listener();
  }

  become(leadership: Leadership): void {
    this.leadership = leadership;
    for (const listener of this.#leadershipListeners) listener(leadership);
  }
}

/** A clock that can be set, as the machine's can; what waits for a time to pass is not disturbed by it. */
export class SettableClock extends VirtualClock {
  skewMs = 0;

  override now(): number {
    return super.now() + this.skewMs;
  }
}
