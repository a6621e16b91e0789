import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LogQuery } from '@apiary/api/rpc';
import { ApiaryError, SeededRng } from '@apiary/std';
import { SystemClock } from '@apiary/std/io';
import { ChannelCredentials } from '@grpc/grpc-js';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { IDENTITY } from './agent.fixture.js';
import { startAgent } from './agent.js';
import { DiskHistory } from './disk-history.js';
import { FakeEngine } from './fake-engine.js';
import { FakeManager } from './fake-manager.js';
import type { History } from './history.js';

const OPTIONS = { follow: false, stdout: true, stderr: true, since: '', tail: -1, details: false };

/** An agent whose tasks `a` and `b` run and have written something. */
async function start(t: Test) {
  const manager = await FakeManager.start();
  const engine = new FakeEngine();
  const directory = await mkdtemp(join(tmpdir(), 'apiary-logs-'));
  t.teardown(() => rm(directory, { recursive: true }));
  const limits = { maxAgeMs: 3_600_000, maxBytes: 1024 * 1024 };
  const logger = pino({ level: 'silent' });
  const historyOptions = { directory: join(directory, 'history'), limits, clock: new SystemClock(), logger };
  const history: History = new DiskHistory(historyOptions);
  manager.assign({ a: 'running', b: 'running' });
  const agent = startAgent({
    identity: () => IDENTITY,
    managers: () => [manager.addr],
    advertiseAddr: '10.0.0.1',
    engine,
    history,
    clock: new SystemClock(),
    rng: new SeededRng(1),
    logger,
    channel: () => ({ credentials: ChannelCredentials.createInsecure(), options: {} }),
  });
  t.teardown(async () => {
    await agent.stop();
    manager.stop();
  });
  for (const id of ['a', 'b']) await manager.state(id, 'running');
  engine.write('a', 1, 'one');
  engine.write('b', 2, 'two');
  engine.write('a', 3, 'three');
  const ask = (query: Partial<LogQuery>) => {
    const asked = { queryId: 'q', taskIds: ['a', 'b'], options: OPTIONS, after: [], isOpen: false, kept: undefined };
    const value: LogQuery = { ...asked, ...query };
    manager.send({ body: { $case: 'logQuery', value } });
  };
  /** What a query's stream has brought, once it has brought so much. */
  const brought = async (count: number, queryId = 'q') => {
    await manager.until(() => (manager.published.get(queryId)?.length ?? 0) >= count);
    return manager.published.get(queryId);
  };
  return { manager, engine, ask, brought, agent, history, historyOptions };
}

t.test('what tasks have written is brought in order of time, and then the stream ends', async (t) => {
  const { ask, brought } = await start(t);
  ask({ taskIds: ['a', 'b', 'of-another-node'] });
  t.same(await brought(4), ['a one', 'b two', 'a three', 'end']);
});

t.test('only the end, or only what comes after a line that is there already', async (t) => {
  const { ask, brought } = await start(t);
  ask({ queryId: 'tail', options: { ...OPTIONS, tail: 1 } });
  t.same(await brought(3, 'tail'), ['b two', 'a three', 'end']);
  ask({ queryId: 'after', taskIds: ['a'], after: [{ taskId: 'a', timestamp: '2020-01-01T00:00:01.000000000Z' }] });
  t.same(await brought(2, 'after'), ['a three', 'end']);
});

t.test('a task is followed to its end, one that is yet to start from its start, and each is taken once', async (t) => {
  const { manager, engine, ask, brought } = await start(t);
  const options = { ...OPTIONS, follow: true };
  ask({ options, taskIds: ['a'], isOpen: true });
  t.same(await brought(2), ['a one', 'a three']);
  ask({ options, taskIds: ['a', 'c'], isOpen: true });
  manager.assign({ c: 'running' });
  await manager.state('c', 'running');
  engine.write('c', 4, 'four');
  engine.exit('c', 0);
  t.same(await brought(3), ['a one', 'a three', 'c four']);
  ask({ options, taskIds: [], isOpen: false });
  engine.write('a', 5, 'five');
  engine.exit('a', 0);
  t.same(await brought(5), ['a one', 'a three', 'c four', 'a five', 'end']);
});

t.test('a query that is cancelled ends its stream, and one that the engine refuses says so', async (t) => {
  const { manager, engine, ask, brought } = await start(t);
  ask({ options: { ...OPTIONS, follow: true } });
  await brought(3);
  manager.send({ body: { $case: 'logCancel', value: { queryId: 'q' } } });
  t.match((await brought(4))?.at(-1), /^(cancelled|end)$/);
  engine.before = (call) => {
    if (call === 'logs') throw new ApiaryError('unimplemented', 'configured logging driver does not support reading');
  };
  ask({ queryId: 'refused', taskIds: ['a'] });
  t.same(await brought(2, 'refused'), ['task a: configured logging driver does not support reading', 'end']);
});

t.test('what a task wrote is brought after it is gone, too, until the node leaves', async (t) => {
  const { manager, engine, ask, brought, agent, history, historyOptions } = await start(t);
  const nothing = () => manager.said.filter(({ body }) => body?.$case === 'logNothing').length;
  ask({ queryId: 'before', taskIds: [], kept: { service: 'web', taskId: '' } });
  await manager.until(() => nothing() === 1);
  manager.remove('a');
  await manager.until(() => ![...engine.containers.values()].some(({ taskId }) => taskId === 'a'));
  ask({ queryId: 'all', taskIds: [], kept: { service: 'web', taskId: '' } });
  t.same(await brought(3, 'all'), ['a one', 'a three', 'end']);
  ask({ queryId: 'tail', taskIds: [], kept: { service: '', taskId: 'a' }, options: { ...OPTIONS, tail: 1 } });
  t.same(await brought(2, 'tail'), ['a three', 'end']);
  const since = '1577836802.5';
  ask({ queryId: 'since', taskIds: [], kept: { service: 'web', taskId: '' }, options: { ...OPTIONS, since } });
  t.same(await brought(2, 'since'), ['a three', 'end']);
  const after = [{ taskId: 'a', timestamp: '2020-01-01T00:00:01.000000000Z' }];
  ask({ queryId: 'after', taskIds: ['b'], kept: { service: 'web', taskId: '' }, after });
  t.same(await brought(3, 'after'), ['b two', 'a three', 'end'], 'beside those that run');
  history.find = () => Promise.reject(new Error('EIO'));
  ask({ queryId: 'unread', taskIds: [], kept: { service: 'web', taskId: '' } });
  await manager.until(() => nothing() === 2);
  await agent.leave();
  t.same(await new DiskHistory(historyOptions).find({ service: 'web' }), []);
});
