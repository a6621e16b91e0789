import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { createClient } from '@apiary/api/client';
import { formatJoinToken } from '@apiary/api/model';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { lockDataRoot } from './data-root-lock.js';
import {
  markLeaving,
  type NodeFile,
  readLeavingFile,
  readNodeFile,
  removeLeavingFile,
  writeNodeFile,
} from './node-file.js';
import { readOptions } from './options.js';
import { socketGroupId } from './socket-group.js';

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'swarmd-test-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

t.test('without flags the daemon has its usual places', async (t) => {
  t.same(readOptions([]), {
    dataRoot: '/var/lib/swarmd',
    execRoot: '/run/swarmd',
    unixHosts: ['/run/swarmd/swarmd.sock'],
    tcpHosts: [],
    tlsHosts: [],
    socketGroup: undefined,
    engineSocketPath: '/var/run/docker.sock',
    keptLogs: { maxAgeMs: 7 * 24 * 3_600_000, maxBytes: 64 * 1024 * 1024 },
    genericResources: [],
    logLevel: 'info',
  });
  t.equal(readOptions(['--help']), 'help');
  t.equal(readOptions(['-v']), 'version');
});

t.test('the socket is for the group that is named, or for docker where there is one', async (t) => {
  const logger = pino({ level: 'silent' });
  t.match(readOptions(['-G', 'staff']), { socketGroup: 'staff' });
  const [, ...groups] = /^([^:]+):[^:]*:([1-9]\d*):/m.exec(readFileSync('/etc/group', 'utf8')) ?? [];
  const [name = '', id = ''] = groups;
  t.equal(await socketGroupId(name, logger), Number(id));
  t.equal(await socketGroupId('4711', logger), 4711, 'an id need not have a name');
  const docker = /^docker:[^:]*:(\d+):/m.exec(readFileSync('/etc/group', 'utf8'))?.[1];
  t.equal(await socketGroupId(undefined, logger), docker === undefined ? undefined : Number(docker));
  const none = { code: 'invalid-argument', message: /--group no-such-group: there is no such group/ };
  await t.rejects(socketGroupId('no-such-group', logger), none);
});

t.test('how long and how much is kept of logs is said in the words of docker', async (t) => {
  t.match(readOptions(['--kept-logs-age', '36h', '--kept-logs-size', '1.5g']), {
    keptLogs: { maxAgeMs: 36 * 3_600_000, maxBytes: 1.5 * 1024 ** 3 },
  });
  t.throws(() => readOptions(['--kept-logs-age', 'long']), { message: /--kept-logs-age long: time: invalid duration/ });
});

t.test('it says what its host has beside CPU and memory, in dockerd’s words', async (t) => {
  const flags = ['gpu=UUID1', ' gpu = UUID2', 'ssd=4'].map((term) => `--node-generic-resource=${term}`);
  t.match(readOptions(flags), {
    genericResources: [
      { NamedResourceSpec: { Kind: 'gpu', Value: 'UUID1' } },
      { NamedResourceSpec: { Kind: 'gpu', Value: 'UUID2' } },
      { DiscreteResourceSpec: { Kind: 'ssd', Value: 4 } },
    ],
  });
  for (const terms of [['gpu'], ['gpu='], ['=1'], ['a=b=c'], ['gpu=-1'], ['gpu=a', 'gpu=1'], ['gpu=1', 'gpu=2']]) {
    const given = terms.map((term) => `--node-generic-resource=${term}`);
    t.throws(() => readOptions(given), { code: 'invalid-argument', message: /^could not parse GenericResource: / });
  }
});

t.test('it listens in several places, on TCP for this machine alone', async (t) => {
  const options = readOptions(['-H', 'unix:///a.sock', '--host', 'tcp://127.0.0.1:2375', '--host=tcp://[::1]:2376']);
  t.match(options, {
    unixHosts: ['/a.sock'],
    tcpHosts: [
      { host: '127.0.0.1', port: 2375 },
      { host: '::1', port: 2376 },
    ],
  });
});

t.test('a flag that cannot be honoured is refused by its name', async (t) => {
  const refused: [string[], RegExp][] = [
    [['--no-such'], /--no-such/],
    [['--data-root'], /--data-root/],
    [['--data-root', 'relative'], /--data-root relative: expected an absolute path/],
    [['--host', 'tcp://0.0.0.0:2375'], /--host tcp:\/\/0.0.0.0:2375: .*client certificates/],
    [['--host', 'tcp://127.0.0.1:99999'], /99999/],
    [['--host', 'fd://'], /--host fd:\/\//],
    [['--host', `unix:///${'x'.repeat(120)}`], /longer than 107 bytes/],
    [['--engine-host', 'tcp://127.0.0.1:2375'], /--engine-host .*expected unix:\/\/\/PATH/],
    [['--log-level', 'loud'], /--log-level loud: expected one of trace/],
    [['positional'], /positional/],
  ];
  for (const [args, message] of refused) t.throws(() => readOptions(args), { code: 'invalid-argument', message });
});

t.test('a data root has one daemon at a time', async (t) => {
  const dataRoot = folder(t);
  const unlock = await lockDataRoot(dataRoot);
  await t.rejects(lockDataRoot(dataRoot), { code: 'failed-precondition', message: /in use by another swarmd/ });
  await unlock();
  await (await lockDataRoot(dataRoot))();
});

t.test('the lock ends with its holder, also when it is killed', async (t) => {
  const dataRoot = folder(t);
  const lock = new URL('./data-root-lock.js', import.meta.url).href;
  const script = `const { lockDataRoot } = await import(${JSON.stringify(lock)});
    await lockDataRoot(process.argv[1]); console.log('held'); setInterval(() => {}, 1000);`;
  const holder: ChildProcess = spawn(process.execPath, ['--input-type=module', '-e', script, dataRoot]);
  t.teardown(() => holder.kill('SIGKILL'));
  if (holder.stdout !== null) await once(holder.stdout, 'data');
  await t.rejects(lockDataRoot(dataRoot), { code: 'failed-precondition' });
  holder.kill('SIGKILL');
  await once(holder, 'close');
  await (await lockDataRoot(dataRoot))();
});

t.test('a daemon that is told to stop while its node joins says so, and ends as it should', async (t) => {
  const directory = folder(t);
  const mute = createServer().listen(0, '127.0.0.1');
  await once(mute, 'listening');
  t.teardown(() => mute.close());
  const host = `unix://${directory}/swarmd.sock`;
  const flags = ['--data-root', `${directory}/data`, '--exec-root', `${directory}/run`, '--host', host];
  const main = fileURLToPath(new URL('./main.js', import.meta.url));
  const daemon = spawn(process.execPath, [main, ...flags, '--engine-host', `unix://${directory}/none.sock`], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  t.teardown(() => daemon.kill('SIGKILL'));
  const ended = once(daemon, 'exit');
  for await (const line of createInterface(daemon.stderr)) if (line.includes('swarmd is up')) break;
  daemon.stderr.resume();
  const RemoteAddrs = [`127.0.0.1:${(mute.address() as AddressInfo).port}`];
  const JoinToken = formatJoinToken({ rootDigest: 'a'.repeat(50), secret: 's'.repeat(25) });
  const asked = once(mute, 'connection');
  const joining = createClient(host).swarmJoin({ AdvertiseAddr: '127.0.0.1', RemoteAddrs, JoinToken });
  const refused = t.rejects(joining, { status: 503, message: /^swarmd is stopping: / });
  const [socket]: Socket[] = await asked;
  daemon.kill('SIGTERM');
  await refused;
  t.same(await ended, [0, null]);
  socket?.destroy();
});

t.test('a node remembers its cluster, in one file that is whole', async (t) => {
  const dataRoot = folder(t);
  const node: NodeFile = {
    nodeId: 'n1',
    clusterId: 'c1',
    role: 'worker',
    advertise: 'eth0',
    advertiseAddr: '10.0.0.2',
    isAdvertisedLocal: true,
    advertisePort: 2377,
    listenAddr: '0.0.0.0:2377',
    managers: [{ nodeId: 'm1', addr: '10.0.0.1:2377' }],
  };
  t.equal(await readNodeFile(dataRoot), undefined);
  await writeNodeFile(dataRoot, node);
  await writeNodeFile(dataRoot, { ...node, managers: [] });
  t.same(await readNodeFile(dataRoot), { ...node, managers: [] });
  t.same(readdirSync(dataRoot), ['node.json'], 'nothing else is left behind');
  await markLeaving(dataRoot);
  t.equal(await readNodeFile(dataRoot), undefined);
  t.match(await readLeavingFile(dataRoot), { nodeId: 'n1' }, 'what it leaves is remembered until it has left');
  await removeLeavingFile(dataRoot);
  t.equal(await readLeavingFile(dataRoot), undefined);
  const damaged = ['', '{"nodeId": "n', 'null', '[]', '{}', '7'];
  damaged.push(JSON.stringify({ ...node, role: 7 }), JSON.stringify({ ...node, managers: [{ addr: 7 }] }));
  for (const text of damaged) {
    writeFileSync(join(dataRoot, 'node.json'), text);
    await t.rejects(
      readNodeFile(dataRoot),
      { code: 'failed-precondition', message: /node\.json cannot be read/ },
      text,
    );
  }
});
