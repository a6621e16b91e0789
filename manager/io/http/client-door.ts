import { X509Certificate } from 'node:crypto';
import type { Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { ApiaryError, type Clock, messageOf } from '@apiary/std';
import type { ClusterRecord } from '../../core/store/records.js';
import { CLIENT_UNIT, type ClientName, signerOf } from '../../core/trust/index.js';
import type { LocalNode } from '../ports.js';
import type { Logger } from './context.js';

const DAY_MS = 24 * 3600_000;
const CERTIFICATE_DAYS = 30;
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** Of those who are let in and those who are not yet. */
const MOST_CONNECTIONS = 512;

export interface ClientDoorOptions {
  node: LocalNode;
  /** What clients may call this host by, beside the address that it advertises. */
  names: string[];
  clock: Clock;
  logger: Logger;
  /** Gets each connection that is let in. */
  accept: (socket: Socket) => void;
}

/** Lets those in over TCP who show a client certificate of this cluster. Closed while this node is no manager. */
export class ClientDoor {
  readonly #options: ClientDoorOptions;
  readonly #names = new WeakMap<Socket, ClientName>();
  #server: { tls: Server; trustPem: string; renewAtMs: number } | undefined;
  /** While a certificate is being signed: those who come meanwhile wait for the same one. */
  #making: Promise<Server> | undefined;
  #connections = 0;

  constructor(options: ClientDoorOptions) {
    this.#options = options;
  }

  /** Who is at the other end; undefined for a connection that did not come in here. */
  nameOf(socket: Socket): ClientName | undefined {
    return this.#names.get(socket);
  }

  /** Hands the connection on once it is known who it is. */
  admit(raw: Socket): void {
    raw.on('error', () => raw.destroy());
    if (this.#connections >= MOST_CONNECTIONS) {
      raw.destroy();
      return;
    }
    this.#connections++;
    raw.once('close', () => this.#connections--);
    this.#current().then(
      (server) => {
        if (server === undefined) raw.destroy();
        else server.emit('connection', raw);
      },
      (error: unknown) => {
        const reason = messageOf(error);
        this.#options.logger.error({ reason }, 'the HTTP API has no certificate, and lets nobody in over TLS');
        raw.destroy();
      },
    );
  }

  #enter(socket: TLSSocket): void {
    const name = clientNameOf(socket);
    if (name === undefined) {
      this.#options.logger.info({ from: socket.remoteAddress }, 'a connection without a client certificate is refused');
      socket.destroy();
      return;
    }
    this.#names.set(socket, name);
    this.#options.accept(socket);
  }

  /** Undefined while this node has no cluster to speak for. */
  async #current(): Promise<Server | undefined> {
    const { node, clock } = this.#options;
    let cluster: ClusterRecord | undefined;
    try {
      cluster = node.replica().view.cluster();
    } catch (error) {
      if (!(error instanceof ApiaryError)) throw error;
    }
    if (cluster === undefined) return undefined;
    const before = this.#server;
    if (before?.trustPem === signerOf(cluster).trustPem && clock.now() < before.renewAtMs) return before.tls;
    this.#making ??= this.#make(cluster).finally(() => {
      this.#making = undefined;
    });
    return this.#making;
  }

  async #make(cluster: ClusterRecord): Promise<Server> {
    const { node, names, clock } = this.#options;
    const signer = signerOf(cluster);
    const { nodeId, nodeAddr } = node.status();
    const { keyPem, certificateChainPem } = await node.issuer().api({
      signer,
      nodeId,
      clusterId: cluster.id,
      names: [...new Set([...names, nodeAddr].filter((name) => name !== ''))],
      validityMs: CERTIFICATE_DAYS * DAY_MS,
    });
    const tls = createServer({
      key: keyPem,
      cert: certificateChainPem,
      ca: signer.trustPem,
      minVersion: 'TLSv1.2',
      requestCert: true,
      rejectUnauthorized: false,
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      // As the server without TLS: a client that has said all may still be answered.
      allowHalfOpen: true,
    });
    tls.on('secureConnection', (socket) => this.#enter(socket));
    const nowMs = clock.now();
    const lifeMs = Math.min(
      Date.parse(new X509Certificate(certificateChainPem).validTo) - nowMs,
      CERTIFICATE_DAYS * DAY_MS,
    );
    this.#server = { tls, trustPem: signer.trustPem, renewAtMs: nowMs + lifeMs / 2 };
    return tls;
  }
}

/** A certificate of a node is none of a client, though the same root signed it. */
function clientNameOf(socket: TLSSocket): ClientName | undefined {
  if (!socket.authorized) return undefined;
  const { subject } = socket.getPeerCertificate();
  const { CN: id, O: clusterId, OU: unit } = subject;
  if (unit !== CLIENT_UNIT || typeof id !== 'string' || typeof clusterId !== 'string') return undefined;
  return { id, clusterId };
}
