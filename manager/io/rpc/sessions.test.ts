import type { TaskStatus } from '@apiary/api/model';
import { ApiaryError, VirtualClock } from '@apiary/std';
import t from 'tap';
import { Dispatcher } from './dispatcher.js';
import { ListReplica } from './list-replica.js';
import { Recorder } from './recorder.js';
import { identityOf, issue, log, openCluster, roundTrip, serviceWithTasks, TestAgent, until } from './test-cluster.js';

t.test('Hello makes the node ready, and its tasks are sent: all, then what changes', async (t) => {
  const { server, rootCa, replica } = await openCluster(t);
  serviceWithTasks(replica, ['t1', 'w1'], ['t2', 'w2']);
  const agent = new TestAgent(t, server, identityOf(rootCa, 'w1', 'worker'));
  agent.hello({ advertiseAddr: '192.0.2.1:2377' });
  t.match(await agent.take('welcome'), {
    value: { update: { heartbeatPeriodMs: 1_000, managers: [{ nodeId: 'm1', addr: '127.0.0.1:2377' }] } },
  });
  t.match(replica.view.node('w1'), {
    status: { state: 'ready', message: '', addr: '192.0.2.1' },
    description: { Hostname: 'host' },
  });
  const first = await agent.take('assignments');
  t.match(first.value, {
    complete: true,
    tasks: [{ taskId: 't1', desiredState: 'running', observedState: 'assigned' }],
  });
  t.equal(first.value.tasks.length, 1);
  t.match(first.value.specs, [{ serviceName: 'web', taskTemplateJson: '{"ContainerSpec":{"Image":"x"}}' }]);

  serviceWithTasks(replica, ['t3', 'w1']);
  const second = await agent.take('assignments');
  t.match(second.value, { complete: false, specs: [], tasks: [{ taskId: 't3' }], removedTaskIds: [] });
  replica.apply([
    { type: 'task-delete', id: 't1' },
    { type: 'task-desired', id: 't3', desiredState: 'shutdown' },
  ]);
  const third = await agent.take('assignments');
  t.match(third.value, { tasks: [{ taskId: 't3', desiredState: 'shutdown' }], removedTaskIds: ['t1'] });

  agent.report(1, { t3: { state: 'running' } });
  await agent.take('statusAck');
  const before = replica.entries.length;
  const again = new TestAgent(t, server, identityOf(rootCa, 'w1', 'worker'));
  again.hello({ advertiseAddr: '192.0.2.1' });
  await again.take('welcome');
  t.equal(replica.entries.length, before, 'a Hello with nothing new writes nothing');
  const afterwards = await again.take('assignments');
  t.match(afterwards.value.tasks, [{ taskId: 't3', observedState: 'running' }], 'how far it came is told');
  t.match(await agent.ended, { code: 'failed-precondition', message: /newer session/ });
});

t.test('reports are acknowledged once they are committed, in order', async (t) => {
  const { server, rootCa, replica } = await openCluster(t);
  serviceWithTasks(replica, ['t1', 'w1'], ['t2', 'w2'], ['t3', 'w2']);
  const one = new TestAgent(t, server, identityOf(rootCa, 'w1', 'worker'));
  const two = new TestAgent(t, server, identityOf(rootCa, 'w2', 'worker'));
  await Promise.all([one.open(), two.open()]);
  let release: () => void = () => undefined;
  replica.gate = new Promise((resolve) => {
    release = resolve;
  });
  one.report(1, { t1: { state: 'preparing' } });
  two.report(1, { t2: { state: 'running', container: { id: 'abc', pid: 7, exitCode: 0 } } });
  two.report(2, { t3: { state: 'rejected', err: 'no such image' } });
  one.report(2, { t1: { state: 'running' } });
  await roundTrip(one);
  await roundTrip(two);
  t.equal(
    [...one.heard, ...two.heard].filter(({ $case }) => $case === 'statusAck').length,
    0,
    'none before the commit',
  );
  release();
  replica.gate = undefined;
  t.match(await one.take('statusAck'), { value: { sequence: 1 } });
  t.match(await one.take('statusAck'), { value: { sequence: 2 } });
  t.match(await two.take('statusAck'), { value: { sequence: 1 } });
  t.match(await two.take('statusAck'), { value: { sequence: 2 } });
  t.match(replica.view.task('t1')?.status, { state: 'running' });
  t.match(replica.view.task('t2')?.status, { state: 'running', container: { id: 'abc', pid: 7 } });
  t.match(replica.view.task('t3')?.status, { state: 'rejected', err: 'no such image' });
});

t.test('what is observed while an entry is under way goes into the next one together', async (t) => {
  const replica = new ListReplica(new VirtualClock());
  const status = { state: 'unknown' as const, message: '', addr: '' };
  replica.apply([{ type: 'node-create', node: { id: 'w1', role: 'worker', spec: {}, status } }]);
  const recorder = new Recorder(replica, 1);
  const observe = (message: string) =>
    recorder.record([{ type: 'status', nodeId: 'w1', status: { state: 'down', message, addr: '' } }]);
  await Promise.all([observe('1'), observe('2'), observe('3'), observe('4')]);
  t.match(
    replica.entries.slice(1).map(({ changes }) => changes),
    [[{ status: { message: '1' } }], [{ status: { message: '4' } }]],
  );
  t.equal(replica.entries.length, 3);
  replica.refusal = new ApiaryError('unavailable', 'no leader');
  const refused = [observe('5'), observe('6')];
  await Promise.all(refused.map((each) => t.rejects(each, { code: 'unavailable' })));
  replica.refusal = undefined;
  await observe('7');
  t.equal(replica.view.node('w1')?.status.message, '7', 'a failure does not stop what comes after');
});

t.test(
  "a worker's reports on others' tasks, on none and of no sense change nothing, and cost it nothing",
  async (t) => {
    const { server, rootCa, replica } = await openCluster(t);
    serviceWithTasks(replica, ['mine', 'w1'], ['theirs', 'w2']);
    const agent = new TestAgent(t, server, identityOf(rootCa, 'w1', 'worker'));
    await agent.open();
    agent.say({
      $case: 'statusReport',
      value: {
        sequence: 1,
        updates: [
          { taskId: 'theirs', statusJson: '{"state":"failed","atMs":1,"message":""}' },
          { taskId: 'unknown', statusJson: '{"state":"failed","atMs":1,"message":""}' },
          { taskId: 'mine', statusJson: '{"state":"exploded"}' },
          { taskId: 'mine', statusJson: 'no JSON' },
          { taskId: 'mine', statusJson: '{"state":"running","atMs":1,"message":"","ofANewerAgent":true}' },
        ],
      },
    });
    await agent.take('statusAck');
    t.equal(replica.view.task('theirs')?.status.state, 'assigned');
    t.equal(replica.view.task('mine')?.status.state, 'running');
    agent.report(2, { mine: { state: 'preparing' } });
    await agent.take('statusAck');
    t.equal(replica.view.task('mine')?.status.state, 'running', 'a state never goes back');
  },
);

t.test(
  'a report that cannot be committed is not acknowledged: the session ends, and the agent says it again',
  async (t) => {
    const { server, rootCa, replica } = await openCluster(t);
    serviceWithTasks(replica, ['t1', 'w1']);
    const agent = new TestAgent(t, server, identityOf(rootCa, 'w1', 'worker'));
    await agent.open();
    replica.refusal = new ApiaryError('resource-exhausted', 'the disk is full');
    agent.report(1, { t1: { state: 'running' } });
    t.match(await agent.ended, { code: 'resource-exhausted', message: /disk is full/ });
    t.equal(agent.heard.filter(({ $case }) => $case === 'statusAck').length, 0);
    t.equal(replica.view.task('t1')?.status.state, 'assigned');
  },
);

t.test('a node that goes silent as the clock is set back is down as soon as otherwise', async (t) => {
  const { server, rootCa, replica, clock } = await openCluster(t);
  const silent = new TestAgent(t, server, identityOf(rootCa, 'w1', 'worker'));
  const other = new TestAgent(t, server, identityOf(rootCa, 'w2', 'worker'));
  await Promise.all([silent.open(), other.open()]);
  clock.skewMs = -3_600_000;
  for (let sequence = 1; sequence <= 2; sequence++) {
    other.report(sequence, {});
    await other.take('statusAck');
    clock.advance(1_500);
  }
  await until(replica, () => replica.view.node('w1')?.status.state === 'down');
  t.equal(replica.view.node('w2')?.status.state, 'ready');
});

t.test('a node that misses three heartbeats is down with the words of Docker, and ready when it is back', async (t) => {
  const { server, rootCa, replica, clock } = await openCluster(t);
  const identity = identityOf(rootCa, 'w1', 'worker');
  const agent = new TestAgent(t, server, identity);
  await agent.open();
  clock.advance(2_900);
  // The acknowledgement shows that the message was heard.
  agent.report(1, {});
  await agent.take('statusAck');
  clock.advance(2_900);
  t.equal(replica.view.node('w1')?.status.state, 'ready');
  clock.advance(100);
  await until(replica, () => replica.view.node('w1')?.status.state === 'down');
  t.match(replica.view.node('w1')?.status, { message: 'heartbeat failure', addr: '127.0.0.1' });
  t.match(await agent.ended, { code: 'unavailable', message: /missed 3 heartbeats/ });
  const again = new TestAgent(t, server, identity);
  await again.open();
  t.match(replica.view.node('w1')?.status, { state: 'ready', message: '' });
});

t.test('a cut connection alone takes no node down, and a manager that stood still blames nobody', async (t) => {
  const { server, rootCa, replica, clock } = await openCluster(t);
  const agent = new TestAgent(t, server, identityOf(rootCa, 'w1', 'worker'));
  await agent.open();
  agent.client.close();
  agent.stream.cancel();
  await agent.ended;
  clock.advance(2_999);
  t.equal(replica.view.node('w1')?.status.state, 'ready');

  // As after a pause of the process: the check comes long after it was due.
  const late = new VirtualClock(Date.now());
  const stalled = new ListReplica(late);
  const status = { state: 'ready' as const, message: '', addr: '' };
  stalled.apply([{ type: 'node-create', node: { id: 'w1', role: 'worker', spec: {}, status } }]);
  let jumpMs = 0;
  const jumping = { now: () => late.now() + jumpMs, after: late.after.bind(late) };
  const dispatcher = new Dispatcher({ replica: stalled, clock: jumping, log });
  t.teardown(() => dispatcher.close());
  await Promise.resolve();
  await Promise.resolve();
  jumpMs = 60_000;
  late.advance(10_000);
  t.equal(stalled.view.node('w1')?.status.state, 'ready', 'a fresh grace is given');
  late.advance(3_000);
  await until(stalled, () => stalled.view.node('w1')?.status.state === 'down');
});

t.test('a new leader gives every node a grace before it is down', async (t) => {
  const { server, rootCa, replica, clock } = await openCluster(t);
  const agent = new TestAgent(t, server, identityOf(rootCa, 'w1', 'worker'));
  await agent.open();
  replica.become({ role: 'follower', term: 2 });
  t.match(await agent.ended, { code: 'unavailable' });
  clock.advance(60_000);
  replica.become({ role: 'leader', term: 3 });
  await new Promise<void>((resolve) => setImmediate(resolve));
  clock.advance(9_999);
  t.equal(replica.view.node('w1')?.status.state, 'ready');
  clock.advance(1);
  await until(replica, () => replica.view.node('w1')?.status.state === 'down');
});

t.test('an engine that is away for longer than its grace takes its node down, and back when it answers', async (t) => {
  const { server, rootCa, replica, clock } = await openCluster(t);
  const agent = new TestAgent(t, server, identityOf(rootCa, 'w1', 'worker'));
  await agent.open();
  const describe = (engineError: string) =>
    agent.say({
      $case: 'description',
      value: { descriptionJson: '', advertiseAddr: '', engineError, managerAddr: '', wireguardKey: '' },
    });
  let sequence = 0;
  const settled = async () => {
    agent.report(++sequence, {});
    await agent.take('statusAck');
  };
  describe('connection refused');
  await settled();
  clock.advance(2_500);
  await settled();
  describe('');
  await settled();
  clock.advance(2_900);
  await settled();
  t.equal(replica.view.node('w1')?.status.state, 'ready', 'a short absence is nothing');
  describe('connection refused');
  for (let passedMs = 0; passedMs < 5_000; passedMs += 2_500) {
    await settled();
    clock.advance(2_500);
  }
  await until(replica, () => replica.view.node('w1')?.status.state === 'down');
  t.match(replica.view.node('w1')?.status, { message: 'engine unavailable: connection refused' });
  describe('');
  await until(replica, () => replica.view.node('w1')?.status.state === 'ready');
  t.equal(replica.view.node('w1')?.status.message, '');
  const { description } = replica.view.node('w1') ?? {};
  agent.say({
    $case: 'description',
    value: {
      descriptionJson: JSON.stringify({ ...description, Engine: { EngineVersion: '', Plugins: [] } }),
      advertiseAddr: '',
      engineError: 'connection refused',
      managerAddr: '',
      wireguardKey: '',
    },
  });
  await settled();
  t.same(replica.view.node('w1')?.description, description, 'what an agent guesses without its engine changes nothing');
});

t.test('a removed node is out at once, on its open session too', async (t) => {
  const { server, rootCa, replica } = await openCluster(t);
  const identity = identityOf(rootCa, 'w1', 'worker');
  const agent = new TestAgent(t, server, identity);
  await agent.open();
  replica.apply([{ type: 'node-delete', id: 'w1' }]);
  t.match(await agent.ended, { code: 'not-found', message: /w1 is not, or no longer/ });
  const again = new TestAgent(t, server, identity);
  t.match(await again.ended, { code: 'not-found' });
  await t.rejects(issue(t, server, identity, {}), { code: 'not-found' });
});

t.test('Goodbye takes the node down at once', async (t) => {
  const { server, rootCa, replica, clock } = await openCluster(t);
  const agent = new TestAgent(t, server, identityOf(rootCa, 'w1', 'worker'));
  await agent.open();
  agent.say({ $case: 'goodbye', value: { reason: 'left the swarm' } });
  agent.stream.end();
  t.match(await agent.ended, { code: 'ok' });
  t.match(replica.view.node('w1')?.status, { state: 'down', message: 'left the swarm' });
  clock.advance(60_000);
  t.match(replica.view.node('w1')?.status, { message: 'left the swarm' });
});

t.test('a node whose Goodbye could not be recorded is down once its silence is noticed', async (t) => {
  const { server, rootCa, replica, clock } = await openCluster(t);
  const agent = new TestAgent(t, server, identityOf(rootCa, 'w1', 'worker'));
  await agent.open();
  replica.refusal = new ApiaryError('resource-exhausted', 'too much waits to be committed');
  agent.say({ $case: 'goodbye', value: { reason: 'left the swarm' } });
  agent.stream.end();
  t.match(await agent.ended, { code: 'resource-exhausted' });
  replica.refusal = undefined;
  clock.advance(3_000);
  await until(replica, () => replica.view.node('w1')?.status.state === 'down');
});

t.test('a session that does not start as it should is ended', async (t) => {
  const { server, rootCa, clock } = await openCluster(t);
  const rude = new TestAgent(t, server, identityOf(rootCa, 'w1', 'worker'));
  rude.say({ $case: 'heartbeat', value: {} });
  t.match(await rude.ended, { code: 'failed-precondition', message: /starts with Hello/ });
  const odd = new TestAgent(t, server, identityOf(rootCa, 'w1', 'worker'));
  odd.say({
    $case: 'hello',
    value: {
      contentKey: Buffer.alloc(0),
      description: {
        descriptionJson: '{"Hostname":1}',
        advertiseAddr: '',
        engineError: '',
        managerAddr: '',
        wireguardKey: '',
      },
    },
  });
  t.match(await odd.ended, { code: 'invalid-argument', message: /node description: Hostname/ });
  const silent = new TestAgent(t, server, identityOf(rootCa, 'w2', 'worker'));
  const open = new TestAgent(t, server, identityOf(rootCa, 'w1', 'worker'));
  await open.open();
  await roundTrip(silent);
  clock.advance(10_000);
  t.match(await silent.ended, { code: 'failed-precondition', message: /no Hello within/ });
});

/** More for a node than the flow-control windows and buffers on the way hold. */
async function assignMuch(replica: ListReplica, nodeId: string): Promise<void> {
  const labels = { padding: 'x'.repeat(1_000_000) };
  for (let i = 0; i < 32; i++) {
    const spec = { Name: `large${i}`, Labels: labels, TaskTemplate: {}, Mode: { Replicated: { Replicas: 1 } } };
    replica.apply([{ type: 'service-create', id: `large${i}`, spec }]);
    const status: TaskStatus = { state: 'assigned', atMs: 0, message: '' };
    const restarts = { attempts: 0, failuresInARow: 0, recentMs: [] };
    const fields = { serviceId: `large${i}`, specVersion: 1, slot: 1, nodeId, desiredState: 'running' as const };
    replica.apply([{ type: 'task-create', task: { id: `large${i}`, ...fields, status, restarts } }]);
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

for (const since of ['from some time on', 'from its welcome on']) {
  t.test(`an agent that reads nothing ${since} loses its session, and its node is down`, async (t) => {
    const { server, rootCa, replica, clock } = await openCluster(t);
    const agent = new TestAgent(t, server, identityOf(rootCa, 'w1', 'worker'));
    if (since === 'from some time on') {
      await agent.open();
      agent.stream.pause();
      await assignMuch(replica, 'w1');
    } else {
      await assignMuch(replica, 'w1');
      agent.stream.pause();
      agent.hello();
      await until(replica, () => replica.view.node('w1')?.status.state === 'ready');
    }
    const beatFor = async (durationMs: number) => {
      for (let passedMs = 0; passedMs < durationMs; passedMs += 2_000) {
        agent.say({ $case: 'heartbeat', value: {} });
        await roundTrip(agent);
        clock.advance(2_000);
      }
    };
    await beatFor(10_000);
    t.equal(replica.view.node('w1')?.status.state, 'ready');
    await beatFor(12_000);
    await until(replica, () => replica.view.node('w1')?.status.state === 'down');
  });
}

t.test('more managers and a longer period are told to open sessions', async (t) => {
  const { server, rootCa, replica } = await openCluster(t);
  const agent = new TestAgent(t, server, identityOf(rootCa, 'w1', 'worker'));
  await agent.open();
  replica.apply([{ type: 'cluster-spec', spec: { Dispatcher: { HeartbeatPeriod: 2e9 } } }]);
  t.match(await agent.take('update'), { value: { heartbeatPeriodMs: 2_000 } });
});
