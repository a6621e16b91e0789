/**
 * Records by id, and the list of them in the order of ids.
 *
 * The list is brought up to date only when it is asked for: O(n + k log n) after k changes, O(1) after none. A list
 * that was given out is never changed, so whoever holds one across later changes keeps what it saw.
 */
export class RecordIndex<T extends { id: string }> {
  readonly #byId = new Map<string, T>();
  readonly #changedIds = new Set<string>();
  #sorted: T[] = [];

  get size(): number {
    return this.#byId.size;
  }

  get(id: string): T | undefined {
    return this.#byId.get(id);
  }

  /** All of them as they are now, in no order: O(n) in any case, and much less than to put them in order after many changes. */
  values(): T[] {
    return [...this.#byId.values()];
  }

  put(record: T): void {
    this.#byId.set(record.id, record);
    this.#changedIds.add(record.id);
  }

  delete(id: string): void {
    if (this.#byId.delete(id)) this.#changedIds.add(id);
  }

  list(): T[] {
    if (this.#changedIds.size === 0) return this.#sorted;
    const before = this.#sorted;
    const after: T[] = [];
    let from = 0;
    for (const id of [...this.#changedIds].sort()) {
      const place = placeOf(before, id, from);
      for (; from < place; from++) after.push(before[from] as T);
      if (before[from]?.id === id) from++;
      const record = this.#byId.get(id);
      if (record !== undefined) after.push(record);
    }
    for (; from < before.length; from++) after.push(before[from] as T);
    this.#changedIds.clear();
    this.#sorted = after;
    return after;
  }
}

/** Records by a key that many share: tasks by service, tasks by node. A group that nothing is left of is forgotten. */
export class GroupedIndex<T extends { id: string }> {
  readonly #groups = new Map<string, RecordIndex<T>>();

  put(key: string, record: T): void {
    let group = this.#groups.get(key);
    if (group === undefined) {
      group = new RecordIndex();
      this.#groups.set(key, group);
    }
    group.put(record);
  }

  delete(key: string, id: string): void {
    const group = this.#groups.get(key);
    group?.delete(id);
    if (group?.size === 0) this.#groups.delete(key);
  }

  list(key: string): T[] {
    return this.#groups.get(key)?.list() ?? [];
  }
}

/** Index of the first record, from `from` on, whose id is not below `id`. */
function placeOf(sorted: { id: string }[], id: string, from: number): number {
  let low = from;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] as { id: string }).id < id) low = middle + 1;
    else high = middle;
  }
  return low;
}
