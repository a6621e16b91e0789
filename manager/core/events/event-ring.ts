import { type ClusterEvent, type EventDraft, type EventType, isEarlier } from './cluster-event.js';

/** How many events of a kind are kept: tasks have most, and must not push out what happened to a service. */
const MOST_OF_TASKS = 4096;
const MOST_OF_OTHERS = 1024;
const NANOS_PER_MS = 1_000_000;

/** The last events of each kind, in the order of time. */
export class EventRing {
  readonly #byType = new Map<EventType, ClusterEvent[]>();
  #last: Pick<ClusterEvent, 'atMs' | 'nanos'> = { atMs: 0, nanos: 0 };

  /**
   * Gives an event its time and keeps it.
   *
   * @param atMs  the entry's; a clock that went back, or several events at a time, yield the next time that is free
   */
  add(draft: EventDraft, atMs: number): ClusterEvent {
    const time = this.#nextTime(atMs);
    const event: ClusterEvent = { ...time, ...draft };
    this.put(event);
    return event;
  }

  /** Keeps an event that has its time: of a snapshot, whose events come in order. */
  put(event: ClusterEvent): void {
    const { type, atMs, nanos } = event;
    const events = this.#byType.get(type) ?? [];
    events.push(event);
    // Cut now and then: to take one off the front of a long list each time would move all of it.
    if (events.length >= 2 * mostOf(type)) events.splice(0, events.length - mostOf(type));
    this.#byType.set(type, events);
    this.#last = { atMs, nanos };
  }

  /** Oldest first. */
  list(): ClusterEvent[] {
    const kept = [...this.#byType].flatMap(([type, events]) => events.slice(-mostOf(type)));
    return kept.sort((a, b) => (isEarlier(a, b) ? -1 : 1));
  }

  #nextTime(atMs: number): Pick<ClusterEvent, 'atMs' | 'nanos'> {
    const last = this.#last;
    if (atMs > last.atMs) return { atMs, nanos: 0 };
    return last.nanos + 1 < NANOS_PER_MS
      ? { atMs: last.atMs, nanos: last.nanos + 1 }
      : { atMs: last.atMs + 1, nanos: 0 };
  }
}

function mostOf(type: EventType): number {
  return type === 'task' ? MOST_OF_TASKS : MOST_OF_OTHERS;
}
