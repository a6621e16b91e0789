import { parseHostPort } from '@apiary/api/model';
import type { MemberId, Message } from '@apiary/raft/core';
import { type Accepted, NotAcceptedError, type Transport, type TransportReceiver } from '@apiary/raft/io';
import { ApiaryError, type Clock, invariant, type Rng } from '@apiary/std';
import type { Logger } from 'pino';
import type { RpcService } from '../rpc/server.js';
import type { ManagerIdentity } from './peer-credentials.js';
import { PeerLink } from './peer-link.js';
import { RaftService } from './raft-service.js';

export interface RaftTransportOptions {
  /** What this manager shows now; asked for at each new connection. */
  identity: () => ManagerIdentity;
  /** Where another manager is by its record, `HOST:PORT`. */
  addressOf: (id: MemberId) => string | undefined;
  /** Where this manager says that it is reached, `HOST:PORT`. */
  ownAddr: () => string | undefined;
  /** Another manager said where it is; its record may say otherwise. */
  onAddress: (id: MemberId, addr: string) => void;
  /** Another manager says that this node may not take part: its certificate is of before it was demoted or removed. */
  onRefused?: (id: MemberId, reason: ApiaryError) => void;
  clock: Clock;
  rng: Rng;
  logger: Logger;
}

/**
 * The wire between managers, over gRPC with mutual TLS. This manager dials each other member and sends on that
 * connection; what the others send comes in by `service`, on the connections that they dialled.
 */
export class RaftTransport implements Transport {
  /** To be served where the managers listen for nodes. */
  readonly service: RpcService;
  readonly #options: RaftTransportOptions;
  readonly #links = new Map<MemberId, PeerLink>();
  /** Where each said that it is, when it last dialled. */
  readonly #said = new Map<MemberId, string>();
  #kept = new Set<MemberId>();
  #receiver: TransportReceiver | undefined;
  #isClosed = false;

  constructor(options: RaftTransportOptions) {
    this.#options = options;
    this.service = new RaftService({
      nodeId: () => this.#id,
      receiver: () => (this.#isClosed ? undefined : this.#receiver),
      ownAddr: options.ownAddr,
      onPeer: (peer, addr) => this.#heardOf(peer, addr),
      logger: options.logger,
    }).service;
  }

  start(receiver: TransportReceiver): void {
    invariant(this.#receiver === undefined, 'a transport is started once');
    this.#receiver = receiver;
  }

  send(message: Message): void {
    invariant(message.from === this.#id, `${this.#id} cannot speak as ${message.from}`);
    this.#linkTo(message.to)?.send(message);
  }

  async forward(to: MemberId, entry: Uint8Array): Promise<Accepted> {
    const link = this.#linkTo(to);
    if (link === undefined) throw new NotAcceptedError(`no address of manager ${to} is known`);
    return link.forward(entry);
  }

  keep(peers: readonly MemberId[]): void {
    if (this.#isClosed) return;
    this.#kept = new Set(peers.filter((peer) => peer !== this.#id));
    for (const [peer, link] of this.#links) {
      if (this.#kept.has(peer)) continue;
      this.#links.delete(peer);
      link.close();
    }
    for (const peer of this.#kept) this.#linkTo(peer);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
  }

  get #id(): MemberId {
    return this.#options.identity().nodeId;
  }

  /** The link to `peer`, made if need be: also to one that is no member, as long as it is known where it is. */
  #linkTo(peer: MemberId): PeerLink | undefined {
    const existing = this.#links.get(peer);
    if (existing !== undefined || this.#isClosed) return existing;
    if (!this.#kept.has(peer) && this.#addrsOf(peer).length === 0) return undefined;
    const { identity, ownAddr, clock, rng, logger } = this.#options;
    const link = new PeerLink({
      peer,
      identity,
      ownAddr,
      addrs: () => this.#addrsOf(peer),
      isKept: () => this.#kept.has(peer),
      onLost: () => this.#receiver?.unreachable(peer),
      onRefused: (reason) => this.#options.onRefused?.(peer, reason),
      onIdle: () => this.#links.delete(peer),
      clock,
      rng,
      logger,
    });
    this.#links.set(peer, link);
    return link;
  }

  #addrsOf(peer: MemberId): string[] {
    const addrs = new Set([this.#said.get(peer), this.#options.addressOf(peer)]);
    return [...addrs].filter((addr): addr is string => addr !== undefined && isDialable(addr));
  }

  #heardOf(peer: MemberId, addr: string | undefined): void {
    if (addr !== undefined) {
      if (!isDialable(addr)) {
        throw new ApiaryError('invalid-argument', `invalid manager address "${addr}": expected HOST:PORT`);
      }
      this.#said.set(peer, addr);
      this.#options.onAddress(peer, addr);
    }
    this.#links.get(peer)?.nudge();
  }
}

function isDialable(addr: string): boolean {
  try {
    return parseHostPort(addr, 'manager address').port > 0;
  } catch {
    return false;
  }
}
