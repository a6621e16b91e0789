import { execFile } from 'node:child_process';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { openDescriptors } from '../kernel.fixture.js';
import { unmount } from '../mount.js';
import { type Gate, openGate } from './gate.js';

const run = promisify(execFile);
const isRoot = process.getuid?.() === 0;
const skip = isRoot ? false : 'a gate is mounted by root only';

interface Setting {
  folder: string;
  mountPoint: string;
}

async function setting(t: Test): Promise<Setting> {
  const folder = await mkdtemp(join(tmpdir(), 'gate-'));
  const mountPoint = await mkdtemp(join(folder, 'mnt-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return { folder, mountPoint };
}

async function gate(
  t: Test,
  mountPoint: string,
  resolve: (name: string, asker: { pid: number }) => Promise<string | undefined>,
): Promise<Gate> {
  const opened = await openGate({ mountPoint, resolve, onLost: (error) => t.fail(error.message) });
  t.teardown(() => opened.close());
  return opened;
}

/** By another process: one that looks through a gate of its own cannot be killed while it waits for itself. */
async function readLink(path: string): Promise<string> {
  const { stdout } = await run('readlink', ['-v', path]);
  return stdout.trimEnd();
}

t.test('a name leads where it is said to, asked anew each time; others are not there', { skip }, async (t) => {
  const { mountPoint } = await setting(t);
  const asked: string[] = [];
  await gate(t, mountPoint, async (name) => {
    asked.push(name);
    return name === 'here' ? `/target/${asked.length}` : undefined;
  });
  const first = await readLink(join(mountPoint, 'here'));
  t.match(first, /^\/target\/\d$/);
  t.not(await readLink(join(mountPoint, 'here')), first);
  await t.rejects(readLink(join(mountPoint, 'gone')), /No such file/);
  t.equal(asked.at(-1), 'gone');
  t.same((await run('ls', ['-A', mountPoint])).stdout, '');
  await t.rejects(run('touch', [join(mountPoint, 'gone')]), /Function not implemented/);
});

t.test('who asks waits until it is settled, and gets an error when it fails', { skip }, async (t) => {
  const { mountPoint } = await setting(t);
  let settle: (target: string) => void = () => {};
  let onAsked: () => void = () => {};
  const isAsked = new Promise<void>((resolve) => {
    onAsked = resolve;
  });
  const answer = new Promise<string>((resolve) => {
    settle = resolve;
  });
  await gate(t, mountPoint, (name) => {
    if (name === 'bad') return Promise.reject(new Error('no'));
    onAsked();
    return answer;
  });
  let isThrough = false;
  const reading = readLink(join(mountPoint, 'slow')).then((target) => {
    isThrough = true;
    return target;
  });
  await isAsked;
  await t.rejects(readLink(join(mountPoint, 'bad')), /Input\/output error/);
  t.notOk(isThrough);
  settle('/done');
  t.equal(await reading, '/done');
});

t.test('a mount from another network namespace is held up inside of it', { skip }, async (t) => {
  const { folder, mountPoint } = await setting(t);
  await writeFile(join(folder, 'source'), 'hello');
  await writeFile(join(folder, 'onto'), '');
  const own = await stat('/proc/self/ns/net');
  const seen: boolean[] = [];
  await gate(t, mountPoint, async (_name, { pid }) => {
    seen.push((await stat(`/proc/${pid}/ns/net`)).ino !== own.ino);
    return join(folder, 'source');
  });
  const script = 'mount --bind "$1" "$2" && cat "$2"';
  const args = ['-m', '-n', 'sh', '-c', script, 'sh', join(mountPoint, 'file'), join(folder, 'onto')];
  const { stdout } = await run('unshare', args);
  t.equal(stdout, 'hello');
  t.ok(seen.length > 0 && seen.every(Boolean));
});

t.test('closed, it lets nobody wait, and its place is free for the next', { skip }, async (t) => {
  const { mountPoint } = await setting(t);
  let onAsked: () => void = () => {};
  const isAsked = new Promise<void>((resolve) => {
    onAsked = resolve;
  });
  const first = await gate(t, mountPoint, () => {
    onAsked();
    return new Promise(() => {});
  });
  const waiting = t.rejects(readLink(join(mountPoint, 'x')));
  await isAsked;
  first.close();
  await waiting;
  await gate(t, mountPoint, async () => '/next');
  t.equal(await readLink(join(mountPoint, 'x')), '/next');
});

t.test('what an earlier process left mounted is taken away', { skip }, async (t) => {
  const { mountPoint } = await setting(t);
  let onLost = (_error: Error) => {};
  const lost = new Promise<Error>((resolve) => {
    onLost = resolve;
  });
  const first = await openGate({ mountPoint, resolve: async () => '/first', onLost });
  t.teardown(() => first.close());
  await openGate({ mountPoint, resolve: async () => '/second', onLost: () => {} }).then((second) => {
    t.teardown(() => second.close());
  });
  t.equal(await readLink(join(mountPoint, 'x')), '/second');
  t.match(await lost, /No such device/);
  first.close();
  t.equal(await readLink(join(mountPoint, 'x')), '/second', 'and what was taken away leaves the next alone');
});

t.test('one that is taken away says so, and holds nothing any more', { skip }, async (t) => {
  const { mountPoint } = await setting(t);
  const open = () =>
    new Promise<Error>((resolve, reject) => {
      const options = { mountPoint, resolve: async () => '/somewhere', onLost: resolve };
      openGate(options).then(() => unmount(mountPoint, { flags: ['detach'] }), reject);
    });
  await open();
  const before = openDescriptors();
  for (let i = 0; i < 3; i++) t.match(await open(), /No such device/);
  t.equal(openDescriptors(), before);
});

t.test('a folder that is not there is refused by name', { skip }, async (t) => {
  const options = { mountPoint: '/nowhere/at/all', resolve: async () => undefined, onLost: () => {} };
  await t.rejects(openGate(options), { code: 'ENOENT', message: /\/nowhere\/at\/all/ });
});
