import type { Message } from '@apiary/raft/core';
import { type Accepted, NotAcceptedError } from '@apiary/raft/io';
import { ApiaryError, type Clock, type Rng, type Timer } from '@apiary/std';
import type { Logger } from 'pino';
import { Forwarding } from './forwarding.js';
import { Outbox } from './outbox.js';
import { PeerConnection } from './peer-connection.js';
import type { ManagerIdentity } from './peer-credentials.js';

export interface PeerLinkOptions {
  peer: string;
  identity: () => ManagerIdentity;
  ownAddr: () => string | undefined;
  /** Where the peer may be, most likely first, `HOST:PORT`. */
  addrs: () => string[];
  /** Whether it is a member, so that a connection to it is always kept. */
  isKept: () => boolean;
  onLost: () => void;
  /** The peer says that this node may not take part. */
  onRefused: (reason: ApiaryError) => void;
  /** Nobody is to be reached and nothing is to be sent: the link may be forgotten. */
  onIdle: () => void;
  clock: Clock;
  rng: Rng;
  logger: Logger;
}

type State =
  | { type: 'waiting'; timer: Timer }
  | { type: 'connecting'; connection: PeerConnection; timer: Timer }
  | { type: 'up'; connection: PeerConnection; sinceMs: number }
  | { type: 'closed' };

/** Raft keeps at most 8 MiB of entries under way to a member: more than twice that waits behind a stream that stands. */
const MAX_APPEND_BYTES = 20 * 1024 * 1024;
/** One piece is under way at a time, and perhaps again after a timeout. */
const MAX_SNAPSHOT_BYTES = 4 * 1024 * 1024;
const CONNECT_TIMEOUT_MS = 2_000;
const RETRY = { firstMs: 50, capMs: 1_000 };
/** A connection that lasted as long was a good one: the next is tried at once. */
const GOOD_AFTER_MS = 1_000;

/** The way to one peer: a connection, and when that ends, the next. */
export class PeerLink {
  readonly #options: PeerLinkOptions;
  readonly #outbox = new Outbox(MAX_APPEND_BYTES);
  readonly #snapshots = new Outbox(MAX_SNAPSHOT_BYTES);
  readonly #forwarding: Forwarding;
  #state: State = { type: 'closed' };
  /** In a row. */
  #failures = 0;
  /** What was logged last, so that it is not said again at each try. */
  #loggedProblem = '';

  constructor(options: PeerLinkOptions) {
    this.#options = options;
    this.#forwarding = new Forwarding(options.peer);
    this.#connect();
  }

  send(message: Message): void {
    (message.type === 'snapshot-chunk' ? this.#snapshots : this.#outbox).push(message);
    if (this.#state.type === 'up') this.#state.connection.wake();
  }

  /** @throws ApiaryError as `Transport.forward` */
  async forward(entry: Uint8Array): Promise<Accepted> {
    if (this.#state.type === 'waiting' || this.#state.type === 'closed') {
      throw new NotAcceptedError(`there is no connection to manager ${this.#options.peer}`);
    }
    const accepted = this.#forwarding.add(entry);
    if (this.#state.type === 'up') this.#state.connection.wake();
    return accepted;
  }

  /** The peer was heard of, perhaps from another place: what was put off is tried now. */
  nudge(): void {
    const state = this.#state;
    const isElsewhere = state.type === 'connecting' && state.connection.addr !== this.#options.addrs()[0];
    if (state.type !== 'waiting' && !isElsewhere) return;
    this.#leave();
    // The failures were elsewhere: what it said last is tried first.
    this.#failures = 0;
    this.#connect();
  }

  close(): void {
    this.#leave();
    this.#forwarding.lost('this manager has closed it');
  }

  #connect(): void {
    const { peer, addrs, identity, ownAddr, clock } = this.#options;
    const candidates = addrs();
    const addr = candidates[this.#failures % Math.max(1, candidates.length)];
    if (addr === undefined) {
      this.#failed(new ApiaryError('unavailable', `no address of manager ${peer} is known yet`));
      return;
    }
    const connection = new PeerConnection({
      peer,
      addr,
      identity: identity(),
      ownAddr: ownAddr(),
      outbox: this.#outbox,
      snapshots: this.#snapshots,
      forwarding: this.#forwarding,
      onUp: () => this.#up(connection),
      onRefused: this.#options.onRefused,
      onOver: (reason) => this.#over(reason),
    });
    const timer = clock.after(CONNECT_TIMEOUT_MS, () => {
      connection.close();
      this.#failed(new ApiaryError('unavailable', `no answer from ${addr} within ${CONNECT_TIMEOUT_MS / 1000} s`));
    });
    this.#state = { type: 'connecting', connection, timer };
  }

  #up(connection: PeerConnection): void {
    const { peer, clock, logger } = this.#options;
    this.#leaveTimer();
    this.#state = { type: 'up', connection, sinceMs: clock.now() };
    this.#loggedProblem = '';
    logger.info({ peer, addr: connection.addr }, 'connected to another manager');
  }

  #over(reason: ApiaryError): void {
    const { clock, onLost } = this.#options;
    const state = this.#state;
    if (state.type !== 'up') {
      this.#failed(reason);
      return;
    }
    if (clock.now() - state.sinceMs >= GOOD_AFTER_MS) this.#failures = -1;
    this.#failed(reason);
    onLost();
  }

  #failed(reason: ApiaryError): void {
    const { clock } = this.#options;
    this.#leaveTimer();
    this.#log(reason);
    this.#outbox.trim();
    this.#snapshots.trim();
    this.#forwarding.lost(reason.message);
    this.#failures++;
    const timer = clock.after(this.#backOffMs(), () => this.#again());
    this.#state = { type: 'waiting', timer };
  }

  #again(): void {
    if (this.#options.isKept() || !this.#outbox.isEmpty) this.#connect();
    else this.#options.onIdle();
  }

  /** Nothing the first time, then doubling; at random between half of that and all of it. */
  #backOffMs(): number {
    if (this.#failures <= 0) return 0;
    const fullMs = Math.min(RETRY.capMs, RETRY.firstMs * 2 ** (this.#failures - 1));
    return fullMs / 2 + this.#options.rng.below(fullMs / 2 + 1);
  }

  #log(reason: ApiaryError): void {
    const { peer, logger } = this.#options;
    // What is unavailable is so in ever new words.
    const problem = reason.code === 'unavailable' ? 'unavailable' : reason.message;
    if (problem === this.#loggedProblem) return;
    this.#loggedProblem = problem;
    if (reason.code === 'unavailable') logger.warn({ peer, reason: reason.message }, 'another manager is not reached');
    else logger.error({ peer, code: reason.code }, `manager ${peer} refuses, or is refused: ${reason.message}`);
  }

  #leaveTimer(): void {
    if (this.#state.type === 'connecting' || this.#state.type === 'waiting') this.#state.timer.cancel();
  }

  #leave(): void {
    this.#leaveTimer();
    if (this.#state.type === 'connecting' || this.#state.type === 'up') this.#state.connection.close();
    this.#state = { type: 'closed' };
  }
}
