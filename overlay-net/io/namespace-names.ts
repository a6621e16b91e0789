import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, Socket } from 'node:net';
import { type NamespaceRef, openSocketIn } from '@apiary/agent-native';
import { type Clock, type Rate, TokenBucket } from '@apiary/std';
import { ENGINE_RESOLVER, NAMES_ADDRESS, namesRules, type TaskAttachment } from '../core/index.js';
import { done } from './command.js';
import type { GatewayLogger } from './gateway-network.js';
import { ASKER_RATE, type DnsProtocol, type NameServer } from './name-server.js';
import { Resolver } from './resolver.js';
import { TcpQuestions } from './tcp-questions.js';

const MOST_CONNECTIONS = 64;

export interface NamespaceNamesOptions {
  /** The file that stands for the container's network namespace. */
  namespace: { path: string };
  /** Knows the names of the networks. */
  names: Pick<NameServer, 'answer'>;
  clock: Clock;
  logger: GatewayLogger;
  /** What the container may ask. */
  rate?: Rate;
}

/**
 * The names of our networks in the namespace of a container that the engine has given its network: there the engine's
 * resolver is asked, which knows this host's containers alone. What is sent to it comes here first, and what no network of
 * the cluster knows goes on to it. Who asks needs no telling: the sockets are in its namespace.
 */
export class NamespaceNames {
  readonly #options: NamespaceNamesOptions;
  readonly #resolver: Resolver;
  readonly #rate: TokenBucket;
  readonly #closers: (() => void)[] = [];
  /** The networks that the container is on. */
  attachments: readonly TaskAttachment[];

  /** @throws Error when the namespace is gone, or cannot have it */
  static async open(options: NamespaceNamesOptions, attachments: readonly TaskAttachment[]): Promise<NamespaceNames> {
    const names = new NamespaceNames(options, attachments);
    try {
      await names.#listen();
    } catch (error) {
      names.close();
      throw error;
    }
    return names;
  }

  private constructor(options: NamespaceNamesOptions, attachments: readonly TaskAttachment[]) {
    this.#options = options;
    this.attachments = attachments;
    const { namespace, clock, rate = ASKER_RATE } = options;
    this.#rate = new TokenBucket(rate, clock.now());
    this.#resolver = new Resolver(clock, {
      udp: () => udpIn(namespace),
      tcp: async (address, port) => {
        const ends = { kind: 'tcp', address: NAMES_ADDRESS, peer: { address, port } } as const;
        return new Socket({ fd: await openSocketIn(namespace, ends) });
      },
    });
  }

  /** What is asked goes nowhere until somebody listens again; the rules stay, and go with the namespace. */
  close(): void {
    for (const close of this.#closers.splice(0)) close();
  }

  async #listen(): Promise<void> {
    const { namespace, clock, logger } = this.#options;
    const udp = await udpIn(namespace);
    this.#closers.push(() => udp.close());
    udp.on('error', (error) => logger.warn({ reason: error.message }, 'a container cannot ask for names'));
    udp.on('message', (message, { address, port }) => {
      if (!this.#isHeard()) return;
      this.#answer(message, 'udp', (answer) => {
        if (this.#closers.length > 0) udp.send(answer, 0, answer.length, port, address);
      });
    });
    const tcp = createServer();
    tcp.maxConnections = MOST_CONNECTIONS;
    const tcpQuestions = new TcpQuestions(tcp, {
      clock,
      isHeard: () => this.#isHeard(),
      hear: (message, _from, send) => this.#answer(message, 'tcp', send),
    });
    const listening = once(tcp, 'listening');
    tcp.listen({ fd: await openSocketIn(namespace, { kind: 'tcp', address: NAMES_ADDRESS }) });
    await listening;
    this.#closers.push(() => {
      tcpQuestions.close();
      tcp.close();
    });
    const bound = tcp.address();
    const tcpPort = typeof bound === 'object' && bound !== null ? bound.port : 0;
    const rules = namesRules({ udpPort: udp.address().port, tcpPort });
    await done('nsenter', [`--net=${namespace.path}`, 'nft', '-f', '-'], rules);
  }

  #isHeard(): boolean {
    return this.#rate.take(this.#options.clock.now());
  }

  #answer(message: Uint8Array, protocol: DnsProtocol, send: (answer: Uint8Array) => void): void {
    this.#options.names.answer(message, protocol, send, {
      attachments: this.attachments,
      elsewhere: (query) => this.#resolver.ask(message, query, [ENGINE_RESOLVER], protocol),
    });
  }
}

async function udpIn(namespace: NamespaceRef): Promise<UdpSocket> {
  const fd = await openSocketIn(namespace, { kind: 'udp', address: NAMES_ADDRESS });
  const socket = createSocket('udp4');
  const listening = once(socket, 'listening');
  socket.bind({ fd });
  await listening;
  return socket;
}
