import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { type Clock, type Rate, TokenBucket } from '@apiary/std';
import type { ClientCertificateRecord } from '../../core/store/records.js';
import { checkClient, clientOf } from '../../core/trust/index.js';
import type { LocalNode } from '../ports.js';
import { withoutVersion } from './api-version.js';
import type { Asker } from './audit-log.js';
import type { ClientDoor } from './client-door.js';
import { ReplyError } from './error-reply.js';
import type { LocalCallers } from './local-callers.js';
import { pathOf } from './request-reading.js';

/** What one certificate may ask for: a hundred people who look at everything each second, with room to spare. */
export const CLIENT_RATE: Rate = { burst: 2_000, perSecond: 500 };

/** Says who asks, and whether they may: for every request, before anybody looks at it. */
export class ClientGuard {
  readonly #node: LocalNode;
  readonly #door: ClientDoor;
  readonly #clock: Clock;
  readonly #local: LocalCallers;
  /** By the certificate's id. */
  readonly #rates = new Map<string, TokenBucket>();

  constructor(options: { node: LocalNode; door: ClientDoor; clock: Clock; local: LocalCallers }) {
    this.#node = options.node;
    this.#door = options.door;
    this.#clock = options.clock;
    this.#local = options.local;
  }

  /**
   * The certificate of whoever asks; undefined for the sockets of this host, whose users may do everything.
   *
   * @throws ApiaryError `unauthenticated` as `clientOf`; `not-manager`
   */
  client({ socket }: Pick<IncomingMessage, 'socket'>): ClientCertificateRecord | undefined {
    const name = this.#door.nameOf(socket);
    return name && clientOf(this.#node.replica().view, name, this.#clock.now());
  }

  /** @throws ApiaryError as `client`; `permission-denied` as `checkClient`; ReplyError 429 for more than `CLIENT_RATE` */
  check(request: Pick<IncomingMessage, 'socket' | 'method' | 'url'>, isEngines: boolean): void {
    const client = this.client(request);
    if (client === undefined) return;
    this.#count(client);
    const path = pathOf(withoutVersion(request.url ?? '/'));
    checkClient(client, { method: request.method ?? 'GET', path, isEngines });
  }

  #count({ id, name }: ClientCertificateRecord): void {
    const nowMs = this.#clock.now();
    const rate = this.#rates.get(id) ?? new TokenBucket(CLIENT_RATE, nowMs);
    this.#rates.set(id, rate);
    if (rate.take(nowMs)) return;
    const message = `${name} asks for more than ${CLIENT_RATE.perSecond} things a second: ask again in a while`;
    throw new ReplyError({ status: 429, code: 'resource-exhausted', message });
  }

  /** Whether nobody stands between the connection and the engine. */
  isTrusted(socket: Socket): boolean {
    try {
      const client = this.client({ socket });
      return client === undefined || client.role === 'admin';
    } catch {
      return false;
    }
  }

  asker({ socket }: Pick<IncomingMessage, 'socket'>): Asker {
    const name = this.#door.nameOf(socket);
    if (name === undefined) return this.#local.asker(socket);
    const from = `${socket.remoteAddress}:${socket.remotePort}`;
    try {
      const client = this.client({ socket });
      return { who: `${client?.name} (${name.id})`, from };
    } catch {
      return { who: name.id, from };
    }
  }
}
