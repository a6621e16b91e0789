import { once } from 'node:events';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import { fromRpcError } from '@apiary/api/client';
import { type LogBatch, type LogLine, type LogRequest, LogsClient } from '@apiary/api/rpc';
import { SeededRng } from '@apiary/std';
import t, { type Test } from 'tap';
import { writeLogs } from '../http/log-stream.js';
import { CHANNEL, credentialsOf, identityOf, openCluster, serviceWithTasks, TestAgent } from '../rpc/test-cluster.js';
import { ClusterLogs, LogBroker } from './index.js';

const OPTIONS = { follow: false, stdout: true, stderr: true, since: '', tail: -1, details: false };
const OF_SERVICE: LogRequest = { serviceId: 's1', taskId: '', options: OPTIONS, after: [], kept: false };

async function open(t: Test) {
  let broker: LogBroker | undefined;
  const cluster = await openCluster(t, ({ replica, clock, dispatcher }) => {
    broker = new LogBroker({ replica, clock, agents: dispatcher, rng: new SeededRng(3) });
    return broker.services;
  });
  if (broker === undefined) throw new Error('no broker');
  const { replica, clock, rootCa } = cluster;
  const identity = () => ({ ...identityOf(rootCa, 'm1', 'manager'), clusterId: 'c1', nodeId: 'm1' });
  const logs = new ClusterLogs({ replica, broker, identity, clock });
  t.teardown(() => {
    logs.close();
    broker?.close();
  });
  const agent = async (nodeId: string): Promise<Agent> => {
    const session = new TestAgent(t, cluster.server, identityOf(rootCa, nodeId, 'worker'));
    await session.open();
    return new Agent(t, cluster.server, session, identityOf(rootCa, nodeId, 'worker'));
  };
  return { ...cluster, logs, agent };
}

/** An agent that answers as the test says. */
class Agent {
  readonly #client: LogsClient;

  constructor(
    t: Test,
    server: { addr: string },
    readonly session: TestAgent,
    identity: ReturnType<typeof identityOf>,
  ) {
    this.#client = new LogsClient(server.addr, credentialsOf(identity), CHANNEL);
    t.teardown(() => this.#client.close());
  }

  async asked() {
    return (await this.session.take('logQuery')).value;
  }

  /** @returns what cancels the stream */
  begin(queryId: string, ...lines: LogLine[]): () => void {
    const stream = this.#client.publish(() => {});
    stream.write({ queryId, lines, problems: [], isLast: false });
    return () => stream.cancel();
  }

  /** Publishes so many batches of 64 KiB, each once there is room for it. */
  flood(queryId: string, taskId: string, batches: number) {
    const state = { sent: 0, isOver: false };
    const over = new Promise<string>((resolve) => {
      const stream = this.#client.publish((error) => {
        state.isOver = true;
        resolve(error === null ? 'ok' : fromRpcError(error).code);
      });
      const go = () => {
        while (state.sent < batches) {
          state.sent++;
          const one = { ...line(taskId, 1), data: Buffer.alloc(64 * 1024, 'x') };
          if (!stream.write({ queryId, lines: [one], problems: [], isLast: state.sent === batches })) return;
        }
        stream.end();
      };
      stream.on('drain', go);
      go();
    });
    return { state, over };
  }

  /** Says what is missing, a batch each. @returns the code with which the stream ends */
  complain(queryId: string, ...all: string[][]): Promise<string> {
    return new Promise((resolve) => {
      const stream = this.#client.publish((error) => resolve(error === null ? 'ok' : fromRpcError(error).code));
      for (const problems of all) stream.write({ queryId, lines: [], problems, isLast: problems === all.at(-1) });
      stream.end();
    });
  }

  /** @returns the code with which the stream ends */
  publish(queryId: string, ...lines: LogLine[]): Promise<string> {
    return new Promise((resolve) => {
      const stream = this.#client.publish((error) => resolve(error === null ? 'ok' : fromRpcError(error).code));
      for (const line of lines) stream.write({ queryId, lines: [line], problems: [], isLast: false });
      stream.write({ queryId, lines: [], problems: [], isLast: true });
      stream.end();
    });
  }
}

const line = (taskId: string, second: number): LogLine => ({
  taskId,
  nodeId: '',
  stream: 1,
  timestamp: `2026-01-01T00:00:0${second}.000000000Z`,
  data: Buffer.from(`${taskId} ${second}\n`),
  taskName: '',
  serviceId: '',
  details: '',
});

async function all(batches: AsyncIterable<LogBatch>): Promise<{ lines: string[]; problems: string[] }> {
  const lines: string[] = [];
  const problems: string[] = [];
  for await (const batch of batches) {
    lines.push(...batch.lines.map(({ data, nodeId }) => `${data.toString().trimEnd()} ${nodeId}`));
    problems.push(...batch.problems);
  }
  return { lines, problems };
}

const never = new AbortController().signal;

t.test('the nodes of a service are asked for its tasks, and their lines put in order of time', async (t) => {
  const { replica, logs, agent } = await open(t);
  serviceWithTasks(replica, ['a', 'w1'], ['b', 'w2'], ['c', 'w1']);
  const [first, second] = [await agent('w1'), await agent('w2')];
  const read = all(logs.read({ ...OF_SERVICE, after: [{ taskId: 'b', timestamp: 'T' }] }, never));
  const asked = await first.asked();
  t.same(asked.taskIds, ['a', 'c']);
  t.match(asked, { options: OPTIONS, after: [], isOpen: false });
  const other = await second.asked();
  t.same([other.taskIds, other.after], [['b'], [{ taskId: 'b', timestamp: 'T' }]]);
  const published = [
    second.publish(other.queryId, line('b', 2), line('b', 4)),
    first.publish(asked.queryId, line('a', 1), line('c', 3), line('a', 5)),
  ];
  t.same(await Promise.all(published), ['ok', 'ok']);
  t.same(await read, { lines: ['a 1 w1', 'b 2 w2', 'c 3 w1', 'b 4 w2', 'a 5 w1'], problems: [] });
});

t.test('a node publishes for a query that was put to it, for tasks that it was asked for, and once', async (t) => {
  const { replica, logs, agent } = await open(t);
  serviceWithTasks(replica, ['a', 'w1'], ['b', 'w2']);
  const [first, second] = [await agent('w1'), await agent('w2')];
  const read = all(logs.read(OF_SERVICE, never));
  const [{ queryId }, other] = [await first.asked(), await second.asked()];
  t.equal(await second.publish(queryId, line('a', 1)), 'permission-denied');
  t.equal(await second.publish('made-up', line('a', 1)), 'permission-denied');
  t.equal(await second.publish(other.queryId, line('a', 1)), 'permission-denied', 'a task of another node');
  t.equal(await second.publish(other.queryId, line('b', 1)), 'permission-denied', 'not again');
  t.equal(await first.publish(queryId, line('a', 2)), 'ok');
  t.same(await read, { lines: ['a 2 w1'], problems: ['node w2 disconnected unexpectedly'] });
});

t.test('what is missing is said: a node that is down, one that is silent for 5 s, a task without a node', async (t) => {
  const { replica, clock, logs, agent } = await open(t);
  serviceWithTasks(replica, ['a', 'w1'], ['b', 'w2']);
  const task = replica.view.task('a');
  if (task === undefined) throw new Error('no task');
  const { meta: _meta, nodeId: _nodeId, ...pending } = task;
  replica.apply([{ type: 'task-create', task: { ...pending, id: 'p', status: { ...task.status, state: 'pending' } } }]);
  const silent = await agent('w1');
  const read = all(logs.read(OF_SERVICE, never));
  await silent.asked();
  clock.advance(0);
  clock.advance(5_000);
  const { problems } = await read;
  t.same(problems, ['node w2 is not available', 'node w1 is not available', 'task p has not been scheduled']);
});

t.test('an agent that breaks off leaves the answer incomplete, with what it had brought', async (t) => {
  const { replica, logs, agent } = await open(t);
  serviceWithTasks(replica, ['a', 'w1']);
  const first = await agent('w1');
  const batches = logs.read(OF_SERVICE, never)[Symbol.asyncIterator]();
  const next = batches.next();
  const hangUp = first.begin((await first.asked()).queryId, line('a', 1));
  t.match(await next, { value: { lines: [{ taskId: 'a' }], problems: [] } });
  hangUp();
  t.match(await batches.next(), { value: { lines: [], problems: ['node w1 disconnected unexpectedly'] } });
  t.match(await batches.next(), { done: true });
});

t.test('who follows hears of new tasks, and the agent that it is over when nobody listens', async (t) => {
  const { replica, clock, logs, agent } = await open(t);
  serviceWithTasks(replica, ['a', 'w1']);
  const first = await agent('w1');
  const aborter = new AbortController();
  const request = { ...OF_SERVICE, options: { ...OPTIONS, follow: true, tail: 0 } };
  const read = all(logs.read(request, aborter.signal));
  const asked = await first.asked();
  t.match(asked, { taskIds: ['a'], isOpen: true, options: { follow: true, tail: 0 } });
  serviceWithTasks(replica, ['b', 'w1']);
  t.match(await first.asked(), { queryId: asked.queryId, taskIds: ['b'], options: { tail: -1 } }, 'all of a new one');
  const published = first.publish(asked.queryId, line('b', 1));
  t.equal(await published, 'ok');
  clock.advance(1_000);
  const again = await first.asked();
  t.match(again, { taskIds: ['a', 'b'], after: [{ taskId: 'b', timestamp: line('b', 1).timestamp }] }, 'it goes on');
  aborter.abort();
  t.equal((await first.session.take('logCancel')).value.queryId, asked.queryId);
  t.equal((await first.session.take('logCancel')).value.queryId, again.queryId);
  t.same(await read, { lines: ['b 1 w1'], problems: [] });
});

t.test('a client that does not read holds the agent back, and hears all of it once it does', async (t) => {
  const { replica, logs, agent } = await open(t);
  serviceWithTasks(replica, ['a', 'w1']);
  const first = await agent('w1');
  const format = { isTty: true, withTimestamps: false, withDetails: false, serviceIdOf: () => 's1' };
  const server = http.createServer((_, response) => {
    void writeLogs(response, logs.read(OF_SERVICE, never), format).finally(() => response.end());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const answered = once(http.get({ port: (server.address() as AddressInfo).port, agent: false }), 'response');
  const batches = 1024;
  const { state, over } = first.flood((await first.asked()).queryId, 'a', batches);
  const [response]: http.IncomingMessage[] = await answered;
  // Nothing moves any more when it has not in so many turns of the loop that all of it goes through.
  for (let idle = 0, before = 0; idle < 2_000 && !state.isOver; before = state.sent) {
    await new Promise((resolve) => setImmediate(resolve));
    idle = state.sent === before ? idle + 1 : 0;
  }
  t.ok(state.sent < batches / 4, `${state.sent} of ${batches} batches have left the agent`);
  let bytes = 0;
  for await (const chunk of response ?? []) bytes += chunk.length;
  t.equal(bytes, batches * 64 * 1024);
  t.equal(await over, 'ok');
});

t.test('who reads from a manager that stops is told so, also who comes too late', async (t) => {
  const { replica, logs, agent } = await open(t);
  serviceWithTasks(replica, ['a', 'w1']);
  const first = await agent('w1');
  const stopping = { code: 'unavailable', message: /this manager is stopping/ };
  const following = { ...OF_SERVICE, options: { ...OPTIONS, follow: true } };
  const refused = t.rejects(all(logs.read(following, never)), stopping);
  await first.asked();
  logs.close();
  await refused;
  await t.rejects(all(logs.read(following, never)), stopping);
});

t.test('only a manager reads from a manager, and only the one that leads answers', async (t) => {
  const { replica, clock, logs } = await open(t);
  serviceWithTasks(replica, ['a', 'w1']);
  replica.become({ role: 'follower', term: 2 });
  const read = all(logs.read(OF_SERVICE, never));
  const refused = t.rejects(read, { code: 'unavailable', message: /no leader now/ });
  for (let seconds = 0; seconds <= 31; seconds++) {
    clock.advance(1_000);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await refused;
});

t.test('what nodes kept of tasks that are gone is asked of all, and taken of no task that is there', async (t) => {
  const { replica, logs, agent } = await open(t);
  serviceWithTasks(replica, ['a', 'w1'], ['b', 'w1']);
  const [first, second] = [await agent('w1'), await agent('w2')];
  const read = all(logs.read({ ...OF_SERVICE, kept: true }, never));
  const own = await first.asked();
  let kept = await first.asked();
  while (kept.kept === undefined) kept = await first.asked();
  t.match(kept, { taskIds: [], kept: { service: 's1', taskId: '' }, isOpen: false });
  const { queryId } = await second.asked();
  second.session.say({ $case: 'logNothing', value: { queryId: own.queryId } });
  second.session.say({ $case: 'logNothing', value: { queryId } });
  const gone = { ...line('z', 1), taskName: 'web.1.z', serviceId: 's1' };
  t.equal(await first.publish(kept.queryId, gone, line('b', 2)), 'ok');
  t.equal(await first.publish(own.queryId, line('a', 3), line('b', 4)), 'ok');
  t.same(await read, { lines: ['z 1 w1', 'a 3 w1', 'b 4 w1'], problems: [] });
});

t.test('of what a node says is missing, no more is kept than somebody would read', async (t) => {
  const { replica, logs, agent } = await open(t);
  serviceWithTasks(replica, ['a', 'w1']);
  const node = await agent('w1');
  const read = all(logs.read(OF_SERVICE, never));
  const { queryId } = await node.asked();
  const problems = Array.from({ length: 200_000 }, () => 'x'.repeat(10));
  t.equal(await node.complain(queryId, ['y'.repeat(100_000)], problems, problems), 'ok');
  const said = (await read).problems;
  t.equal(said.length, 100);
  t.equal(said[0]?.length, 500);
});
