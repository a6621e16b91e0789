import type { IncomingMessage, ServerResponse } from 'node:http';
import { OrderedMerge } from '@apiary/api/client';
import { ApiaryError, type Clock } from '@apiary/std';
import { eventLine, type Filters, SWARM_SCOPE } from '../../core/engine-api/index.js';
import { type ClusterEvent, isAskedFor, isEarlier, timeNanoOf } from '../../core/events/index.js';
import type { Replica } from '../ports.js';
import { drained, whenClosed } from './response-flow.js';

/** For how long an event that is new waits for an earlier one of the other source. */
const PATIENCE_MS = 100;
/** A client that is so many events behind is hung up on: it can go on with `since`. */
const MOST_WAITING = 20_000;
/** Of an event of the engine. No event of it is so long. */
const LONGEST_LINE = 1024 * 1024;

/** What is asked for. Times are nanoseconds since the epoch, in digits. */
export interface EventRequest {
  since: string | undefined;
  until: string | undefined;
  /** Nothing that is to come is asked for. */
  isPast: boolean;
  filters: Filters;
}

interface TimedLine {
  timeNano: string;
  line: string;
}

/** The streams of `GET /events` on a manager. */
export class EventStreams {
  readonly #open = new Set<ServerResponse>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Writes the events of the cluster and of the engine in the order of their time, one JSON object a line. It ends when
   * what was asked for is over, and goes on without a source that has ended.
   *
   * @param engine  the engine's answer to the same question; undefined when it gives none
   */
  start(response: ServerResponse, replica: Replica, engine: IncomingMessage | undefined, asked: EventRequest): void {
    this.#open.add(response);
    const closers: (() => void)[] = [() => this.#open.delete(response)];
    const merge = new OrderedMerge<TimedLine>({
      isBefore: (a, b) => isBefore(a.timeNano, b.timeNano),
      clock: this.#clock,
      patienceMs: asked.isPast ? Number.POSITIVE_INFINITY : PATIENCE_MS,
    });
    closers.push(() => merge.fail(new ApiaryError('unavailable', 'nobody listens any more')));
    const cluster = new ClusterEvents(replica, asked);
    closers.push(() => cluster.close());
    merge.add(cluster);
    if (engine !== undefined) {
      closers.push(() => engine.destroy());
      merge.add(engineLines(engine, asked.filters));
    }
    merge.seal();
    if (!asked.isPast && asked.until !== undefined) {
      const timer = this.#clock.after(Number(asked.until) / 1e6 - this.#clock.now(), () => response.end());
      closers.push(() => timer.cancel());
    }
    whenClosed(response, () => {
      for (const closer of closers) closer();
    });
    void write(response, merge);
  }

  /** Ends all, when the server stops. */
  close(): void {
    for (const response of this.#open) response.end();
  }
}

async function write(response: ServerResponse, lines: AsyncIterable<TimedLine[]>): Promise<void> {
  try {
    for await (const batch of lines) {
      if (response.writableEnded) return;
      const hasRoom = response.write(batch.map(({ line }) => `${line}\n`).join(''));
      if (!hasRoom) await drained(response);
    }
    response.end();
  } catch {
    response.destroy();
  }
}

/** The cluster's: what is kept, once all that was committed is known here, and then what happens. */
class ClusterEvents implements AsyncIterable<TimedLine[]> {
  readonly #replica: Replica;
  readonly #asked: EventRequest;
  readonly #unsubscribe: () => void;
  #waiting: ClusterEvent[] = [];
  #last: ClusterEvent | undefined;
  #wake = (): void => {};
  #isClosed = false;
  #isOverrun = false;

  constructor(replica: Replica, asked: EventRequest) {
    this.#replica = replica;
    this.#asked = asked;
    // Without a time, only what is to come is asked for.
    if (asked.since === undefined && asked.until === undefined) this.#last = replica.view.events().at(-1);
    this.#unsubscribe = replica.subscribe(({ events }) => {
      for (const event of events) this.#waiting.push(event);
      if (this.#waiting.length > MOST_WAITING) this.#overrun();
      this.#wake();
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#unsubscribe();
    this.#wake();
  }

  #overrun(): void {
    this.#isOverrun = true;
    this.#waiting = [];
    this.#unsubscribe();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TimedLine[], void, void> {
    const { since, until, isPast } = this.#asked;
    if (since !== undefined || until !== undefined) {
      // Without a leader, what this manager has is all that is to be had.
      await this.#replica.barrier().catch((error: unknown) => {
        if (!(error instanceof ApiaryError)) throw error;
      });
      yield this.#new(this.#replica.view.events());
    }
    while (!this.#isClosed && !isPast) {
      const events = this.#waiting;
      this.#waiting = [];
      if (this.#isOverrun) throw new ApiaryError('resource-exhausted', 'events are read too slowly');
      yield this.#new(events);
      if (this.#waiting.length > 0 || this.#isClosed) continue;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Those that were asked for and have not been said: a state that was restored tells again what it knows. */
  #new(events: readonly ClusterEvent[]): TimedLine[] {
    const { since, until, filters } = this.#asked;
    const lines: TimedLine[] = [];
    for (const event of events) {
      if (this.#last !== undefined && !isEarlier(this.#last, event)) continue;
      this.#last = event;
      const timeNano = timeNanoOf(event);
      if (since !== undefined && isBefore(timeNano, since)) continue;
      if (until !== undefined && isBefore(until, timeNano)) continue;
      if (isAskedFor({ ...event, scope: SWARM_SCOPE }, filters)) lines.push({ timeNano, line: eventLine(event) });
    }
    return lines;
  }
}

/** The engine's, as they come. What it does not filter by, tasks, is asked of its events here. */
async function* engineLines(answer: IncomingMessage, filters: Filters): AsyncGenerator<TimedLine[], void, void> {
  const byTask = new Map([...filters].filter(([key]) => key === 'task'));
  let rest = '';
  try {
    for await (const chunk of answer.setEncoding('utf8')) {
      const lines = `${rest}${chunk}`.split('\n');
      rest = lines.pop() ?? '';
      if (rest.length > LONGEST_LINE) return;
      const timed = lines.map((line) => ({ line, timeNano: /"timeNano":(\d+)/.exec(line)?.[1] ?? '' }));
      yield timed.filter(({ line, timeNano }) => timeNano !== '' && (byTask.size === 0 || passes(line, byTask)));
    }
  } catch {
    // It went away: what is the cluster's goes on.
  }
}

function passes(line: string, filters: Filters): boolean {
  const { Type, Action, scope = 'local', Actor } = JSON.parse(line);
  return isAskedFor({ type: Type, action: Action, scope, id: Actor?.ID, attributes: Actor?.Attributes ?? {} }, filters);
}

function isBefore(a: string, b: string): boolean {
  return a.length === b.length ? a < b : a.length < b.length;
}
