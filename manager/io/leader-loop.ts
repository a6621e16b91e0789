import type { Leadership } from '@apiary/raft/core';
import { ApiaryError, type Clock, type Rng, type Timer } from '@apiary/std';
import type { Logger } from 'pino';
import { plan } from '../core/plan/plan.js';
import type { Dirty } from '../core/plan/plan-types.js';
import type { Change, Touched } from '../core/store/change.js';
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
const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 5_000;

/**
 * While this manager leads: plans for whatever changed, and commits what was planned. One plan is under way at a
 * time; what changes meanwhile is gathered for the next. A plan's own changes are looked at again too, until there is
 * nothing left to do.
 */
export class LeaderLoop {
  readonly #options: Required<LeaderLoopOptions>;
  #dirty = new DirtySet();
  /** When services and nodes have to be looked at although nothing changed: by id. */
  readonly #wakes = new Map<string, Timer>();
  #retry: { timer: Timer; resolve: () => void } | undefined;
  readonly #unsubscribe: (() => void)[];
  /** The term that is led, while it is. */
  #term: number | undefined;
  #isStopped = false;
  #passes: Promise<void> | undefined;

  constructor(options: LeaderLoopOptions) {
    this.#options = { plan, ...options };
    const { replica } = options;
    this.#unsubscribe = [
      replica.subscribe((touched) => this.#onTouched(touched)),
      replica.onLeadership((leadership) => this.#onLeadership(leadership)),
    ];
    this.#onLeadership(replica.leadership);
  }

  /** Resolves when no plan is under way any more. */
  async close(): Promise<void> {
    this.#isStopped = true;
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    this.#rest();
    await this.#passes;
  }

  #onLeadership(leadership: Leadership): void {
    const term = leadership.role === 'leader' ? leadership.term : undefined;
    if (term === this.#term) return;
    this.#rest();
    this.#term = term;
    if (term === undefined) return;
    this.#dirty.all = true;
    this.#run();
  }

  #onTouched(touched: Touched): void {
    if (this.#term === undefined) return;
    // The cluster's spec says how many ended tasks are kept, of each service.
    if (touched.cluster) this.#dirty.all = true;
    for (const ids of [touched.services, touched.taskServices]) for (const id of ids) this.#dirty.services.add(id);
    // Not `assignments`: what runs on a node concerns its service alone, and what it frees there is seen by every pass.
    for (const id of touched.nodes) this.#dirty.nodes.add(id);
    this.#run();
  }

  /** Forgets what a leader has in hand: the next one finds everything dirty. */
  #rest(): void {
    this.#term = undefined;
    this.#dirty = new DirtySet();
    for (const timer of this.#wakes.values()) timer.cancel();
    this.#wakes.clear();
    this.#retry?.timer.cancel();
    this.#retry?.resolve();
  }

  #run(): void {
    this.#passes ??= this.#passUntilClean()
      .catch((error: unknown) => {
        this.#isStopped = true;
        this.#rest();
        this.#options.onFatal(error);
      })
      .finally(() => {
        this.#passes = undefined;
        // What came between the last look and here.
        if (this.#hasWork()) this.#run();
      });
  }

  #hasWork(): boolean {
    return !this.#isStopped && this.#term !== undefined && !this.#dirty.isEmpty;
  }

  async #passUntilClean(): Promise<void> {
    const { replica, logger } = this.#options;
    let delayMs = FIRST_RETRY_MS;
    // Whatever else is applied in the same turn belongs to the same plan.
    await Promise.resolve();
    while (this.#hasWork()) {
      const term = this.#term;
      let dirty = new DirtySet();
      try {
        // A new leader may still be behind what was committed before its time.
        if (this.#dirty.all) await replica.barrier();
        if (term === undefined || term !== this.#term) continue;
        dirty = this.#dirty;
        this.#dirty = new DirtySet();
        const tookMs = await this.#pass(dirty, term);
        delayMs = FIRST_RETRY_MS;
        const restMs = Math.min(REST_RATIO * tookMs, LONGEST_REST_MS);
        if (restMs > 0 && term === this.#term) await this.#pause(restMs);
      } catch (error) {
        if (!(error instanceof ApiaryError)) throw error;
        if (term !== this.#term) continue;
        this.#dirty.addAll(dirty);
        logger.warn({ code: error.code, delayMs }, `a plan could not be committed: ${error.message}`);
        await this.#pause(delayMs);
        delayMs = Math.min(2 * delayMs, LAST_RETRY_MS);
      }
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
      if (term !== this.#term) return tookMs;
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
      this.#run();
    });
    this.#wakes.set(id, timer);
  }

  async #pause(delayMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#retry = { timer: this.#options.clock.after(delayMs, resolve), resolve };
    });
    this.#retry = undefined;
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
