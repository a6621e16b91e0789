import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  Assembler,
  attachedPrograms,
  BPF_FUNCTIONS,
  BpfLink,
  BpfMap,
  BpfProgram,
  bpfIds,
  type Instructions,
  mount,
  unmount,
  unpin,
} from '../index.js';
import { folderOf, refusal, withoutRoot } from '../kernel.fixture.js';

const tree = readFileSync('/proc/mounts', 'utf8')
  .split('\n')
  .map((line) => line.split(' '))
  .find((fields) => fields[2] === 'cgroup2')?.[1];
const skip = withoutRoot || (tree === undefined && 'no cgroup v2 tree is mounted') || (await bpfGap());

/** Why there is no BPF here, or false. */
async function bpfGap(): Promise<string | false> {
  try {
    (await BpfMap.create({ type: 'hash', keyBytes: 4, valueBytes: 4, maxEntries: 1 })).close();
    return false;
  } catch (error) {
    return `the kernel makes no BPF maps here (${error})`;
  }
}

function u32(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [i, value] of values.entries()) bytes.writeUInt32LE(value >>> 0, i * 4);
  return bytes;
}

/** An address and a port as struct bpf_sock_addr has them: both in network order, the port in 32 bits. */
function endpoint(address: string, port: number): Buffer {
  return Buffer.from([...address.split('.').map(Number), port >> 8, port & 0xff, 0, 0]);
}

const ALLOW = new Assembler().mov('r0', 1).exit().assemble();
const [USER_IP4, USER_PORT] = [4, 24];

/** Looks up the address and port that a socket talks to, and puts what it finds in their place. */
function rewriting(map: BpfMap): Instructions {
  return new Assembler()
    .mov('r6', 'r1')
    .load(32, 'r2', 'r6', USER_IP4)
    .store(32, 'r10', -8, 'r2')
    .load(32, 'r2', 'r6', USER_PORT)
    .store(32, 'r10', -4, 'r2')
    .loadMap('r1', map)
    .mov('r2', 'r10')
    .alu('add', 'r2', -8)
    .call(BPF_FUNCTIONS.mapLookup)
    .jumpIf('r0', '==', 0, 'as it is')
    .load(32, 'r2', 'r0', 0)
    .store(32, 'r6', USER_IP4, 'r2')
    .load(32, 'r2', 'r0', 4)
    .store(32, 'r6', USER_PORT, 'r2')
    .label('as it is')
    .mov('r0', 1)
    .exit()
    .assemble();
}

function cgroupOf(t: Test, label = 'a'): string {
  const cgroup = join(tree ?? '', `apiary-native-${process.pid}-${label}`);
  mkdirSync(cgroup);
  t.teardown(() => rmdirSync(cgroup));
  return cgroup;
}

/** A Node process in a cgroup that runs `code` once it is there. */
function runIn(cgroup: string, code: string): ChildProcessWithoutNullStreams {
  const child = spawn(process.execPath, [
    '-e',
    `process.stdin.once('data', () => { process.stdin.destroy(); ${code} })`,
  ]);
  writeFileSync(join(cgroup, 'cgroup.procs'), String(child.pid));
  child.stdin.write('go');
  return child;
}

async function outputOf(child: ChildProcessWithoutNullStreams): Promise<string> {
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
  await once(child, 'close');
  return output.trim();
}

t.test('a VIP is rewritten at connect, and the peer still has its name', { skip }, async (t) => {
  const server = createServer((socket) => socket.end('the backend')).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const forward = await BpfMap.create({ type: 'hash', keyBytes: 8, valueBytes: 8, maxEntries: 64, name: 'forward' });
  const backward = await BpfMap.create({ type: 'hash', keyBytes: 8, valueBytes: 8, maxEntries: 64 });
  await forward.set(endpoint('198.51.100.7', 80), endpoint('127.0.0.1', port));
  await backward.set(endpoint('127.0.0.1', port), endpoint('198.51.100.7', 80));
  const cgroup = cgroupOf(t);
  const load = (map: BpfMap, attachType: 'connect4' | 'getpeername4') =>
    BpfProgram.load({ type: 'cgroup-sock-addr', attachType, instructions: rewriting(map), name: attachType });
  const connect = await load(forward, 'connect4');
  const peer = await load(backward, 'getpeername4');
  await connect.attach({ cgroup, attachType: 'connect4', flags: ['multi'] });
  const link = await peer.link({ cgroup, attachType: 'getpeername4' });
  const code = `const s = require('net').connect(80, '198.51.100.7', () => console.log(s.remoteAddress, s.remotePort));
    s.on('data', (text) => console.log(String(text)));`;
  t.equal(await outputOf(runIn(cgroup, code)), '198.51.100.7 80\nthe backend');
  const info = await connect.info();
  t.match(info, { type: 'cgroup-sock-addr', name: 'connect4', mapIds: [forward.id] });
  t.same(await attachedPrograms({ cgroup, attachType: 'connect4' }), { programIds: [connect.id], flags: ['multi'] });
  await connect.detach({ cgroup, attachType: 'connect4' });
  t.same((await attachedPrograms({ cgroup, attachType: 'connect4' })).programIds, []);
  t.equal((await refusal(connect.detach({ cgroup, attachType: 'connect4' }))).code, 'ENOENT');
  for (const object of [forward, backward, connect, peer, link]) object.close();
});

t.test('datagrams to a VIP go to its backend, and answers come from the VIP', { skip }, async (t) => {
  const server = createSocket('udp4').bind(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  server.on('message', (text, from) => server.send(`re: ${text}`, from.port, from.address));
  const { port } = server.address();
  const there = await BpfMap.create({ type: 'hash', keyBytes: 8, valueBytes: 8, maxEntries: 8 });
  const back = await BpfMap.create({ type: 'hash', keyBytes: 8, valueBytes: 8, maxEntries: 8 });
  await there.set(endpoint('198.51.100.8', 53), endpoint('127.0.0.1', port));
  await back.set(endpoint('127.0.0.1', port), endpoint('198.51.100.8', 53));
  const cgroup = cgroupOf(t);
  // What is not held is closed by the garbage collector, and a link takes its program out of the cgroup.
  const held: { close(): void }[] = [];
  t.teardown(() => {
    for (const object of held) object.close();
  });
  for (const [attachType, map] of [
    ['sendmsg4', there],
    ['recvmsg4', back],
  ] as const) {
    const program = await BpfProgram.load({ type: 'cgroup-sock-addr', attachType, instructions: rewriting(map) });
    held.push(program, await program.link({ cgroup, attachType }));
  }
  const code = `const s = require('dgram').createSocket('udp4');
    s.on('message', (text, from) => { console.log(String(text), from.address, from.port); s.close(); });
    s.send('hello', 53, '198.51.100.8');`;
  t.equal(await outputOf(runIn(cgroup, code)), 're: hello 198.51.100.8 53');
  for (const object of [there, back]) object.close();
});

t.test('a program is attached to a network link until its link is detached', { skip }, async (t) => {
  const [attachType, linkIndex] = ['tcx-ingress', 1] as const; // lo
  const program = await BpfProgram.load({
    type: 'sched-cls',
    attachType,
    instructions: new Assembler().mov('r0', -1).exit().assemble(),
  });
  t.teardown(() => program.close());
  const link = await program.link({ attachType, linkIndex }).catch((error: unknown) => {
    // Kernels before 6.6 have no such hook.
    t.match(error, { code: 'EINVAL' });
  });
  if (link === undefined) return;
  t.match(await link.info(), { programId: program.id, linkIndex, attachType });
  await link.detach();
  t.equal((await link.info()).linkIndex, 0);
  link.close();
  t.equal((await refusal(program.link({ attachType, linkIndex: 1_000_000 }))).code, 'ENODEV');
});

t.test('a program that is refused comes with what the verifier said', { skip }, async (t) => {
  const instructions = new Assembler().load(32, 'r0', 'r1', 4096).exit().assemble();
  const options = { type: 'cgroup-sock-addr', attachType: 'connect4', instructions, name: 'wrong' } as const;
  const refused = await refusal(BpfProgram.load(options));
  t.match(refused, { code: 'EACCES', operation: 'load BPF program wrong' });
  t.match(refused.text, /invalid bpf_context access off=4096 size=4/);
  t.match(refused.message, /^load BPF program wrong: EACCES\n/);
  const endless = new Assembler().label('again').mov('r0', 1).jump('again').exit().assemble();
  t.match(
    (await refusal(BpfProgram.load({ ...options, instructions: endless }))).text,
    /unreachable insn|infinite loop|back-edge/,
  );
  const quarrel = await refusal(BpfProgram.load({ type: 'cgroup-sock-addr', attachType: 'xdp', instructions: ALLOW }));
  t.equal(quarrel.code, 'EINVAL');
  t.throws(() => new Assembler().jump('nowhere').assemble(), /no label "nowhere"/);
});

t.test('attachments: order, effect below, replacement, links', { skip }, async (t) => {
  const cgroup = cgroupOf(t);
  const below = join(cgroup, 'below');
  mkdirSync(below);
  t.teardown(() => rmdirSync(below));
  const at = { cgroup, attachType: 'connect4' } as const;
  const load = () => BpfProgram.load({ type: 'cgroup-sock-addr', attachType: 'connect4', instructions: ALLOW });
  const [first, second, third] = [await load(), await load(), await load()];
  await first.attach({ ...at, flags: ['multi'] });
  await second.attach({ ...at, flags: ['multi'] });
  t.same((await attachedPrograms(at)).programIds, [first.id, second.id]);
  await third.attach({ ...at, flags: ['multi'], replaced: first });
  t.same((await attachedPrograms(at)).programIds, [third.id, second.id]);
  t.same((await attachedPrograms({ ...at, cgroup: below })).programIds, []);
  const effective = await attachedPrograms({ ...at, cgroup: below, isEffective: true });
  t.ok([third.id, second.id].every((id) => effective.programIds.includes(id)));
  const byId = await BpfProgram.openById(second.id);
  await byId.detach(at);
  const link = await first.link({ cgroup: below, attachType: 'connect4' });
  t.match(await link.info(), { programId: first.id, cgroupId: statSync(below).ino, attachType: 'connect4' });
  await link.update(second);
  t.equal((await link.info()).programId, second.id);
  t.ok((await bpfIds('link')).includes(link.id) && (await bpfIds('program')).includes(second.id));
  await link.detach();
  t.same((await attachedPrograms({ ...at, cgroup: below })).programIds, []);
  await third.detach(at);
  t.equal((await refusal(first.attach({ ...at, cgroup: `${cgroup}-absent` }))).code, 'ENOENT');
  t.match(
    (await refusal(first.attach({ cgroup: '/proc', attachType: 'connect4' }))).message,
    /attach BPF program to cgroup \/proc: E/,
  );
});

t.test('what is pinned is found again, and is what it is', { skip }, async (t) => {
  const folder = folderOf(t);
  await mount({ source: 'bpf', type: 'bpf', target: folder });
  t.teardown(() => unmount(folder, { flags: ['detach'] }));
  const cgroup = cgroupOf(t);
  const map = await BpfMap.create({ type: 'array', keyBytes: 4, valueBytes: 8, maxEntries: 3, name: 'kept' });
  const program = await BpfProgram.load({ type: 'cgroup-sock-addr', attachType: 'connect4', instructions: ALLOW });
  const link = await program.link({ cgroup, attachType: 'connect4' });
  await map.set(u32(1), u32(7, 8));
  await map.pin(join(folder, 'map'));
  await program.pin(join(folder, 'program'));
  await link.pin(join(folder, 'link'));
  for (const object of [map, program, link]) object.close();
  const found = await BpfMap.openPinned(join(folder, 'map'));
  t.match(found, { id: map.id, type: 'array', keyBytes: 4, valueBytes: 8, maxEntries: 3 });
  t.same(await found.get(u32(1)), u32(7, 8));
  t.equal((await BpfProgram.openPinned(join(folder, 'program'))).id, program.id);
  t.same((await attachedPrograms({ cgroup, attachType: 'connect4' })).programIds, [program.id], 'a pinned link holds');
  const wrong = await refusal(BpfMap.openPinned(join(folder, 'link')));
  t.match(wrong, { code: 'EINVAL', text: 'it is a BPF object of another kind' });
  t.equal((await refusal(found.pin(join(folder, 'map')))).code, 'EEXIST');
  const again = await BpfLink.openPinned(join(folder, 'link'));
  await unpin(join(folder, 'link'));
  again.close();
  t.equal((await refusal(unpin(join(folder, 'link')))).code, 'ENOENT');
  t.notOk(existsSync(join(folder, 'link')));
});

t.test('maps: many entries at once, conditions, and being full', { skip }, async (t) => {
  const count = 10_000;
  const map = await BpfMap.create({ type: 'hash', keyBytes: 4, valueBytes: 8, maxEntries: count });
  const entries = Array.from({ length: count }, (_, i) => ({ key: u32(i), value: u32(i, i * 3) }));
  await map.setMany(entries);
  const found = await map.entries();
  t.equal(found.length, count);
  t.ok(found.every(({ key, value }) => value.readUInt32LE(4) === key.readUInt32LE() * 3));
  t.same(await map.getMany([u32(5), u32(count), u32(6)]), [u32(5, 15), undefined, u32(6, 18)]);
  t.equal((await refusal(map.set(u32(count), u32(0, 0)))).code, 'E2BIG');
  t.equal((await refusal(map.set(u32(1), u32(0, 0), 'absent'))).code, 'EEXIST');
  t.same(await map.deleteMany([u32(1), u32(count), u32(2)]), [true, false, true]);
  t.equal((await refusal(map.set(u32(1), u32(0, 0), 'present'))).code, 'ENOENT');
  t.equal(await map.get(u32(1)), undefined);
  await t.rejects(map.set(Buffer.alloc(3), u32(0, 0)), /a key of this map is 4 bytes, not 3/);
  await t.rejects(map.set(u32(1), u32(0)), /a value of this map is 8 bytes, not 4/);
  t.equal((await refusal(BpfMap.openById(0xfffffff))).code, 'ENOENT');
  const again = await BpfMap.openById(map.id);
  map.close();
  map.close();
  await t.rejects(map.get(u32(5)), /the BPF map is closed/);
  t.same(await again.get(u32(5)), u32(5, 15), 'whoever else holds it still can');
  await again.freeze();
  t.equal((await refusal(again.set(u32(5), u32(0, 0)))).code, 'EPERM');
});

t.test('maps of every kind that is offered', { skip }, async (t) => {
  const percpu = await BpfMap.create({ type: 'percpu-array', keyBytes: 4, valueBytes: 4, maxEntries: 2 });
  t.equal(percpu.valueBytes % 8, 0);
  const value = Buffer.alloc(percpu.valueBytes, u32(9, 0));
  await percpu.set(u32(1), value);
  t.same(await percpu.get(u32(1)), value);
  t.equal((await percpu.entries()).length, 2);
  const trie = await BpfMap.create({
    type: 'lpm-trie',
    keyBytes: 8,
    valueBytes: 4,
    maxEntries: 8,
    flags: ['no-prealloc'],
  });
  await trie.setMany([
    { key: Buffer.concat([u32(8), Buffer.from([10, 0, 0, 0])]), value: u32(8) },
    { key: Buffer.concat([u32(24), Buffer.from([10, 1, 2, 0])]), value: u32(24) },
  ]);
  const longest = async (...ip: number[]) =>
    (await trie.get(Buffer.concat([u32(32), Buffer.from(ip)])))?.readUInt32LE();
  t.same([await longest(10, 1, 2, 3), await longest(10, 9, 9, 9), await longest(11, 0, 0, 1)], [24, 8, undefined]);
  t.equal((await trie.entries()).length, 2);
  const inner = await BpfMap.create({ type: 'array', keyBytes: 4, valueBytes: 4, maxEntries: 4 });
  const outer = await BpfMap.create({
    type: 'hash-of-maps',
    keyBytes: 4,
    valueBytes: 4,
    maxEntries: 4,
    innerMap: inner,
  });
  await outer.setObject(u32(7), inner);
  t.same(await outer.get(u32(7)), u32(inner.id));
  for (const type of ['lru-hash', 'lru-percpu-hash', 'percpu-hash'] as const) {
    const map = await BpfMap.create({ type, keyBytes: 4, valueBytes: 8, maxEntries: 64 });
    const filled = Buffer.alloc(map.valueBytes, 1);
    await map.set(u32(1), filled);
    t.same(await map.entries(), [{ key: u32(1), value: filled }], type);
  }
  const programs = await BpfMap.create({ type: 'program-array', keyBytes: 4, valueBytes: 4, maxEntries: 2 });
  const program = await BpfProgram.load({ type: 'cgroup-skb', instructions: ALLOW });
  await programs.setObject(u32(0), program);
  t.same(await programs.get(u32(0)), u32(program.id));
  t.equal((await refusal(BpfMap.create({ type: 'array', keyBytes: 8, valueBytes: 4, maxEntries: 1 }))).code, 'EINVAL');
  await t.rejects(
    BpfMap.create({ type: 'hash', keyBytes: 4, valueBytes: 4, maxEntries: 1, name: 'a name too long' }),
    /cannot name/,
  );
});
