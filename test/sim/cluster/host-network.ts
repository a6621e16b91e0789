import type { Chance } from '../raft/chance.js';
import type { EventQueue } from '../raft/event-queue.js';

/** A connection between two hosts that minds when the link between them is cut. */
export interface Connection {
  readonly hosts: readonly [string, string];
  /** What was held back while nothing passed may go on its way. */
  flush(): void;
  /** Nothing has passed for so long that both ends give it up. */
  lose(): void;
}

/** So long two hosts may not hear each other before their connections are given up: gRPC's keepalive. */
const GIVE_UP_MS = { from: 3_000, to: 15_000 };

/** What is between the hosts. Links are cut silently, in both directions; messages of one link arrive in order. */
export class HostNetwork {
  readonly #queue: EventQueue;
  readonly #chance: Chance;
  readonly #cut = new Map<string, number>();
  readonly #lastArrivalMs = new Map<string, number>();
  readonly #connections = new Set<Connection>();
  #cuts = 0;

  constructor(queue: EventQueue, chance: Chance) {
    this.#queue = queue;
    this.#chance = chance;
  }

  isCut(a: string, b: string): boolean {
    return this.#cut.has(linkOf(a, b));
  }

  get isWhole(): boolean {
    return this.#cut.size === 0;
  }

  /** Brings something from one host to another after a while, behind all that went that way before. */
  carry(from: string, to: string, arrive: () => void): void {
    if (this.isCut(from, to)) return;
    const way = `${from}>${to}`;
    const latencyMs = from === to ? this.#chance.between(0.01, 0.05) : this.#chance.between(0.2, 3);
    const arrivalMs = Math.max(this.#queue.now + latencyMs, this.#lastArrivalMs.get(way) ?? 0);
    this.#lastArrivalMs.set(way, arrivalMs);
    this.#queue.after(arrivalMs - this.#queue.now, arrive);
  }

  cut(a: string, b: string): void {
    if (a === b || this.isCut(a, b)) return;
    const cut = ++this.#cuts;
    this.#cut.set(linkOf(a, b), cut);
    for (const connection of this.#connections) {
      if (linkOf(...connection.hosts) === linkOf(a, b)) this.#giveUpLater(connection, cut);
    }
  }

  heal(isHealed: (a: string, b: string) => boolean = () => true): void {
    for (const link of this.#cut.keys()) {
      const [a = '', b = ''] = link.split('-');
      if (isHealed(a, b)) this.#cut.delete(link);
    }
    for (const connection of [...this.#connections]) if (!this.isCut(...connection.hosts)) connection.flush();
  }

  /** @returns what ends the minding */
  mind(connection: Connection): () => void {
    this.#connections.add(connection);
    const cut = this.#cut.get(linkOf(...connection.hosts));
    if (cut !== undefined) this.#giveUpLater(connection, cut);
    return () => this.#connections.delete(connection);
  }

  #giveUpLater(connection: Connection, cut: number): void {
    this.#queue.after(this.#chance.between(GIVE_UP_MS.from, GIVE_UP_MS.to), () => {
      const isStillCut = this.#cut.get(linkOf(...connection.hosts)) === cut;
      if (isStillCut && this.#connections.has(connection)) connection.lose();
    });
  }
}

function linkOf(a: string, b: string): string {
  return a < b ? `${a}-${b}` : `${b}-${a}`;
}
