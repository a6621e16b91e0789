import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import * as net from 'node:net';
import { createClient } from '@apiary/api/client';
import { VirtualClock } from '@apiary/std';
import t from 'tap';
import { raw, refusal, serve, spec, task } from './http-api.fixture.js';
import { createHttpApi } from './index.js';

t.test('a ping says what speaks here, also without an engine', async (t) => {
  const { socketPath } = await serve(t, { manager: true });
  for (const method of ['GET', 'HEAD']) {
    const { status, headers, text } = await raw(socketPath, method, '/v1.41/_ping');
    t.equal(status, 200);
    t.equal(text, method === 'GET' ? 'OK' : '');
    t.match(headers, {
      'api-version': '1.41',
      ostype: 'linux',
      swarm: 'active/manager',
      'docker-experimental': 'false',
    });
    t.equal(headers['content-type'], 'text/plain; charset=utf-8');
  }
  t.match(await stat(socketPath), { mode: 0o140660, gid: process.getgid?.() }, 'owner and group may connect');
});

t.test('a client of another age is told which versions are spoken', async (t) => {
  const { socketPath } = await serve(t, { manager: false });
  const words = async (path: string) => JSON.parse((await raw(socketPath, 'GET', path)).text).message;
  t.equal(await words('/v1.99/services'), 'client version 1.99 is too new. Maximum supported API version is 1.41');
  t.match(await words('/v1.11/info'), /^client version 1\.11 is too old\. Minimum supported API version is 1\.24/);
  t.equal((await raw(socketPath, 'GET', '/v1.99/services')).status, 400);
  t.equal(await words('/services/nosuch/page/at/all'), 'page not found');
  t.equal((await raw(socketPath, 'POST', '/v1.41/version')).status, 404);
});
t.test('who says nothing, or begins and does not end, is hung up on', async (t) => {
  const { socketPath } = await serve(t, { manager: true, patience: { headMs: 100, bodyMs: 200 } });
  const post = 'POST /services/create HTTP/1.1\r\nHost: x\r\n';
  const said = ['', 'G', 'GET /services HTTP/1.1\r\nHost: ', post, `${post}Content-Length: 9\r\n\r\n{`];
  const heard = await Promise.all(
    said.map(async (words) => {
      const socket = net.connect({ path: socketPath });
      let answer = '';
      socket.on('data', (chunk) => {
        answer += chunk;
      });
      socket.on('error', () => {});
      socket.write(words);
      await once(socket, 'close');
      return answer.split('\r\n', 1)[0];
    }),
  );
  t.same(heard, ['', 'HTTP/1.1 408 Request Timeout', 'HTTP/1.1 408 Request Timeout', '', '']);
});

t.test('who listens is answered for longer than a body may take', async (t) => {
  const { client, socketPath } = await serve(t, { manager: true, patience: { headMs: 30_000, bodyMs: 50 } });
  await client.createService(spec('web'));
  const watched = client.watchService('web');
  t.equal((await watched.next()).done, false);
  const unfinished = net.connect({ path: socketPath });
  unfinished.write('POST /services/create HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{');
  await once(unfinished.resume(), 'close');
  const next = watched.next();
  await client.removeService('web');
  t.same(await next, { done: true, value: undefined });
});

t.test('a watcher sees each change of a service and its tasks, and the end of it', async (t) => {
  const { client, change } = await serve(t, { manager: true });
  const { ID } = await client.createService(spec('web'));
  const seen: string[] = [];
  for await (const { service, tasks } of client.watchService('web')) {
    seen.push(`${service.Spec.Labels?.['step'] ?? 0}: ${tasks.map((found) => `${found.ID} ${found.Status.State}`)}`);
    if (seen.length === 1) await change(task('t1', ID));
    if (seen.length === 2) await change({ type: 'task-delete', id: 't1' });
    if (seen.length === 3)
      await client.updateService('web', service.Version.Index, spec('web', { Labels: { step: '1' } }));
    if (seen.length === 4) await client.removeService('web');
  }
  t.same(seen, ['0: ', '0: t1 running', '0: ', '1: ']);
  t.match(await refusal(client.watchService('web').next()), /^404 not-found: service web not found/);
  t.match(await refusal(client.request('GET', '/apiary/v1/watch')), /^400 .*name what to watch/);
});

t.test('a watcher that goes away is let go, and closing the server ends the others', async (t) => {
  const { client, api } = await serve(t, { manager: true });
  await client.createService(spec('web'));
  for await (const _snapshot of client.watchService('web')) break;
  const abort = new AbortController();
  const aborted = client.watchService('web', abort.signal);
  await aborted.next();
  abort.abort();
  await t.rejects(aborted.next(), { name: 'AbortError' });
  const left = client.watchService('web');
  await left.next();
  const end = left.next();
  await api.close();
  t.same(await end, { done: true, value: undefined });
});

t.test('a request that asks for an upgrade of what is ours is answered as if it had not', async (t) => {
  const { socketPath } = await serve(t, { manager: true });
  const socket = net.connect(socketPath);
  socket.write('GET /services HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n');
  let text = '';
  for await (const chunk of socket.setEncoding('utf8')) text += chunk;
  t.match(text, /^HTTP\/1\.1 200 OK\r\n/);
  t.ok(text.endsWith('\r\n\r\n[]'));
});

t.test('requests that come in pieces, and several on one connection, are understood', async (t) => {
  const { socketPath } = await serve(t, { manager: true });
  const socket = net.connect(socketPath).setEncoding('utf8').setNoDelay(true);
  const until = async (pattern: RegExp): Promise<string> => {
    let text = '';
    for await (const [chunk] of on(socket)) {
      text += chunk;
      if (pattern.test(text)) break;
    }
    return text;
  };
  socket.write('PO');
  await new Promise((resolve) => setImmediate(resolve));
  socket.write('ST /services/create HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{');
  await new Promise((resolve) => setImmediate(resolve));
  socket.write('}');
  t.match(await until(/\}$/), /^HTTP\/1\.1 400 Bad Request\r\n.*mismatched Runtime/s);
  socket.write('GET /tasks HTTP/1.1\r\nHost: x\r\n\r\n');
  t.match(await until(/\]$/), /^HTTP\/1\.1 200 OK\r\n.*\[\]$/s);
  socket.destroy();
});

async function* on(socket: net.Socket): AsyncGenerator<unknown[]> {
  for (;;) yield await once(socket, 'data');
}

t.test('an address is taken over from a dead server, never from a live one', async (t) => {
  const { socketPath, node, client } = await serve(t, { manager: false });
  const logger = { info: () => {}, error: () => {} };
  const second = await createHttpApi({
    node,
    clock: new VirtualClock(),
    engineSocketPath: '/nowhere',
    logger,
    version: '0',
  });
  await t.rejects(second.listen({ socketPath }), { code: 'failed-precondition', message: /is in use/ });
  t.match(await client.ping(), { swarm: 'inactive' });
  await second.close();
});

t.test('a server that stops answers first what it was asked before, and takes nothing more', async (t) => {
  const { api, client, node, socketPath } = await serve(t, { manager: false });
  let finish = () => {};
  const asked = new Promise<void>((resolve) => {
    node.join = () =>
      new Promise<void>((done) => {
        finish = done;
        resolve();
      });
  });
  const joining = client.swarmJoin({ RemoteAddrs: ['10.0.0.1'], JoinToken: 'x' });
  await asked;
  const closed = api.close();
  await t.rejects(createClient(`unix://${socketPath}`).info(), { code: 'unavailable' });
  finish();
  await t.resolves(joining);
  await closed;
});

t.test('the client says whom it cannot reach', async (t) => {
  const gone = createClient('unix:///nonexistent/swarmd.sock');
  await t.rejects(gone.info(), {
    code: 'unavailable',
    message: 'Cannot connect to swarmd at unix:///nonexistent/swarmd.sock: is it running?',
  });
  for (const host of ['/run/x.sock', 'unix://x', 'tcp://', 'tcp://h:0', 'tcp://h:99999', 'ssh://h']) {
    t.throws(() => createClient(host), { code: 'invalid-argument' }, host);
  }
});
