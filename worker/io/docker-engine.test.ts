import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { engineNeeds } from '@apiary/api/model';
import { SeededRng, VirtualClock } from '@apiary/std';
import { SystemClock } from '@apiary/std/io';
import { ChannelCredentials } from '@grpc/grpc-js';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { TASK_LABELS } from '../core/index.js';
import { IDENTITY } from './agent.fixture.js';
import { startAgent } from './agent.js';
import { dockerEngine } from './docker-engine.js';
import { DockerHost } from './docker-host.js';
import { engineConformance } from './engine.conformance.js';
import { EngineHttp } from './engine-http.js';
import { FakeManager } from './fake-manager.js';

type Answer = { status?: number; body?: unknown; raw?: string; open?: true } | 'hang';

/** Something that speaks HTTP on a unix socket, and answers as a test says. */
async function talker(
  t: Test,
  answer: (line: string, request: http.IncomingMessage) => Answer | Promise<Answer>,
  apiVersion = '1.99',
) {
  const dir = mkdtempSync(join(tmpdir(), 'apiary-talker-'));
  const socketPath = join(dir, 'sock');
  const asked: string[] = [];
  let isFrozen = false;
  let wake = () => {};
  const server = http.createServer(async (request, response) => {
    const line = `${request.method} ${request.url}`;
    asked.push(line);
    wake();
    if (isFrozen) return;
    const said = line === 'GET /_ping' ? { body: 'OK' } : await answer(line, request);
    if (said === 'hang') return;
    response.writeHead(said.status ?? 200, { 'Content-Type': 'application/json', 'Api-Version': apiVersion });
    response.write(said.raw ?? JSON.stringify(said.body ?? {}));
    if (!said.open) response.end();
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  const clock = new VirtualClock(1_000_000);
  const engine = dockerEngine({ socketPath, clock });
  t.teardown(() => {
    engine.close();
    server.closeAllConnections();
    server.close();
    rmSync(dir, { recursive: true });
  });
  const until = async (part: string) => {
    while (!asked.some((line) => line.includes(part))) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  const count = (part: string) => asked.filter((line) => line.includes(part)).length;
  const freeze = () => {
    isFrozen = true;
  };
  return { engine, clock, asked, until, count, freeze };
}

const never = () => new AbortController().signal;
const PULL = 'POST /v1.48/images/create';

t.test('an engine that takes connections and answers nothing counts as gone within seconds', async (t) => {
  const { engine, clock, until, freeze } = await talker(t, () => ({}));
  await engine.ping();
  freeze();
  const again = engine.ping();
  await until('GET /_ping');
  clock.advance(8_000);
  await t.rejects(again, { code: 'unavailable', message: /no answer within 8 s/ });
});

t.test('the version of the API is the newest that both sides know', async (t) => {
  const { engine, asked } = await talker(t, () => ({ body: {} }));
  await engine.describe();
  await engine.describe();
  t.same(asked, ['GET /_ping', 'GET /v1.48/info', 'GET /v1.48/info']);
});

t.test('an image that fifty tasks want is asked for once, and not again while what was said holds', async (t) => {
  const { engine, clock, count, asked } = await talker(t, () => ({ body: { status: 'done' } }));
  await Promise.all(Array.from({ length: 50 }, () => engine.pull('localhost:5000/web:2', never())));
  await engine.pull('localhost:5000/web:2', never());
  t.equal(count(PULL), 1);
  t.ok(asked.includes(`${PULL}?fromImage=localhost%3A5000%2Fweb&tag=2`));
  clock.advance(10_000);
  await engine.pull('localhost:5000/web:2', never());
  t.equal(count(PULL), 2);
});

t.test('credentials go with a pull, and one with others is another', async (t) => {
  const auths: unknown[] = [];
  const { engine, count } = await talker(t, (line, { headers }) => {
    if (line.startsWith(PULL)) auths.push(headers['x-registry-auth']);
    return { body: {} };
  });
  const pulls = [undefined, 'e30=', 'e30=', 'bnVsbA=='].map((auth) => engine.pull('web:2', never(), auth));
  await Promise.all(pulls);
  await engine.pull('web:2', never(), 'e30=');
  t.same(auths, [undefined, 'e30=', 'bnVsbA==']);
  t.equal(count(PULL), 3);
});

t.test('an image pinned by its digest is not asked for when it is here', async (t) => {
  const { engine, count } = await talker(t, () => ({ body: {} }));
  await engine.pull('web:2@sha256:abc', never());
  t.equal(count(PULL), 0);
});

t.test('a registry that is silent holds up a local image for three seconds, and then not for a while', async (t) => {
  const { engine, clock, until, count } = await talker(t, (line) => (line.startsWith(PULL) ? 'hang' : { body: {} }));
  const pull = engine.pull('web:2', never());
  await until(PULL);
  clock.advance(3_000);
  await pull;
  await engine.pull('web:2', never());
  t.equal(count(PULL), 1);
});

t.test('a pull that makes progress is waited for, however long it takes', async (t) => {
  const { engine, clock, until } = await talker(t, (line) =>
    line.startsWith(PULL) ? { raw: '{"status":"Pulling"}\n', open: true } : { body: {} },
  );
  const gaveUp = new AbortController();
  const pull = engine.pull('web:2', gaveUp.signal).then(
    () => 'done',
    (error: Error) => error.message,
  );
  await until(PULL);
  // The head of the answer is on its way: a later exchange on the same server comes after it.
  await engine.describe();
  await new Promise((resolve) => setImmediate(resolve));
  clock.advance(60_000);
  gaveUp.abort(new Error('still pulling'));
  t.equal(await pull, 'still pulling');
});

t.test('a pull that fails midway, or an image that is nowhere, is not found', async (t) => {
  const { engine } = await talker(t, (line) =>
    line.startsWith(PULL)
      ? { raw: '{"status":"Pulling"}\n{"error":"manifest unknown"}\n' }
      : { status: 404, body: { message: 'no' } },
  );
  const error = await engine.pull('web', never()).catch((thrown: Error) => thrown);
  t.match(error, { code: 'not-found', message: 'No such image: web', cause: { message: 'manifest unknown' } });
});

t.test('who leaves a shared pull does not end it for the others', async (t) => {
  let answer = (_: Answer) => {};
  const answered = new Promise<Answer>((resolve) => {
    answer = resolve;
  });
  const { engine, until, count } = await talker(t, (line) => (line.startsWith(PULL) ? answered : { body: {} }));
  const leaving = new AbortController();
  const left = engine.pull('web:2', leaving.signal).catch((error: Error) => error.message);
  const stays = engine.pull('web:2', never());
  await until(PULL);
  leaving.abort(new Error('left'));
  t.equal(await left, 'left');
  answer({ body: {} });
  await stays;
  t.equal(count(PULL), 1);
});

t.test('an engine that is not there, hangs or talks nonsense says which', async (t) => {
  const absent = dockerEngine({ socketPath: '/nonexistent/sock', clock: new SystemClock() });
  await t.rejects(absent.describe(), {
    code: 'unavailable',
    message: 'no answer from unix:///nonexistent/sock: ENOENT',
  });
  const { engine, clock, until } = await talker(t, (line) => (line.endsWith('/info') ? 'hang' : { raw: '{' }));
  const hung = engine.describe().catch((error: Error) => error);
  await until('/info');
  clock.advance(30_000);
  t.match(await hung, { code: 'unavailable', message: /no answer within 30 s/ });
  await t.rejects(engine.adopt(), { code: 'internal', message: 'the engine answered with what is no JSON' });
});

t.test('an engine that would drop the start interval of a health check is not given one', async (t) => {
  const bodies: unknown[] = [];
  const answer = async (line: string, request: http.IncomingMessage): Promise<Answer> => {
    if (line.includes('/info')) return { body: { ServerVersion: '24.0.7' } };
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    bodies.push(JSON.parse(Buffer.concat(chunks).toString()));
    return { status: 201, body: { Id: 'c1' } };
  };
  const Healthcheck = { Test: ['CMD', 'true'], StartInterval: 1e9 };
  const needs = engineNeeds({ Healthcheck });
  const config = { name: 'web.1.a', taskId: 'a', body: { Image: 'i', Healthcheck }, engineNeeds: needs };
  const old = await talker(t, answer, '1.43');
  await old.engine.describe();
  await t.rejects(old.engine.create(config), {
    code: 'failed-precondition',
    message:
      'engine 24.0.7 (API 1.43) knows no --health-start-interval: ' +
      'upgrade it to 25.0 (API 1.44) or newer, or leave that out',
  });
  const { engineNeeds: _, ...other } = config;
  await old.engine.create(other);
  t.equal(bodies.length, 1);
  const { engine, asked } = await talker(t, answer, '1.44');
  t.equal(await engine.create(config), 'c1');
  t.match(asked.at(-1), /^POST \/v1\.44\//);
  t.same(bodies[1], config.body);
});

t.test('a name that an earlier create still holds is waited for', async (t) => {
  let creates = 0;
  const { engine, clock, until } = await talker(t, (line) => {
    if (line.startsWith('POST')) {
      return ++creates === 1 ? { status: 409, body: { message: 'in use' } } : { status: 201, body: { Id: 'c1' } };
    }
    return { status: 404, body: { message: 'No such container' } };
  });
  const created = engine.create({ name: 'web.1.a', taskId: 'a', body: { Image: 'i' } });
  await until('GET /v1.48/containers/web.1.a/json');
  let id: string | undefined;
  void created.then((it) => {
    id = it;
  });
  while (id === undefined) {
    clock.advance(100);
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.equal(id, 'c1');
});

t.test('with a real Docker Engine', { skip: DockerHost.obstacle ?? false, timeout: 120_000 }, async (t) => {
  const host = await DockerHost.start();
  const engine = dockerEngine({ socketPath: host.socketPath, clock: new SystemClock() });
  t.teardown(async () => {
    engine.close();
    await host.stop();
  });
  for (const { name, run } of engineConformance({ engine, image: host.image, freePort: 18_080 })) {
    await t.test(name, () => run());
  }

  await t.test('a start interval reaches a container, or is refused by an engine that knows none', async (t) => {
    const Healthcheck = { Test: ['CMD', 'true'], StartInterval: 2e9 };
    const labels = { [TASK_LABELS.taskId]: 'interval' };
    const config = {
      name: 'i.1.interval',
      taskId: 'interval',
      body: { Image: host.image, Labels: labels, Healthcheck },
      engineNeeds: engineNeeds({ Healthcheck }),
    };
    const { Engine } = await engine.describe();
    if (Number(Engine.EngineVersion.split('.')[0]) < 25) {
      await t.rejects(engine.create(config), { message: new RegExp(`^engine ${Engine.EngineVersion.split('+')[0]}`) });
      return;
    }
    const id = await engine.create(config);
    const { body } = await new EngineHttp(host.socketPath, new SystemClock()).request(
      'GET',
      `/v1.44/containers/${id}/json`,
      {
        timeoutMs: 10_000,
      },
    );
    t.match(body, { Config: { Healthcheck } });
  });

  await t.test('an agent runs its tasks on it, also when it is killed and comes back', async (t) => {
    const manager = await FakeManager.start();
    manager.containerSpec = { Image: host.image, Args: ['sleep', '1d'], StopSignal: 'SIGKILL' };
    for (const id of ['a', 'b', 'c']) manager.wanted.set(id, 'running');
    const agent = startAgent({
      identity: () => IDENTITY,
      managers: () => [manager.addr],
      advertiseAddr: '10.0.0.1',
      engine,
      clock: new SystemClock(),
      rng: new SeededRng(1),
      logger: pino({ level: 'silent' }),
      channel: () => ({ credentials: ChannelCredentials.createInsecure(), options: {} }),
    });
    t.teardown(async () => {
      await agent.stop();
      manager.stop();
    });
    for (const id of ['a', 'b', 'c']) {
      const { container } = await manager.state(id, 'running');
      t.ok((container?.pid ?? 0) > 0);
    }
    host.kill();
    await manager.until(() =>
      ['a', 'b', 'c'].every((id) => /^engine unavailable: /.test(manager.statuses.get(id)?.err ?? '')),
    );
    t.equal(manager.statuses.get('a')?.state, 'running');
    manager.assign({ d: 'running' });
    await host.restart();
    // Without live restore the engine ends at its start what ran before.
    for (const id of ['a', 'b', 'c']) t.match(await manager.state(id, 'failed'), { err: /^task: non-zero exit/ });
    await manager.state('d', 'running');
    manager.assign({ d: 'shutdown' });
    await manager.state('d', 'shutdown');
    await agent.leave();
    t.same(await engine.adopt(), []);
  });
});
