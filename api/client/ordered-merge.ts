import type { Clock, Timer } from '@apiary/std';

export interface OrderedMergeOptions<T> {
  /** Is `a` to come before `b`? Each source is in this order by itself. */
  isBefore: (a: T, b: T) => boolean;
  clock: Clock;
  /** For how long items wait for a source that is silent; Infinity when every source says all it has and ends. */
  patienceMs: number;
}

interface Source<T> {
  iterator: AsyncIterator<T[]>;
  items: T[];
  at: number;
  isPending: boolean;
  /** It was waited for in vain: the others go on without it until it has something. */
  isIdle: boolean;
}

/** So many items go out together at most. */
const MOST_ITEMS = 512;

/**
 * Several streams of batches made one, in order as far as one can tell without waiting for longer than `patienceMs`.
 * Sources may be added while it is read. Each has one batch under way: whoever reads slowly slows them all down.
 */
export class OrderedMerge<T> implements AsyncIterable<T[]> {
  readonly #options: OrderedMergeOptions<T>;
  readonly #sources = new Set<Source<T>>();
  #isSealed = false;
  #failure: { error: unknown } | undefined;
  #wake = (): void => {};

  constructor(options: OrderedMergeOptions<T>) {
    this.#options = options;
  }

  add(items: AsyncIterable<T[]>): void {
    const iterator = items[Symbol.asyncIterator]();
    const source: Source<T> = { iterator, items: [], at: 0, isPending: false, isIdle: false };
    this.#sources.add(source);
    this.#pull(source);
  }

  /** There will be no more sources: the merge ends with the last of them. */
  seal(): void {
    this.#isSealed = true;
    this.#wake();
  }

  /** Ends the merge with `error`, whatever its sources still have. */
  fail(error: unknown): void {
    this.#failure ??= { error };
    this.#wake();
  }

  /** To be read once. @throws what a source throws, or what `fail` was given */
  async *[Symbol.asyncIterator](): AsyncGenerator<T[], void, void> {
    while (await this.#settle()) {
      const batch = this.#take();
      if (batch.length > 0) yield batch;
    }
  }

  /** Resolves when items can be taken: true, or when there will be none: false. */
  async #settle(): Promise<boolean> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure.error;
      const sources = [...this.#sources];
      if (sources.length === 0 && this.#isSealed) return false;
      const hasItems = sources.some(({ isPending }) => !isPending);
      const awaited = sources.filter(({ isPending, isIdle }) => isPending && !isIdle);
      if (hasItems && awaited.length === 0) return true;
      const isInTime = await this.#woken(hasItems ? this.#options.patienceMs : Number.POSITIVE_INFINITY);
      if (!isInTime) for (const source of awaited) source.isIdle = source.isPending;
    }
  }

  #woken(timeoutMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      let timer: Timer | undefined;
      this.#wake = () => {
        timer?.cancel();
        resolve(true);
      };
      if (Number.isFinite(timeoutMs)) timer = this.#options.clock.after(timeoutMs, () => resolve(false));
    });
  }

  /** What comes first, until a source has to be waited for. */
  #take(): T[] {
    const ready = [...this.#sources].filter(({ isPending }) => !isPending);
    const batch: T[] = [];
    while (batch.length < MOST_ITEMS) {
      const [first, ...others] = ready;
      let least = first;
      for (const source of others) if (this.#isBefore(source, least)) least = source;
      const item = least?.items[least.at];
      if (least === undefined || item === undefined) break;
      batch.push(item);
      least.at++;
      if (least.at < least.items.length) continue;
      this.#pull(least);
      break;
    }
    return batch;
  }

  #isBefore(a: Source<T>, b: Source<T> | undefined): boolean {
    const [first, second] = [a.items[a.at], b?.items[b.at]];
    return first !== undefined && second !== undefined && this.#options.isBefore(first, second);
  }

  #pull(source: Source<T>): void {
    source.isPending = true;
    source.iterator.next().then(
      ({ done, value }) => {
        if (done) this.#sources.delete(source);
        else if (value.length === 0) return this.#pull(source);
        else Object.assign(source, { items: value, at: 0, isPending: false, isIdle: false });
        this.#wake();
      },
      (error: unknown) => this.fail(error),
    );
  }
}
