import { createServer } from 'node:net';
import { LEADER_ADDR_KEY } from '@apiary/api/client';
import { SessionUpdate } from '@apiary/api/rpc';
import type { Clock } from '@apiary/std';
import { SystemClock } from '@apiary/std/io';
import { Metadata, status } from '@grpc/grpc-js';
import { pino } from 'pino';
import t from 'tap';
import { bench } from './agent.fixture.js';
import { FakeManager } from './fake-manager.js';

const CLOCK = new SystemClock();

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
  agent({ clock: { now: () => CLOCK.now(), after } });
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
  agent({ clock: { now: () => CLOCK.now(), after } });
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
    now: () => CLOCK.now(),
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
  const fast: Clock = {
    now: () => CLOCK.now(),
    after: (delayMs, callback) => CLOCK.after(delayMs / 20, callback),
  };
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
