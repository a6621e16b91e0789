import type { Clock, Rng, Timer } from '@apiary/std';
import type { Logger } from 'pino';
import { plan } from '../core/plan/plan.js';
import type { Dirty } from '../core/plan/plan-types.js';
import type { Change, Touched } from '../core/store/change.js';
import { LedLoop } from './led-loop.js';
import type { Replica } from './ports.js';

export interface LeaderLoopOptions {
  replica: Replica;
  clock: Clock;
  rng: Rng;
  logger: Logger;
  /** A bug of ours came to light. The loop has stopped, and the process should end. */
  onFatal: (error: unknown) => void;
  /** In place of the planner. */
  plan?: typeof plan;
}

/** Characters of JSON. A plan is one entry, unless that would get so large that it holds up those of others. */
const MAX_ENTRY_CHARACTERS = 1024 * 1024;
/**
 * A pass that took long is followed by a rest of so many times that long, and this at most. What changes meanwhile is
 * planned for together: while a hundred thousand tasks report that they run, the managers have more to do than to plan.
 */
const REST_RATIO = 2;
const LONGEST_REST_MS = 1_000;

/**
 * While this manager leads: plans for whatever changed, and commits what was planned. What changes while a plan is under
 * way is gathered for the next. A plan's own changes are looked at again too, until there is nothing left to do.
 */
export class LeaderLoop {
  readonly #options: Required<LeaderLoopOptions>;
  readonly #loop: LedLoop;
  readonly #unsubscribe: () => void;
  #dirty = new DirtySet();
  /** When services have to be looked at although nothing changed: by service id. */
  readonly #wakes = new Map<string, Timer>();

  constructor(options: LeaderLoopOptions) {
    this.#options = { plan, ...options };
    this.#loop = new LedLoop({
      ...options,
      onTerm: (term) => this.#onTerm(term),
      hasWork: () => !this.#dirty.isEmpty,
      pass: (term) => this.#passAndRest(term),
      failure: 'a plan could not be committed',
    });
    this.#unsubscribe = options.replica.subscribe((touched) => this.#onTouched(touched));
  }

  /** Resolves when no plan is under way any more. */
  async close(): Promise<void> {
    this.#unsubscribe();
    await this.#loop.close();
  }

  /** Forgets what a leader has in hand: the next one finds everything dirty. */
  #onTerm(term: number | undefined): void {
    this.#dirty = new DirtySet();
    this.#dirty.all = term !== undefined;
    for (const timer of this.#wakes.values()) timer.cancel();
    this.#wakes.clear();
  }

  #onTouched(touched: Touched): void {
    if (!this.#loop.isLeading) return;
    // The cluster's spec says how many ended tasks are kept, of each service.
    if (touched.cluster) this.#dirty.all = true;
    for (const ids of [touched.services, touched.taskServices]) for (const id of ids) this.#dirty.services.add(id);
    // Not `assignments`: what runs on a node concerns its service alone, and what it frees there is seen by every pass.
    for (const id of touched.nodes) this.#dirty.nodes.add(id);
    this.#loop.wake();
  }

  /** @returns how long to let what changes be gathered before the next plan, milliseconds */
  async #passAndRest(term: number): Promise<number> {
    // A new leader may still be behind what was committed before its time.
    if (this.#dirty.all) await this.#options.replica.barrier();
    if (!this.#loop.leads(term)) return 0;
    const dirty = this.#dirty;
    this.#dirty = new DirtySet();
    try {
      return Math.min(REST_RATIO * (await this.#pass(dirty, term)), LONGEST_REST_MS);
    } catch (error) {
      if (this.#loop.leads(term)) this.#dirty.addAll(dirty);
      throw error;
    }
  }

  /** @returns how long it took to plan, milliseconds: not to commit */
  async #pass(dirty: Dirty, term: number): Promise<number> {
    const { replica, clock, rng } = this.#options;
    const startMs = clock.now();
    const { changes, wakes, nodeWakes } = this.#options.plan(replica.view, dirty, startMs, rng);
    const tookMs = Math.max(0, clock.now() - startMs);
    for (const { serviceId, atMs } of wakes) this.#wakeAt('services', serviceId, atMs);
    for (const { nodeId, atMs } of nodeWakes) this.#wakeAt('nodes', nodeId, atMs);
    for (const part of inEntries(changes)) {
      if (!this.#loop.leads(term)) return tookMs;
      // What was planned on one term's state is never another leader's to commit.
      await replica.submit(() => ({ guards: [], changes: part, result: undefined }), { asLeaderOf: term });
    }
    return tookMs;
  }

  #wakeAt(kind: 'services' | 'nodes', id: string, atMs: number): void {
    const { clock } = this.#options;
    this.#wakes.get(id)?.cancel();
    const timer = clock.after(atMs - clock.now(), () => {
      this.#wakes.delete(id);
      this.#dirty[kind].add(id);
      this.#loop.wake();
    });
    this.#wakes.set(id, timer);
  }
}

class DirtySet implements Dirty {
  all = false;
  readonly services = new Set<string>();
  readonly nodes = new Set<string>();

  get isEmpty(): boolean {
    return !this.all && this.services.size === 0 && this.nodes.size === 0;
  }

  addAll(other: Dirty): void {
    this.all ||= other.all;
    for (const id of other.services) this.services.add(id);
    for (const id of other.nodes) this.nodes.add(id);
  }
}

/** Cuts a plan into entries of at most about 1 MiB, in order. */
function* inEntries(changes: Change[]): Generator<Change[]> {
  let part: Change[] = [];
  let characters = 0;
  for (const change of changes) {
    const length = JSON.stringify(change).length;
    if (part.length > 0 && characters + length > MAX_ENTRY_CHARACTERS) {
      yield part;
      part = [];
      characters = 0;
    }
    part.push(change);
    characters += length;
  }
  if (part.length > 0) yield part;
}
