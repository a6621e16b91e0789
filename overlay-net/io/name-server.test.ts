import { createSocket } from 'node:dgram';
import { Resolver } from 'node:dns/promises';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { connect, Socket } from 'node:net';
import { createNetworkNamespace, deleteNetworkNamespace, Netlink, openSocketIn } from '@apiary/agent-native';
import { type Rate, SeededRng, VirtualClock } from '@apiary/std';
import { SystemClock } from '@apiary/std/io';
import t, { type Test } from 'tap';
import {
  type AssignedNetwork,
  ENGINE_RESOLVER,
  type Endpoint,
  type NamedService,
  type NetworkState,
} from '../core/index.js';
import { NameServer, type NameServerOptions } from './name-server.js';
import { NamespaceNames } from './namespace-names.js';
import { framed, withLength } from './resolver.js';

const SERVER = '127.0.0.53';
const skip = process.getuid?.() === 0 ? false : 'root is needed, for a network namespace';
/** Whom the server knows by the addresses that they ask from. */
const [TASK, SEALED, STRANGER] = ['127.0.0.2', '127.0.0.3', '127.0.0.4'];

const network = (networkId: string, internal = false): AssignedNetwork => ({
  networkId,
  name: networkId,
  vni: 4097,
  subnet: '10.0.0.0/24',
  gateway: '10.0.0.1',
  internal,
  attachable: false,
  encrypted: false,
  mtu: 0,
  engineNetwork: '',
});

function stateOf(endpoints: Endpoint[], services: NamedService[]): NetworkState {
  const set = {
    version: 1,
    endpoints: new Map(endpoints.map((each) => [each.taskId, each])),
    services: new Map(services.map((each) => [each.serviceId, each])),
  };
  return {
    selfId: 'n1',
    dataPathPort: 4789,
    networks: new Map([network('front'), network('sealed', true)].map((each) => [each.networkId, each])),
    endpointSets: new Map([
      ['front', set],
      ['sealed', set],
    ]),
    nodes: new Map(),
    publishedPorts: new Map(),
    tasks: new Map(),
  };
}

const endpoint = (taskId: string, serviceId: string, address: string): Endpoint => ({
  taskId,
  serviceId,
  nodeId: 'n1',
  address,
  taskName: `${serviceId}.1.${taskId}`,
  aliases: [],
  live: true,
});
const STATE = stateOf(
  [
    { ...endpoint('a', 'web', '10.0.0.3'), ipv6Address: 'fd00::3' },
    ...Array.from({ length: 100 }, (_, i) => endpoint(`d${i}`, 'many', `10.0.0.${i + 100}`)),
  ],
  [
    { serviceId: 'web', name: 'web', vip: '10.0.0.2', aliases: [], ipv6Vip: 'fd00::2' },
    { serviceId: 'many', name: 'many', vip: '', aliases: [] },
  ],
);

async function server(t: Test, options: Partial<NameServerOptions> = {}): Promise<NameServer> {
  const opened = await NameServer.listen({
    address: SERVER,
    port: 0,
    clock: new SystemClock(),
    rng: new SeededRng(1),
    logger: { info: () => {}, warn: (fields, message) => t.fail(`${message}: ${JSON.stringify(fields)}`) },
    upstream: async () => [],
    ...options,
  });
  t.teardown(() => opened.close());
  opened.apply(STATE, { hasVips: true });
  const attachment = (networkId: string) => [{ networkId, address: '', aliases: [] }];
  opened.know(TASK, { attachments: attachment('front'), nameservers: [] });
  opened.know(SEALED, { attachments: attachment('sealed'), nameservers: [] });
  return opened;
}

function resolver(to: NameServer, from = TASK): Resolver {
  const made = new Resolver({ timeout: 2_000, tries: 1 });
  made.setServers([`${SERVER}:${to.port}`]);
  made.setLocalAddress(from);
  return made;
}

/** Another resolver, which knows of the world. */
async function other(t: Test, answer: string): Promise<{ addr: string }> {
  const elsewhere = await NameServer.listen({
    address: SERVER,
    port: 0,
    clock: new SystemClock(),
    rng: new SeededRng(1),
    logger: { info: () => {}, warn: () => {} },
    upstream: async () => [],
  });
  t.teardown(() => elsewhere.close());
  const names = ['example.com', 'big.example.com'];
  const state = stateOf(
    names.flatMap((name, i) =>
      Array.from({ length: i * 99 + 1 }, (_, j) => endpoint(`${name}${j}`, name, i === 0 ? answer : `192.0.2.${j}`)),
    ),
    names.map((name) => ({ serviceId: name, name, vip: '', aliases: [] })),
  );
  elsewhere.apply(state, { hasVips: false });
  elsewhere.know('127.0.0.1', { attachments: [{ networkId: 'front', address: '', aliases: [] }], nameservers: [] });
  return { addr: `${SERVER}:${elsewhere.port}` };
}

/** For the addresses of a name, as it goes over TCP. */
function question(id: number, ...labels: string[]): Uint8Array {
  const head = [0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
  const name = labels.flatMap((label) => [label.length, ...Buffer.from(label)]);
  return withLength(Uint8Array.from([...head, ...name, 0, 0, 1, 0, 1]));
}

/** The numbers of the next so many answers. */
function answersOf(socket: Socket, count: number): Promise<number[]> {
  const ids: number[] = [];
  return new Promise((resolve) => {
    const read = framed((message) => {
      ids.push(message[1] ?? 0);
      if (ids.length === count) resolve(ids);
    });
    socket.removeAllListeners('data');
    socket.on('data', read);
  });
}

/** Asks until no more is taken: what the kernel holds on both sides is full some time, and then it stays here. */
async function askWithoutReading(socket: Socket, message: Uint8Array): Promise<number> {
  const hundred = Buffer.concat(Array.from({ length: 100 }, () => message));
  let asked = 0;
  let stuck = 0;
  while (stuck < 50 && asked < 200_000) {
    if (stuck === 0) {
      socket.write(hundred);
      asked += 100;
    }
    await new Promise(setImmediate);
    stuck = socket.writableLength > 10 * hundred.length ? stuck + 1 : 0;
  }
  return asked;
}

t.test('names of the asker’s networks are answered, and of nobody else’s', async (t) => {
  const here = await server(t);
  t.same(await resolver(here).resolve4('web'), ['10.0.0.2']);
  t.same(await resolver(here).resolve4('tasks.web'), ['10.0.0.3']);
  t.same(await resolver(here).reverse('10.0.0.3'), ['web.1.a.front']);
  await t.rejects(resolver(here).resolve6('web'), { code: 'ENODATA' });
  await t.rejects(resolver(here, STRANGER).resolve4('web'), { code: 'ESERVFAIL' }, 'nobody is there to ask');
  here.forget(TASK);
  await t.rejects(resolver(here).resolve4('web'), { code: 'ESERVFAIL' });
});

t.test('who has IPv6 on a network is told addresses of it, and nobody else', async (t) => {
  const here = await server(t);
  await t.rejects(resolver(here).resolve6('web'), { code: 'ENODATA' });
  const attachments = [{ networkId: 'front', address: '10.0.0.3', aliases: [], ipv6Address: 'fd00::3' }];
  here.know(TASK, { attachments, nameservers: [] });
  t.same(await resolver(here).resolve6('web'), ['fd00::2']);
  t.same(await resolver(here).resolve6('tasks.web'), ['fd00::3']);
  t.same(await resolver(here).reverse('fd00::3'), ['web.1.a.front']);
  await t.rejects(resolver(here).resolve6('many'), { code: 'ENODATA' });
});

t.test('all addresses come, in random order, over TCP when they do not fit', async (t) => {
  const here = await server(t);
  const [one, two] = [await resolver(here).resolve4('many'), await resolver(here).resolve4('many')];
  t.equal(new Set(one).size, 100);
  t.same([...one].sort(), [...two].sort());
  t.notSame(one, two);
});

t.test('a change is answered at once', async (t) => {
  const here = await server(t);
  t.same(await resolver(here).resolve4('web'), ['10.0.0.2']);
  const services = [{ serviceId: 'web', name: 'web', vip: '10.0.0.9', aliases: [] }];
  here.apply(stateOf([endpoint('b', 'web', '10.0.0.8')], services), { hasVips: true });
  t.same(await resolver(here).resolve4('web'), ['10.0.0.9']);
  here.apply(stateOf([{ ...endpoint('b', 'web', '10.0.0.8'), live: false }], services), { hasVips: true });
  await t.rejects(resolver(here).resolve4('web'), { code: 'ENOTFOUND' });
});

t.test('all else is for the host’s resolvers, or the task’s own', async (t) => {
  const [hosts, own] = [await other(t, '192.0.2.1'), await other(t, '192.0.2.2')];
  const closed = createSocket('udp4');
  closed.bind(0, SERVER);
  await once(closed, 'listening');
  const nobody = `${SERVER}:${closed.address().port}`;
  closed.close();
  const here = await server(t, { upstream: async () => ['255.255.255.255', nobody, hosts.addr] });
  t.same(await resolver(here).resolve4('example.com'), ['192.0.2.1'], 'the last, when the others are not there');
  t.equal((await resolver(here).resolve4('big.example.com')).length, 100, 'over TCP');
  t.same(await resolver(here, STRANGER).resolve4('example.com'), ['192.0.2.1']);
  here.know(TASK, { attachments: [{ networkId: 'front', address: '', aliases: [] }], nameservers: [own.addr] });
  t.same(await resolver(here).resolve4('example.com'), ['192.0.2.2']);
  t.same(await resolver(here).resolve4('web'), ['10.0.0.2']);
  await t.rejects(resolver(here, SEALED).resolve4('example.com'), { code: 'ENOTFOUND' }, 'no way out');
});

t.test('a resolver that does not answer holds up nobody else, however many ask', async (t) => {
  const silent = createSocket('udp4');
  silent.bind(0, SERVER);
  await once(silent, 'listening');
  t.teardown(() => silent.close());
  const here = await server(t, { upstream: async () => [`${SERVER}:${silent.address().port}`] });
  const lost = Array.from({ length: 600 }, (_, i) =>
    resolver(here)
      .resolve4(`n${i}.example.com`)
      .catch(({ code }) => code),
  );
  t.same(await resolver(here).resolve4('web'), ['10.0.0.2']);
  const codes = new Set(await Promise.all(lost));
  t.ok(
    [...codes].every((code) => code === 'ESERVFAIL' || code === 'ETIMEOUT'),
    [...codes].join(),
  );
});

t.test('over TCP, many questions come in pieces, and are answered in turn', async (t) => {
  const here = await server(t);
  const socket = connect({ host: SERVER, port: here.port, localAddress: TASK });
  t.teardown(() => socket.destroy());
  const bytes = Buffer.concat([1, 2, 3].map((id) => question(id, 'web')));
  const ids = answersOf(socket, 3);
  for (const byte of bytes) socket.write(Uint8Array.of(byte));
  t.same(await ids, [1, 2, 3]);
});

t.test('over TCP, who does not read the answers is not read either, and has all of them in the end', async (t) => {
  const here = await server(t, { askerRate: { burst: 1_000_000, perSecond: 0 } });
  const socket = connect({ host: SERVER, port: here.port, localAddress: SEALED });
  t.teardown(() => socket.destroy());
  const longest = ['x', 'y', 'z'].map((letter) => letter.repeat(63));
  const asked = await askWithoutReading(socket, question(1, ...longest));
  t.ok(asked < 200_000, `it took ${asked} questions`);
  t.equal((await answersOf(socket, asked)).length, asked);
});

t.test('who asks without end is not heard for a while, and nobody else waits', async (t) => {
  const clock = new VirtualClock();
  const here = await server(t, { clock, askerRate: { burst: 3, perSecond: 1 } });
  const ask = (from: string) => resolver(here, from).resolve4('web');
  for (let i = 0; i < 3; i++) t.same(await ask(TASK), ['10.0.0.2']);
  await t.rejects(ask(TASK), { code: 'ETIMEOUT' });
  t.same(await ask(SEALED), ['10.0.0.2']);
  clock.advance(1_000);
  t.same(await ask(TASK), ['10.0.0.2']);
  const socket = connect({ host: SERVER, port: here.port, localAddress: SEALED });
  t.teardown(() => socket.destroy());
  const first = answersOf(socket, 3);
  socket.write(Buffer.concat([1, 2, 3, 4].map((id) => question(id, 'web'))));
  t.same(await first, [1, 2, 3], 'over TCP, in one piece');
  const last = answersOf(socket, 1);
  clock.advance(1_500);
  t.same(await last, [4]);
});

t.test('in a container with the engine’s network, as much may be asked, and no more', { skip }, async (t) => {
  const clock = new VirtualClock();
  const path = `/run/netns/apiary-names-${process.pid}`;
  mkdirSync('/run/netns', { recursive: true });
  await createNetworkNamespace(path);
  t.teardown(() => deleteNetworkNamespace(path));
  const netlink = await Netlink.open();
  t.teardown(() => netlink.close());
  await netlink.apply([{ in: { path }, do: 'set-link', link: 'lo', to: { isUp: true } }]);
  const logger = { info: () => {}, warn: (fields: object, message: string) => t.fail(message, fields) };
  const open = async (rate?: Rate) => {
    const options = { namespace: { path }, names: await server(t), clock, logger, ...(rate && { rate }) };
    const names = await NamespaceNames.open(options, [{ networkId: 'front', address: '', aliases: [] }]);
    t.teardown(() => names.close());
    return names;
  };
  const connection = async () => {
    const peer = { address: ENGINE_RESOLVER, port: 53 };
    const socket = new Socket({ fd: await openSocketIn({ path }, { kind: 'tcp', address: '127.0.0.1', peer }) });
    t.teardown(() => socket.destroy());
    return socket;
  };

  const names = await open({ burst: 3, perSecond: 1 });
  const udp = createSocket('udp4');
  t.teardown(() => udp.close());
  udp.bind({ fd: await openSocketIn({ path }, { kind: 'udp', address: '127.0.0.1' }) });
  udp.send(question(1, 'web').subarray(2), 53, ENGINE_RESOLVER);
  const [answer, from]: (Buffer & { address?: string })[] = await once(udp, 'message');
  t.same([answer?.[1], from?.address], [1, ENGINE_RESOLVER]);
  const asker = await connection();
  const first = answersOf(asker, 2);
  asker.write(Buffer.concat([2, 3, 4].map((id) => question(id, 'web'))));
  t.same(await first, [2, 3]);
  const last = answersOf(asker, 1);
  clock.advance(1_500);
  t.same(await last, [4], 'later');
  names.close();

  await open({ burst: 1_000_000, perSecond: 0 });
  const silent = await connection();
  const asked = await askWithoutReading(silent, question(1, 'many'));
  t.ok(asked < 200_000, `it took ${asked} questions`);
});
