import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import * as http from 'node:http';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VirtualClock } from '@apiary/std';
import t, { type Test } from 'tap';
import { localNode } from './http-api.fixture.js';
import { AuditLog, createHttpApi } from './index.js';
import { LocalCallers, type PeerOf } from './local-callers.js';

const SECRET = 'correct-horse-battery-staple';
const logger = { info: () => {}, error: () => {} };

/** The API of a node that is in no cluster, before an engine that agrees to all. */
async function serve(t: Test, peerOf: PeerOf) {
  const directory = await mkdtemp(join(tmpdir(), 'apiary-audit-'));
  const clock = new VirtualClock(1_700_000_000_000);
  const engineSocketPath = join(directory, 'engine.sock');
  let hear = () => {};
  const isHeard = new Promise<void>((resolve) => {
    hear = resolve;
  });
  const engine = http.createServer((request, response) => {
    request.resume();
    if (request.url === '/images/load') return hear();
    response.writeHead(200, { 'content-type': 'application/json', 'api-version': '1.41' }).end('{}');
  });
  engine.on('upgrade', (_request, socket) => socket.end('HTTP/1.1 101 UPGRADED\r\n\r\n'));
  engine.listen(engineSocketPath);
  await once(engine, 'listening');
  const path = join(directory, 'audit.log');
  const audit = new AuditLog({ path, clock, logger });
  const api = await createHttpApi({ node: localNode(), engineSocketPath, logger, version: '0', clock, audit, peerOf });
  const socketPath = join(directory, 'swarmd.sock');
  await api.listen({ socketPath, tcp: { host: '127.0.0.1', port: 0 } });
  const closed = async () => {
    await api.close();
    engine.close();
  };
  t.teardown(() => rm(directory, { recursive: true }));
  const ask = async (method: string, target: string, headers: http.OutgoingHttpHeaders = {}) => {
    const request = http.request({ socketPath, method, path: target, headers, agent: false });
    request.end(
      !['POST', 'PUT', 'PATCH'].includes(method)
        ? undefined
        : JSON.stringify({ Data: SECRET, Name: SECRET, UnlockKey: SECRET }),
    );
    const [response]: http.IncomingMessage[] = await Promise.race([
      once(request, 'response'),
      once(request, 'upgrade'),
    ]);
    response?.resume();
    return response?.statusCode;
  };
  /** What was noted, once all is written. */
  const noted = async () => {
    await closed();
    const text = await readFile(path, 'utf8');
    return {
      text,
      lines: text
        .trim()
        .split('\n')
        .map((line): Record<string, unknown> => JSON.parse(line)),
    };
  };
  return { api, ask, socketPath, noted, isHeard };
}

t.test('each call that may change something is noted, whatever it is, and nothing that was sent', async (t) => {
  const { api, ask, noted } = await serve(t, () => ({ pid: 42, uid: 0 }));
  const changing = api.routes.filter(({ method }) => method !== 'GET' && method !== 'OPTIONS');
  t.ok(changing.length > 30, `${changing.length} routes`);
  const expected: object[] = [];
  const from = 'unix, process 42';
  for (const { method, path } of changing) {
    const target = path.replace(/:\w+/g, 'x1');
    const status = await ask(method, `/v1.41${target}?version=1&token=${SECRET}`);
    expected.push({ who: 'root (uid 0)', from, what: `${method} ${target}`, status });
  }
  const ofEngine = [
    'POST /containers/create',
    'DELETE /volumes/v',
    'POST /exec/x/start',
    'PUT /containers/c/archive',
    'POST /build',
  ];
  for (const what of ofEngine) {
    const [method = '', target = ''] = what.split(' ');
    const status = await ask(method, `${target}?remote=${SECRET}`);
    expected.push({ who: 'root (uid 0)', from, what, ...(what.includes('exec') ? { taken: true } : { status }) });
  }
  const upgrade = { connection: 'Upgrade', upgrade: 'h2c' };
  await ask('POST', '/session', upgrade);
  expected.push({ what: 'POST /session', taken: true });
  await ask('GET', '/containers/c/attach/ws', upgrade);
  expected.push({ what: 'GET /containers/c/attach/ws', taken: true });
  await ask('POST', '/services/create', upgrade);
  expected.push({ what: 'POST /services/create', status: 400 });
  await ask('PATCH', '/services/nowhere');
  expected.push({ what: 'PATCH /services/nowhere', status: 404 });
  const { text, lines } = await noted();
  t.match(lines, expected);
  t.equal(lines.length, expected.length);
  t.notMatch(text, SECRET);
});

t.test('of what is read, what makes its reader as good as a manager is noted', async (t) => {
  const { api, ask, noted } = await serve(t, () => undefined);
  const expected: object[] = [];
  for (const { method, path } of api.routes) {
    if (method !== 'GET' || path.includes('watch') || path.includes('events')) continue;
    const status = await ask('GET', path.replace(/:\w+/g, 'x1'));
    if (/backup|unlockkey|join-tokens|^\/swarm$/.test(path))
      expected.push({ who: 'local', from: 'unix', what: `GET ${path}`, status });
  }
  t.equal(expected.length, 4);
  const { lines } = await noted();
  t.match(lines, expected);
  t.equal(lines.length, expected.length);
});

t.test('what is cut short by the end of the server is noted as that', async (t) => {
  const { socketPath, noted, isHeard } = await serve(t, () => undefined);
  const request = http.request({ socketPath, method: 'POST', path: '/images/load', agent: false });
  request.on('error', () => {});
  request.end();
  await isHeard;
  const { lines } = await noted();
  t.match(lines, [{ what: 'POST /images/load', cut: true }]);
});

t.test('callers of this host have the name of their account', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'apiary-accounts-'));
  t.teardown(() => rm(directory, { recursive: true }));
  const accounts = join(directory, 'passwd');
  await writeFile(accounts, 'root:x:0:0::/:\nalice:x:1000:1000::/:\nalias:x:1000:1000::/:\nbroken\n');
  let peer = { pid: 7, uid: 1000 };
  const callers = new LocalCallers(() => peer, accounts);
  const first = new net.Socket();
  t.same(callers.asker(first), { who: 'alice (uid 1000)', from: 'unix, process 7' });
  peer = { pid: 0, uid: 1001 };
  t.same(callers.asker(new net.Socket()), { who: 'uid 1001', from: 'unix' });
  t.same(callers.asker(first), { who: 'alice (uid 1000)', from: 'unix, process 7' }, 'a connection is of who made it');
  const none = new LocalCallers(() => peer, join(directory, 'none'));
  t.same(none.asker(new net.Socket()), { who: 'uid 1001', from: 'unix' });
});
