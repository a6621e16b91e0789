import { ApiaryError } from '@apiary/std';
import type { MemberId, Message } from '../core/index.js';
import { type Accepted, NotAcceptedError, type Transport, type TransportReceiver } from './transport.js';

/** For tests: a wire between logs of one process. Links can be cut, and what is under way held. */
export class MemoryNetwork {
  /** What was sent, by type. */
  readonly sent = new Map<Message['type'], number>();
  /** What becomes of the answers of leaders that were handed an entry: `lost` is noticed, `awaited` never. */
  answers: 'arrive' | 'lost' | 'awaited' = 'arrive';
  readonly #receivers = new Map<MemberId, TransportReceiver>();
  readonly #generations = new Map<MemberId, number>();
  readonly #cut = new Set<string>();
  readonly #held = new Map<MemberId, Message[]>();
  #queue: Message[] = [];

  /** The wire of a new process of `id`: those of its former ones are dead. */
  transport(id: MemberId): Transport {
    const generation = (this.#generations.get(id) ?? 0) + 1;
    this.#generations.set(id, generation);
    this.#receivers.delete(id);
    const isAlive = () => this.#generations.get(id) === generation;
    return {
      start: (receiver) => {
        if (isAlive()) this.#receivers.set(id, receiver);
      },
      send: (message) => {
        if (isAlive()) this.#send(message);
      },
      forward: (to, entry) => this.#forward(id, to, entry),
      keep: () => {},
      close: async () => {
        if (isAlive()) this.end(id);
      },
    };
  }

  /** The process of `id` is gone. */
  end(id: MemberId): void {
    this.#generations.set(id, (this.#generations.get(id) ?? 0) + 1);
    this.#receivers.delete(id);
    this.#held.delete(id);
  }

  /** Nothing passes between `id` and all others, silently. */
  isolate(id: MemberId, others: readonly MemberId[]): void {
    for (const other of others) for (const link of [`${id}>${other}`, `${other}>${id}`]) this.#cut.add(link);
  }

  heal(): void {
    this.#cut.clear();
  }

  /** `id` hears nothing until it is released: then all at once. */
  hold(id: MemberId): void {
    this.#held.set(id, []);
  }

  release(id: MemberId): void {
    const held = this.#held.get(id) ?? [];
    this.#held.delete(id);
    for (const message of held) this.#receivers.get(id)?.receive(message);
  }

  /** All others hear that the connection to `id` was lost. */
  tellUnreachable(id: MemberId): void {
    for (const [other, receiver] of this.#receivers) if (other !== id) receiver.unreachable(id);
  }

  #send(message: Message): void {
    this.sent.set(message.type, (this.sent.get(message.type) ?? 0) + 1);
    if (this.#queue.length === 0) setImmediate(() => this.#deliver());
    this.#queue.push(message);
  }

  #deliver(): void {
    const queue = this.#queue;
    this.#queue = [];
    for (const message of queue) {
      if (this.#cut.has(`${message.from}>${message.to}`)) continue;
      const held = this.#held.get(message.to);
      if (held !== undefined) held.push(message);
      else this.#receivers.get(message.to)?.receive(message);
    }
  }

  async #forward(from: MemberId, to: MemberId, entry: Uint8Array): Promise<Accepted> {
    await new Promise((resolve) => setImmediate(resolve));
    const receiver = this.#receivers.get(to);
    if (receiver === undefined || this.#held.has(to) || this.#cut.has(`${from}>${to}`)) {
      throw new NotAcceptedError(`there is no connection to ${to}`);
    }
    const accepted = await receiver.accept(entry);
    await new Promise((resolve) => setImmediate(resolve));
    if (this.answers === 'lost') throw new ApiaryError('unavailable', `the connection to ${to} was lost`);
    if (this.answers === 'awaited') await new Promise(() => {});
    return accepted;
  }
}
