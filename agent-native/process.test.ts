import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import {
  Assembler,
  BpfMap,
  BpfProgram,
  createNetworkNamespace,
  deleteNetworkNamespace,
  mountTmpfs,
  Netlink,
  NetworkWatch,
  readSysctls,
  unmount,
} from './index.js';
import { folderOf, networkOf, openDescriptors, withoutRoot } from './kernel.fixture.js';

const skip = withoutRoot;
const noFailure = (error: Error) => {
  throw error;
};

function threads(): number {
  return readdirSync('/proc/self/task').length;
}

/** Calls `operation` so often, a hundred at a time; what it is refused does not count against it. */
async function repeat(times: number, operation: (i: number) => Promise<unknown>): Promise<number> {
  for (let i = 0; i < times; i += 100) {
    await Promise.all(Array.from({ length: 100 }, (_, j) => operation(i + j).catch(() => {})));
  }
  return times;
}

t.test('100,000 operations leave no descriptor and no thread behind', { skip, timeout: 240_000 }, async (t) => {
  const { path } = await networkOf(t);
  const folder = folderOf(t);
  const namespace = { path };
  const net = await Netlink.open({ namespace });
  const map = await BpfMap.create({ type: 'hash', keyBytes: 4, valueBytes: 4, maxEntries: 100 });
  const instructions = new Assembler().mov('r0', 1).exit().assemble();
  const wrong = new Assembler().load(32, 'r0', 'r1', 4096).exit().assemble();
  const round = async (scale: number): Promise<number> => {
    let count = 0;
    const times = async (share: number, operation: (i: number) => Promise<unknown>) => {
      count += await repeat(share * scale, operation);
    };
    await times(300, () => net.link('lo'));
    await times(100, () => net.addresses());
    await times(100, () => net.apply([{ do: 'delete-link', link: 'absent' }]));
    // In another namespace, by a socket that the batch opens there.
    await times(100, () => net.apply([{ in: namespace, do: 'set-link', link: 'lo', to: { isUp: true } }]));
    await times(50, () => net.apply([{ in: { path: '/absent' }, do: 'delete-link', link: 'lo' }]));
    await times(50, () => Netlink.open({ namespace: { path: '/proc/self/ns/mnt' } }));
    await times(10, async () => (await Netlink.open({ namespace })).close());
    await times(10, async () => {
      (await NetworkWatch.open({ subjects: ['links'], listener: () => {}, onFailure: noFailure, namespace })).close();
    });
    await times(50, () => readSysctls(['net/ipv4/ip_forward'], namespace));
    await times(20, () => mountTmpfs({ target: join(folder, 'absent'), namespace: { pid: process.pid } }));
    await times(1, async (i) => {
      await createNetworkNamespace(join(folder, `${i}`));
      await deleteNetworkNamespace(join(folder, `${i}`));
    });
    await times(100, () => map.set(Buffer.alloc(4), Buffer.alloc(4)));
    await times(50, async () => (await BpfMap.openById(map.id)).close());
    await times(20, async () => (await BpfProgram.load({ type: 'cgroup-skb', instructions })).close());
    await times(20, () => BpfProgram.load({ type: 'cgroup-skb', instructions: wrong }));
    await times(20, async () =>
      (await BpfMap.create({ type: 'array', keyBytes: 4, valueBytes: 4, maxEntries: 1 })).close(),
    );
    return count;
  };
  await round(100);
  const before = { descriptors: openDescriptors(), threads: threads() };
  let count = 0;
  while (count < 100_000) count += await round(100);
  t.ok(count >= 100_000, `${count} operations`);
  t.same({ descriptors: openDescriptors(), threads: threads() }, before);
  await unmount(folder).catch(() => {});
  map.close();
  await net.close();
});

t.test('what is forgotten is closed by the garbage collector', { skip }, async (t) => {
  const code = `
    const { BpfMap, Netlink } = await import(${JSON.stringify(new URL('./index.js', import.meta.url).href)});
    const { readdirSync } = await import('node:fs');
    const count = () => readdirSync('/proc/self/fd').length;
    await (await Netlink.open()).close();
    const before = count();
    for (let i = 0; i < 200; i++) await BpfMap.create({ type: 'array', keyBytes: 4, valueBytes: 4, maxEntries: 1 });
    for (let i = 0; i < 50; i++) await (await Netlink.open()).links();
    for (let i = 0; i < 50 && count() > before; i++) { gc(); await new Promise(setImmediate); }
    console.log(count() - before);`;
  const { stdout } = spawnSync(process.execPath, ['--expose-gc', '--input-type=module', '-e', code], {
    encoding: 'utf8',
  });
  t.equal(Number(stdout), 0, stdout);
});

t.test('memory that is free between what is in use goes back to the kernel', async (t) => {
  const code = `
    const { trimHeap } = await import(${JSON.stringify(new URL('./index.js', import.meta.url).href)});
    const { readFileSync } = await import('node:fs');
    const residentMiB = () => Number(/^RssAnon:\\s+(\\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024;
    const pieces = Array.from({ length: 4096 }, () => Buffer.allocUnsafeSlow(20_000).fill(1));
    const kept = pieces.filter((_, i) => i % 16 === 0);
    pieces.length = 0;
    for (let i = 0; i < 5; i++) { gc(); await new Promise(setImmediate); }
    const before = residentMiB();
    trimHeap();
    console.log(before - residentMiB());
    if (kept.some((piece) => piece.some((byte) => byte !== 1))) throw new Error('what is in use has changed');`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--expose-gc', '--input-type=module', '-e', code], {
    encoding: 'utf8',
  });
  t.ok(Number(stdout) > 40, `${stdout} MiB less of 80; ${stderr}`);
});

t.test('an open connection or watch lets the process end as it should', { skip }, async (t) => {
  const start = `const { Netlink, NetworkWatch } = await import(${JSON.stringify(new URL('./index.js', import.meta.url).href)});
    const net = await Netlink.open(); await net.links();
    const watch = () => NetworkWatch.open({ subjects: ['links'], listener: () => {}, onFailure: () => {} });`;
  const run = async (code: string) => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', `${start}${code}`], { stdio: 'inherit' });
    return (await once(child, 'exit')) as [number | null, string | null];
  };
  t.same(await run(''), [0, null], 'an idle connection keeps nothing waiting');
  t.same(await run('(await watch()).close();'), [0, null]);
  t.same(await run('await watch(); net.links(); process.exit(3);'), [3, null], 'in the middle of everything');
  const worker = `const { Worker } = await import('node:worker_threads');
    const code = ${JSON.stringify(`(async () => { ${start} await watch(); net.links(); process.exit(0); })()`)};
    for (let i = 0; i < 3; i++) await new Promise((ended) => new Worker(code, { eval: true }).on('exit', ended));
    await net.links();`;
  t.same(await run(worker), [0, null], 'in threads of JavaScript that come and go');
});

t.test('no argument makes the process crash', { skip, timeout: 120_000 }, async (t) => {
  const fixture = fileURLToPath(new URL('./fuzz.fixture.js', import.meta.url));
  const args = [
    '--mount',
    '--net',
    '--propagation',
    'private',
    process.execPath,
    fixture,
    String(Date.now() % 1e9),
    '100',
  ];
  const { status, signal, stdout, stderr } = spawnSync('unshare', args, { cwd: folderOf(t), encoding: 'utf8' });
  t.same({ status, signal }, { status: 0, signal: null }, `${args.join(' ')}: ${stderr.slice(-2000)}`);
  t.equal(stdout, 'survived\n');
});
