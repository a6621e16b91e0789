/**
 * Asks a name server for one name, so many times a second, until its standard input ends.
 *
 *   node name-asker.js SERVER NAME PER_SECOND
 *
 * Says, a line of JSON each: what the name stands for whenever that is something else than before, and at last how it went.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';

/** The name stands for these from then on (ms since 1970). */
export interface NameHeard {
  atMs: number;
  addresses: string[];
}

export interface NamesAsked {
  asked: number;
  /** Questions without an answer, or with one that says that something went wrong. */
  failed: number;
  /** Answers that found no room in the asker's own socket: nobody else is to blame for these. */
  unheard: number;
}

const LATE_MS = 2_000;
/** Whoever is kept waiting asks no more than these meanwhile: the answers have to fit into its own socket. */
const MOST_UNDER_WAY = 200;
/**
 * Room for many more: the kernel counts a datagram as a kilobyte, and those that were read while others wait only by and by as
 * room again.
 */
const RECEIVE_BYTES = 1 << 20;
const [server = '', name = '', rate = ''] = process.argv.slice(2);
const perSecond = Number(rate);
const socket = createSocket({ type: 'udp4', lookup: (host, _options, done) => done(null, host, 4) });
const labels = name.split('.').flatMap((label) => [label.length, ...Buffer.from(label)]);
const question = Buffer.from([0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, 1, 0, 1]);
const underWay = new Set<number>();
const outcome: NamesAsked = { asked: 0, failed: 0, unheard: 0 };
let last: string | undefined;

/** What an answer's records of the question's type say: the names of all of them are the question's, in two bytes. */
function addressesIn(answer: Buffer): string[] {
  const count = answer.readUInt16BE(6);
  const RECORD_BYTES = 16;
  return Array.from({ length: count }, (_, i) => {
    const end = question.length + (i + 1) * RECORD_BYTES;
    return [...answer.subarray(end - 4, end)].join('.');
  }).sort();
}

/** What the kernel has dropped on the way into the socket: the last column of its line among those of the namespace. */
function unheard(): number {
  const port = socket.address().port.toString(16).toUpperCase().padStart(4, '0');
  const lines = readFileSync('/proc/self/net/udp', 'utf8').split('\n');
  const own = lines.map((line) => line.trim().split(/\s+/)).find(([, local]) => local?.endsWith(`:${port}`));
  return Number(own?.at(-1));
}

socket.on('message', (answer) => {
  if (!underWay.delete(answer.readUInt16BE(0))) return;
  const code = answer.readUInt8(3) & 15;
  const [none, nobody] = [0, 3];
  if (code !== none && code !== nobody) outcome.failed++;
  const addresses = addressesIn(answer);
  if (addresses.join() === last) return;
  last = addresses.join();
  process.stdout.write(`${JSON.stringify({ atMs: Date.now(), addresses } satisfies NameHeard)}\n`);
});

// It may be bound before bind() is over.
const listening = once(socket, 'listening');
socket.bind(0);
await listening;
socket.setRecvBufferSize(RECEIVE_BYTES);
const startedAt = performance.now();
const asking = setInterval(() => {
  const due = ((performance.now() - startedAt) / 1_000) * perSecond;
  for (; outcome.asked < due && underWay.size < MOST_UNDER_WAY; outcome.asked++) {
    const message = Buffer.from(question);
    message.writeUInt16BE(outcome.asked & 0xffff);
    underWay.add(outcome.asked & 0xffff);
    socket.send(message, 53, server);
  }
}, 1);
process.stdin.resume().once('end', () => {
  clearInterval(asking);
  const until = performance.now() + LATE_MS;
  const waiting = setInterval(() => {
    if (underWay.size > 0 && performance.now() < until) return;
    clearInterval(waiting);
    outcome.failed += underWay.size;
    outcome.unheard = unheard();
    process.stdout.write(`${JSON.stringify(outcome)}\n`, () => process.exit());
  }, 10);
});
