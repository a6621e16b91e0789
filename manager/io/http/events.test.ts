import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import * as http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient } from '@apiary/api/client';
import type { ServiceSpec } from '@apiary/api/model';
import { VirtualClock } from '@apiary/std';
import t, { type Test } from 'tap';
import { ListReplica } from '../rpc/list-replica.js';
import { Endings, localNode } from './http-api.fixture.js';
import { createHttpApi } from './index.js';

const NOW_MS = 1_700_000_000_000;
const spec = (Name: string): ServiceSpec => ({ Name, TaskTemplate: { ContainerSpec: { Image: 'a' } } });
const ofEngine = (id: string, timeNano: string): string =>
  `{"Type":"container","Action":"start","Actor":{"ID":"${id}","Attributes":{"name":"c.${id}"}},"scope":"local","time":1,"timeNano":${timeNano}}\n`;

/** A manager's API, before an engine whose events the test writes. */
async function serve(t: Test, { isManager = true } = {}) {
  const directory = await mkdtemp(join(tmpdir(), 'apiary-events-'));
  const clock = new VirtualClock(NOW_MS);
  const replica = new ListReplica(clock);
  const asked: URL[] = [];
  let answering = (_response: http.ServerResponse): void => {};
  /** What the engine waits for before it answers. */
  const patience: { until?: Promise<void> } = {};
  const engine = http.createServer(async (request, response) => {
    const url = new URL(request.url ?? '', 'http://engine');
    if (url.pathname !== '/events') {
      response.end('OK');
      return;
    }
    asked.push(url);
    await patience.until;
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    answering(response);
  });
  const engineSocketPath = join(directory, 'engine.sock');
  engine.listen(engineSocketPath);
  await once(engine, 'listening');
  const status = () => ({
    ...localNode().status(),
    nodeId: 'n1',
    state: 'active' as const,
    controlAvailable: isManager,
  });
  const node = localNode({ status, ...(isManager && { replica: () => replica }) });
  const logger = { info: () => {}, error: (_fields: object, message: string) => t.fail(message) };
  const endings = new Endings();
  const api = await createHttpApi({ node, clock, engineSocketPath, logger, version: '0.1.0', audit: endings });
  const socketPath = join(directory, 'swarmd.sock');
  await api.listen({ socketPath });
  t.teardown(async () => {
    await api.close();
    engine.closeAllConnections();
    engine.close();
    await rm(directory, { recursive: true });
  });
  const onEngine = (write: typeof answering): void => {
    answering = write;
  };
  /** The next line; time passes until it is there. */
  const next = async (lines: AsyncGenerator<string, void, void>): Promise<string> => {
    let line: string | undefined;
    const read = lines.next().then(({ value }) => {
      line = value ?? 'the end';
    });
    while (line === undefined) {
      clock.advance(100);
      await Promise.race([read, immediately()]);
    }
    return line;
  };
  const client = createClient(`unix://${socketPath}`);
  return { client, socketPath, replica, clock, onEngine, asked, next, patience, endings };
}

const immediately = () => new Promise((resolve) => setImmediate(resolve));
const idOf = (line: string): string => JSON.parse(line).Actor.ID;

async function idsOf(lines: AsyncIterable<string>): Promise<string[]> {
  const ids: string[] = [];
  for await (const line of lines) ids.push(idOf(line));
  return ids;
}

t.test('what happened is told in the order of time, of the cluster and of the engine', async (t) => {
  const { client, replica, clock, onEngine, asked } = await serve(t);
  for (const id of ['s1', 's2', 's3']) {
    replica.apply([{ type: 'service-create', id, spec: spec(id) }]);
    clock.advance(1000);
  }
  onEngine((response) =>
    response.end(ofEngine('c1', `${NOW_MS + 500}000000`) + ofEngine('c2', `${NOW_MS + 2500}000000`)),
  );
  const until = `${(NOW_MS + 2600) / 1000}`;
  t.same(await idsOf(client.events({ since: '1', until })), ['s1', 'c1', 's2', 's3', 'c2']);
  t.match(asked[0]?.search, /since=1&until=/, 'the engine is asked the same');
  t.same(await idsOf(client.events({ since: `${NOW_MS / 1000 + 1}`, until: `${NOW_MS / 1000 + 1}.000000000` })), [
    'c1',
    's2',
    'c2',
  ]);
  const filters = JSON.stringify({ task: ['none'] });
  t.same(await idsOf(client.events({ since: '1', until, filters })), [], 'the engine knows no filter by task');
  t.same(await idsOf(client.events({ since: '1', until, filters: '{"service":{"s2":true}}' })), ['c1', 's2', 'c2']);
  await t.rejects(client.events({ since: '2', until: '1' }).next(), {
    status: 400,
    message: '`since` time (2) cannot be after `until` time (1)',
  });
});

t.test('what happens is told as it does, each event once, over a state that was restored too', async (t) => {
  const { client, replica, onEngine, next } = await serve(t);
  replica.apply([{ type: 'service-create', id: 'before', spec: spec('before') }]);
  let engine: http.ServerResponse | undefined;
  onEngine((response) => {
    engine = response;
  });
  const aborter = new AbortController();
  const lines = client.events({}, aborter.signal);
  const first = next(lines);
  while (engine === undefined || !replica.isHeard) await immediately();
  replica.apply([{ type: 'service-create', id: 'after', spec: spec('after') }]);
  t.equal(idOf(await first), 'after');
  replica.tellAgain();
  replica.apply([{ type: 'service-delete', id: 'after' }]);
  t.match(await next(lines), /"Action":"remove"/);
  engine.write(ofEngine('c1', `${NOW_MS}000000`));
  t.equal(idOf(await next(lines)), 'c1');
  engine.destroy();
  replica.apply([{ type: 'service-create', id: 'later', spec: spec('later') }]);
  t.equal(idOf(await next(lines)), 'later', 'also when the engine is gone');
  aborter.abort();
});

t.test('who goes away before the engine has answered is told nothing, and the engine is asked no more', async (t) => {
  const { socketPath, replica, onEngine, asked, patience, endings } = await serve(t);
  let open = () => {};
  patience.until = new Promise((resolve) => {
    open = resolve;
  });
  const isHungUpOn = new Promise<void>((resolve) => {
    onEngine((response) => response.once('close', resolve));
  });
  const request = http.get({ socketPath, path: '/events', agent: false });
  request.on('error', () => {});
  while (asked.length === 0) await immediately();
  const isGone = endings.next();
  request.destroy();
  await isGone;
  open();
  await isHungUpOn;
  t.notOk(replica.isHeard);
});

t.test('it ends when the time has come until which was asked', async (t) => {
  const { client, replica, clock, onEngine, next } = await serve(t);
  onEngine(() => {});
  replica.apply([{ type: 'service-create', id: 's1', spec: spec('s1') }]);
  const lines = client.events({ since: '1', until: `${NOW_MS / 1000 + 60_000}` });
  t.equal(idOf(await next(lines)), 's1');
  clock.advance(60_000_000);
  t.equal(await next(lines), 'the end');
});

t.test('a worker tells what its engine tells, and nothing else', async (t) => {
  const { client, onEngine } = await serve(t, { isManager: false });
  onEngine((response) => response.end(ofEngine('c1', '1')));
  t.same(await idsOf(client.events({ since: '1', until: '2' })), ['c1']);
});
