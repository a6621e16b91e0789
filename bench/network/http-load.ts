/**
 * Load on HTTP servers, for `rolling`: short connections, kept ones, and kept ones that are idle most of the time. It goes on
 * until its standard input ends, and says each second, and at last, what became of its requests.
 *
 * A connection that the server has closed, or has said it will, is replaced; nothing is tried twice. Of an idle connection's
 * end nothing can be said before: a request that is sent in the same moment is counted apart.
 */
import { setMaxListeners } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as elapse } from 'node:timers/promises';

export interface LoadSettings {
  /** `ADDRESS:PORT`, asked in turn. */
  targets: string[];
  /** So many connections of each kind at a time. */
  short: number;
  kept: number;
  idle: number;
  pauseMs: number;
  idleMs: number;
}

export interface LoadOutcome {
  answered: { short: number; kept: number; idle: number };
  /** Kept connections that the server ended. */
  replaced: number;
  /** Of these, the idle ones on which the last request met the server's end of the connection half way. */
  crossed: number;
  failures: string[];
}

const ANSWER_MS = 5_000;
/** From a request to the server's end of the connection, when they met half way. */
const CROSSED_MS = 50;
const CLOSED = 'closed before an answer';
/** The second when the kernel's word, that nobody is there, comes before this process has heard of the end. */
const MEETINGS: readonly (string | undefined)[] = [CLOSED, 'read ECONNRESET'];

/** One connection. */
class Connection {
  /** That no more may be asked on it. */
  isOver = false;
  readonly #socket: Socket;
  #heard = '';
  #settle: ((failure: string | undefined) => void) | undefined;

  constructor(target: string) {
    const [host, port] = target.split(':');
    this.#socket = connect({ host: host ?? '', port: Number(port), noDelay: true });
    this.#socket.setEncoding('latin1');
    this.#socket.on('data', (text: string) => {
      this.#heard += text;
      if (!isWhole(this.#heard)) return;
      if (/^connection: close/im.test(this.#heard)) this.isOver = true;
      this.#settle?.(undefined);
    });
    this.#socket.on('error', ({ message }) => this.#ended(message));
    this.#socket.on('end', () => this.#ended(CLOSED));
    this.#socket.on('close', () => this.#ended(CLOSED));
  }

  #ended(why: string): void {
    this.isOver = true;
    this.#settle?.(why);
  }

  /** @returns  undefined for an answer, else what went wrong */
  async ask(): Promise<string | undefined> {
    this.#heard = '';
    const failure = await new Promise<string | undefined>((resolve) => {
      const timer = setTimeout(() => resolve(`no answer in ${ANSWER_MS} ms, ${this.#socket.readyState}`), ANSWER_MS);
      this.#settle = (failed) => {
        clearTimeout(timer);
        resolve(failed);
      };
      this.#socket.write('GET / HTTP/1.1\r\nHost: web\r\n\r\n');
    });
    this.#settle = undefined;
    if (failure !== undefined) this.isOver = true;
    return failure === undefined || this.#heard === '' ? failure : `${failure}, after ${this.#heard.length} bytes`;
  }

  close(): void {
    this.#socket.destroy();
  }
}

function isWhole(answer: string): boolean {
  const end = answer.indexOf('\r\n\r\n');
  const length = answer.match(/^content-length: (\d+)/im)?.[1];
  return end >= 0 && length !== undefined && answer.length >= end + 4 + Number(length);
}

const { targets, pauseMs, idleMs, ...counts }: LoadSettings = JSON.parse(process.argv[2] ?? '{}');
const outcome: LoadOutcome = { answered: { short: 0, kept: 0, idle: 0 }, replaced: 0, crossed: 0, failures: [] };
const kinds = ['short', 'kept', 'idle'] as const;
const stopping = new AbortController();
setMaxListeners(0, stopping.signal);
let turn = 0;

async function client(kind: (typeof kinds)[number]): Promise<void> {
  let target = '';
  let connection: Connection | undefined;
  let asked = 0;
  while (!stopping.signal.aborted) {
    if (connection === undefined || connection.isOver) {
      if (connection !== undefined && kind !== 'short') outcome.replaced++;
      connection?.close();
      target = targets[turn++ % targets.length] ?? '';
      connection = new Connection(target);
      asked = 0;
    }
    const sentMs = performance.now();
    const failure = await connection.ask();
    asked++;
    const tookMs = performance.now() - sentMs;
    if (failure === undefined) outcome.answered[kind]++;
    else if (kind === 'idle' && asked > 1 && MEETINGS.includes(failure) && tookMs < CROSSED_MS) outcome.crossed++;
    else
      outcome.failures.push(
        `${new Date().toISOString()} ${kind}, request ${asked} to ${target}: ${failure}, after ${tookMs.toFixed(1)} ms`,
      );
    if (kind === 'short') connection.isOver = true;
    await elapse(kind === 'idle' ? idleMs * (0.5 + Math.random()) : pauseMs, undefined, {
      signal: stopping.signal,
    }).catch(() => {});
  }
  connection?.close();
}

const say = () => process.stdout.write(`${JSON.stringify(outcome)}\n`);
const telling = setInterval(say, 1_000);
process.stdin.resume().once('end', () => stopping.abort());
await Promise.all(kinds.flatMap((kind) => Array.from({ length: counts[kind] }, () => client(kind))));
clearInterval(telling);
say();
