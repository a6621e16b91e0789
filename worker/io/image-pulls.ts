import { ApiaryError, type Clock } from '@apiary/std';
import { parseImageReference } from '../core/index.js';
import type { EngineHttp, EngineRequest } from './engine-http.js';

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
 * once, it is asked for once; with other credentials it is asked for anew, for the answer may be another.
 */
export class ImagePulls {
  /** By `keyOf`. */
  readonly #underWay = new Map<string, Pull>();
  readonly #settledUntilMs = new Map<string, number>();

  constructor(
    readonly http: EngineHttp,
    readonly clock: Clock,
    /** `/v1.41`, once the version is negotiated. */
    readonly prefix: () => Promise<string>,
  ) {}

  /** @throws as `Engine.pull` */
  async pull(image: string, signal: AbortSignal, registryAuth = ''): Promise<void> {
    signal.throwIfAborted();
    const key = keyOf(image, registryAuth);
    if ((this.#settledUntilMs.get(key) ?? 0) > this.clock.now()) return;
    const pull = this.#underWay.get(key) ?? this.#begin(image, registryAuth);
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
        this.#ended(key, pull);
        pull.controller.abort();
      }
    }
  }

  /** The engine says that an image is not here after all. */
  forget(image: string): void {
    for (const key of this.#settledUntilMs.keys()) {
      if (key.startsWith(keyOf(image, ''))) this.#settledUntilMs.delete(key);
    }
  }

  #begin(image: string, registryAuth: string): Pull {
    const controller = new AbortController();
    const pull: Pull = { promise: this.#fetch(image, registryAuth, controller.signal), controller, waiting: 0 };
    const key = keyOf(image, registryAuth);
    const ended = () => this.#ended(key, pull);
    pull.promise.then(ended, ended);
    this.#underWay.set(key, pull);
    return pull;
  }

  #ended(key: string, pull: Pull): void {
    if (this.#underWay.get(key) === pull) this.#underWay.delete(key);
  }

  async #fetch(image: string, registryAuth: string, signal: AbortSignal): Promise<void> {
    const key = keyOf(image, registryAuth);
    const isLocal = await this.#isLocal(image, signal);
    if (isLocal && image.includes('@')) return;
    try {
      await this.#ask(image, registryAuth, { signal, timeoutMs: isLocal ? PATIENCE_WITH_LOCAL_MS : PATIENCE_MS });
      this.#settle(key, OUTCOME_HOLDS_MS.pulled);
    } catch (error) {
      if (signal.aborted) throw error;
      // The engine's own words; those of the registry are the cause.
      if (!isLocal) throw new ApiaryError('not-found', `No such image: ${image}`, { cause: error });
      this.#settle(key, OUTCOME_HOLDS_MS.unreachable);
    }
  }

  #settle(key: string, forMs: number): void {
    const nowMs = this.clock.now();
    for (const [other, untilMs] of this.#settledUntilMs) if (untilMs <= nowMs) this.#settledUntilMs.delete(other);
    this.#settledUntilMs.set(key, nowMs + forMs);
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
  async #ask(image: string, registryAuth: string, limits: Pick<EngineRequest, 'signal' | 'timeoutMs'>): Promise<void> {
    const { name, tag = '', digest } = parseImageReference(image);
    const query = new URLSearchParams({ fromImage: name, tag: digest ?? tag });
    const path = `${await this.prefix()}/images/create?${query}`;
    let fault: string | undefined;
    const headers = registryAuth !== '' && { headers: { 'X-Registry-Auth': registryAuth } };
    const stream = await this.http.stream('POST', path, { ...limits, ...headers }, (line) => {
      if (typeof line === 'object' && line !== null && 'error' in line) fault = String(line.error);
    });
    await stream.ended;
    if (fault !== undefined) throw new ApiaryError('not-found', fault);
  }
}

/** What is asked for as one. No image's name has a space. */
function keyOf(image: string, registryAuth: string): string {
  return `${image} ${registryAuth}`;
}
