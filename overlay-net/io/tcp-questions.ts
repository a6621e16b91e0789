import type { Server, Socket } from 'node:net';
import type { Clock, Timer } from '@apiary/std';
import { framed, withLength } from './resolver.js';

/** A connection on which nothing is asked is closed. */
const IDLE_MS = 10_000;
/** How long who asks too much is left alone. */
const PAUSE_MS = 100;

export interface TcpQuestionsOptions {
  clock: Clock;
  /** Counts one more question of whoever has the address: whether it is to be heard now. */
  isHeard: (from: string) => boolean;
  /** `send` may be called later, or not at all. */
  hear: (message: Uint8Array, from: string, send: (answer: Uint8Array) => void) => void;
}

/**
 * The connections on which a name server is asked (RFC 7766). Who asks too much, or does not read what was answered, is
 * not read either until that is over: what it sends is left to its own kernel, and no answer is kept here.
 */
export class TcpQuestions {
  readonly #options: TcpQuestionsOptions;
  readonly #connections = new Set<Socket>();

  constructor(server: Server, options: TcpQuestionsOptions) {
    this.#options = options;
    server.on('connection', (socket) => this.#converse(socket));
  }

  /** Ends those that there are. */
  close(): void {
    for (const socket of this.#connections) socket.destroy();
  }

  #converse(socket: Socket): void {
    const { clock, isHeard, hear } = this.#options;
    const from = socket.remoteAddress ?? '';
    const waiting: Uint8Array[] = [];
    let pause: Timer | undefined;
    const send = (answer: Uint8Array) => {
      if (socket.writable) socket.write(withLength(answer));
    };
    const mayHear = () => {
      if (pause !== undefined || socket.writableNeedDrain) return false;
      if (isHeard(from)) return true;
      pause = clock.after(PAUSE_MS, () => {
        pause = undefined;
        goOn();
      });
      return false;
    };
    const next = () => (waiting.length > 0 && mayHear() ? waiting.shift() : undefined);
    const goOn = () => {
      for (let message = next(); message !== undefined; message = next()) hear(message, from, send);
      if (waiting.length === 0 && !socket.writableNeedDrain) socket.resume();
      else socket.pause();
    };
    this.#connections.add(socket);
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      pause?.cancel();
      this.#connections.delete(socket);
    });
    socket.on('drain', goOn);
    const read = framed((message) => waiting.push(message));
    socket.on('data', (piece) => {
      read(piece);
      goOn();
    });
  }
}
