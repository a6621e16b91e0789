export interface TurnOptions {
  signal?: AbortSignal;
  first?: boolean;
}

/** Lets a bounded number of jobs run at a time; the others wait, in order. */
export class Lane {
  readonly #width: number;
  #running = 0;
  #waiting: (() => void)[] = [];

  constructor(width: number) {
    this.#width = width;
  }

  /**
   * Runs `job` when its turn comes.
   *
   * @param signal  ends the waiting; a job that runs is not disturbed
   * @param first   before all that wait: for what finishes something begun
   * @throws the signal's reason when it aborts before the job's turn, else what the job throws
   */
  async run<T>(job: () => Promise<T>, { signal, first = false }: TurnOptions = {}): Promise<T> {
    signal?.throwIfAborted();
    if (this.#running >= this.#width) await this.#turn(signal, first);
    else this.#running++;
    try {
      return await job();
    } finally {
      // Its place goes to who waits, so that nobody slips in between.
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }

  #turn(signal: AbortSignal | undefined, first: boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#waiting = this.#waiting.filter((other) => other !== go);
        reject(signal?.reason);
      };
      const go = () => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      if (first) this.#waiting.unshift(go);
      else this.#waiting.push(go);
    });
  }
}
