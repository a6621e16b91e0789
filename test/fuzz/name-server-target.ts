import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { isAnswerTo, RESPONSE_CODES, readQuery, writeAnswer } from '@apiary/overlay-net/core';
import { NameServer } from '@apiary/overlay-net/io';
import { invariant, SeededRng } from '@apiary/std';
import { SystemClock } from '@apiary/std/io';
import * as fc from 'fast-check';
import { damaged } from './damage.js';
import { type OpenTarget, reader, type Target, type Verdict } from './target.js';

function question(id: number, name: string, type: number, options = true): Buffer {
  const labels = name.split('.').flatMap((label) => [label.length, ...Buffer.from(label)]);
  const head = [id >> 8, id & 0xff, 1, 0, 0, 1, 0, 0, 0, 0, 0, options ? 1 : 0];
  const opt = options ? [0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0] : [];
  return Buffer.from([...head, ...labels, 0, type >> 8, type & 0xff, 0, 1, ...opt]);
}

const QUERIES = [
  question(1, 'web', 1),
  question(2, 'tasks.web', 1, false),
  question(3, '2.0.0.10.in-addr.arpa', 12),
  question(4, `${'x'.repeat(63)}.${'y'.repeat(63)}.example`, 28),
];

const queries = reader('DNS query', 150, damaged(...QUERIES), (bytes) => {
  const query = readQuery(bytes);
  if (query === undefined) return 'refused';
  invariant(query.name.length <= 255 && query.udpBytes >= 512, 'bounds of what was read');
  const answer = writeAnswer(query, { code: RESPONSE_CODES.noError, addresses: ['10.0.0.2'] }, query.udpBytes);
  invariant(isAnswerTo(answer, query.id, query.question) && answer.length <= query.udpBytes, 'an answer to it');
  return 'taken';
});

const ASKED = readQuery(question(9, 'web', 1));
const ANSWER = ASKED && writeAnswer(ASKED, { code: RESPONSE_CODES.noError, addresses: ['10.0.0.2'] }, 512);

/** What other resolvers say: taken only with the number and the question that were asked. */
const answers = reader('DNS answer', 40, damaged(ANSWER ?? Buffer.alloc(0)), (bytes) => {
  invariant(ASKED !== undefined && ANSWER !== undefined, 'the question is one');
  if (!isAnswerTo(bytes, ASKED.id, ASKED.question)) return 'refused';
  const end = 12 + ASKED.question.length;
  invariant(Buffer.from(bytes).readUInt16BE(0) === 9, 'the number of the question');
  invariant(Buffer.compare(bytes.subarray(12, end), ANSWER.subarray(12, end)) === 0, 'the question that was asked');
  return 'taken';
});

/** A question as it goes over TCP, its length before it. */
function framedQuery(query: Uint8Array): Buffer {
  return Buffer.concat([Uint8Array.of(query.length >> 8, query.length & 0xff), query]);
}

/** Questions that are damaged within their frames, and frames that are. */
const conversation = fc.array(fc.oneof(damaged(...QUERIES).map(framedQuery), damaged(...QUERIES.map(framedQuery))), {
  minLength: 1,
  maxLength: 4,
});

/** All that comes back, until the server has answered what it could, and hung up. */
async function overTcp(port: number, pieces: readonly Uint8Array[]): Promise<Buffer[]> {
  const socket = connect({ host: '127.0.0.1', port });
  const answers: Buffer[] = [];
  socket.on('data', (piece) => answers.push(piece));
  // A server that hangs up on what is wrong does so while more is written.
  socket.on('error', () => {});
  socket.end(Buffer.concat(pieces));
  await once(socket, 'close');
  return answers;
}

/** A name server on loopback: after whatever it is sent, it answers who asks well. Nobody behind it is asked. */
async function openServer(): Promise<OpenTarget> {
  const server = await NameServer.listen({
    address: '127.0.0.1',
    port: 0,
    clock: new SystemClock(),
    rng: new SeededRng(1),
    logger: { info: () => {}, warn: () => {} },
    upstream: async () => [],
  });
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  let id = 0;
  const said = async (datagrams: readonly Uint8Array[]): Promise<Verdict> => {
    id = (id + 1) & 0xffff;
    const [mark, name] = [id, `mark-${id}`];
    const query = readQuery(question(mark, name, 1));
    invariant(query !== undefined, 'the question is one');
    let answers = 0;
    const answered = new Promise<void>((resolve) => {
      socket.on('message', (message) => {
        answers++;
        if (isAnswerTo(message, mark, query.question)) resolve();
      });
    });
    for (const each of [...datagrams, question(mark, name, 1)]) socket.send(each, server.port, '127.0.0.1');
    await answered;
    socket.removeAllListeners('message');
    return answers > 1 ? 'taken' : 'refused';
  };
  /** One after the other on a connection, which ends in the middle of something; then somebody asks well on another. */
  const saidOverTcp = async (pieces: readonly Uint8Array[]): Promise<Verdict> => {
    const answers = await overTcp(server.port, pieces);
    const [mark] = await overTcp(server.port, [framedQuery(question(7, 'mark', 1))]);
    invariant(mark !== undefined && mark.readUInt16BE(2) === 7, 'who asks well is answered');
    return answers.length > 0 ? 'taken' : 'refused';
  };
  const property = fc.oneof(
    {
      weight: 3,
      arbitrary: fc.array(damaged(...QUERIES), { minLength: 1, maxLength: 3 }).map((all) => () => said(all)),
    },
    { weight: 1, arbitrary: conversation.map((pieces) => () => saidOverTcp(pieces)) },
  );
  return {
    property,
    close: async () => {
      socket.close();
      await server.close();
    },
  };
}

export const NAME_SERVER_TARGETS: readonly Target[] = [
  queries,
  answers,
  { name: 'name server', share: 20, open: openServer },
];
