import { randomInt } from 'node:crypto';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createConnection, type Socket } from 'node:net';
import type { Clock } from '@apiary/std';
import { type DnsQuery, isAnswerTo, withId } from '../core/index.js';

/** How long one server may take before the next is asked. */
const PATIENCE_MS = 2_000;
/** So many questions may be under way to other resolvers, and as many again wait for a place. */
const AT_ONCE = 256;
const PORT = 53;

/** Where sockets come from, with which others are asked. */
export interface SocketSource {
  udp(host: string): Promise<UdpSocket>;
  /** May reject when nobody listens there. */
  tcp(host: string, port: number): Promise<Socket>;
}

const OWN_NAMESPACE: SocketSource = {
  udp: async (host) => createSocket(host.includes(':') ? 'udp6' : 'udp4'),
  tcp: async (host, port) => createConnection({ host, port }),
};

/** Asks other resolvers what this cluster does not know. Each question has a socket and a number of its own: it cannot be guessed. */
export class Resolver {
  readonly #clock: Clock;
  readonly #sockets: SocketSource;
  readonly #waiting: (() => void)[] = [];
  #underWay = 0;

  constructor(clock: Clock, sockets: SocketSource = OWN_NAMESPACE) {
    this.#clock = clock;
    this.#sockets = sockets;
  }

  /**
   * What the first of the servers that answers says, with the query's own number.
   *
   * @param servers  addresses, each perhaps with a port: `192.0.2.53`, `192.0.2.53:5353`
   * @returns        undefined when none of them does, or too many others ask at this time
   */
  async ask(
    message: Uint8Array,
    query: DnsQuery,
    servers: readonly string[],
    protocol: 'udp' | 'tcp',
  ): Promise<Uint8Array | undefined> {
    if (this.#underWay >= AT_ONCE) {
      if (this.#waiting.length >= AT_ONCE) return undefined;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#underWay++;
    try {
      for (const server of servers) {
        const id = randomInt(2 ** 16);
        const exchange = protocol === 'udp' ? overUdp : overTcp;
        const isAnswer = (candidate: Uint8Array) => isAnswerTo(candidate, id, query.question);
        const answer = await exchange(this.#sockets, withId(message, id), serverOf(server), this.#clock, isAnswer);
        if (answer !== undefined) return withId(answer, query.id);
      }
      return undefined;
    } finally {
      this.#underWay--;
      this.#waiting.shift()?.();
    }
  }
}

interface Server {
  host: string;
  port: number;
}

type IsAnswer = (message: Uint8Array) => boolean;

function serverOf(text: string): Server {
  const [, host = text, port] = /^([\d.]+):(\d+)$/.exec(text) ?? [];
  return { host, port: port === undefined ? PORT : Number(port) };
}

async function overUdp(
  sockets: SocketSource,
  message: Uint8Array,
  { host, port }: Server,
  clock: Clock,
  isAnswer: IsAnswer,
): Promise<Uint8Array | undefined> {
  const socket = await sockets.udp(host);
  return new Promise((resolve) => {
    const end = (answer?: Uint8Array) => {
      timer.cancel();
      socket.removeAllListeners();
      // A refusal that comes after the end is nobody's.
      socket.on('error', () => {});
      socket.close();
      resolve(answer);
    };
    const timer = clock.after(PATIENCE_MS, () => end());
    socket.on('error', () => end());
    socket.on('message', (candidate) => {
      if (isAnswer(candidate)) end(candidate);
    });
    socket.on('connect', () => socket.send(message));
    // Connected: what comes from elsewhere is not even heard, and a port that is closed says so.
    socket.connect(port, host);
  });
}

async function overTcp(
  sockets: SocketSource,
  message: Uint8Array,
  { host, port }: Server,
  clock: Clock,
  isAnswer: IsAnswer,
): Promise<Uint8Array | undefined> {
  const socket = await sockets.tcp(host, port).catch(() => undefined);
  if (socket === undefined) return undefined;
  return new Promise((resolve) => {
    const end = (answer?: Uint8Array) => {
      timer.cancel();
      socket.destroy();
      resolve(answer);
    };
    const timer = clock.after(PATIENCE_MS, () => end());
    const read = framed((candidate) => end(isAnswer(candidate) ? candidate : undefined));
    socket.on('error', () => end());
    socket.on('close', () => end());
    socket.on('data', read);
    socket.write(withLength(message));
  });
}

/** A message as it goes over TCP. */
export function withLength(message: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of(message.length >> 8, message.length & 0xff), message]);
}

/** Takes what comes over TCP, piece by piece, and hands on each message. */
export function framed(onMessage: (message: Uint8Array) => void): (piece: Uint8Array) => void {
  let held = Buffer.alloc(0);
  return (piece) => {
    held = Buffer.concat([held, piece]);
    while (held.length >= 2 && held.length >= 2 + held.readUInt16BE(0)) {
      const end = 2 + held.readUInt16BE(0);
      onMessage(held.subarray(2, end));
      held = held.subarray(end);
    }
  };
}
