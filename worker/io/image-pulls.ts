import { ApiaryError, type Clock } from '@apiary/std';
import { parseImageReference } from '../core/index.js';
import type { EngineHttp } from './engine-http.js';

/** How long a registry may be silent while there is a local image to use instead. */
const PATIENCE_WITH_LOCAL_MS = 3_000;
/** How long one may be silent otherwise: the engine itself gives up before. */
const PATIENCE_MS = 300_000;
const INSPECT_TIMEOUT_MS = 30_000;

/** For how long what a registry said holds for whoever asks next: the tasks of a service come in a burst. */
const OUTCOME_HOLDS_MS = { pulled: 5_000, unreachable: 30_000 } as const;

interface Pull {
  promise: Promise<void>;
  controller: AbortController;
  waiting: number;
}

/**
 * Gets images as Docker's swarm mode does: the registry is asked for what a tag means now, and the local image serves
 * when it cannot say. One pinned by its digest is not asked for when it is here. However many tasks want an image at
 * once, it is asked for once.
 */
export class ImagePulls {
  readonly #underWay = new Map<string, Pull>();
  readonly #settledUntilMs = new Map<string, number>();

  constructor(
    readonly http: EngineHttp,
    readonly clock: Clock,
    /** `/v1.41`, once the version is negotiated. */
    readonly prefix: () => Promise<string>,
  ) {}

  /** @throws as `Engine.pull` */
  async pull(image: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if ((this.#settledUntilMs.get(image) ?? 0) > this.clock.now()) return;
    const pull = this.#underWay.get(image) ?? this.#begin(image);
    pull.waiting++;
    let onAbort = () => {};
    const aborted = new Promise<never>((_, reject) => {
      onAbort = () => reject(signal.reason);
      signal.addEventListener('abort', onAbort);
    });
    try {
      await Promise.race([pull.promise, aborted]);
    } finally {
      signal.removeEventListener('abort', onAbort);
      pull.waiting--;
      if (pull.waiting === 0) {
        this.#ended(image, pull);
        pull.controller.abort();
      }
    }
  }

  /** The engine says that an image is not here after all. */
  forget(image: string): void {
    this.#settledUntilMs.delete(image);
  }

  #begin(image: string): Pull {
    const controller = new AbortController();
    const pull: Pull = { promise: this.#fetch(image, controller.signal), controller, waiting: 0 };
    const ended = () => this.#ended(image, pull);
    pull.promise.then(ended, ended);
    this.#underWay.set(image, pull);
    return pull;
  }

  #ended(image: string, pull: Pull): void {
    if (this.#underWay.get(image) === pull) this.#underWay.delete(image);
  }

  async #fetch(image: string, signal: AbortSignal): Promise<void> {
    const isLocal = await this.#isLocal(image, signal);
    if (isLocal && image.includes('@')) return;
    try {
      await this.#ask(image, isLocal ? PATIENCE_WITH_LOCAL_MS : PATIENCE_MS, signal);
      this.#settle(image, OUTCOME_HOLDS_MS.pulled);
    } catch (error) {
      if (signal.aborted) throw error;
      // The engine's own words; those of the registry are the cause.
      if (!isLocal) throw new ApiaryError('not-found', `No such image: ${image}`, { cause: error });
      this.#settle(image, OUTCOME_HOLDS_MS.unreachable);
    }
  }

  #settle(image: string, forMs: number): void {
    const nowMs = this.clock.now();
    for (const [other, untilMs] of this.#settledUntilMs) if (untilMs <= nowMs) this.#settledUntilMs.delete(other);
    this.#settledUntilMs.set(image, nowMs + forMs);
  }

  async #isLocal(image: string, signal: AbortSignal): Promise<boolean> {
    try {
      const path = `${await this.prefix()}/images/${encodeURI(image)}/json`;
      await this.http.request('GET', path, { signal, timeoutMs: INSPECT_TIMEOUT_MS });
      return true;
    } catch (error) {
      if (error instanceof ApiaryError && error.code === 'not-found') return false;
      throw error;
    }
  }

  /** Has the engine pull; it begins to answer as soon as the registry does. */
  async #ask(image: string, patienceMs: number, signal: AbortSignal): Promise<void> {
    const { name, tag = '', digest } = parseImageReference(image);
    const query = new URLSearchParams({ fromImage: name, tag: digest ?? tag });
    const path = `${await this.prefix()}/images/create?${query}`;
    let fault: string | undefined;
    const stream = await this.http.stream('POST', path, { signal, timeoutMs: patienceMs }, (line) => {
      if (typeof line === 'object' && line !== null && 'error' in line) fault = String(line.error);
    });
    await stream.ended;
    if (fault !== undefined) throw new ApiaryError('not-found', fault);
  }
}
