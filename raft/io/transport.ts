import { ApiaryError } from '@apiary/std';
import type { MemberId, Message } from '../core/index.js';

/** The wire between members, as a port. It may lose, delay and double messages. */
export interface Transport {
  /** Called once, before anything is sent. */
  start(receiver: TransportReceiver): void;
  /** Never waits: what cannot be sent soon is dropped, since Raft sends again. In order per peer, snapshot chunks aside. */
  send(message: Message): void;
  /**
   * Hands an entry to the leader `to`. Resolves once that has accepted it, with its place in the log.
   *
   * @throws NotAcceptedError when it certainly was not accepted, so that it may be handed to another
   * @throws ApiaryError the leader's refusal; `unavailable` when it is unknown whether it was accepted
   */
  forward(to: MemberId, entry: Uint8Array): Promise<Accepted>;
  /** Those that connections are kept to; called when the membership changes. */
  keep(peers: readonly MemberId[]): void;
  close(): Promise<void>;
}

/** What a member does for a transport. */
export interface TransportReceiver {
  receive(message: Message): void;
  /** The connection to `peer` was lost: a hint, nothing more. */
  unreachable(peer: MemberId): void;
  /**
   * Accepts an entry as the leader, for another member.
   *
   * @throws NotAcceptedError when this member does not lead; ApiaryError when it refuses. Nothing was accepted then
   */
  accept(entry: Uint8Array): Promise<Accepted>;
}

/** Where the leader has put an entry. It is committed, or will be, exactly if an entry of that term is applied there. */
export interface Accepted {
  index: number;
  term: number;
}

/** An entry that was to be accepted certainly was not, and for a reason that another try may not meet. */
export class NotAcceptedError extends ApiaryError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('unavailable', message, options);
  }
}

/** For a member that is alone. */
export function noPeers(): Transport {
  return {
    start: () => {},
    send: () => {},
    forward: async (to) => {
      throw new NotAcceptedError(`there is no connection to ${to}`);
    },
    keep: () => {},
    close: async () => {},
  };
}
