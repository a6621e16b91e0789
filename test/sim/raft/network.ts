import type { MemberId, Message } from '@apiary/raft/core';
import type { Chance } from './chance.js';
import type { EventQueue } from './event-queue.js';

/** How bad the network is, in percent and milliseconds. */
export interface Weather {
  lossPercent: number;
  duplicatePercent: number;
  /** Of the messages that take up to `lateMs` instead of a few milliseconds: others overtake them. */
  latePercent: number;
  lateMs: number;
}

export const FAIR_WEATHER: Weather = { lossPercent: 0, duplicatePercent: 0, latePercent: 0, lateMs: 0 };

/** Carries messages, and loses, delays, doubles and reorders them; links are cut in one direction each. */
export class SimulatedNetwork {
  weather: Weather = FAIR_WEATHER;
  readonly #queue: EventQueue;
  readonly #chance: Chance;
  readonly #deliver: (message: Message) => void;
  readonly #cut = new Set<string>();

  constructor(queue: EventQueue, chance: Chance, deliver: (message: Message) => void) {
    this.#queue = queue;
    this.#chance = chance;
    this.#deliver = deliver;
  }

  send(message: Message): void {
    const { lossPercent, duplicatePercent } = this.weather;
    if (this.#cut.has(link(message.from, message.to)) || this.#chance.percent(lossPercent)) return;
    this.#carry(message);
    if (this.#chance.percent(duplicatePercent)) this.#carry(message);
  }

  cut(from: MemberId, to: MemberId): void {
    this.#cut.add(link(from, to));
  }

  heal(): void {
    this.#cut.clear();
  }

  #carry(message: Message): void {
    const { latePercent, lateMs } = this.weather;
    const delayMs = this.#chance.percent(latePercent) ? this.#chance.between(0, lateMs) : this.#chance.between(0.2, 4);
    this.#queue.after(delayMs, () => this.#deliver(message));
  }
}

function link(from: MemberId, to: MemberId): string {
  return `${from}>${to}`;
}
