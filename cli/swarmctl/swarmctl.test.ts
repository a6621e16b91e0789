import { once } from 'node:events';
import { chmod } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { type Reply, startRecordingServer } from './testing/recording-server.js';
import { runProgram } from './testing/run-program.js';
import { answerOfSampleCluster, SERVICE } from './testing/sample-cluster.js';
import { session } from './testing/session.js';

const PROGRAM = fileURLToPath(new URL('../../../bin/swarmctl', import.meta.url));

/** The whole command line over a recorded daemon: what it asks, writes and exits with. */

/** A watch stream that a test writes to. */
function watchStream() {
  const opened: ServerResponse[] = [];
  const reply: Reply = (response) => {
    response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    response.write(line());
    opened.push(response);
  };
  let states: string[] = [];
  let error: string | undefined;
  const line = () => {
    const tasks = states.map((State, i) => ({
      ID: `t${i}`,
      Slot: i + 1,
      DesiredState: State === 'rejected' ? 'shutdown' : 'running',
      Status: { State, ...(error === undefined ? {} : { Err: error }) },
    }));
    const service = { ...SERVICE, Spec: { ...SERVICE.Spec, UpdateConfig: {} } };
    return `${JSON.stringify({ service, tasks, current: tasks.map(({ ID }) => ID) })}\n`;
  };
  return {
    reply,
    opened,
    send: (now: string[], err?: string) => {
      states = now;
      error = err;
      opened.at(-1)?.write(line());
    },
  };
}

t.test('init, join, join-token and leave ask for what they are told, and say how to go on', async (t) => {
  const swarm = { Version: { Index: 4 }, Spec: { Name: 'default' }, JoinTokens: { Worker: 'W', Manager: 'M' } };
  const ctl = await session(t, ({ path }) => {
    if (path === '/swarm/init') return { json: 'n1' };
    if (/^\/swarm\/(join|update)$/.test(path)) return { json: null };
    if (path === '/swarm/leave') return { json: { Warnings: ['the others still count it'] } };
    if (path === '/swarm') return { json: swarm };
    if (path.startsWith('/nodes/')) return { json: { ID: 'n1', ManagerStatus: { Addr: '10.0.0.1:2377' } } };
    return undefined;
  });
  const last = () => ctl.requests.filter(({ method }) => method === 'POST').at(-1);

  t.equal(await ctl.run('init --advertise-addr 10.0.0.1 --listen-addr 10.0.0.1 --availability Drain'), 0);
  t.equal(
    ctl.stdout,
    'Swarm initialized: current node (n1) is now a manager.\n\n' +
      'To add a worker to this swarm, run the following command:\n\n' +
      '    swarmctl join --token W 10.0.0.1:2377\n\n' +
      "To add a manager to this swarm, run 'swarmctl join-token manager' and follow the instructions.\n",
  );
  t.same(last()?.body, {
    ListenAddr: '10.0.0.1:2377',
    AdvertiseAddr: '10.0.0.1',
    Availability: 'drain',
    ForceNewCluster: false,
    Spec: { Labels: {} },
  });
  t.equal(await ctl.run('init --availability lazy'), 1);
  t.match(ctl.stderr, /^invalid availability "lazy", only active, pause and drain are supported/);

  ctl.stdout = '';
  t.equal(await ctl.run('join --token T 10.0.0.1:2377'), 0);
  t.equal(ctl.stdout, 'This node joined a swarm as a manager.\n');
  const joined = { ListenAddr: '0.0.0.0:2377', AdvertiseAddr: '', RemoteAddrs: ['10.0.0.1:2377'], JoinToken: 'T' };
  t.same(last()?.body, joined);

  ctl.stdout = '';
  t.equal(await ctl.run('join-token -q manager'), 0);
  t.equal(ctl.stdout, 'M\n');
  t.equal(await ctl.run('join-token --rotate worker'), 0);
  t.same(last()?.query, { version: '4', rotateWorkerToken: 'true' });
  t.match(
    ctl.stdout,
    /Successfully rotated worker join token\.\n\nTo add a worker .*\n\n {4}swarmctl join --token W 10/,
  );
  t.equal(await ctl.run('leave --force'), 0);
  t.same([last()?.path, last()?.query], ['/swarm/leave', { force: 'true' }]);
  t.match(ctl.stderr, /^WARNING: the others still count it\n$/m);
});

t.test('a demotion is forced when asked to, and only then', async (t) => {
  const ctl = await session(t, ({ path }) => {
    if (path !== '/nodes/host9') return undefined;
    const Spec = { Role: 'manager', Availability: 'active' };
    return { json: { ID: 'n1', Version: { Index: 7 }, Spec } };
  });
  const last = () => ctl.requests.at(-1);
  t.equal(await ctl.run('node demote host9'), 0);
  t.same(last()?.query, { version: '7' });
  t.equal(await ctl.run('node demote --force host9'), 0);
  t.same(last()?.query, { version: '7', force: 'true' });
  t.match(last()?.body, { Role: 'worker' });
  t.equal(ctl.stdout, 'Manager host9 demoted in the swarm.\n'.repeat(2));
  t.equal(await ctl.run('node update --role chief host9'), 1);
  t.equal(ctl.stderr, 'invalid Role: "chief"\n');
});

t.test('the settings of the swarm are changed where they are named, and shown how when none is', async (t) => {
  const swarm = {
    Version: { Index: 4 },
    Spec: { Name: 'default', Raft: { SnapshotInterval: 7 }, CAConfig: { NodeCertExpiry: 1, ForceRotate: 2 } },
  };
  const ctl = await session(t, ({ path }) => {
    if (path === '/swarm') return { json: swarm };
    return path === '/swarm/update' ? { json: null } : undefined;
  });
  t.equal(await ctl.run('update'), 0);
  t.match(ctl.stdout, /^Usage: {2}swarmctl update \[OPTIONS\][\s\S]*--task-history-limit int/);
  t.same(ctl.requests, []);
  t.equal(await ctl.run('update --cert-expiry 2h'), 0);
  t.same(ctl.requests.at(-1)?.body, {
    Name: 'default',
    Raft: { SnapshotInterval: 7 },
    CAConfig: { NodeCertExpiry: 7.2e12, ForceRotate: 2 },
  });
  t.equal(await ctl.run('swarm update --max-snapshots 3 --task-history-limit 1'), 0);
  t.match(ctl.requests.at(-1)?.body, {
    Raft: { SnapshotInterval: 7, KeepOldSnapshots: 3 },
    Orchestration: { TaskHistoryRetentionLimit: 1 },
  });
});

t.test('create shows its progress until the service has converged', async (t) => {
  const watch = watchStream();
  const ctl = await session(t, ({ path }) => (path === '/apiary/v1/watch' ? watch.reply : undefined));
  const done = ctl.run('service create --replicas 2 --no-resolve-image nginx');
  await ctl.wrote(/0 out of 2/);
  watch.send(['running', 'preparing']);
  await ctl.wrote(/1 out of 2/);
  watch.send(['running', 'running']);
  await ctl.wrote(/Waiting 5 seconds/);
  ctl.clock.advance(1000);
  await ctl.wrote(/Waiting 4 seconds/);
  ctl.clock.advance(4000);
  t.equal(await done, 0);
  t.same(ctl.stdout.trimEnd().split('\n'), [
    SERVICE.ID,
    'overall progress: 0 out of 2 tasks',
    '1/2:  ',
    '2/2:  ',
    'overall progress: 1 out of 2 tasks',
    'overall progress: 2 out of 2 tasks',
    'verify: Waiting 5 seconds to verify that tasks are stable...',
    'verify: Waiting 4 seconds to verify that tasks are stable...',
    `verify: Service ${SERVICE.ID} converged`,
  ]);
  t.equal(ctl.stderr, '');
});

t.test('a service that cannot converge says why and fails after its deadline', async (t) => {
  const watch = watchStream();
  const ctl = await session(t, ({ path }) => (path === '/apiary/v1/watch' ? watch.reply : undefined));
  const done = ctl.run('service create --timeout 30s --no-resolve-image nginx');
  await ctl.wrote(/0 out of 2/);
  watch.send(['rejected', 'rejected'], 'No such image: nginx:latest');
  await ctl.wrote(/2\/2: No such image: nginx:latest/);
  ctl.clock.advance(30_000);
  t.equal(await done, 1);
  t.equal(
    ctl.stderr,
    `service ${SERVICE.ID} has not converged: nothing has got on for 30s\n` +
      '  2 tasks: No such image: nginx:latest\n' +
      'Operation continuing in background.\n' +
      `Use \`swarmctl service ps ${SERVICE.ID}\` to check progress.\n`,
  );
});

t.test('an update that is paused fails with the reason, and a quiet one says nothing else', async (t) => {
  const UpdateStatus = { State: 'paused', Message: 'update paused due to failure' };
  const line = JSON.stringify({ service: { ...SERVICE, UpdateStatus }, tasks: [], current: [] });
  const ctl = await session(t, ({ path }) =>
    path === '/apiary/v1/watch' ? (response) => void response.end(`${line}\n`) : undefined,
  );
  t.equal(await ctl.run('service update -q --force web'), 1);
  t.equal(ctl.stdout, 'web\n');
  t.equal(ctl.stderr, 'service update paused: update paused due to failure\n');
});

t.test('Ctrl-C ends the waiting and not the operation', async (t) => {
  const watch = watchStream();
  const ctl = await session(t, ({ path }) => (path === '/apiary/v1/watch' ? watch.reply : undefined));
  const done = ctl.run('service scale web=2 web=3');
  await ctl.wrote(/0 out of 2/);
  ctl.interrupt();
  t.equal(await done, 130);
  t.match(ctl.stdout, /Operation continuing in background\.\nUse `swarmctl service ps web` to check progress\.\n$/);
  t.equal(ctl.stderr, '');
});

/** A service that is watched, and gone from when it is removed. */
async function removableService(t: Test) {
  const watch = watchStream();
  let removed = false;
  const ctl = await session(t, ({ path }) => {
    if (path === '/apiary/v1/watch') return watch.reply;
    return removed && path === '/services/web'
      ? { status: 404, json: { message: 'service web not found' } }
      : undefined;
  });
  const remove = () => {
    removed = true;
  };
  return { watch, ctl, remove };
}

t.test('a lost connection is taken up again, and a service that was removed meanwhile is told', async (t) => {
  const { watch, ctl, remove } = await removableService(t);
  const done = ctl.run('service update --force --timeout 0 web');
  await ctl.wrote(/0 out of 2/);
  watch.opened[0]?.destroy();
  while (watch.opened.length < 2) {
    ctl.clock.advance(100);
    await new Promise((resolve) => setImmediate(resolve));
  }
  watch.send(['running']);
  await ctl.wrote(/1 out of 2/);
  remove();
  watch.opened[1]?.end();
  t.equal(await done, 1);
  t.equal(ctl.stderr, 'service web was removed while it was waited for\n');
});

t.test('the logs of a stack that are followed end with the first service whose logs fail', async (t) => {
  const named = (Name: string) => ({ ...SERVICE, ID: Name, Spec: { ...SERVICE.Spec, Name } });
  let opened = (_web: ServerResponse) => {};
  const web = new Promise<ServerResponse>((resolve) => {
    opened = resolve;
  });
  const isHungUpOn = web.then((response) => once(response, 'close'));
  const failure = Buffer.concat([Buffer.from([3, 0, 0, 0, 0, 0, 0, 8]), Buffer.from('no more\n')]);
  const ctl = await session(t, ({ path }) => {
    if (path === '/services') return { json: [named('web'), named('db')] };
    if (!path.endsWith('/logs')) return undefined;
    return (response) => {
      response.writeHead(200).flushHeaders();
      if (path === '/services/web/logs') opened(response);
      else void web.then(() => response.end(failure));
    };
  });
  t.equal(await ctl.run('stack logs -f shop'), 1);
  t.match(ctl.stderr, /error from daemon in stream: no more/);
  await isHungUpOn;
});

t.test('a service that is removed while it is waited for was there', async (t) => {
  const { watch, ctl, remove } = await removableService(t);
  const done = ctl.run('service update --force --timeout 0 web');
  await ctl.wrote(/0 out of 2/);
  remove();
  watch.opened[0]?.end();
  t.equal(await done, 1);
  t.equal(ctl.stderr, 'service web was removed while it was waited for\n');
});

t.test('an image that no registry tells of is warned about, and what the daemon warns of is passed on', async (t) => {
  const ctl = await session(t, ({ path }) =>
    path === '/services/create' ? { json: { ID: 'x', Warnings: ['mind the gap'] } } : undefined,
  );
  t.equal(await ctl.run('service create -d nginx'), 0);
  t.equal(
    ctl.stderr,
    'mind the gap\nimage nginx:latest could not be accessed on a registry to record\n' +
      'its digest. Each node will access nginx:latest independently,\n' +
      'possibly leading to different nodes running different\nversions of the image.\n\n',
  );
});

t.test('failures are told in the words of who failed', async (t) => {
  const ctl = await session(t, ({ path }) =>
    path === '/nodes' ? { status: 503, json: { message: 'This node is not a swarm manager.' } } : undefined,
  );
  t.equal(await ctl.run('node ls'), 1);
  t.equal(ctl.stderr, 'Error response from daemon: This node is not a swarm manager.\n');
  ctl.stderr = '';
  t.equal(await ctl.run('--host unix:///nonexistent/socket service ls'), 1);
  t.match(ctl.stderr, /^Cannot connect to swarmd at unix:\/\/\/nonexistent\/socket/);
  ctl.stderr = '';
  t.equal(await ctl.run('-H nowhere service ls'), 1);
  t.match(ctl.stderr, /^invalid host address "nowhere"/);
  ctl.stderr = '';
  t.equal(await ctl.run('service create -d --log-opt a=b nginx'), 1);
  t.equal(ctl.stderr, '--log-opt needs --log-driver\n', 'what docker drops without a word is refused');
});

t.test('a rollback asks for the spec before, whatever stands', async (t) => {
  const ctl = await session(t);
  t.equal(await ctl.run('service rollback -d agent9'), 0);
  t.match(ctl.requests.at(-1), { method: 'POST', query: { rollback: 'previous', version: '21' } });
  t.equal(ctl.stdout, 'agent9\n');
});

t.test('what is not supported is an unknown flag', async (t) => {
  const ctl = await session(t);
  for (const flag of ['--wait-registry-auth', '--health-nonsense']) {
    ctl.stderr = '';
    t.equal(await ctl.run(`service create ${flag} x nginx`), 125);
    t.match(ctl.stderr, new RegExp(`^unknown flag: ${flag}\n\nUsage: .*\n\nRun 'swarmctl service create --help'`));
  }
  t.same(ctl.requests, []);
});

t.test('who has logged in with docker is known to the registry of a service, from wherever that is kept', async (t) => {
  const server = await startRecordingServer((request) =>
    request.path === '/distribution/r:1/web/json' ? { status: 404, json: {} } : answerOfSampleCluster(request),
  );
  t.teardown(() => server.close());
  const helper = `#!/bin/sh
read server
case "$server" in
  r:2) printf '{"ServerURL":"r:2","Username":"<token>","Secret":"idt"}';;
  r:3) echo 'credentials not found in native keychain'; exit 1;;
  r:4) printf '{"ServerURL":"r:4","Username":"u4","Secret":"p4"}';;
  *) echo 'locked'; exit 1;;
esac
`;
  const base64 = (text: string) => Buffer.from(text).toString('base64');
  const folder = t.testdir({
    'docker-credential-mine': helper,
    file: { 'config.json': JSON.stringify({ auths: { 'https://r:1/v2/': { auth: base64('u1:p:1') } } }) },
    store: { 'config.json': JSON.stringify({ credsStore: 'mine', credHelpers: { 'r:9': 'none' } }) },
    helpers: {
      'config.json': JSON.stringify({
        auths: { 'r:1': { auth: base64('u1:p:1'), identitytoken: 'i' } },
        credHelpers: { 'r:4': 'mine' },
      }),
    },
  });
  await chmod(`${folder}/docker-credential-mine`, 0o755);
  const create = async (config: string, image: string, ...flags: string[]) => {
    server.requests.length = 0;
    const words = ['service', 'create', '-d', '--with-registry-auth', ...flags, image];
    const { exitCode, stderr } = await runProgram(PROGRAM, words, {
      SWARM_HOST: server.host,
      DOCKER_CONFIG: `${folder}/${config}`,
      PATH: `${folder}:${process.env['PATH']}`,
    });
    const sent = server.requests.map(({ headers }) => headers['x-registry-auth']).filter((auth) => auth !== undefined);
    const auths = sent.map((auth) => JSON.parse(Buffer.from(String(auth), 'base64').toString()));
    return exitCode === 0 ? auths : stderr;
  };
  const known = { username: 'u1', password: 'p:1', serveraddress: 'r:1' };
  t.same(await create('file', 'r:1/web'), [known, known], 'told to who looks for the digest as well');
  t.same(await create('file', 'r:5/web', '--no-resolve-image'), [{}], 'nobody has logged in there');
  t.same(await create('store', 'r:2/web', '--no-resolve-image'), [{ identitytoken: 'idt', serveraddress: 'r:2' }]);
  t.same(await create('store', 'r:3/web', '--no-resolve-image'), [{}]);
  t.match(await create('store', 'r:5/web'), /^docker-credential-mine knows no credentials for r:5: locked/);
  t.match(await create('store', 'r:9/web'), /^docker-credential-none: .*ENOENT/);
  const kept = { ...known, identitytoken: 'i' };
  t.same(await create('helpers', 'r:1/web', '--no-resolve-image'), [kept]);
  t.match(await create('helpers', 'r:4/web', '--no-resolve-image'), [{ username: 'u4', password: 'p4' }]);
});

t.test('a secret and a config get another content from a file or standard input, as they are', async (t) => {
  const server = await startRecordingServer(({ path }) =>
    path.startsWith('/apiary/v1/') ? { status: 201, json: { ID: 'v2' } } : undefined,
  );
  t.teardown(() => server.close());
  const folder = t.testdir({ data: Buffer.from([0, 0xff, 0x0a]) });
  const program = (line: string) => runProgram('sh', ['-c', line], { SWARM_HOST: server.host, CTL: PROGRAM });
  t.match(await program(String.raw`printf 'a\0\377' | "$CTL" secret update key -`), { exitCode: 0, stdout: 'v2\n' });
  t.match(await program(`"$CTL" config update -l a=1 --template-driver golang conf "${folder}/data"`), { exitCode: 0 });
  const empty = await program('"$CTL" secret update key - < /dev/null');
  t.match(empty, { exitCode: 1, stderr: 'error reading from STDIN: data is empty\n' });
  t.match(
    server.requests.map(({ path, body }) => ({ path, body })),
    [
      { path: '/apiary/v1/secrets/key/versions', body: { Data: 'YQD/' } },
      {
        path: '/apiary/v1/configs/conf/versions',
        body: { Data: 'AP8K', Labels: { a: '1' }, Templating: { Name: 'golang' } },
      },
    ],
  );
});

t.test('help says how a command is used, with examples that it would take', async (t) => {
  const ctl = await session(t);
  t.equal(await ctl.run('--help'), 0);
  t.match(
    ctl.stdout,
    /^Usage: {2}swarmctl \[OPTIONS\] COMMAND\n[\s\S]*Management Commands:\n[\s\S]* {2}node {8}Manage[\s\S]*Global Options:/,
  );
  for (const line of [
    'service --help',
    'help node',
    'help service create',
    'service update --help',
    'join-token --help',
    'swarm update --help',
    'node demote --help',
    'backup --help',
  ]) {
    ctl.stdout = '';
    t.equal(await ctl.run(line), 0, line);
    t.match(ctl.stdout, /^Usage: {2}swarmctl /);
  }
  ctl.stdout = '';
  await ctl.run('service create --help');
  const [, examples = ''] = /\nExamples:\n([\s\S]*?)\n\n/.exec(ctl.stdout) ?? [];
  for (const line of examples.split('\n')) {
    t.equal(await ctl.run(line.trim().replace(/^swarmctl service create/, 'service create -d')), 0, line);
  }
});

t.test('version and info tell of both sides', async (t) => {
  const version = {
    Version: '9.9',
    Platform: { Name: 'Apiary' },
    Components: [{ Name: 'Engine', Version: '20.10', Details: { Os: 'linux', ApiVersion: '1.41' } }],
  };
  const ctl = await session(t, ({ path }) => (path === '/version' ? { json: version } : undefined));
  t.equal(await ctl.run('version'), 0);
  t.match(
    ctl.stdout,
    /^Client: Apiary\n Version: +1\.2\.3\n[\s\S]*\nServer: Apiary\n Engine:\n {2}Version: +20\.10\n {2}ApiVersion: +1\.41\n/,
  );
  ctl.stdout = '';
  t.equal(await ctl.run('version --format {{.Client.Version}}/{{.Server.Version}}'), 0);
  t.equal(ctl.stdout, '1.2.3/9.9\n');
  ctl.stdout = '';
  t.equal(await ctl.run('info -f {{.Swarm.LocalNodeState}}'), 0);
  t.equal(ctl.stdout, 'active\n');
  ctl.stdout = '';
  t.equal(await ctl.run('info'), 0);
  t.match(ctl.stdout, / Swarm: active\n {2}NodeID: n1x/);
  t.notMatch(ctl.stdout, /Default Address Pool|SubnetSize/, 'which it has not been given');
  ctl.stdout = '';
  t.equal(await ctl.run('info -f {{.Swarm.Nodes}}/{{.Swarm.Managers}}'), 0);
  t.equal(ctl.stdout, '0/0\n', 'of a node that does not say');
});

t.test('the program itself runs from any directory, through a link, with its exit code', async (t) => {
  const directory = t.testdir({ ctl: t.fixture('symlink', PROGRAM) });
  const environment = { SWARM_HOST: 'unix:///nonexistent/from-the-environment' };
  const listed = await runProgram(`${directory}/ctl`, ['service', 'ls'], environment);
  t.equal(listed.exitCode, 1);
  t.match(listed.stderr, /unix:\/\/\/nonexistent\/from-the-environment/);
  t.equal((await runProgram(`${directory}/ctl`, ['service', 'ls', '--nope'], {})).exitCode, 125);
  t.match((await runProgram(`${directory}/ctl`, ['--version'], {})).stdout, /^swarmctl version \d+\.\d+\.\d+/);
});

t.test('a terminal that has no size is taken for one of 80 columns', async (t) => {
  const command = `'${PROGRAM}' service create --help`;
  const { stdout } = await runProgram('script', ['-qec', command, '/dev/null'], {});
  const piped = await runProgram(PROGRAM, ['service', 'create', '--help'], {});
  t.equal(stdout.replaceAll('\r\n', '\n'), piped.stdout);
});

t.test('a port at one address of hosts is refused in the short form with the form that it has', async (t) => {
  const ctl = await session(t);
  for (const [given, ip] of [
    ['127.0.0.1:8080:80', '127.0.0.1'],
    ['[::1]:8080:80/udp', '::1'],
  ] as const) {
    ctl.stderr = '';
    t.equal(await ctl.run(`service create -p ${given} nginx`), 125);
    const [first = ''] = ctl.stderr.split('\n');
    t.ok(first.endsWith(`hostip is not supported in this form: write published=PORT,target=PORT,host_ip=${ip}`), first);
  }
});

t.test('a question on a terminal waits for its answer', async (t) => {
  const ctl = await session(t);
  const prune = `'${PROGRAM}' --host ${ctl.host} network prune`;
  const answered = (text: string) =>
    runProgram('sh', ['-c', `printf '${text}' | script -qec "${prune}" /dev/null`], {});
  t.match(await answered('n\\n'), { exitCode: 0, stdout: /continue\? \[y\/N\] /, stderr: '' });
  t.same(ctl.requests, [], 'nothing was asked for');
  const { exitCode, stdout } = await answered('y\\n');
  t.equal(exitCode, 0, stdout);
  t.match(stdout, /Deleted Networks:\r\nfront/);
});

t.test('the executable leaves every flag of the command line to swarmctl', async (t) => {
  // Node.js reads --env-file wherever it stands, and would take NODE_OPTIONS from it.
  const { exitCode, stderr } = await runProgram(PROGRAM, ['service', 'create', '--env-file', '/nonexistent', 'x'], {});
  t.equal(stderr, 'open /nonexistent: no such file or directory\n');
  t.equal(exitCode, 1);
});

t.test('a drain is waited for until nothing is left on the node, or nothing gets on any more', async (t) => {
  const left: [string, string, number, string?][] = [];
  const taskOf = ([ID, State, Slot, Err]: (typeof left)[number]) => ({
    ID,
    ServiceID: SERVICE.ID,
    Slot,
    DesiredState: 'running',
    Status: { State, ...(Err !== undefined && { Err, Reasons: [Err] }) },
  });
  let drops = 0;
  const ctl = await session(t, ({ path, query }) => {
    if (path !== '/tasks') return undefined;
    if (drops-- > 0) return (response) => response.destroy();
    const isOnNode = (query['filters'] ?? '').includes('"node"');
    const successor = taskOf(['t9', 'pending', 2, '1 node: drained']);
    return { json: [...left.map(taskOf), ...(isOnNode ? [] : [successor])] };
  });
  left.push(['t1', 'running', 1], ['t2', 'running', 2], ['t3', 'shutdown', 3]);
  const done = ctl.run('node update --availability drain --wait host10');
  await ctl.wrote(/host10: 2 tasks left/);
  left.splice(0, 1, ['t1', 'shutdown', 1]);
  // A daemon that is away for a moment is asked again.
  drops = 1;
  while (!ctl.stdout.includes('host10: 1 task left')) {
    ctl.clock.advance(300);
    await new Promise(setImmediate);
  }
  left.splice(1, 1);
  ctl.clock.advance(300);
  t.equal(await done, 0);
  t.match(ctl.stdout, /host10: drained, no task left/);

  left.push(['t2', 'running', 2]);
  ctl.stdout = '';
  const stuck = ctl.run('node update --availability drain --wait --timeout 1m host10');
  await ctl.wrote(/host10: 1 task left/);
  ctl.clock.advance(60_000);
  t.equal(await stuck, 1);
  t.match(
    ctl.stderr,
    /node host10 is not empty: nothing has got on for 1m0s\n {2}web\.2: running; in its place one is/,
  );
  t.match(ctl.stderr, /pending: no suitable node \(1 node: drained\)\nThe node stays drained/);

  ctl.stdout = '';
  const interrupted = ctl.run('node update --availability drain --wait host10');
  await ctl.wrote(/host10: 1 task left/);
  ctl.interrupt();
  t.equal(await interrupted, 130);
  ctl.stderr = '';
  t.equal(await ctl.run('node update --wait host10'), 1);
  t.match(ctl.stderr, /use it with --availability drain/);
});

t.test('a rebalance is waited for until no service is left in it', async (t) => {
  let services = [{ ID: SERVICE.ID, Name: 'web', Moving: 2 }];
  const ctl = await session(t, ({ method, path }) => {
    if (method === 'POST' && path.endsWith('/rebalance')) return { json: { Services: 1 } };
    return path === '/apiary/v1/rebalance' ? { json: { Services: services } } : undefined;
  });
  const asked = () => ctl.requests.filter(({ method }) => method === 'POST').at(-1);
  const done = ctl.run('service rebalance --parallelism 2 web');
  await ctl.wrote(/^web\nrebalance: 2 tasks on the way, web to go/);
  t.match(asked(), { path: `/apiary/v1/services/${SERVICE.ID}/rebalance`, query: { parallelism: '2' } });
  services = [];
  ctl.clock.advance(300);
  t.equal(await done, 0);
  t.match(ctl.stdout, /rebalance: done/);
  t.equal(await ctl.run('node rebalance'), 0);
  t.match(asked(), { path: '/apiary/v1/nodes/rebalance', query: { parallelism: '1' } });
  t.equal(await ctl.run('service rebalance --stop web'), 0);
  t.match(asked(), { query: { parallelism: '0' } });
  t.equal(await ctl.run('node rebalance --parallelism 0'), 1);
  t.match(ctl.stderr, /use --stop/);
});
