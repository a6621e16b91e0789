import { createServer } from 'node:net';
import { LEADER_ADDR_KEY } from '@apiary/api/client';
import { SessionUpdate } from '@apiary/api/rpc';
import { ApiaryError, type Clock, SeededRng } from '@apiary/std';
import { ChannelCredentials, Metadata, status } from '@grpc/grpc-js';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { type Agent, startAgent } from './agent.js';
import { FakeEngine } from './fake-engine.js';
import { FakeManager } from './fake-manager.js';
import { START_PARALLELISM } from './task-runners.js';

const CLOCK: Clock = {
  now: () => Date.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};
const IDENTITY = {
  nodeId: 'n1',
  clusterId: 'k1',
  role: 'worker',
  certificateChainPem: '',
  keyPem: '',
  rootPem: '',
} as const;

interface Bench {
  manager: FakeManager;
  engine: FakeEngine;
  agent(options?: Partial<Parameters<typeof startAgent>[0]>): Agent;
}

async function bench(t: Test): Promise<Bench> {
  const manager = await FakeManager.start();
  const engine = new FakeEngine();
  const agents: Agent[] = [];
  t.teardown(async () => {
    for (const agent of agents) await agent.stop();
    manager.stop();
  });
  const agent: Bench['agent'] = (options) => {
    const started = startAgent({
      identity: () => IDENTITY,
      managers: () => [manager.addr],
      advertiseAddr: '10.0.0.1',
      engine,
      clock: CLOCK,
      rng: new SeededRng(1),
      logger: pino({ level: 'silent' }),
      channel: () => ({
        credentials: ChannelCredentials.createInsecure(),
        options: { 'grpc.use_local_subchannel_pool': 1, 'grpc.initial_reconnect_backoff_ms': 50 },
      }),
      ...options,
    });
    agents.push(started);
    return started;
  };
  return { manager, engine, agent };
}

t.test('a task that is assigned runs, and its end is told', async (t) => {
  const { manager, engine, agent } = await bench(t);
  const told: { nodeId: string; addr: string }[][] = [];
  agent({ onManagers: (managers) => told.push(managers) });
  await manager.until(() => manager.sessions === 1);
  t.match(manager.said[0]?.body, {
    $case: 'hello',
    value: { description: { advertiseAddr: '10.0.0.1', engineError: '', descriptionJson: /"Hostname":"fake"/ } },
  });
  manager.assign({ a: 'running', b: 'running' });
  const running = await manager.state('a', 'running');
  t.match(running, { message: 'started', container: { id: /^c/, exitCode: 0 } });
  t.same(told, [[{ nodeId: 'm', addr: manager.addr }]]);
  await manager.state('b', 'running');
  engine.exit('a', 0);
  engine.exit('b', 4);
  await manager.state('a', 'complete');
  t.match(await manager.state('b', 'failed'), { err: 'task: non-zero exit (4)', container: { exitCode: 4 } });
});

t.test('what lasts on the way to running is told, what does not last is not', async (t) => {
  const { manager, engine, agent } = await bench(t);
  let go = () => {};
  engine.before = (call, what) =>
    call === 'create' && what.includes('slow')
      ? new Promise<void>((resolve) => {
          go = resolve;
        })
      : undefined;
  agent();
  manager.wanted.set('fast', 'running').set('slow', 'running');
  await manager.state('fast', 'running');
  t.notOk(manager.heard.includes('fast starting'));
  await manager.state('slow', 'preparing');
  go();
  await manager.state('slow', 'running');
});

t.test('ready is prepared but not started; shutdown stops; removal removes', async (t) => {
  const { manager, engine, agent } = await bench(t);
  agent();
  manager.wanted.set('a', 'ready');
  await manager.state('a', 'ready');
  t.equal(engine.of('a').state, 'created');
  manager.assign({ a: 'running' });
  await manager.state('a', 'running');
  manager.assign({ a: 'shutdown' });
  await manager.state('a', 'shutdown');
  t.equal(engine.of('a').state, 'exited', 'kept for its logs');
  const removed = new Promise<void>((resolve) => {
    engine.before = (call) => (call === 'remove' ? resolve() : undefined);
  });
  manager.remove('a');
  await removed;
});

t.test('a task that is to be removed is told as over, whether or not it had begun', async (t) => {
  const { manager, engine, agent } = await bench(t);
  agent();
  manager.wanted.set('running', 'running');
  await manager.state('running', 'running');
  manager.assign({ running: 'remove', unbegun: 'remove' });
  await manager.state('running', 'shutdown');
  await manager.state('unbegun', 'shutdown');
  manager.remove('running', 'unbegun');
  manager.assign({ next: 'running' });
  await manager.state('next', 'running');
  t.same(
    [...engine.containers.values()].map(({ taskId }) => taskId),
    ['next'],
  );
});

t.test('a refusal of the engine rejects or fails the task, once', async (t) => {
  const { manager, engine, agent } = await bench(t);
  let asked = 0;
  engine.before = (call, what) => {
    if (call === 'create' && what.includes('noimage')) {
      asked++;
      throw new ApiaryError('not-found', 'No such image: i');
    }
    if (call === 'start') throw new ApiaryError('invalid-argument', 'exec: no such file');
  };
  agent();
  manager.wanted.set('noimage', 'running').set('nostart', 'running');
  t.match(await manager.state('noimage', 'rejected'), { err: 'No such image: i', message: 'preparing' });
  t.match(await manager.state('nostart', 'failed'), { err: 'starting container failed: exec: no such file' });
  manager.assign({ noimage: 'shutdown', more: 'shutdown' });
  await manager.state('more', 'shutdown');
  t.equal(asked, 1);
});

t.test('a stop that the engine refuses is said, and tried again', async (t) => {
  const { manager, engine, agent } = await bench(t);
  agent();
  manager.wanted.set('a', 'running');
  await manager.state('a', 'running');
  let refusals = 0;
  engine.before = (call) => {
    if (call === 'stop' && refusals++ < 2) throw new ApiaryError('internal', 'busy');
  };
  manager.assign({ a: 'shutdown' });
  await manager.until(() => manager.statuses.get('a')?.err === 'stopping container failed: busy');
  await manager.state('a', 'shutdown');
  t.equal(refusals, 3);
});

t.test('a pull that hangs ends with its task, and holds up no other', async (t) => {
  const { manager, engine, agent } = await bench(t);
  const hanging = new Promise<void>(() => {});
  let pulls = 0;
  engine.before = (call) => (call === 'pull' && pulls++ === 0 ? hanging : undefined);
  agent();
  manager.wanted.set('a', 'running').set('b', 'running');
  await manager.state('b', 'running');
  manager.assign({ a: 'shutdown' });
  await manager.state('a', 'shutdown');
});

t.test('with a health check a task runs when it is healthy, and fails when it is not', async (t) => {
  const { manager, engine, agent } = await bench(t);
  engine.before = (call, what) => {
    const container = engine.containers.get(what);
    if (call === 'start' && container !== undefined) container.health = 'starting';
  };
  agent();
  manager.wanted.set('a', 'running');
  await manager.state('a', 'starting');
  engine.health('a', 'healthy');
  await manager.state('a', 'running');
  engine.health('a', 'unhealthy');
  const failed = await manager.state('a', 'failed');
  t.equal(failed.err, 'task: non-zero exit (143): dockerexec: unhealthy container');
});

t.test('a later agent adopts what it finds without touching it, and removes what nobody wants', async (t) => {
  const { manager, engine, agent } = await bench(t);
  const first = agent();
  manager.wanted.set('a', 'running').set('b', 'running').set('c', 'running');
  for (const id of ['a', 'b', 'c']) await manager.state(id, 'running');
  await first.stop();
  const before = engine.done.length;
  engine.exit('b', 5);
  const foreign = await engine.create({
    name: 'foreign',
    taskId: 'foreign',
    body: { Labels: { 'com.docker.swarm.node.id': 'another' } },
  });
  manager.statuses.clear();
  manager.wanted.delete('c');
  agent();
  await manager.state('a', 'running');
  t.match(await manager.state('b', 'failed'), { err: 'task: non-zero exit (5)' });
  await new Promise<void>((resolve) => {
    engine.before = (call) => (call === 'remove' ? resolve() : undefined);
    if (engine.done.some((line) => line.startsWith('remove'))) resolve();
  });
  manager.assign({ d: 'running' });
  await manager.state('d', 'running');
  const touched = engine.done.slice(before).filter((line) => line.endsWith('.a') || line.endsWith('.b'));
  t.same(touched, []);
  t.ok(engine.containers.has(foreign), 'what belongs to another node is not ours to remove');
});

t.test('before a manager has answered, nothing that runs is touched', async (t) => {
  const { manager, engine, agent } = await bench(t);
  const first = agent();
  manager.wanted.set('a', 'running');
  await manager.state('a', 'running');
  await first.stop();
  manager.refuse = { code: status.UNAVAILABLE, details: 'no leader' };
  const before = engine.done.length;
  const adopted = new Promise<void>((resolve) => {
    engine.before = (call) => (call === 'adopt' ? resolve() : undefined);
  });
  const second = agent();
  await adopted;
  await second.stop();
  t.equal(engine.done.length, before);
});

t.test(
  'with the engine gone every task says so; once it is back they go on, and what died meanwhile failed',
  async (t) => {
    const { manager, engine, agent } = await bench(t);
    agent();
    manager.wanted.set('a', 'running').set('b', 'running');
    await manager.state('a', 'running');
    await manager.state('b', 'running');
    engine.down();
    await manager.until(() =>
      ['a', 'b'].every((id) => manager.statuses.get(id)?.err === 'engine unavailable: connection lost'),
    );
    t.equal(manager.statuses.get('a')?.state, 'running');
    const descriptions = () =>
      manager.said.flatMap(({ body }) => (body?.$case === 'description' ? [body.value.engineError] : []));
    await manager.until(() => descriptions().length === 1);
    manager.assign({ c: 'running' });
    await manager.until(() => /^engine unavailable/.test(manager.statuses.get('c')?.err ?? ''));
    t.equal(manager.statuses.get('c')?.state, 'accepted');
    engine.exit('b', 137);
    engine.up();
    t.match(await manager.state('b', 'failed'), { err: 'task: non-zero exit (137)' });
    await manager.state('c', 'running');
    await manager.until(() => manager.statuses.get('a')?.err === undefined);
    t.equal(manager.statuses.get('a')?.state, 'running');
    t.equal(descriptions().at(-1), '');
  },
);

t.test('a call without an answer means that the engine is gone, and is made again when it is back', async (t) => {
  const { manager, engine, agent } = await bench(t);
  let lost = false;
  engine.before = (call) => {
    if (call !== 'start' || lost) return;
    lost = true;
    throw new ApiaryError('unavailable', 'reset');
  };
  agent();
  manager.wanted.set('a', 'running');
  await manager.state('a', 'running');
  t.ok(lost);
  t.equal(engine.done.filter((line) => line.startsWith('create')).length, 1);
});

t.test('a container that is removed behind the agent fails its task', async (t) => {
  const { manager, engine, agent } = await bench(t);
  agent();
  manager.wanted.set('a', 'running');
  await manager.state('a', 'running');
  const { id } = engine.of('a');
  await engine.remove(id);
  t.match(await manager.state('a', 'failed'), { err: `No such container: ${id}` });
});

t.test(
  'a container that was removed while no agent ran fails its task, and what has ended is not run again',
  async (t) => {
    const { manager, engine, agent } = await bench(t);
    const first = agent();
    manager.wanted.set('a', 'running').set('done', 'running');
    await manager.state('a', 'running');
    await manager.state('done', 'running');
    engine.exit('done', 0);
    await manager.state('done', 'complete');
    await first.stop();
    for (const id of ['a', 'done']) await engine.remove(engine.of(id).id);
    const before = engine.done.length;
    agent();
    t.match(await manager.state('a', 'failed'), { err: /^No such container/ });
    manager.assign({ b: 'running' });
    await manager.state('b', 'running');
    t.match(engine.done.slice(before), [/^create .*\.b$/, /^start .*\.b$/]);
  },
);

t.test('a container that somebody starts again after its task has ended is stopped', async (t) => {
  const { manager, engine, agent } = await bench(t);
  agent();
  manager.wanted.set('a', 'running');
  await manager.state('a', 'running');
  engine.exit('a', 137);
  await manager.state('a', 'failed');
  const { id } = engine.of('a');
  const stopped = new Promise<void>((resolve) => {
    engine.before = (call) => (call === 'stop' ? resolve() : undefined);
  });
  await engine.start(id);
  await stopped;
});

t.test('a status is sent again until a manager has committed it, in the next session too', async (t) => {
  const { manager, agent } = await bench(t);
  manager.acknowledges = false;
  agent();
  manager.wanted.set('a', 'running');
  await manager.until(() => manager.heard.length > 0);
  manager.heard.length = 0;
  manager.statuses.clear();
  manager.acknowledges = true;
  manager.cut();
  await manager.state('a', 'running');
  t.equal(manager.sessions, 2);
});

t.test('sessions that end as soon as they have begun are asked for ever more rarely', async (t) => {
  const { manager, agent } = await bench(t);
  const pausesMs: number[] = [];
  const after: Clock['after'] = (delayMs, callback) => {
    // Longer than all of these are the heartbeats and the time-outs.
    if (delayMs < 900) pausesMs.push(delayMs);
    return CLOCK.after(delayMs, callback);
  };
  agent({ clock: { ...CLOCK, after } });
  for (let sessions = 1; sessions <= 3; sessions++) {
    await manager.until(() => manager.sessions === sessions);
    manager.cut();
  }
  await manager.until(() => manager.sessions === 4);
  t.equal(pausesMs.length, 3);
  t.ok((pausesMs[2] ?? 0) >= 200, `the third pause is ${pausesMs[2]} ms`);
});

t.test('a message that does not add up starts the session anew', async (t) => {
  const { manager, agent } = await bench(t);
  agent();
  await manager.until(() => manager.sessions === 1);
  const task = {
    taskId: 'x',
    serviceId: 'never sent',
    specVersion: 1,
    slot: 1,
    desiredState: 'running',
    observedState: 'assigned',
    networks: [],
    genericResourcesJson: '',
  };
  manager.send({
    body: {
      $case: 'assignments',
      value: {
        complete: false,
        specs: [],
        tasks: [task],
        removedTaskIds: [],
        networks: [],
        contents: [],
        removedContentIds: [],
      },
    },
  });
  await manager.until(() => manager.sessions === 2);
});

t.test('another manager is tried when one does not answer, and heartbeats come as often as told', async (t) => {
  const { manager, agent } = await bench(t);
  manager.heartbeatPeriodMs = 20;
  let asked = 0;
  // Port 1 is nobody's.
  agent({ managers: () => (asked++ === 0 ? ['127.0.0.1:1'] : [manager.addr]) });
  await manager.until(() => manager.said.filter(({ body }) => body?.$case === 'heartbeat').length >= 3);
  t.ok(asked >= 2);
});

t.test('updates that come one after the other do not put off the heartbeat', async (t) => {
  const { manager, agent } = await bench(t);
  const periodMs = 54_321;
  manager.heartbeatPeriodMs = periodMs;
  let armed = 0;
  const after: Clock['after'] = (delayMs, callback) => {
    if (delayMs === periodMs) armed++;
    return CLOCK.after(delayMs, callback);
  };
  agent({ clock: { ...CLOCK, after } });
  await manager.until(() => manager.sessions === 1);
  const value = { ...SessionUpdate.decode(new Uint8Array()), heartbeatPeriodMs: periodMs };
  for (let updates = 0; updates < 3; updates++) manager.send({ body: { $case: 'update', value } });
  // Told after all of the above, so that the agent has heard that too.
  manager.assign({ a: 'running' });
  await manager.state('a', 'running');
  t.equal(armed, 1);
});

/** How a manager that does not lead ends a session. */
function notLeader(leaderAddr: string): NonNullable<FakeManager['refuse']> {
  const metadata = new Metadata();
  metadata.set(LEADER_ADDR_KEY, leaderAddr);
  return { code: status.UNAVAILABLE, details: 'does not lead', metadata };
}

t.test('a manager that does not lead sends the agent on to the leader, at once', async (t) => {
  const { manager: follower, agent } = await bench(t);
  const leader = await FakeManager.start();
  t.teardown(() => leader.stop());
  follower.refuse = notLeader(leader.addr);
  const ends: { waitMs?: number }[] = [];
  let endedAt = 0;
  const clock: Clock = {
    ...CLOCK,
    after: (delayMs, callback) => {
      if (ends.length > endedAt) ends[endedAt++] = { waitMs: delayMs };
      return CLOCK.after(delayMs, callback);
    },
  };
  const logger = pino({ level: 'warn' }, { write: () => void ends.push({}) });
  agent({ managers: () => [follower.addr], clock, logger });
  await leader.until(() => leader.sessions === 1);
  t.same(ends, [{ waitMs: 0 }]);
  leader.cut();
  await leader.until(() => leader.sessions === 2);
});

t.test('a manager that is silent costs a moment, and the next time the others are asked first', async (t) => {
  const { manager, agent } = await bench(t);
  const mute = createServer();
  await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
  let connections = 0;
  mute.on('connection', (socket) => {
    connections++;
    t.teardown(() => socket.destroy());
  });
  t.teardown(() => mute.close());
  const address = mute.address();
  const muteAddr = typeof address === 'object' ? `127.0.0.1:${address?.port}` : '';
  const fast: Clock = { ...CLOCK, after: (delayMs, callback) => CLOCK.after(delayMs / 20, callback) };
  const ends: string[] = [];
  let asked = 0;
  agent({
    managers: () => (asked++ === 0 ? [muteAddr] : [muteAddr, manager.addr]),
    clock: fast,
    logger: pino({ level: 'warn' }, { write: (line: string) => void ends.push(JSON.parse(line).reason) }),
  });
  await manager.until(() => manager.sessions === 1);
  t.same(ends, ['no connection within 1.5 s']);
  t.equal(connections, 1);
  manager.cut();
  await manager.until(() => manager.sessions === 2);
});

t.test('what a node is to be is said in every session; where its manager is, it says itself', async (t) => {
  const { manager, agent } = await bench(t);
  manager.role = 'worker';
  const roles: string[] = [];
  let managerAddr = '';
  const promoted = agent({ onRole: (role) => roles.push(role), managerAddr: () => managerAddr });
  await manager.until(() => manager.sessions === 1);
  manager.role = 'manager';
  manager.cut();
  await manager.until(() => manager.sessions === 2);
  manager.send({
    body: {
      $case: 'update',
      value: {
        heartbeatPeriodMs: 0,
        managers: [],
        role: 'worker',
        gatewaySubnet: '',
        dataPathPort: 0,
        trustPem: '',
        issuerPem: '',
      },
    },
  });
  // Told after all of the above, so that the agent has heard that too.
  manager.assign({ a: 'running' });
  await manager.state('a', 'running');
  t.same(roles, ['worker', 'manager', 'worker']);
  managerAddr = '10.0.0.1:2377';
  promoted.describe();
  promoted.describe();
  await manager.until(() => manager.said.some(({ body }) => body?.$case === 'description'));
  const described = manager.said.flatMap(({ body }) => (body?.$case === 'description' ? [body.value] : []));
  t.match(described, [{ managerAddr: '10.0.0.1:2377' }]);
  t.equal(described.length, 1, 'only what is new');
});

t.test('a node that was removed from the cluster is told so once, and runs none of its tasks twice', async (t) => {
  const { manager, engine, agent } = await bench(t);
  const first = agent();
  manager.wanted.set('a', 'running');
  await manager.state('a', 'running');
  await first.stop();
  manager.refuse = { code: status.NOT_FOUND, details: 'node n1 is not part of the cluster' };
  const removed = new Promise<void>((resolve) => {
    engine.before = (call) => (call === 'remove' ? resolve() : undefined);
  });
  const gone = await new Promise<string>((resolve) => {
    agent({ onGone: resolve });
  });
  t.match(gone, /node n1 is not part of the cluster/);
  await removed;
  t.same(
    [...engine.containers.values()].filter(({ state }) => state === 'running'),
    [],
  );
});

t.test('an agent that leaves says goodbye and takes its containers with it', async (t) => {
  const { manager, engine, agent } = await bench(t);
  const leaving = agent();
  manager.wanted.set('a', 'running').set('b', 'running');
  await manager.state('a', 'running');
  await manager.state('b', 'running');
  await leaving.leave();
  t.equal(engine.containers.size, 0);
  t.equal(manager.said.at(-1)?.body?.$case, 'goodbye');
});

t.test(
  'an agent killed before any of its engine calls leaves one that ends with the same single container',
  async (t) => {
    let calls = Number.POSITIVE_INFINITY;
    for (let killedAt = 1; killedAt <= calls; killedAt++) {
      const { manager, engine, agent } = await bench(t);
      const hanging = new Promise<void>(() => {});
      let count = 0;
      const killed = new Promise<void>((resolve) => {
        engine.before = () => {
          if (++count < killedAt) return undefined;
          resolve();
          return hanging;
        };
      });
      manager.wanted.set('a', 'running');
      const first = agent();
      await Promise.race([killed, manager.state('a', 'running')]);
      await first.stop();
      if (count < killedAt) calls = count;
      engine.before = () => {};
      manager.statuses.clear();
      agent();
      await manager.state('a', 'running');
      t.equal(engine.containers.size, 1, `killed before call ${killedAt}`);
      t.equal(engine.done.filter((line) => line.startsWith('create')).length, 1);
      t.equal(engine.done.filter((line) => line.startsWith('start')).length, 1);
    }
    t.ok(calls >= 5 && Number.isFinite(calls), `all ${calls} calls were tried`);
  },
);

t.test(
  'a container that a killed agent had asked for, and nobody wants any more, is removed when it appears',
  async (t) => {
    const { manager, engine, agent } = await bench(t);
    agent();
    manager.wanted.set('a', 'running');
    await manager.state('a', 'running');
    const removed = new Promise<void>((resolve) => {
      engine.before = (call) => (call === 'remove' ? resolve() : undefined);
    });
    await engine.create({ name: 'late', taskId: 'late', body: { Labels: { 'com.docker.swarm.node.id': 'n1' } } });
    await removed;
  },
);

t.test(
  'fifty tasks cost the managers a handful of reports, and the engine a bounded number of calls at a time',
  async (t) => {
    const { manager, engine, agent } = await bench(t);
    let atOnce = 0;
    let most = 0;
    engine.before = async (call) => {
      if (call !== 'create' && call !== 'start') return;
      most = Math.max(most, ++atOnce);
      await new Promise((resolve) => setImmediate(resolve));
      atOnce--;
    };
    agent();
    for (let i = 0; i < 50; i++) manager.wanted.set(`t${i}`, 'running');
    for (let i = 0; i < 50; i++) await manager.state(`t${i}`, 'running');
    const reports = manager.said.filter(({ body }) => body?.$case === 'statusReport').length;
    t.ok(most <= START_PARALLELISM, `${most} at once`);
    t.ok(reports <= 30, `${reports} reports`);
  },
);
