import { createHash } from 'node:crypto';
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
  const answers: string[] = [];
  const variables: Record<string, string> = {};
  const backup = (words: string[], isErrTty = false) => ctl(['backup', ...words], isErrTty);
  const ctl = (words: string[], isErrTty = false) =>
    run(words, {
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
      surroundings: { ...OWN_SURROUNDINGS, variable: (name) => variables[name] },
      canAsk: answers.length > 0,
      readSecretLine: async (question) => {
        said.err += question;
        return answers.shift() ?? '';
      },
      readShownLine: async () => '',
      onInterrupt: (handler) => {
        interrupts.add(handler);
        return () => interrupts.delete(handler);
      },
      version: '1.2.3',
      connect: (host) => createClient(host),
      defaultHost: server.host,
    });
  return { server, folder, file: `${folder}/swarm.backup`, said, backup, ctl, answers, variables, interrupts };
}

const WARNING = 'WARNING: it is in clear. Keep it safe: it holds the keys and the secrets of the swarm.\n';
const CONTENT = Buffer.alloc(300_000, 'state');
const whole: Reply = (response) => void response.end(CONTENT);

t.test('a backup is written whole, for its owner alone, and never over another unless asked to', async (t) => {
  const { file, folder, said, backup, server } = await setUp(t, whole);
  t.equal(await backup(['--plain', '-o', file]), 0);
  t.same(readFileSync(file), CONTENT);
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.match(said.out, /^Swarm backed up to .*\/swarm\.backup \(293KiB, sha256:[0-9a-f]{64}\)\.\n$/);
  t.equal(said.err, WARNING);
  writeFileSync(file, 'older');
  server.requests.length = 0;
  t.equal(await backup(['--plain', '-o', file]), 1);
  t.match(said.err, /swarm\.backup is there already: choose another name, or use --force\n$/);
  t.same(server.requests, [], 'the daemon is not asked for nothing');
  t.equal(readFileSync(file, 'utf8'), 'older');
  t.equal(await backup(['--plain', '--force', '-o', file]), 0);
  t.same(readFileSync(file), CONTENT);
  t.same(readdirSync(folder), ['swarm.backup']);
});

t.test('progress is drawn on a terminal, and wiped when it is over', async (t) => {
  const { file, said, backup } = await setUp(t, whole);
  t.equal(await backup(['--plain', '-o', file], true), 0);
  t.match(said.err.replaceAll('\r\x1b[2K', '<wiped>'), /^<wiped>[\d.]+Ki?B[\s\S]*<wiped>WARNING: it is in clear/);
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
      t.equal(await backup(['--plain', '-o', file]), 1);
      t.match(said.err, message);
      t.same(readdirSync(folder), []);
    });
  }
  const { folder, said, backup } = await setUp(t, whole);
  t.equal(await backup(['--plain', '-o', `${folder}/none/swarm.backup`]), 1);
  t.match(said.err, /^cannot write .*none\/swarm\.backup: no such file or directory\n$/);
  said.err = '';
  t.equal(await backup(['--plain', '-o', '-']), 1);
  t.match(said.err, /^a backup is written to a file, whole or not at all: name it with --output\n$/);
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
  const done = backup(['--plain', '-o', file]);
  await asked;
  for (const interrupt of interrupts) interrupt();
  t.equal(await done, 130);
  t.equal(said.err, '');
  t.notOk(existsSync(file));
  t.same(readdirSync(folder), []);
});

t.test(
  'a passphrase is asked for twice, or comes from a file or the environment, and nothing is written without',
  async (t) => {
    const { file, folder, said, backup, ctl, answers, variables, server } = await setUp(
      t,
      backupOf('a state of words'),
    );
    const refused = async (words: string[], message: RegExp) => {
      said.err = '';
      t.equal(await backup(['-o', file, ...words]), 1);
      t.match(said.err, message);
      t.notOk(existsSync(file));
    };
    const passphrases = `${folder}/passphrase`;
    await refused(
      [],
      /is encrypted with a passphrase: give --passphrase-file FILE or set SWARM_BACKUP_PASSPHRASE, or use --plain/,
    );
    answers.push('one', 'two');
    await refused([], /^Passphrase of the backup: The same once more: these are two different passphrases/);
    answers.push('', '');
    await refused([], /the passphrase is empty/);
    answers.length = 0;
    variables['SWARM_BACKUP_PASSPHRASE'] = '';
    await refused([], /SWARM_BACKUP_PASSPHRASE is empty/);
    await refused(['--passphrase-file', `${folder}/none`], /none: no such file/);
    writeFileSync(passphrases, 'a\nb\n');
    await refused(['--passphrase-file', passphrases], /passphrase has more than one line/);
    await refused(['--passphrase-file', passphrases, '--plain'], /exclude one another/);
    t.same(server.requests, [], 'the daemon is not asked for nothing');
    writeFileSync(passphrases, 'known to us\n');
    for (const source of ['terminal', 'file', 'environment']) {
      delete variables['SWARM_BACKUP_PASSPHRASE'];
      if (source === 'terminal') answers.push('known to us', 'known to us ');
      if (source === 'environment') variables['SWARM_BACKUP_PASSPHRASE'] = 'known to us';
      const words = source === 'file' ? ['--passphrase-file', passphrases] : [];
      said.err = '';
      t.equal(await backup(['--force', '-o', file, ...words]), 0, source);
      t.match(said.err, /Keep its passphrase: without it, nothing can be restored\.\n$/);
      t.notOk(readFileSync(file).includes('words'));
      t.notMatch(said.out + said.err, /known to us/);
    }
    const restored = async (message: RegExp, ...words: string[]) => {
      said.err = '';
      t.equal(await ctl(['restore', file, '--data-root', `${folder}/root`, ...words]), 1);
      t.match(said.err, message);
      t.notOk(existsSync(`${folder}/root`));
    };
    // It opens, and then is no state.
    const opens = /cannot be restored: the snapshot is damaged/;
    await restored(opens);
    variables['SWARM_BACKUP_PASSPHRASE'] = 'another';
    await restored(/does not open with this passphrase/);
    await restored(opens, '--passphrase-file', passphrases);
    delete variables['SWARM_BACKUP_PASSPHRASE'];
    await restored(
      /swarm\.backup is encrypted: give its passphrase with --passphrase-file FILE, or set SWARM_BACKUP_PASSPHRASE/,
    );
    answers.push('known to us');
    await restored(opens);
  },
);

t.test('of a backup that does not come whole, nothing encrypted is kept', async (t) => {
  for (const reply of [whole, backupOf('state', -1), (response) => void response.end()] satisfies Reply[]) {
    const { file, folder, said, backup, variables } = await setUp(t, reply);
    variables['SWARM_BACKUP_PASSPHRASE'] = 'p';
    t.equal(await backup(['-o', file]), 1);
    t.match(said.err, /^swarmd sent no backup that this swarmctl knows|^what swarmd sent is not a whole backup/);
    t.same(readdirSync(folder), []);
  }
});

/** A backup in clear, as a manager sends it, with something for a state. */
function backupOf(state: string, end?: number): Reply {
  const lengthOf = (length: number) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(length);
    return bytes;
  };
  const header = JSON.stringify({ clusterId: 'c1', nodeId: 'm1', index: 9, term: 2, takenAtMs: 5 });
  const head = [Buffer.from('APIARYBK'), lengthOf(1), lengthOf(header.length), Buffer.from(header)];
  const content = Buffer.concat([...head, lengthOf(state.length), Buffer.from(state), lengthOf(0xffff_ffff)]);
  const bytes = Buffer.concat([content, createHash('sha256').update(content).digest()]);
  return (response) => void response.end(bytes.subarray(0, end));
}
