import { type Clock, messageOf, type Rng, type Timer } from '@apiary/std';
import { backOffMs, type EngineContainer } from '../core/index.js';
import type { Engine, EngineEvent, HostDescription } from './engine.js';

const RETRY = { firstMs: 100, capMs: 2_000 };

export interface EngineLinkHandlers {
  /** The engine answers, and its events arrive from before this moment on. */
  onUp(containers: EngineContainer[], description: HostDescription): void;
  /** The engine is gone: nothing is known of its containers until `onUp`. Also called when it is not there at first. */
  onDown(reason: string): void;
  onEvent(event: EngineEvent): void;
}

/** Keeps in touch with the engine: tells when it goes and when it is back, and tries for as long as it takes. */
export class EngineLink {
  readonly #engine: Engine;
  readonly #clock: Clock;
  readonly #rng: Rng;
  readonly #handlers: EngineLinkHandlers;
  #watch: { close(): void } | undefined;
  #retry: Timer | undefined;
  #failures = 0;
  /** Which attempt is the current one: what earlier ones still say is not heard. */
  #attempt = 0;
  #stopped = false;

  constructor(engine: Engine, clock: Clock, rng: Rng, handlers: EngineLinkHandlers) {
    this.#engine = engine;
    this.#clock = clock;
    this.#rng = rng;
    this.#handlers = handlers;
  }

  start(): void {
    void this.#connect();
  }

  stop(): void {
    this.#stopped = true;
    this.#attempt++;
    this.#retry?.cancel();
    this.#watch?.close();
  }

  /** A call got no answer: the engine is gone, whether or not its event stream has noticed. */
  suspect(reason: string): void {
    if (this.#watch !== undefined) this.#down(this.#attempt, reason);
  }

  async #connect(): Promise<void> {
    const attempt = ++this.#attempt;
    const early: EngineEvent[] = [];
    let isUp = false;
    try {
      const watch = await this.#engine.watch(
        (event) => {
          if (attempt !== this.#attempt) return;
          if (isUp) this.#handlers.onEvent(event);
          else early.push(event);
        },
        (reason) => this.#down(attempt, reason),
      );
      if (attempt !== this.#attempt) {
        watch.close();
        return;
      }
      this.#watch = watch;
      const description = await this.#engine.describe();
      const containers = await this.#engine.adopt();
      if (attempt !== this.#attempt) return;
      this.#failures = 0;
      isUp = true;
      this.#handlers.onUp(containers, description);
      for (const event of early) this.#handlers.onEvent(event);
    } catch (error) {
      this.#down(attempt, messageOf(error));
    }
  }

  #down(attempt: number, reason: string): void {
    if (attempt !== this.#attempt || this.#stopped) return;
    this.#attempt++;
    this.#watch?.close();
    this.#watch = undefined;
    this.#failures++;
    this.#retry = this.#clock.after(backOffMs(this.#failures, RETRY, this.#rng), () => void this.#connect());
    this.#handlers.onDown(reason);
  }
}
