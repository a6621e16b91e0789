import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createClient } from '@apiary/api/client';
import { VirtualClock } from '@apiary/std';
import t, { type Test } from 'tap';
import { run } from '../app.js';
import { OWN_SURROUNDINGS } from '../surroundings.js';
import { type Reply, startRecordingServer } from '../testing/recording-server.js';

/** Backups over a recorded daemon: what is left on the disk, and what is said, however the daemon behaves. */

async function setUp(t: Test, reply: Reply) {
  const server = await startRecordingServer(({ path }) => (path === '/apiary/v1/backup' ? reply : undefined));
  t.teardown(() => server.close());
  const folder = t.testdir({});
  const said = { out: '', err: '' };
  const clock = new VirtualClock(0);
  const interrupts = new Set<() => void>();
  const backup = (words: string[], isErrTty = false) =>
    run(['backup', ...words], {
      terminal: {
        out: (text) => {
          said.out += text;
        },
        err: (text) => {
          said.err += text;
        },
        isTty: false,
        isErrTty,
        width: 80,
      },
      clock,
      surroundings: OWN_SURROUNDINGS,
      readSecretLine: async () => '',
      onInterrupt: (handler) => {
        interrupts.add(handler);
        return () => interrupts.delete(handler);
      },
      version: '1.2.3',
      connect: (host) => createClient(host),
      defaultHost: server.host,
    });
  return { server, folder, file: `${folder}/swarm.backup`, said, backup, interrupts };
}

const CONTENT = Buffer.alloc(300_000, 'state');
const whole: Reply = (response) => void response.end(CONTENT);

t.test('a backup is written whole, for its owner alone, and never over another unless asked to', async (t) => {
  const { file, folder, said, backup, server } = await setUp(t, whole);
  t.equal(await backup(['-o', file]), 0);
  t.same(readFileSync(file), CONTENT);
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.match(said.out, /^Swarm backed up to .*\/swarm\.backup \(293KiB, sha256:[0-9a-f]{64}\)\.\n$/);
  t.equal(said.err, 'Keep it safe: it holds the keys of the swarm.\n');
  writeFileSync(file, 'older');
  server.requests.length = 0;
  t.equal(await backup(['-o', file]), 1);
  t.match(said.err, /swarm\.backup is there already: choose another name, or use --force\n$/);
  t.same(server.requests, [], 'the daemon is not asked for nothing');
  t.equal(readFileSync(file, 'utf8'), 'older');
  t.equal(await backup(['--force', '-o', file]), 0);
  t.same(readFileSync(file), CONTENT);
  t.same(readdirSync(folder), ['swarm.backup']);
});

t.test('progress is drawn on a terminal, and wiped when it is over', async (t) => {
  const { file, said, backup } = await setUp(t, whole);
  t.equal(await backup(['-o', file], true), 0);
  t.match(said.err.replaceAll('\r\x1b[2K', '<wiped>'), /^<wiped>[\d.]+Ki?B[\s\S]*<wiped>Keep it safe/);
});

t.test('what goes wrong leaves no file, and is told', async (t) => {
  const cases: [string, Reply, RegExp][] = [
    ['refused', { status: 503, json: { message: 'no leader' } }, /^Error response from daemon: no leader\n$/],
    ['nothing', (response) => void response.end(), /^swarmd sent an empty backup: look into its log/],
    [
      'cut off',
      (response) => {
        response.writeHead(200, { 'content-length': CONTENT.length });
        response.write(CONTENT.subarray(0, 1000), () => response.destroy());
      },
      /^the backup was cut off \(.*\): look into the log of swarmd, then try again\n$/,
    ],
  ];
  for (const [name, reply, message] of cases) {
    await t.test(name, async (t) => {
      const { file, folder, said, backup } = await setUp(t, reply);
      t.equal(await backup(['-o', file]), 1);
      t.match(said.err, message);
      t.same(readdirSync(folder), []);
    });
  }
  const { folder, said, backup } = await setUp(t, whole);
  t.equal(await backup(['-o', `${folder}/none/swarm.backup`]), 1);
  t.match(said.err, /^cannot write .*none\/swarm\.backup: ENOENT/);
  said.err = '';
  t.equal(await backup([]), 1);
  t.match(said.err, /^say where to write the backup: swarmctl backup --output FILE\n$/);
});

t.test('Ctrl-C ends it, and leaves no file', async (t) => {
  let isAsked = () => {};
  const asked = new Promise<void>((resolve) => {
    isAsked = resolve;
  });
  const { file, folder, said, backup, interrupts } = await setUp(t, (response) => {
    response.write(CONTENT);
    isAsked();
  });
  const done = backup(['-o', file]);
  await asked;
  for (const interrupt of interrupts) interrupt();
  t.equal(await done, 130);
  t.equal(said.err, '');
  t.notOk(existsSync(file));
  t.same(readdirSync(folder), []);
});
