import type {
  Leadership,
  Log,
  MemberId,
  Membership,
  MembershipChange,
  PeerStatus,
  ProposeOptions,
} from '@apiary/raft/core';
import { ApiaryError, type Clock, type Rng } from '@apiary/std';
import type { Decision } from '../core/requests/decision.js';
import type { Change, Guard, Touched } from '../core/store/change.js';
import { decodeEntry, encodeEntry } from '../core/store/entry-codec.js';
import { Store } from '../core/store/store.js';
import type { View } from '../core/store/view.js';
import { decoded, encoded, textOf } from './entry-bytes.js';
import type { Replica } from './ports.js';

export interface StoreReplicaOptions {
  log: Log;
  clock: Clock;
  /** One for secrets: join tokens are drawn from it. */
  rng: Rng;
  /** A bug of ours came to light while an entry was applied: the state is known no more, and the process should end. */
  onFatal: (error: unknown) => void;
}

/** Decisions are made anew so many times when others keep getting in between. */
const MAX_TRIES = 20;

type Decide<R> = (view: View, context: { nowMs: number; rng: Rng }) => Decision<R>;

/** A store behind a log: what the log commits is applied to it, and what it decides goes into the log. */
export class StoreReplica implements Replica {
  readonly #options: StoreReplicaOptions;
  readonly #store = new Store();
  readonly #listeners = new Set<(touched: Touched) => void>();
  /** By index, the entries of the proposals under way that did not happen. */
  readonly #failedGuards = new Map<number, Guard>();
  #proposalsUnderWay = 0;

  constructor(options: StoreReplicaOptions) {
    this.#options = options;
  }

  /**
   * Opens the log, and resolves when `view` has what was committed. Closing the log is for who made it.
   *
   * @throws ApiaryError `failed-precondition` when what is on disk is damaged, or of another version
   */
  open(): Promise<void> {
    return this.#options.log.open({
      apply: (index, entry) => this.#apply(index, entry),
      snapshot: () => encoded(this.#store.snapshot()),
      restore: (index, pieces) => this.#restore(index, pieces),
    });
  }

  get view(): View {
    return this.#store;
  }

  snapshot(): { index: number; pieces: Iterable<Uint8Array> } {
    return { index: this.#store.appliedIndex, pieces: encoded(this.#store.snapshot()) };
  }

  get leadership(): Leadership {
    return this.#options.log.leadership;
  }

  async submit<R>(decide: Decide<R>, options: ProposeOptions = {}): Promise<R> {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const decision = await this.#decide(decide);
      if (decision.changes.length === 0) return decision.result;
      if (await this.#commit(decision, options)) return decision.result;
    }
    throw new ApiaryError('unavailable', `the cluster's state changed ${MAX_TRIES} times meanwhile: try again`);
  }

  barrier(): Promise<void> {
    return this.#options.log.barrier();
  }

  subscribe(listener: (touched: Touched) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  onLeadership(listener: (leadership: Leadership) => void): () => void {
    return this.#options.log.onLeadership(listener);
  }

  get members(): Membership {
    return this.#options.log.members;
  }

  get peers(): readonly PeerStatus[] {
    return this.#options.log.peers;
  }

  onMembers(listener: () => void): () => void {
    return this.#options.log.onMembers(listener);
  }

  /** The entry has no guards: the membership changes with it in any case, and the state must follow. */
  async changeMembers(change: MembershipChange, changes: Change[], options?: { isForced?: boolean }): Promise<void> {
    await this.#options.log.changeMembers(change, this.#entryOf([], changes), options);
  }

  transferLeadership(to?: MemberId): Promise<void> {
    return this.#options.log.transferLeadership(to);
  }

  /** A refusal counts only when it is made on all that was committed: a new leader may still be behind. */
  async #decide<R>(decide: Decide<R>): Promise<Decision<R>> {
    try {
      return decide(this.#store, this.#context());
    } catch (error) {
      if (!(error instanceof ApiaryError)) throw error;
      const { appliedIndex } = this.#store;
      await this.barrier();
      if (this.#store.appliedIndex === appliedIndex) throw error;
      return decide(this.#store, this.#context());
    }
  }

  #context(): { nowMs: number; rng: Rng } {
    return { nowMs: this.#options.clock.now(), rng: this.#options.rng };
  }

  /** @returns whether the changes happened: not when a guard did not hold any more */
  async #commit({ guards, changes }: Decision<unknown>, options: ProposeOptions): Promise<boolean> {
    const entry = this.#entryOf(guards, changes);
    this.#proposalsUnderWay++;
    try {
      const index = await this.#options.log.propose(entry, options);
      return !this.#failedGuards.delete(index);
    } finally {
      this.#proposalsUnderWay--;
      // What other members proposed is looked up by nobody here.
      if (this.#proposalsUnderWay === 0) this.#failedGuards.clear();
    }
  }

  #entryOf(guards: Guard[], changes: Change[]): Uint8Array {
    return Buffer.from(encodeEntry({ atMs: this.#options.clock.now(), guards, changes }));
  }

  /**
   * What was known before and what is known now have been touched, all of it: nobody saw what happened between. Of the
   * events, who listens tells by their time which are new.
   */
  #restore(index: number, pieces: Iterable<Uint8Array>): void {
    const touched = touchedOf(this.#store);
    this.#store.restore(index, decoded(pieces));
    const after = touchedOf(this.#store);
    for (const kind of ['services', 'nodes', 'tasks', 'taskServices', 'assignments'] as const) {
      for (const id of after[kind]) touched[kind].add(id);
    }
    touched.events = after.events;
    for (const listener of this.#listeners) listener(touched);
  }

  #apply(index: number, bytes: Uint8Array): void {
    try {
      const { result, touched } = this.#store.apply(index, decodeEntry(textOf(bytes)));
      if (!result.ok && this.#proposalsUnderWay > 0) this.#failedGuards.set(index, result.failed);
      if (result.ok) for (const listener of this.#listeners) listener(touched);
    } catch (error) {
      if (!(error instanceof ApiaryError)) this.#options.onFatal(error);
      throw error;
    }
  }
}

function touchedOf(view: View): Touched {
  const nodes = new Set(view.nodes().map(({ id }) => id));
  const services = new Set(view.services().map(({ id }) => id));
  const tasks = view.tasks();
  const taskServices = new Set(tasks.map(({ serviceId }) => serviceId));
  return {
    cluster: true,
    services,
    nodes,
    secrets: new Set(view.contents('secret').map(({ id }) => id)),
    configs: new Set(view.contents('config').map(({ id }) => id)),
    tasks: new Set(tasks.map(({ id }) => id)),
    taskServices,
    assignments: nodes,
    networks: new Set(view.networks().map(({ id }) => id)),
    attachments: new Set(view.attachments().map(({ id }) => id)),
    events: view.events(),
  };
}
