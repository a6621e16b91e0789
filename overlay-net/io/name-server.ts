import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { type NamespaceRef, openSocketIn } from '@apiary/agent-native';
import { type Clock, messageOf, type Rate, type Rng, TokenBucket } from '@apiary/std';
import {
  answerName,
  type DnsAnswer,
  type DnsQuery,
  type EndpointSet,
  NetworkNames,
  type NetworkState,
  type Question,
  RESPONSE_CODES,
  readQuery,
  type TaskAttachment,
  TYPES,
  writeAnswer,
} from '../core/index.js';
import type { GatewayLogger } from './gateway-network.js';
import { Resolver } from './resolver.js';
import { TcpQuestions } from './tcp-questions.js';

const PORT = 53;
/** Of questions that are answered here. */
const KINDS = new Map<number, Question['type']>([
  [TYPES.A, 'A'],
  [TYPES.AAAA, 'AAAA'],
  [TYPES.PTR, 'PTR'],
]);
const MOST_CONNECTIONS = 512;
/** Datagrams that may wait to be read: at 30,000 a second, a quarter of a second's. */
const RECEIVE_BYTES = { udp: 4 << 20, tcp: 0 } as const;
/**
 * What one task may ask: far more than programs do, and a tenth of what the server could answer. What is more is not heard,
 * or over TCP not read for a while.
 */
export const ASKER_RATE: Rate = { burst: 20_000, perSecond: 10_000 };

export interface NameServerOptions {
  address: string;
  /** Where the address is; by default, in this process's own. */
  namespace?: NamespaceRef;
  port?: number;
  clock: Clock;
  rng: Rng;
  logger: GatewayLogger;
  /** The host's own resolvers. */
  upstream: () => Promise<readonly string[]>;
  /** What each asker may ask; those who are not known share one. */
  askerRate?: Rate;
}

export type DnsProtocol = 'udp' | 'tcp';

/** Somebody who may ask, known by the address that they ask from. */
export interface Asker {
  attachments: readonly TaskAttachment[];
  /** Resolvers of its own, in place of the host's. */
  nameservers: readonly string[];
}

/**
 * Answers tasks what the names of their networks stand for, and what others answer to all else. Who asks is known by the
 * address that the host gave it on the gateway network.
 */
export class NameServer {
  readonly #options: NameServerOptions;
  readonly #udp: UdpSocket;
  readonly #tcp: Server;
  readonly #tcpQuestions: TcpQuestions;
  readonly #resolver: Resolver;
  readonly #askers = new Map<string, Asker>();
  /** By address; of strangers together by none. */
  readonly #rates = new Map<string, TokenBucket>();
  #state: NetworkState | undefined;
  #hasVips = false;
  #isOver = false;
  /** Of networks that somebody asked about, as they were then. */
  readonly #names = new Map<string, { set: EndpointSet; version: number; names: NetworkNames }>();

  /** @throws Error when somebody else has the port */
  static async listen(options: NameServerOptions): Promise<NameServer> {
    const { address, port = PORT, namespace } = options;
    const udp = createSocket({ type: 'udp4', lookup: (host, _options, done) => done(null, host, 4) });
    const tcp = createServer();
    const server = new NameServer(options, udp, tcp);
    try {
      const there = async (kind: 'udp' | 'tcp', port: number) =>
        namespace === undefined
          ? { port, address, host: address }
          : { fd: await openSocketIn(namespace, { kind, address, port, receiveBytes: RECEIVE_BYTES[kind] }) };
      const datagrams = await there('udp', port);
      await bound(udp, () => udp.bind(datagrams));
      const connections = await there('tcp', udp.address().port);
      await bound(tcp, () => tcp.listen(connections));
    } catch (error) {
      await server.close();
      throw error;
    }
    if (namespace === undefined) udp.setRecvBufferSize(RECEIVE_BYTES.udp);
    udp.on('error', (error) => options.logger.warn({ reason: error.message }, 'the name server cannot answer'));
    tcp.on('error', (error) => options.logger.warn({ reason: error.message }, 'the name server cannot answer by TCP'));
    return server;
  }

  private constructor(options: NameServerOptions, udp: UdpSocket, tcp: Server) {
    this.#options = options;
    this.#udp = udp;
    this.#tcp = tcp;
    this.#resolver = new Resolver(options.clock);
    tcp.maxConnections = MOST_CONNECTIONS;
    udp.on('message', (message, { address, port }) => {
      const send = (answer: Uint8Array) => {
        if (!this.#isOver) udp.send(answer, 0, answer.length, port, address);
      };
      if (this.#isHeard(address)) this.#hear(message, address, 'udp', send);
    });
    this.#tcpQuestions = new TcpQuestions(tcp, {
      clock: options.clock,
      isHeard: (from) => this.#isHeard(from),
      hear: (message, from, send) => this.#hear(message, from, 'tcp', send),
    });
  }

  get port(): number {
    return this.#udp.address().port;
  }

  /**
   * Who is on the networks from now on.
   *
   * @param hasVips  whether tasks here reach services by their virtual addresses
   */
  apply(state: NetworkState, { hasVips }: { hasVips: boolean }): void {
    this.#state = state;
    if (this.#hasVips !== hasVips) this.#names.clear();
    this.#hasVips = hasVips;
    for (const networkId of this.#names.keys()) if (!state.networks.has(networkId)) this.#names.delete(networkId);
  }

  /** A task has this address now. */
  know(address: string, asker: Asker): void {
    this.#askers.set(address, asker);
  }

  forget(address: string): void {
    this.#askers.delete(address);
    this.#rates.delete(address);
  }

  async close(): Promise<void> {
    this.#isOver = true;
    this.#tcpQuestions.close();
    await Promise.all([
      new Promise<void>((resolve) => {
        try {
          this.#udp.close(() => resolve());
        } catch {
          resolve();
        }
      }),
      new Promise<void>((resolve) => this.#tcp.close(() => resolve())),
    ]);
  }

  #hear(message: Uint8Array, from: string, protocol: DnsProtocol, send: (answer: Uint8Array) => void): void {
    const asker = this.#askers.get(from);
    this.answer(message, protocol, send, {
      attachments: asker?.attachments ?? [],
      // A question that leaves the cluster is a way out, which one on internal networks alone does not have.
      ...((asker === undefined || !this.#isInternal(asker)) && {
        elsewhere: (query) => this.#askOthers(message, query, asker, protocol),
      }),
    });
  }

  #isHeard(address: string): boolean {
    const { clock, askerRate = ASKER_RATE } = this.#options;
    const nowMs = clock.now();
    const from = this.#askers.has(address) ? address : '';
    const rate = this.#rates.get(from) ?? new TokenBucket(askerRate, nowMs);
    this.#rates.set(from, rate);
    return rate.take(nowMs);
  }

  /**
   * Answers a question: synchronously what is known here, for this is asked thousands of times a second.
   *
   * @param asker.attachments  the networks that whoever asks is on
   * @param asker.elsewhere    has others answer what is not known here, undefined when they do not; without it, there is
   *   no such name
   */
  answer(
    message: Uint8Array,
    protocol: DnsProtocol,
    send: (answer: Uint8Array) => void,
    asker: {
      attachments: readonly TaskAttachment[];
      elsewhere?: (query: DnsQuery) => Promise<Uint8Array | undefined>;
    },
  ): void {
    const query = readQuery(message);
    if (query === undefined) return;
    const mostBytes = protocol === 'udp' ? query.udpBytes : Number.POSITIVE_INFINITY;
    const say = (answer: DnsAnswer) => send(writeAnswer(query, answer, mostBytes));
    const known = this.#known(query, asker.attachments);
    if (known !== undefined) {
      say(known);
      return;
    }
    if (asker.elsewhere === undefined) {
      say({ code: RESPONSE_CODES.noSuchName });
      return;
    }
    asker
      .elsewhere(query)
      .then((answer) => (answer === undefined ? say({ code: RESPONSE_CODES.serverFailure }) : send(answer)))
      .catch((error: unknown) => {
        this.#options.logger.warn({ reason: messageOf(error) }, 'the name server cannot ask others');
        say({ code: RESPONSE_CODES.serverFailure });
      });
  }

  /** The answer that needs nobody else; undefined when it does. */
  #known({ name, type }: DnsQuery, attachments: readonly TaskAttachment[]): DnsAnswer | undefined {
    const networks = attachments.flatMap(({ networkId }) => this.#namesOf(networkId) ?? []);
    // Who has no IPv6 could do nothing with an address of it, also on a network that has some.
    const hasIpv6 = attachments.some(({ ipv6Address = '' }) => ipv6Address !== '');
    const kind = type === TYPES.AAAA && !hasIpv6 ? undefined : KINDS.get(type);
    const answer = answerName({ name, type: kind ?? 'other' }, networks);
    switch (answer.kind) {
      case 'addresses':
        return { code: RESPONSE_CODES.noError, addresses: this.#shuffled(answer.addresses) };
      case 'names':
        return { code: RESPONSE_CODES.noError, names: answer.names };
      case 'empty':
        return { code: RESPONSE_CODES.noError };
      case 'nobody':
        return { code: RESPONSE_CODES.noSuchName };
      case 'elsewhere':
        return undefined;
    }
  }

  async #askOthers(
    message: Uint8Array,
    query: DnsQuery,
    asker: Asker | undefined,
    protocol: DnsProtocol,
  ): Promise<Uint8Array | undefined> {
    const own = asker?.nameservers ?? [];
    const servers = own.length > 0 ? own : await this.#options.upstream();
    return await this.#resolver.ask(message, query, servers, protocol);
  }

  #isInternal({ attachments }: Asker): boolean {
    const networks = attachments.flatMap(({ networkId }) => this.#state?.networks.get(networkId) ?? []);
    return networks.length > 0 && networks.every(({ internal }) => internal);
  }

  #namesOf(networkId: string): NetworkNames | undefined {
    const [network, set] = [this.#state?.networks.get(networkId), this.#state?.endpointSets.get(networkId)];
    if (network === undefined || set === undefined) return undefined;
    const held = this.#names.get(networkId);
    if (held?.set === set && held.version === set.version) return held.names;
    const names = new NetworkNames(network, set, { hasVips: this.#hasVips });
    this.#names.set(networkId, { set, version: set.version, names });
    return names;
  }

  #shuffled(addresses: readonly string[]): readonly string[] {
    if (addresses.length < 2) return addresses;
    const shuffled = [...addresses];
    for (let i = shuffled.length - 1; i > 0; i--) {
      const j = this.#options.rng.below(i + 1);
      const [a = '', b = ''] = [shuffled[i], shuffled[j]];
      shuffled[i] = b;
      shuffled[j] = a;
    }
    return shuffled;
  }
}

async function bound(listener: UdpSocket | Server, start: () => void): Promise<void> {
  const listening = once(listener, 'listening');
  start();
  await listening;
}
