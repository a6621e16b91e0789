import { type Clock, messageOf, type Rng, type Timer } from '@apiary/std';
import { backOffMs, type EngineContainer } from '../core/index.js';
import type { Engine, EngineEvent, HostDescription } from './engine.js';

const RETRY = { firstMs: 100, capMs: 2_000 };
/** How often an engine that is not heard of is asked whether it is there. */
const PING_PERIOD_MS = 2_000;
/** So many pings apart the host is looked at anew: every 20 s, as Docker does. */
const PINGS_PER_DESCRIPTION = 10;

export interface EngineLinkHandlers {
  /** The engine answers, and its events arrive from before this moment on. */
  onUp(containers: EngineContainer[], description: HostDescription): void;
  /** The engine is gone: nothing is known of its containers until `onUp`. Also called when it is not there at first. */
  onDown(reason: string): void;
  onEvent(event: EngineEvent): void;
  /** What the host has, looked at anew: plugins are added to an engine that runs, and memory to a machine. */
  onDescription(description: HostDescription): void;
}

/** Keeps in touch with the engine: tells when it goes and when it is back, and tries for as long as it takes. */
export class EngineLink {
  readonly #engine: Engine;
  readonly #clock: Clock;
  readonly #rng: Rng;
  readonly #handlers: EngineLinkHandlers;
  #watch: { close(): void } | undefined;
  /** For the next attempt while the engine is gone, for the next ping while it is there. */
  #timer: Timer | undefined;
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
    this.#timer?.cancel();
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
    const found = await this.#find(attempt, (event) => {
      if (attempt !== this.#attempt) return;
      if (isUp) this.#handlers.onEvent(event);
      else early.push(event);
    });
    if (found === undefined || attempt !== this.#attempt) return;
    this.#failures = 0;
    isUp = true;
    this.#pingLater(attempt);
    this.#handlers.onUp(found.containers, found.description);
    for (const event of early) this.#handlers.onEvent(event);
  }

  /** Watches the engine and looks at all that it has; undefined when it is gone, which is then said. */
  async #find(
    attempt: number,
    onEvent: (event: EngineEvent) => void,
  ): Promise<{ description: HostDescription; containers: EngineContainer[] } | undefined> {
    try {
      const watch = await this.#engine.watch(onEvent, (reason) => this.#down(attempt, reason));
      if (attempt !== this.#attempt) {
        watch.close();
        return undefined;
      }
      this.#watch = watch;
      return { description: await this.#engine.describe(), containers: await this.#engine.adopt() };
    } catch (error) {
      this.#down(attempt, messageOf(error));
      return undefined;
    }
  }

  /** An engine that stands still keeps its event stream open, and is silent as one on which nothing happens. */
  #pingLater(attempt: number, pings = 1): void {
    this.#timer = this.#clock.after(PING_PERIOD_MS, () => {
      this.#engine.ping().then(
        () => {
          if (attempt !== this.#attempt) return;
          if (pings === PINGS_PER_DESCRIPTION) this.#lookAgain(attempt);
          this.#pingLater(attempt, pings === PINGS_PER_DESCRIPTION ? 1 : pings + 1);
        },
        (error: unknown) => this.#down(attempt, messageOf(error)),
      );
    });
  }

  /** Whether the engine is there is for the pings to say: it takes its time for this while it is busy. */
  #lookAgain(attempt: number): void {
    this.#engine.describe().then(
      (description) => {
        if (attempt === this.#attempt) this.#handlers.onDescription(description);
      },
      () => {},
    );
  }

  #down(attempt: number, reason: string): void {
    if (attempt !== this.#attempt || this.#stopped) return;
    this.#attempt++;
    this.#timer?.cancel();
    this.#watch?.close();
    this.#watch = undefined;
    this.#failures++;
    this.#timer = this.#clock.after(backOffMs(this.#failures, RETRY, this.#rng), () => void this.#connect());
    this.#handlers.onDown(reason);
  }
}
