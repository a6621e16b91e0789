import { changesOf, type Observation } from '../../core/dispatch/observation.js';
import type { Replica } from '../ports.js';

/** Task updates that one entry may hold: some 300 bytes each. */
const MAX_UPDATES_PER_ENTRY = 2_000;

interface Waiting {
  observations: Observation[];
  resolve: () => void;
  reject: (error: unknown) => void;
}

/**
 * Commits what the dispatcher observes as the leader of one term, in order. The first observation is proposed at once; what comes in while it
 * is under way goes into the next entry together. So there is no delay when little happens, and few entries when much does.
 */
export class Recorder {
  readonly #replica: Replica;
  readonly #term: number;
  #waiting: Waiting[] = [];
  #isBusy = false;

  constructor(replica: Replica, term: number) {
    this.#replica = replica;
    this.#term = term;
  }

  /** Resolves once the observations are committed, or found to be known. Rejects with what `submit` threw. */
  record(observations: Observation[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ observations, resolve, reject });
      if (!this.#isBusy) void this.#run();
    });
  }

  async #run(): Promise<void> {
    this.#isBusy = true;
    while (this.#waiting.length > 0) {
      const batch = this.#takeBatch();
      const observations = batch.flatMap((waiting) => waiting.observations);
      try {
        if (changesOf(this.#replica.view, observations).length > 0) {
          await this.#replica.submit(
            (view) => ({ guards: [], changes: changesOf(view, observations), result: undefined }),
            { asLeaderOf: this.#term },
          );
        }
        for (const { resolve } of batch) resolve();
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.#isBusy = false;
  }

  #takeBatch(): Waiting[] {
    let count = 0;
    let size = 0;
    for (const { observations } of this.#waiting) {
      size += observations.reduce((sum, each) => sum + (each.type === 'tasks' ? each.updates.length : 1), 0);
      if (count > 0 && size > MAX_UPDATES_PER_ENTRY) break;
      count++;
    }
    return this.#waiting.splice(0, count);
  }
}
