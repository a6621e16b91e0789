import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, rmdirSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, rm, stat, symlink } from 'node:fs/promises';
import * as http from 'node:http';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { createClient } from '@apiary/api/client';
import { SeededRng, VirtualClock } from '@apiary/std';
import t, { type Test } from 'tap';
import { createNetwork } from '../../core/requests/index.js';
import { ListReplica } from '../rpc/list-replica.js';
import { localNode } from './http-api.fixture.js';
import { createHttpApi } from './index.js';

/** Our API before an engine, on a socket of its own. */
async function serve(
  t: Test,
  directory: string,
  engineSocketPath: string,
  node = localNode(),
  groupId?: number,
): Promise<string> {
  const logger = { info: () => {}, error: () => {} };
  const api = await createHttpApi({ node, clock: new VirtualClock(), engineSocketPath, logger, version: '0.1.0' });
  const socketPath = join(directory, 'swarmd.sock');
  await api.listen({ socketPath, groupId });
  t.teardown(() => api.close());
  return socketPath;
}

async function temporaryDirectory(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'apiary-passthrough-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** A program's exit code and output, its input given at once and then closed. */
async function run(file: string, args: string[], input = ''): Promise<{ code: unknown; out: string }> {
  return new Promise((resolve) => {
    const child = execFile(file, args, { timeout: 30_000 }, (error, stdout, stderr) =>
      resolve({ code: error?.code ?? 0, out: stdout + stderr }),
    );
    // A program need not read what it is given.
    child.stdin?.on('error', () => {}).end(input);
  });
}

/** Why there is no real engine to be had here, or undefined. */
function missing(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root';
  for (const name of ['dockerd', 'docker', 'unshare', 'tar']) {
    const found = (process.env['PATH'] ?? '').split(':').some((folder) => existsSync(join(folder, name)));
    if (!found) return `needs ${name}`;
  }
  return existsSync('/bin/busybox') ? undefined : 'needs busybox-static';
}

/** A Docker Engine with no network, in namespaces that end with it, and what it left in the cgroups removed after. */
async function startEngine(t: Test, directory: string): Promise<string> {
  const socketPath = join(directory, 'docker.sock');
  const cgroup = `apiary-test-${process.pid}`;
  const dockerd = `exec dockerd --data-root ${directory}/docker --exec-root /run/docker -H unix://${socketPath} \
    -p ${directory}/docker.pid --bridge none --iptables=false --cgroup-parent /${cgroup}`;
  const script = `mount -t tmpfs tmpfs /run && ip link set lo up && ${dockerd}`;
  const namespaces = ['-m', '-n', '-p', '-f', '--kill-child', '--mount-proc', '--propagation', 'private'];
  const engine = spawn('unshare', [...namespaces, 'sh', '-c', script], { stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = once(engine, 'exit');
  t.teardown(async () => {
    engine.kill('SIGKILL');
    await ended;
    for (const controller of ['', ...readdirSync('/sys/fs/cgroup')]) {
      removeCgroup(join('/sys/fs/cgroup', controller, cgroup));
    }
    await rm(directory, { recursive: true, force: true });
  });
  for await (const line of createInterface(engine.stderr)) if (line.includes('API listen on')) break;
  engine.stderr.resume();
  return socketPath;
}

function removeCgroup(path: string): void {
  if (!existsSync(path)) return;
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) removeCgroup(join(path, entry.name));
  }
  rmdirSync(path);
}

/** The smallest image: a static busybox. */
async function makeImage(directory: string): Promise<string> {
  const root = join(directory, 'root');
  await mkdir(join(root, 'bin'), { recursive: true });
  await copyFile('/bin/busybox', join(root, 'bin/busybox'));
  for (const applet of ['sh', 'cat', 'echo', 'sleep', 'wc']) await symlink('busybox', join(root, 'bin', applet));
  await run('tar', ['-C', root, '-cf', join(directory, 'image.tar'), '.']);
  return join(directory, 'image.tar');
}

t.test(
  'the socket is for its owner and for one group',
  { skip: process.getuid?.() !== 0 && 'needs root' },
  async (t) => {
    const directory = await temporaryDirectory(t);
    const socketPath = await serve(t, directory, '/nowhere', localNode(), 4711);
    t.match(await stat(socketPath), { mode: 0o140660, gid: 4711, uid: 0 });
  },
);

t.test('the stock command line works on containers through us', { skip: missing() ?? false }, async (t) => {
  const directory = await temporaryDirectory(t);
  const socketPath = await serve(t, directory, await startEngine(t, directory));
  const docker = (args: string[], input?: string) => run('docker', ['-H', `unix://${socketPath}`, ...args], input);
  const client = createClient(`unix://${socketPath}`);

  t.match(await docker(['import', await makeImage(directory), 'busybox:test']), { code: 0, out: /^sha256:/ });
  const version = await client.version();
  const components = version.Components.map(({ Name }) => Name);
  t.same([components[0], components.at(-1)], ['Engine', 'Apiary']);
  t.match(await client.ping(), { 'api-version': version.ApiVersion, swarm: 'inactive' });
  t.equal((await client.info()).Swarm.LocalNodeState, 'inactive');

  const started = ['run', '-d', '--name', 'box', '--network', 'none', 'busybox:test'];
  t.match(await docker([...started, 'sh', '-c', 'echo ready; exec sleep 1000']), { code: 0 });
  await t.test('exec, with input, output and exit code', async (t) => {
    t.same(await docker(['exec', '-i', 'box', 'cat'], 'through'), { code: 0, out: 'through' });
    t.same(await docker(['exec', 'box', 'sh', '-c', 'echo no >&2; exit 7']), { code: 7, out: 'no\n' });
    t.same(await docker(['exec', '-d', 'box', 'sh', '-c', 'echo x >/f']), { code: 0, out: '' });
  });
  await t.test('attach: all of the input arrives, and its end', async (t) => {
    const counted = await docker(
      ['run', '-i', '--rm', '--network', 'none', 'busybox:test', 'wc', '-c'],
      'x'.repeat(3e6),
    );
    t.match(counted, { code: 0, out: /^3000000\s*$/ });
  });
  await t.test('logs are followed, until who follows goes away', async (t) => {
    const follower = spawn('docker', ['-H', `unix://${socketPath}`, 'logs', '-f', 'box']);
    const [line]: Buffer[] = await once(follower.stdout, 'data');
    t.equal(String(line), 'ready\n');
    follower.kill();
    await once(follower, 'exit');
  });
  await t.test('files go in and out', async (t) => {
    t.match(await docker(['cp', join(directory, 'image.tar'), 'box:/image.tar']), { code: 0 });
    t.match(await docker(['cp', 'box:/image.tar', join(directory, 'back.tar')]), { code: 0 });
    t.match(await run('cmp', [join(directory, 'image.tar'), join(directory, 'back.tar')]), { code: 0, out: '' });
  });
  await t.test('a client that takes the connection over without saying so gets it', async (t) => {
    const body = { AttachStdin: true, AttachStdout: true, Cmd: ['cat'] };
    const { Id } = await client.request<{ Id: string }>('POST', '/v1.41/containers/box/exec', { body });
    const options = JSON.stringify({ Detach: false, Tty: false });
    const socket = net.connect({ path: socketPath, allowHalfOpen: true });
    socket.write(`POST /v1.41/exec/${Id}/start HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n`);
    socket.write(`Content-Length: ${options.length}\r\n\r\n${options}`);
    let text = '';
    for await (const chunk of socket.setEncoding('latin1')) {
      text += chunk;
      if (text.endsWith('\r\n\r\n')) socket.end('raw bytes');
    }
    t.match(text, /^HTTP\/1\.1 200 OK\r\nContent-Type: application\/vnd\.docker\.raw-stream\r\n/);
    t.match(text, /raw bytes$/);
  });
  await t.test("the engine's own refusals come back as they are, early ones too", async (t) => {
    t.match(await docker(['exec', 'gone', 'true']), { code: 1, out: /No such container: gone/ });
    const body = { Image: 'busybox:test', Cmd: ['x'.repeat(100_000)] };
    await t.rejects(client.request('POST', '/containers/create?name=-', { body }), {
      status: 400,
      message: /Invalid container name/,
    });
  });
  await t.test('networks of the engine can be made', async (t) => {
    t.match(await docker(['network', 'create', '--internal', '--label', 'a=b', 'own']), {
      code: 0,
      out: /^[0-9a-f]{64}\n$/,
    });
    t.match(await docker(['network', 'inspect', '-f', '{{.Internal}} {{.Labels.a}}', 'own']), { out: 'true b\n' });
  });
  t.match(await docker(['rm', '-f', 'box']), { code: 0 });
});

t.test('whoever goes away, client or engine, the other side learns of it', async (t) => {
  const directory = await temporaryDirectory(t);
  const requests: http.IncomingMessage[] = [];
  const engine = http.createServer((request, response) => {
    requests.push(request);
    if (request.url !== '/events') return void response.writeHead(200, { 'api-version': '1.41' }).end();
    response.writeHead(200, { 'x-own': ['a', 'b'] }).flushHeaders();
  });
  engine.on('upgrade', (request, socket) => {
    requests.push(request);
    socket.write('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n');
    socket.once('end', () => socket.end()).resume();
  });
  const engineSocketPath = join(directory, 'engine.sock');
  engine.listen(engineSocketPath);
  t.teardown(() => engine.close());
  const socketPath = await serve(t, directory, engineSocketPath);
  const events = async (): Promise<http.IncomingMessage> => {
    const request = http.get({ socketPath, path: '/events', agent: false });
    request.on('error', () => {});
    const [response]: http.IncomingMessage[] = await once(request, 'response');
    if (response === undefined) throw new Error('no response');
    return response;
  };
  const seen = (): http.IncomingMessage => {
    const last = requests.at(-1);
    if (last === undefined) throw new Error('the engine got no request');
    return last;
  };

  const followed = await events();
  t.equal(followed.headers['x-own'], 'a, b', 'the head comes before there is any line');
  const engineSide = once(seen().socket, 'close');
  followed.destroy();
  await engineSide;

  const cut = await events();
  const clientSide = once(cut, 'error');
  cut.resume();
  seen().socket.destroy();
  t.match(await clientSide, [{ code: 'ECONNRESET' }]);

  const upgraded = () =>
    http.get({ socketPath, path: '/session', headers: { connection: 'Upgrade', upgrade: 'h2c' }, agent: false });
  const [, joined]: [http.IncomingMessage, net.Socket] = await upgrade(upgraded());
  const engineEnd = once(seen().socket, 'close');
  joined.destroy();
  await engineEnd;

  const [, left]: [http.IncomingMessage, net.Socket] = await upgrade(upgraded());
  const clientEnd = once(left, 'close');
  left.on('error', () => {}).resume();
  seen().socket.destroy();
  await clientEnd;
  t.pass('both ends of both kinds');
});

function upgrade(request: http.ClientRequest): Promise<[http.IncomingMessage, net.Socket]> {
  return new Promise((resolve, reject) => {
    request.once('upgrade', (response, socket: net.Socket) => resolve([response, socket]));
    request.once('error', reject);
  });
}

t.test('without an engine, what is its own is refused, upgraded or not', async (t) => {
  const directory = await temporaryDirectory(t);
  const socketPath = await serve(t, directory, join(directory, 'gone.sock'));
  const client = createClient(`unix://${socketPath}`);
  const refused = { status: 503, code: 'unavailable', message: /engine at unix:\/\/.*gone\.sock does not answer/ };
  await t.rejects(client.request('GET', '/containers/json'), refused);
  await t.rejects(client.request('POST', '/containers/x/attach', { headers: { upgrade: 'tcp' } }), refused);
  await t.rejects(
    client.request('POST', '/containers/x/attach', { headers: { upgrade: 'tcp', connection: 'Upgrade' } }),
    refused,
  );
});

t.test("containers are the engine's, and come to networks of the cluster by its own of that name", async (t) => {
  const directory = await temporaryDirectory(t);
  const bodies: string[] = [];
  const paths: string[] = [];
  const engine = http.createServer(async (request, response) => {
    let body = '';
    for await (const part of request) body += part;
    if (request.method === 'POST') bodies.push(body);
    if (request.method === 'POST') paths.push(request.url ?? '');
    const isThere = !/\/networks\/(?:shut|gone)|\/containers\/gone/.test(request.url ?? '');
    const [, network] = /^\/containers\/on-(\w+)\/json$/.exec(request.url ?? '') ?? [];
    const held = { HostConfig: { NetworkMode: 'default' }, NetworkSettings: { Networks: { [network ?? '']: {} } } };
    const answer = request.url === '/networks/prune' ? { NetworksDeleted: ['front', 'own'] } : held;
    response.writeHead(isThere ? 200 : 404, { 'api-version': '1.41' }).end(JSON.stringify(answer));
  });
  const engineSocketPath = join(directory, 'engine.sock');
  engine.listen(engineSocketPath);
  t.teardown(() => engine.close());
  const replica = new ListReplica(new VirtualClock());
  const secrets = { joinSecrets: { worker: '', manager: '' }, rootCa: { certificatePem: '', keyPem: '' } };
  const changes = [{ type: 'cluster-create' as const, cluster: { id: 'c', spec: {}, ...secrets } }];
  await replica.submit(() => ({ guards: [], changes, result: undefined }));
  const spec = { Name: 'front', Driver: 'overlay', Attachable: true };
  const id = await replica.submit((view) => createNetwork(view, spec, new SeededRng(1)));
  const shut = { Name: 'shut', Driver: 'overlay' };
  await replica.submit((view) => createNetwork(view, shut, new SeededRng(2)));
  const status = () => ({ ...localNode().status(), state: 'active' as const, controlAvailable: true });
  const manager = localNode({ status, replica: () => replica });
  const client = createClient(`unix://${await serve(t, directory, engineSocketPath, manager)}`);
  const create = (body: unknown) => client.request('POST', '/v1.41/containers/create', { body });
  const refused = {
    status: 403,
    message: /^Could not attach to network shut: .* network shut not manually attachable$/,
  };
  const start = (container: string) => client.request('POST', `/v1.41/containers/${container}/start`);
  await t.rejects(start('on-shut'), refused);
  await t.rejects(client.request('POST', '/networks/shut/connect', { body: { Container: 'c' } }), refused);
  const connect = (network: string, Container: string) =>
    client.request('POST', `/networks/${network}/connect`, { body: { Container } });
  await t.rejects(connect('shut', 'gone'), { status: 404, message: 'No such container: gone' });
  const words = 'Could not attach to network gone: rpc error: code = NotFound desc = network gone not found';
  await t.rejects(connect('gone', 'c'), { status: 404, message: words });
  await t.rejects(start('on-gone'), { status: 404, message: words });
  t.same(bodies, []);
  const shutOut = { HostConfig: { NetworkMode: 'shut' } };
  const passed = [{ HostConfig: { NetworkMode: 'front' } }, { HostConfig: null }, [null], shutOut];
  for (const body of passed) await create(body);
  await create({ HostConfig: { NetworkMode: id, Memory: 1 }, NetworkingConfig: { EndpointsConfig: { [id]: {} } } });
  await client.request('POST', `/v1.41/networks/${id}/connect`, { body: { Container: 'c' } });
  t.same(
    bodies.map((body) => JSON.parse(body)),
    [
      ...passed,
      { HostConfig: { NetworkMode: 'front', Memory: 1 }, NetworkingConfig: { EndpointsConfig: { front: {} } } },
      { Container: 'c' },
    ],
  );
  t.equal(paths.at(-1), '/v1.41/networks/front/connect');
  for (const container of ['on-front', 'on-bridge', 'gone']) await start(container).catch(() => undefined);
  t.same(
    paths.slice(-3),
    ['on-front', 'on-bridge', 'gone'].map((each) => `/v1.41/containers/${each}/start`),
  );
  const { NetworksDeleted } = await client.pruneNetworks();
  t.same(
    NetworksDeleted?.sort(),
    ['front', 'own', 'shut'],
    "the engine's own of that name is not told beside the network",
  );
});
