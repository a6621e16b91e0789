import { deepStrictEqual } from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { parseHostPort } from '@apiary/api/model';
import type { AppendRequest, Entry, HeartbeatRequest, Message, SnapshotChunk } from '@apiary/raft/core';
import { NotAcceptedError } from '@apiary/raft/io';
import { ApiaryError } from '@apiary/std';
import { SystemClock } from '@apiary/std/io';
import { Client, Metadata } from '@grpc/grpc-js';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { startRpcServer } from '../rpc/server.js';
import { createRootCa, type RootCa } from '../trust/authority.js';
import { encodeFrames, framedBytes } from './frame.js';
import { MESSAGE_CODEC, Outbox } from './outbox.js';
import { type ManagerIdentity, PeerCredentials } from './peer-credentials.js';
import { identityOf, TestMember } from './test-member.js';
import { RAW_RAFT_SERVICE, WIRE_VERSION, writeGreeting } from './wire.js';

const rootCa = createRootCa(Date.now());

/** Managers `m1`, `m2`, ... that listen and have each other on record. */
async function members(t: Test, count: number): Promise<TestMember[]> {
  const all = Array.from({ length: count }, (_, i) => new TestMember(identityOf(rootCa, `m${i + 1}`)));
  for (const member of all) await member.listen(t);
  for (const member of all) {
    for (const other of all) if (other !== member) member.records.set(other.id, other.addr);
  }
  return all;
}

async function pair(t: Test): Promise<[TestMember, TestMember]> {
  const [one, two] = await members(t, 2);
  if (one === undefined || two === undefined) throw new Error('two were asked for');
  return [one, two];
}

function heartbeat(from: string, to: string, round: number): HeartbeatRequest {
  return { type: 'heartbeat-request', from, to, term: 1, commit: 0, round, sentTick: round };
}

function append(from: string, to: string, first: number, sizes: number[]): AppendRequest {
  const entries = sizes.map((size, i): Entry => {
    return { type: 'command', index: first + i, term: 1, data: new Uint8Array(size).fill(first + i) };
  });
  return { type: 'append-request', from, to, term: 1, previous: { index: first - 1, term: 1 }, commit: 0, entries };
}

/** What was received, without regard to which bytes are a Buffer. */
function plain(messages: Message[]): Message[] {
  return structuredClone(messages);
}

const isRound = (round: number) => (message: Message) =>
  message.type === 'heartbeat-request' && message.round === round;

/** A TCP proxy that a test can cut, or let fall silent. */
class Cable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #target: string;

  constructor(target: string) {
    this.#target = target;
    this.#server = createServer((near) => {
      const far = connect(parseHostPort(this.#target, 'address'));
      for (const socket of [near, far]) {
        this.#sockets.add(socket);
        socket.on('error', () => undefined);
        socket.on('close', () => {
          this.#sockets.delete(socket);
          near.destroy();
          far.destroy();
        });
      }
      near.pipe(far).pipe(near);
    });
  }

  async open(t: Test): Promise<string> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    t.teardown(() => {
      this.#server.close();
      this.cut();
    });
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? `127.0.0.1:${address.port}` : '';
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Takes nothing more from either side, and closes nothing. */
  silence(): void {
    for (const socket of this.#sockets) socket.unpipe().pause();
  }
}

t.test('messages arrive in order, from whom the certificate names, entries as they were', async (t) => {
  const [one, two] = await pair(t);
  const sent: Message[] = [];
  for (let round = 0; round < 500; round++) {
    sent.push(heartbeat('m1', 'm2', round), append('m1', 'm2', 1 + round * 3, [10, 0, 300]));
  }
  one.transport.keep(['m2']);
  for (const message of sent) one.transport.send(message);
  await two.board.until(() => two.received.length === sent.length);
  deepStrictEqual(plain(two.received), sent);

  const large = append('m1', 'm2', 5000, [16 * 1024 * 1024, 5]);
  one.transport.send(large);
  one.transport.send(heartbeat('m1', 'm2', 1000));
  await two.got(isRound(1000));
  // An entry at its limit takes many frames.
  deepStrictEqual(plain(two.received.slice(-2, -1)), [large]);

  t.throws(() => one.transport.send(heartbeat('m3', 'm2', 1)), /m1 cannot speak as m3/);
  two.transport.send(heartbeat('m2', 'm1', 7));
  await one.got(isRound(7));
});

t.test('three managers talk to each other, each over a connection of its own', async (t) => {
  const all = await members(t, 3);
  const ids = all.map(({ id }) => id);
  for (const member of all) member.transport.keep(ids);
  for (const member of all) {
    for (const id of ids) if (id !== member.id) member.transport.send(heartbeat(member.id, id, 1));
  }
  for (const member of all) {
    await member.board.until(() => member.received.length === 2);
    t.same(
      member.received.map(({ from }) => from).sort(),
      ids.filter((id) => id !== member.id),
    );
  }
});

t.test('a lost connection is told of once, and comes back; keep() lets the others go', async (t) => {
  const [one, two] = await pair(t);
  const cable = new Cable(two.addr);
  one.records.set('m2', await cable.open(t));
  one.transport.keep(['m2']);
  one.transport.send(heartbeat('m1', 'm2', 1));
  await two.got(isRound(1));
  cable.cut();
  await one.board.until(() => one.lost.length > 0);
  one.transport.send(heartbeat('m1', 'm2', 2));
  await two.got(isRound(2));
  t.same(one.lost, ['m2']);

  one.transport.keep([]);
  cable.cut();
  one.transport.keep(['m2']);
  one.transport.send(heartbeat('m1', 'm2', 3));
  await two.got(isRound(3));
  t.same(one.lost, ['m2'], 'a connection that was let go is not lost');
});

t.test('what waits is bounded: entries are dropped beyond it, heartbeats keep their place', async (t) => {
  const outbox = new Outbox(1_000);
  outbox.push(append('m1', 'm2', 1, [600]));
  for (let round = 0; round < 10; round++) {
    outbox.push(append('m1', 'm2', 2 + round, [600]));
    outbox.push(heartbeat('m1', 'm2', round));
  }
  const { items, bytes } = outbox.take(10_000);
  t.equal(items.length, 11, 'one request, since a second would have been too much');
  t.ok(items.slice(1).every((message, round) => isRound(round)(message)));
  t.equal(
    bytes,
    items.reduce((sum, message) => sum + framedBytes(message, MESSAGE_CODEC), 0),
  );
  t.same(outbox.take(10_000).items, []);
  outbox.push(append('m1', 'm2', 1, [5_000]));
  t.equal(outbox.take(100).items.length, 1, 'one that is larger than the bound goes alone');
  for (let round = 0; round < 100_000; round++) outbox.push(heartbeat('m1', 'm2', round));
  t.ok(outbox.take(Number.POSITIVE_INFINITY).items.length < 5_000, 'nor are small ones without number');
  outbox.push(append('m1', 'm2', 1, [600]));
  for (let round = 0; round < 100; round++) outbox.push(heartbeat('m1', 'm2', round));
  outbox.trim();
  t.ok(outbox.take(10_000).items.every(({ type }) => type === 'heartbeat-request'));
});

t.test('a connection that falls silent is found out within seconds, and costs little memory until then', async (t) => {
  const [one, two] = await pair(t);
  const cable = new Cable(two.addr);
  one.records.set('m2', await cable.open(t));
  one.transport.keep(['m2']);
  one.transport.send(heartbeat('m1', 'm2', 1));
  await two.got(isRound(1));
  const sinceMs = Date.now();
  cable.silence();
  const before = process.memoryUsage().arrayBuffers;
  let heldBytes = 0;
  let sentBytes = 0;
  // The same each time: what is thrown away is not to be taken for what is held.
  const large = append('m1', 'm2', 1, [1024 * 1024]);
  while (one.lost.length === 0 && Date.now() - sinceMs < 10_000) {
    for (let i = 0; i < 8; i++) one.transport.send(large);
    sentBytes += 8 * 1024 * 1024;
    heldBytes = Math.max(heldBytes, process.memoryUsage().arrayBuffers - before);
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.ok(Date.now() - sinceMs < 4_000, `${Date.now() - sinceMs} ms`);
  t.ok(sentBytes > 300 * 1024 * 1024, `${sentBytes} bytes were sent`);
  t.ok(heldBytes < 150 * 1024 * 1024, `${heldBytes} bytes are held`);
  t.same(one.lost, ['m2']);
  one.transport.send(heartbeat('m1', 'm2', 2));
  await two.got(isRound(2));
});

t.test('heartbeats do not wait behind a snapshot', async (t) => {
  const [one, two] = await pair(t);
  one.transport.keep(['m2']);
  one.transport.send(heartbeat('m1', 'm2', 0));
  await two.got(isRound(0));
  const chunk = (offset: number): SnapshotChunk => ({
    type: 'snapshot-chunk',
    from: 'm1',
    to: 'm2',
    term: 1,
    snapshot: { index: 9, term: 1, membership: { voters: ['m1'], learners: ['m2'] } },
    offset,
    data: new Uint8Array(4 * 1024 * 1024).fill(offset),
    isLast: false,
  });
  one.transport.send(chunk(0));
  one.transport.send(heartbeat('m1', 'm2', 1));
  await two.got(isRound(1));
  t.notOk(
    two.received.some(({ type }) => type === 'snapshot-chunk'),
    'the heartbeat has overtaken the piece',
  );
  await two.got(({ type }) => type === 'snapshot-chunk');
  deepStrictEqual(plain(two.received.slice(-1)), [chunk(0)]);
  one.transport.send(chunk(1));
  await two.got((message) => message.type === 'snapshot-chunk' && message.offset === 1);
});

function refusalOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: unknown) => error,
  );
}

t.test('an entry is handed to the leader: accepted, refused, certainly not accepted, unknown', async (t) => {
  const [one, two] = await pair(t);
  const entry = (text: string): Uint8Array => Buffer.from(text);
  const forwards: string[] = [];
  two.accepts = async (bytes) => {
    const text = Buffer.from(bytes).toString('latin1', 0, 20);
    forwards.push(text);
    two.board.noted();
    if (text === 'not the leader') throw new NotAcceptedError('m2 does not lead');
    if (text === 'too large') throw new ApiaryError('resource-exhausted', 'the entry has 5 bytes, the limit is 4');
    if (text === 'bug') throw new TypeError('secret words');
    if (text === 'never answered') await new Promise(() => undefined);
    return { index: forwards.length, term: 2 ** 40 };
  };
  one.transport.keep(['m2']);
  t.same(await one.transport.forward('m2', entry('first')), { index: 1, term: 2 ** 40 });
  const many = Array.from({ length: 300 }, (_, i) => one.transport.forward('m2', entry(`entry ${i}`)));
  t.same(
    (await Promise.all(many)).map(({ index }) => index),
    Array.from({ length: 300 }, (_, i) => i + 2),
  );
  t.equal((await one.transport.forward('m2', Buffer.alloc(16 * 1024 * 1024))).index, 302);

  await t.rejects(one.transport.forward('m2', entry('not the leader')), new NotAcceptedError('m2 does not lead'));
  await t.rejects(one.transport.forward('m2', entry('too large')), {
    code: 'resource-exhausted',
    message: 'the entry has 5 bytes, the limit is 4',
  });
  await t.rejects(one.transport.forward('m2', entry('bug')), { code: 'internal', message: /see the log/ });

  const unknown = one.transport.forward('m2', entry('never answered'));
  await two.board.until(() => forwards.at(-1) === 'never answered');
  const failed = t.rejects(unknown, { code: 'unavailable', message: /it is unknown whether it accepted the change/ });
  await two.stop();
  await failed;
  t.notOk((await refusalOf(unknown)) instanceof NotAcceptedError);

  await one.board.until(() => one.lost.length > 0);
  t.ok((await refusalOf(one.transport.forward('m2', entry('late')))) instanceof NotAcceptedError);
  await t.rejects(one.transport.forward('m9', entry('nobody')), /no address of manager m9 is known/);
});

t.test('a manager that has moved says so where it dials, and is found there', async (t) => {
  const [one, two] = await pair(t);
  one.transport.keep(['m2']);
  one.transport.send(heartbeat('m1', 'm2', 1));
  await two.got(isRound(1));
  const before = two.addr;
  await two.stopListening();
  await one.board.until(() => one.lost.length > 0);
  await two.listen(t);
  t.not(two.addr, before);
  two.transport.keep(['m1']);
  await one.board.until(() => one.said.length > 0);
  t.same(one.said, [['m2', two.addr]]);
  one.transport.send(heartbeat('m1', 'm2', 2));
  await two.got(isRound(2));
});

t.test('somebody who is not yet known as a member is answered where it says that it is', async (t) => {
  const [one, two] = await pair(t);
  two.records.clear();
  two.transport.send(heartbeat('m2', 'm1', 1));
  one.transport.keep(['m2']);
  one.transport.send(heartbeat('m1', 'm2', 2));
  await two.got(isRound(2));
  two.transport.send(heartbeat('m2', 'm1', 3));
  await one.got(isRound(3));
  t.notOk(one.received.some(isRound(1)), 'nobody knew where it was');
});

async function lone(t: Test, id: string, ca: RootCa = rootCa, wish = {}): Promise<TestMember> {
  const member = new TestMember(identityOf(ca, id, wish));
  await member.listen(t);
  return member;
}

t.test('who is at an address is checked, and what is wrong is said in words', async (t) => {
  const one = await lone(t, 'm1');
  const elsewhere = await lone(t, 'm2', createRootCa(Date.now()));
  one.records.set('m2', elsewhere.addr);
  one.transport.keep(['m2']);
  await one.hasLogged(/m2: at 127\.0\.0\.1:\d+ is somebody with a certificate of another cluster .*check that address/);

  const other = await lone(t, 'm3');
  one.records.set('m2', other.addr);
  await one.hasLogged(/m2: at 127\.0\.0\.1:\d+ is another node of this cluster, m3: two nodes have one address/);

  const worker = await lone(t, 'm2', rootCa, { role: 'worker' });
  one.records.set('m2', worker.addr);
  await one.hasLogged(/m2: at 127\.0\.0\.1:\d+ is that node, but its certificate is a worker's/);

  const foreign = await lone(t, 'm2', rootCa, { clusterId: 'c2' });
  one.records.set('m2', foreign.addr);
  await one.hasLogged(/m2: at 127\.0\.0\.1:\d+ is a node of another cluster, c2; this one is c1/);
  for (const stranger of [elsewhere, other, worker, foreign]) t.same(stranger.received, []);

  const right = await lone(t, 'm2');
  one.records.set('m2', right.addr);
  one.transport.send(heartbeat('m1', 'm2', 1));
  await right.got(isRound(1));
  t.equal(one.logged.filter(({ msg }) => /somebody with/.test(msg)).length, 1, 'each is said once');
});

t.test('workers, strangers and excluded managers may not speak; a certificate of afterwards may', async (t) => {
  const two = await lone(t, 'm2');
  const dial = (id: string, ca: RootCa, wish = {}): TestMember => {
    const member = new TestMember(identityOf(ca, id, wish));
    t.teardown(() => member.stop());
    member.records.set('m2', two.addr);
    member.transport.keep(['m2']);
    member.transport.send(heartbeat(id, 'm2', 1));
    return member;
  };
  await dial('w1', rootCa, { role: 'worker' }).hasLogged(/node w1 is a worker: this call is for managers only/);

  two.replica.apply([
    {
      type: 'cluster-create',
      cluster: { id: 'c1', spec: {}, joinSecrets: { worker: 'w', manager: 'm' }, rootCa },
    },
    {
      type: 'node-create',
      node: {
        id: 'm1',
        role: 'manager',
        spec: { Role: 'manager' },
        status: { state: 'unknown', message: '', addr: '' },
      },
    },
  ]);
  const one = dial('m1', rootCa, { issuedMs: Date.now() - 60_000 });
  await two.got(isRound(1));
  two.replica.apply([
    { type: 'node-spec', id: 'm1', spec: { Role: 'worker' } },
    { type: 'node-role', id: 'm1', role: 'worker' },
  ]);
  t.type(two.replica.view.cluster()?.excluded?.['m1'], 'number');
  await one.board.until(() => one.lost.length > 0);
  await one.hasLogged(/node m1 is no manager any more: its certificate is of before it was demoted or removed/);
  t.equal(one.logged.filter(({ msg }) => /no manager any more/.test(msg)).length, 1);
  t.notOk(two.received.some(isRound(2)));

  one.identity = identityOf(rootCa, 'm1', { issuedMs: Date.now() + 2_000 });
  one.transport.send(heartbeat('m1', 'm2', 3));
  await two.got(isRound(3));

  const copy = new TestMember(identityOf(rootCa, 'm2'));
  t.teardown(() => copy.stop());
  const client = clientOf(t, copy.identity, two);
  t.match(
    await statusOf(client, writeGreeting({ version: WIRE_VERSION, addr: undefined })),
    /two managers with the id m2/,
  );
});

function clientOf(t: Test, identity: ManagerIdentity, { id, addr }: TestMember): Client {
  const client = new Client(addr, new PeerCredentials(identity, { id, addr }));
  t.teardown(() => client.close());
  return client;
}

/** What a stream ends with, on which nothing that makes sense is said. */
function statusOf(client: Client, metadata: Metadata, frame?: Buffer): Promise<string> {
  const { path, requestSerialize, responseDeserialize } = RAW_RAFT_SERVICE.messages;
  return new Promise((resolve) => {
    const stream = client.makeClientStreamRequest(path, requestSerialize, responseDeserialize, metadata, (error) => {
      resolve(error?.details ?? 'ended');
    });
    if (frame !== undefined) stream.on('metadata', () => stream.write(frame, () => stream.end()));
  });
}

t.test('a newer version is refused on both sides, each naming both versions, and is said once', async (t) => {
  const two = await lone(t, 'm2');
  const newer = identityOf(rootCa, 'm1');
  const client = clientOf(t, newer, two);
  const speak = (metadata: Metadata) => statusOf(client, metadata);
  const words = /manager m1 speaks version 2 of the managers' protocol, and this manager version 1: upgrade swarmd/;
  for (let i = 0; i < 3; i++) t.match(await speak(writeGreeting({ version: 2, addr: undefined })), words);
  t.equal(two.logged.filter(({ msg }) => words.test(msg)).length, 1);
  t.match(await speak(new Metadata()), /does not say which version/);

  const service = {
    messages: (call: { sendMetadata(metadata: Metadata): void; metadata: Metadata }) => {
      call.sendMetadata(writeGreeting({ version: 7, addr: undefined }));
    },
    snapshots: () => undefined,
    forward: () => undefined,
  };
  const server = await startRpcServer({
    listenAddr: '127.0.0.1:0',
    identity: newer,
    services: [{ definition: RAW_RAFT_SERVICE, implementation: service, access: 'member' }],
    replica: two.replica,
    clock: new SystemClock(),
  });
  t.teardown(() => server.close());
  two.records.set('m1', server.addr);
  two.transport.keep(['m1']);
  await two.hasLogged(/manager m1 at .* speaks version 7 of the managers' protocol, and this manager version 1/);
  t.ok((await refusalOf(two.transport.forward('m1', Buffer.from('x')))) instanceof NotAcceptedError);
});

t.test('a certificate is renewed under streams that stay', async (t) => {
  const [one, two] = await pair(t);
  one.transport.keep(['m2']);
  one.transport.send(heartbeat('m1', 'm2', 1));
  await two.got(isRound(1));
  one.identity = identityOf(rootCa, 'm1');
  one.transport.send(heartbeat('m1', 'm2', 2));
  await two.got(isRound(2));
  t.same(one.lost, []);
});

t.test('frames with flipped bits end their stream with words, and nothing else', async (t) => {
  const two = await lone(t, 'm2');
  const client = clientOf(t, identityOf(rootCa, 'm1'), two);
  const metadata = writeGreeting({ version: WIRE_VERSION, addr: undefined });
  const items: Message[] = [heartbeat('m1', 'm2', 1), append('m1', 'm2', 5, [20, 30])];
  const bytes = items.reduce((sum, item) => sum + framedBytes(item, MESSAGE_CODEC), 0);
  const [good = Buffer.alloc(0)] = encodeFrames(items, bytes, MESSAGE_CODEC);
  t.equal(await statusOf(client, metadata, good), 'ended');
  deepStrictEqual(plain(two.received), items);

  const flips = fc.array(fc.nat(good.length * 8 - 1), { minLength: 1, maxLength: 3 });
  await fc.assert(
    fc.asyncProperty(flips, async (bits) => {
      const bad = Buffer.from(good);
      for (const bit of bits) bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      return /^(ended|malformed .*|entry \d+ has content of type .*)$/.test(await statusOf(client, metadata, bad));
    }),
    { numRuns: 60 },
  );
  two.received.length = 0;
  t.equal(await statusOf(client, metadata, good), 'ended');
  // Others are served as before.
  deepStrictEqual(plain(two.received), items);
});
