/** So many steps are always remembered, however few things there are. */
const LEAST_STEPS = 1_024;

/** What became of things since an earlier moment, or all of them. */
export interface News<T> {
  /** All things are among `changed`. */
  complete: boolean;
  changed: T[];
  removedIds: string[];
}

/**
 * Things by id, and the order in which they changed: whoever has heard all up to a moment hears what came since, in time that
 * grows with that alone. Who was away for too long hears all of it.
 */
export class Ledger<T> {
  readonly #items = new Map<string, T>();
  #steps: string[] = [];
  /** Steps that are forgotten. */
  #forgotten = 0;

  /** This moment: one more with each change. */
  get now(): number {
    return this.#forgotten + this.#steps.length;
  }

  get size(): number {
    return this.#items.size;
  }

  get(id: string): T | undefined {
    return this.#items.get(id);
  }

  /** @returns whether it is another than it was */
  put(id: string, item: T): boolean {
    const before = this.#items.get(id);
    if (before !== undefined && JSON.stringify(before) === JSON.stringify(item)) return false;
    this.#items.set(id, item);
    this.#step(id);
    return true;
  }

  /** @returns whether it was there */
  delete(id: string): boolean {
    if (!this.#items.delete(id)) return false;
    this.#step(id);
    return true;
  }

  /** @param moment  up to which all has been heard; undefined for nothing at all */
  since(moment: number | undefined): News<T> {
    if (moment === undefined || moment < this.#forgotten) {
      return { complete: true, changed: [...this.#items.values()], removedIds: [] };
    }
    const news: News<T> = { complete: false, changed: [], removedIds: [] };
    for (const id of new Set(this.#steps.slice(moment - this.#forgotten))) {
      const item = this.#items.get(id);
      if (item === undefined) news.removedIds.push(id);
      else news.changed.push(item);
    }
    return news;
  }

  #step(id: string): void {
    this.#steps.push(id);
    const most = Math.max(LEAST_STEPS, 2 * this.#items.size);
    if (this.#steps.length <= 2 * most) return;
    this.#forgotten += this.#steps.length - most;
    this.#steps = this.#steps.slice(-most);
  }
}
