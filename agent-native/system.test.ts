import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  createNetworkNamespace,
  deleteNetworkNamespace,
  type MountFlag,
  mount,
  mountTmpfs,
  Netlink,
  networkNamespaceCookie,
  openSocketIn,
  readSysctls,
  socketPeer,
  unmount,
  writeSysctls,
} from './index.js';
import { folderOf, networkOf, refusal, withoutRoot } from './kernel.fixture.js';

/** A line of mountinfo, in the namespace of `process`: options of the mount, and of the file system. */
function mountAt(target: string, process: number | 'self' = 'self'): { options: string[]; type: string } | undefined {
  const lines = readFileSync(`/proc/${process}/mountinfo`, 'utf8').trim().split('\n');
  const line = lines.map((text) => text.split(' ')).findLast((fields) => fields[4] === target);
  if (line === undefined) return undefined;
  const rest = line.slice(line.indexOf('-'));
  return { options: `${line[5]},${rest[3]}`.split(','), type: rest[1] ?? '' };
}

/** A process in namespaces of its own that ends with the test. */
async function processIn(t: Test, ...spaces: string[]): Promise<number> {
  const child = spawn('unshare', [...spaces, 'sh', '-c', 'echo ready; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.teardown(async () => {
    child.stdin.end();
    await once(child, 'exit');
  });
  await once(child.stdout, 'data');
  if (child.pid === undefined) throw new Error('unshare did not start');
  return child.pid;
}

t.test('a tmpfs has the size, mode and owner asked for', { skip: withoutRoot }, async (t) => {
  const target = folderOf(t);
  await mountTmpfs({
    target,
    sizeBytes: 1 << 20,
    mode: 0o710,
    uid: 12,
    gid: 34,
    inodes: 50,
    flags: ['nosuid', 'nodev'],
  });
  t.teardown(() => unmount(target, { flags: ['detach'] }));
  const found = mountAt(target);
  t.equal(found?.type, 'tmpfs');
  t.ok(['nosuid', 'nodev', 'size=1024k', 'nr_inodes=50'].every((option) => found?.options.includes(option)));
  const status = statSync(target);
  t.same([status.mode & 0o777, status.uid, status.gid], [0o710, 12, 34]);
  t.throws(() => writeFileSync(join(target, 'large'), Buffer.alloc(2 << 20)), { code: 'ENOSPC' });
});

t.test('a bind mount is read-only when that is asked for, in one call', { skip: withoutRoot }, async (t) => {
  const folder = folderOf(t);
  for (const name of ['source', 'target']) mkdirSync(join(folder, name));
  writeFileSync(join(folder, 'source/secret'), 's');
  const target = join(folder, 'target');
  await mount({ source: join(folder, 'source'), target, flags: ['bind', 'ro', 'nosuid', 'noexec'] });
  t.equal(readFileSync(join(target, 'secret'), 'utf8'), 's');
  t.throws(() => writeFileSync(join(target, 'secret'), 't'), { code: 'EROFS' });
  t.ok(mountAt(target)?.options.includes('noexec'));
  await unmount(target);
  t.equal(mountAt(target), undefined);
});

t.test('mounts inside the mount namespace of a process leave ours alone', { skip: withoutRoot }, async (t) => {
  const target = folderOf(t);
  const pid = await processIn(t, '--mount', '--propagation', 'private');
  await mountTmpfs({ target, sizeBytes: 65536, namespace: { pid } });
  t.equal(mountAt(target, pid)?.type, 'tmpfs');
  t.equal(mountAt(target), undefined);
  await mount({ target, flags: ['remount', 'ro'], namespace: { path: `/proc/${pid}/ns/mnt` } });
  t.ok(mountAt(target, pid)?.options.includes('ro'));
  await unmount(target, { namespace: { pid } });
  t.equal(mountAt(target, pid), undefined);
});

t.test('what the kernel refuses says what was tried', { skip: withoutRoot }, async (t) => {
  const folder = folderOf(t);
  const absent = join(folder, 'absent');
  const noFolder = await refusal(mountTmpfs({ target: absent }));
  t.equal(noFolder.message, `mount ${absent}: ENOENT`);
  t.match(noFolder, { code: 'ENOENT', errno: 2, operation: `mount ${absent}` });
  t.equal((await refusal(unmount(folder))).code, 'EINVAL');
  t.equal((await refusal(mount({ target: folder, type: 'no-such-fs' }))).code, 'ENODEV');
  symlinkSync('/', join(folder, 'link'));
  t.equal((await refusal(unmount(join(folder, 'link'), { flags: ['nofollow'] }))).code, 'EINVAL');
  t.equal((await refusal(mountTmpfs({ target: folder, namespace: { pid: 4_000_000 } }))).code, 'ENOENT');
  const notOne = await refusal(mountTmpfs({ target: folder, namespace: { path: '/proc/self/ns/net' } }));
  t.equal(notOne.message, 'enter mount namespace: EINVAL');
  await t.rejects(mount({ target: folder, flags: ['sideways' as MountFlag] }), /unknown flag "sideways"/);
  await t.rejects(mountTmpfs({ target: folder, sizeBytes: -1 }), /size must be a whole number/);
});

t.test('a network namespace has a name until it is deleted', { skip: withoutRoot }, async (t) => {
  const path = join(folderOf(t), 'web');
  await createNetworkNamespace(path);
  t.not(statSync(path).ino, statSync('/proc/self/ns/net').ino);
  t.equal(mountAt(path)?.type, 'nsfs');
  t.equal((await refusal(createNetworkNamespace(path))).code, 'EEXIST');
  await deleteNetworkNamespace(path);
  t.notOk(existsSync(path));
  t.equal((await refusal(deleteNetworkNamespace(path))).code, 'ENOENT');
  writeFileSync(path, '');
  await deleteNetworkNamespace(path);
  t.notOk(existsSync(path), 'what a creation that was cut short leaves is removed too');
  writeFileSync(path, 'something');
  t.equal((await refusal(deleteNetworkNamespace(path))).code, 'EINVAL', 'and nothing else');
});

t.test('a network namespace has one number for BPF programs, by whichever name', { skip: withoutRoot }, async (t) => {
  const { path } = await networkOf(t);
  t.not(await networkNamespaceCookie({ path }), await networkNamespaceCookie());
  t.equal(await networkNamespaceCookie({ pid: process.pid }), await networkNamespaceCookie());
  t.equal((await refusal(networkNamespaceCookie({ path: `${path}-absent` }))).code, 'ENOENT');
});

t.test('sysctls are those of the network namespace', { skip: withoutRoot }, async (t) => {
  const { path } = await networkOf(t);
  const name = 'net/ipv4/conf/all/rp_filter';
  const before = readFileSync(`/proc/sys/${name}`, 'utf8').trim();
  const other = before === '2' ? '1' : '2';
  await writeSysctls({ [name]: other, 'net.ipv6.conf.all.disable_ipv6': 1 }, { path });
  t.same(await readSysctls([name], { path }), new Map([[name, other]]));
  t.same(await readSysctls([name]), new Map([[name, before]]));
  t.match((await refusal(readSysctls(['net/ipv4/no_such']))).message, /^open \/proc\/sys\/net\/ipv4\/no_such: ENOENT$/);
  t.match((await refusal(writeSysctls({ [name]: 'x' }, { path }))).message, /^write .*: EINVAL$/);
  await t.rejects(readSysctls(['net/../../etc/passwd']), /is no sysctl name/);
});

t.test('a socket of a network namespace is heard there, and nowhere else', { skip: withoutRoot }, async (t) => {
  const { path } = await networkOf(t);
  const netlink = await Netlink.open();
  t.teardown(() => netlink.close());
  await netlink.apply([{ in: { path }, do: 'set-link', link: 'lo', to: { isUp: true } }]);
  const ends = { kind: 'tcp', address: '127.0.0.1', port: 4711 } as const;
  const server = createServer((socket) => socket.end('hello'));
  t.teardown(() => server.close());
  server.listen({ fd: await openSocketIn({ path }, ends) });
  const client = { kind: 'tcp', address: '127.0.0.2', peer: ends } as const;
  const socket = new Socket({ fd: await openSocketIn({ path }, client) });
  const [words] = await once(socket, 'data');
  t.equal(String(words), 'hello');
  socket.destroy();
  t.equal((await refusal(openSocketIn({ path }, ends))).message, 'bind socket: EADDRINUSE');
  const receiveBytes = 2 * Number(readFileSync('/proc/sys/net/core/rmem_max', 'utf8'));
  const wide = createSocket('udp4');
  const fd = await openSocketIn({ path }, { kind: 'udp', address: '127.0.0.1', receiveBytes });
  const listening = once(wide, 'listening');
  wide.bind({ fd });
  await listening;
  // The kernel counts what it needs for itself as much again.
  t.equal(wide.getRecvBufferSize(), 2 * receiveBytes, 'more room than the system lets others have');
  wide.close();
  t.equal((await refusal(openSocketIn({ pid: process.pid }, client))).message, 'connect socket: ECONNREFUSED');
});

t.test('who is at the other end of a unix socket is known', { skip: withoutRoot }, async (t) => {
  const path = join(folderOf(t), 'socket');
  const server = createServer();
  server.listen(path);
  await once(server, 'listening');
  t.teardown(() => server.close());
  chmodSync(path, 0o666);
  chmodSync(join(path, '..'), 0o755);
  const script = `require('net').connect(${JSON.stringify(path)}).resume()`;
  const child = spawn(process.execPath, ['-e', script], { uid: 4711, gid: 4712, stdio: 'ignore' });
  t.teardown(() => child.kill());
  const [socket]: Socket[] = await once(server, 'connection');
  if (socket === undefined) throw new Error('nobody came');
  t.same(socketPeer(socket), { pid: child.pid, uid: 4711, gid: 4712 });
  socket.destroy();
  t.equal(socketPeer(socket), undefined);
});
