import type { Caller } from '@apiary/manager/core';
import type { MemberId } from '@apiary/raft/core';
import { type Accepted, NotAcceptedError, type Transport, type TransportReceiver } from '@apiary/raft/io';
import { ApiaryError } from '@apiary/std';
import type { Chance } from '../raft/chance.js';
import type { EventQueue } from '../raft/event-queue.js';
import type { HostNetwork } from './host-network.js';
import type { SimulatedProcess } from './simulated-process.js';

interface Own {
  host: string;
  process: SimulatedProcess;
  certificate: Caller;
  mayTakePart(member: Caller): boolean;
}

interface Wired extends Own {
  receiver: TransportReceiver;
}

/** A forwarded entry of which nothing is heard is given up after so long. */
const FORWARD_TIMEOUT_MS = 5_000;

/** What goes between the managers' logs, over the simulated network. */
export class RaftWires {
  readonly #queue: EventQueue;
  readonly #chance: Chance;
  readonly #network: HostNetwork;
  readonly #wired = new Map<MemberId, Wired>();

  constructor(queue: EventQueue, chance: Chance, network: HostNetwork) {
    this.#queue = queue;
    this.#chance = chance;
    this.#network = network;
  }

  /**
   * @param own.certificate  what the others know this manager by
   * @param own.mayTakePart  whether it lets another one in, as its own state says
   */
  transport(id: MemberId, own: Own): Transport {
    return {
      start: (receiver) => this.#wired.set(id, { ...own, receiver }),
      send: (message) => {
        if (own.process.isDead) return;
        const { to } = message;
        const peer = this.#wired.get(to);
        if (peer === undefined) return;
        this.#network.carry(own.host, peer.host, () => {
          const { process, receiver, mayTakePart } = this.#wired.get(to) ?? {};
          process?.run(() => {
            if (mayTakePart?.(own.certificate)) receiver?.receive(message);
          });
        });
      },
      forward: (to, entry) => this.#forward(own, to, entry),
      keep: () => {},
      close: async () => {},
    };
  }

  /** The process of a member is gone, and the kernels of the others hear of it: unless its host went too. */
  gone(id: MemberId, isHeard: boolean): void {
    const gone = this.#wired.get(id);
    this.#wired.delete(id);
    if (gone === undefined || !isHeard) return;
    for (const { host, process, receiver } of this.#wired.values()) {
      this.#network.carry(gone.host, host, () => process.run(() => receiver.unreachable(id)));
    }
  }

  #forward(from: { host: string; process: SimulatedProcess }, to: MemberId, entry: Uint8Array): Promise<Accepted> {
    const peer = this.#wired.get(to);
    return new Promise((resolve, reject) => {
      const settle = (act: () => void): void => from.process.run(act);
      const isCut = peer === undefined || this.#network.isCut(from.host, peer.host);
      if (isCut && this.#chance.percent(50)) {
        this.#queue.after(1, () => settle(() => reject(new NotAcceptedError(`there is no connection to ${to}`))));
        return;
      }
      this.#queue.after(FORWARD_TIMEOUT_MS, () =>
        settle(() => reject(new ApiaryError('unavailable', `the connection to ${to} was lost`))),
      );
      if (peer === undefined) return;
      const answer = (act: () => void): void => this.#network.carry(peer.host, from.host, () => from.process.run(act));
      this.#network.carry(from.host, peer.host, () =>
        peer.process.run(() => {
          peer.receiver.accept(entry).then(
            (accepted) => answer(() => resolve(accepted)),
            (error: unknown) => answer(() => reject(error)),
          );
        }),
      );
    });
  }
}
