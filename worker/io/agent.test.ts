import { ApiaryError } from '@apiary/std';
import { status } from '@grpc/grpc-js';
import t from 'tap';
import { bench } from './agent.fixture.js';
import type { TaskNetwork } from './task-network.js';
import { START_PARALLELISM } from './task-runners.js';

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

t.test('a container that was made before the engine went away starts with what its network knows of it', async (t) => {
  const { manager, engine, agent } = await bench(t);
  const killed = new Promise<void>((resolve) => {
    engine.before = (call) => {
      if (call !== 'start') return undefined;
      resolve();
      return new Promise(() => {});
    };
  });
  manager.wanted.set('a', 'running');
  const first = agent();
  await killed;
  await first.stop();
  engine.before = () => {};
  engine.down();
  const calls: string[] = [];
  const network: TaskNetwork = {
    trouble: '',
    vipTrouble: '',
    wireguardKey: '',
    ipv6Addresses: '',
    attachments: { attachments: [], isComplete: true },
    use: () => {},
    adopt: (containers) => void calls.push(`adopt ${containers.map(({ taskId }) => taskId)}`),
    observe: () => {},
    forget: () => {},
    prepare: async (config) => config,
    start: async ({ taskId }, _containerId, start) => {
      calls.push(`start ${taskId}`);
      await start();
      return 'started';
    },
    apply: () => {},
    withdrawn: async () => {},
    putOut: async () => {},
    close: async () => {},
    remove: async () => {},
  };
  agent({ network: () => network });
  await manager.until(() => /^engine unavailable/.test(manager.statuses.get('a')?.err ?? ''));
  engine.up();
  await manager.state('a', 'running');
  t.same(calls, ['adopt a', 'start a']);
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
