import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { quantile, table } from '../statistics.js';

const SERVER = fileURLToPath(new URL('./name-server.js', import.meta.url));
/** Questions that are under way at a time when as many as possible are asked. */
const WINDOW = 64;
/** Half of what one core is to answer at least. */
const STEADY = 15_000;

export interface DnsOptions {
  seconds: number;
  services: number;
}

export async function measureDns({ seconds, services }: DnsOptions): Promise<string> {
  const server = spawn(process.execPath, [SERVER, `${services}`], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  try {
    const [port] = (await once(server, 'message')) as [number];
    const asker = new Asker(port, services);
    await asker.run(1, undefined);
    const before = await cpuSeconds(server);
    const flatOut = await asker.run(seconds, undefined);
    const perCore = flatOut.answers / ((await cpuSeconds(server)) - before);
    const steady = await asker.run(seconds, STEADY);
    asker.close();
    return table([
      ['asked', 'answers/s', 'answers per second of CPU', 'p50, ms', 'p99, ms', 'lost'],
      row('as many as it takes', flatOut, seconds, perCore),
      row(`${STEADY} a second`, steady, seconds, Number.NaN),
    ]);
  } finally {
    server.kill();
  }
}

interface Outcome {
  answers: number;
  lost: number;
  tookMs: number[];
}

function row(name: string, { answers, lost, tookMs }: Outcome, seconds: number, perCore: number): string[] {
  const [p50, p99] = [0.5, 0.99].map((q) => quantile(tookMs, q).toFixed(2));
  const share = Number.isNaN(perCore) ? '' : perCore.toFixed(0);
  return [name, (answers / seconds).toFixed(0), share, p50 ?? '', p99 ?? '', `${lost}`];
}

async function cpuSeconds(server: ChildProcess): Promise<number> {
  server.send('cpu');
  const [seconds] = (await once(server, 'message')) as [number];
  return seconds;
}

/** Asks in turn for the names of all services, by many at once or at a steady rate. */
class Asker {
  readonly #socket = createSocket({ type: 'udp4', lookup: (host, _options, done) => done(null, host, 4) });
  readonly #queries: Buffer[];
  readonly #sentAt = new Float64Array(2 ** 16);
  #next = 0;

  constructor(
    readonly port: number,
    services: number,
  ) {
    this.#queries = Array.from({ length: services }, (_, i) => query(`service-${i}`));
  }

  async run(seconds: number, perSecond: number | undefined): Promise<Outcome> {
    const tookMs: number[] = [];
    let sent = 0;
    const startedAt = performance.now();
    const isOver = () => performance.now() - startedAt >= seconds * 1_000;
    const onMessage = (message: Buffer) => {
      tookMs.push(performance.now() - (this.#sentAt[message.readUInt16BE(0)] ?? 0));
      if (perSecond === undefined && !isOver()) {
        this.#ask();
        sent++;
      }
    };
    this.#socket.on('message', onMessage);
    if (perSecond === undefined) for (; sent < WINDOW; sent++) this.#ask();
    while (!isOver()) {
      const due = perSecond === undefined ? 0 : ((performance.now() - startedAt) / 1_000) * perSecond;
      for (; sent < due; sent++) this.#ask();
      await new Promise((resolve) => setImmediate(resolve));
    }
    const answers = tookMs.length;
    const drainedBy = performance.now() + 500;
    while (tookMs.length < sent && performance.now() < drainedBy) await new Promise((resolve) => setImmediate(resolve));
    this.#socket.off('message', onMessage);
    return { answers, lost: sent - tookMs.length, tookMs };
  }

  close(): void {
    this.#socket.close();
  }

  #ask(): void {
    const message = this.#queries[this.#next % this.#queries.length] ?? Buffer.alloc(0);
    const id = this.#next++ & 0xffff;
    const copy = Buffer.from(message);
    copy.writeUInt16BE(id);
    this.#sentAt[id] = performance.now();
    this.#socket.send(copy, this.port, '127.0.0.1');
  }
}

function query(name: string): Buffer {
  return Buffer.from([0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.length, ...Buffer.from(name), 0, 0, 1, 0, 1]);
}
