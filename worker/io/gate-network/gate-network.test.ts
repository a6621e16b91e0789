import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ApiaryError, SeededRng } from '@apiary/std';
import { SystemClock } from '@apiary/std/io';
import { ChannelCredentials } from '@grpc/grpc-js';
import t from 'tap';
import type { ContainerConfig, TaskPort } from '../../core/index.js';
import { bench, IDENTITY } from '../agent.fixture.js';
import { startAgent } from '../agent.js';
import type { EngineNetworks } from '../attachable/engine-networks.js';
import { FakeEngine } from '../fake-engine.js';
import { FakeManager } from '../fake-manager.js';
import {
  addressOf,
  config,
  container,
  FRONT,
  labelsOf,
  logger,
  networks,
  PUBLISHED,
  SUBNET,
  setting,
  settledWithin,
  until,
} from './gate-network.fixture.js';
import { GateNetwork } from './gate-network.js';

t.test('a container is created without a network, and has one before its process starts', async (t) => {
  const { directory, network, system } = setting(t);
  const preparing = network.prepare(config('a'));
  network.use(SUBNET);
  const created = await preparing;
  t.match(created.body, {
    Image: 'i',
    NetworkDisabled: true,
    Labels: { a: 'b', 'apiary.gateway.address': '10.224.3.2' },
    HostConfig: {
      Dns: ['192.0.2.1'],
      Binds: [`${directory}/gate/a:/etc/hosts`, `${directory}/tasks/a/resolv.conf:/etc/resolv.conf`],
    },
  });
  const outcome = await network.start(config('a'), '0123456789abcdef', async () => {
    t.equal(await system.walk('a', 1), `${directory}/tasks/a/hosts`, 'the engine is let through');
    t.same(system.attached, []);
    // Both at once, as the runtime asks for a path twice.
    const walks = await Promise.all([system.walk('a', 77), system.walk('a', 77)]);
    t.same(walks, [`${directory}/tasks/a/hosts`, `${directory}/tasks/a/hosts`]);
  });
  t.equal(outcome, 'started');
  t.same(system.attached, ['77 10.224.3.2']);
  t.match(readFileSync(`${directory}/tasks/a/hosts`, 'utf8'), /192\.0\.2\.9\tdb\n10\.224\.3\.2\t0123456789ab\n$/);
  t.equal(readFileSync(`${directory}/tasks/a/resolv.conf`, 'utf8').split('\n')[0], 'nameserver 192.0.2.1');
  t.equal(await system.walk('stranger', 77), undefined);

  system.attached.length = 0;
  await system.walk('a', 77);
  t.same(system.attached, ['77 10.224.3.2'], 'a later namespace of the same number has one too');
  const host: ContainerConfig = { name: 'x', taskId: 'x', body: {} };
  t.equal(await network.prepare(host), host, 'what asks for the engine’s network gets that');
  await network.close();
});

t.test('what cannot be attached does not start, and says why', async (t) => {
  const { network, system } = setting(t, 'attach');
  network.use(SUBNET);
  await network.prepare(config('a'));
  const start = async () => {
    await system.walk('a', 77);
  };
  await t.rejects(network.start(config('a'), 'c', start), {
    code: 'failed-precondition',
    message: 'attaching its network failed: add veth link: EPERM',
  });
  t.equal(network.trouble, '', 'the next may have more luck');
  system.refuse = '';
  t.equal(await network.start(config('a'), 'c', start), 'started');
  const gone = new ApiaryError('unavailable', 'no answer');
  await t.rejects(
    network.start(config('a'), 'c', () => Promise.reject(gone)),
    gone,
  );
  const refused = new ApiaryError('internal', 'no such program');
  const failing = () => system.walk('a', 78).then(() => Promise.reject(refused));
  await t.rejects(network.start(config('a'), 'c', failing), refused, 'the engine’s own words for what is its own');
});

t.test('where nobody comes through the gate, tasks are on the engine’s own network', async (t) => {
  await t.test('because the engine sees another file system', async (t) => {
    const { directory, network, troubles } = setting(t);
    network.use(SUBNET);
    await network.prepare(config('a'));
    const refusal = new ApiaryError('internal', `mounting "${directory}/gate/a" to rootfs: not a directory`);
    t.equal(await network.start(config('a'), 'c', () => Promise.reject(refusal)), 'unreached');
    t.match(troubles, [/^the engine does not see .*gate as it is here$/]);
    t.equal(await network.start(config('a'), 'c', async () => void t.fail('not even tried')), 'unreached');
    const next = config('b');
    t.equal(await network.prepare(next), next);
  });
  await t.test('because the runtime mounts from outside', async (t) => {
    const { network, system, troubles } = setting(t);
    network.use(SUBNET);
    await network.prepare(config('a'));
    const start = async () => {
      await system.walk('a', 1);
    };
    t.equal(await network.start(config('a'), 'c', start), 'unreached');
    t.match(troubles, [/from outside of their network namespaces/]);
  });
  await t.test('because the engine would take a part of its path for another', async (t) => {
    const { directory, clock, system } = setting(t);
    const apart = join(directory, '..', 'a:b');
    const agent = await bench(t);
    const started = agent.agent({
      network: (onTrouble) =>
        new GateNetwork({ directory: apart, clock, rng: new SeededRng(1), logger, onTrouble, system }),
    });
    await agent.manager.until(() => agent.manager.said.some((each) => JSON.stringify(each).includes('with a colon')));
    await started.stop();
  });
  await t.test('because there is no gate, no gateway or no subnet', async (t) => {
    for (const [refuse, subnet, reason] of [
      ['gate', SUBNET, 'no FUSE here'],
      ['gateway', SUBNET, 'nft is not installed'],
      ['', '', /the managers have no gateway subnet/],
    ] as const) {
      const { network, troubles } = setting(t, refuse);
      network.use(subnet);
      const wanted = config('a');
      t.equal(await network.prepare(wanted), wanted);
      t.match(troubles, [reason]);
    }
  });
});

t.test('one that is found running by a later start is not taken for one without a network', async (t) => {
  const { network, system } = setting(t);
  network.use(SUBNET);
  await network.prepare(config('a'));
  system.attached.push('77 10.224.3.2');
  t.equal(await network.start(config('a'), 'c', async () => {}), 'started');
});

t.test('after a restart addresses stay whose they are, and what nobody needs is cleared away', async (t) => {
  const { directory, network, make, system } = setting(t);
  for (const task of ['running', 'ended', 'gone']) mkdirSync(`${directory}/tasks/${task}`, { recursive: true });
  await network.close();
  const next = make();
  next.adopt(
    [
      container('running', 'running', '10.224.3.2'),
      container('ended', 'exited', '10.224.3.3'),
      container('bare', 'running'),
    ],
    () => false,
  );
  next.use(SUBNET);
  t.equal(addressOf(await next.prepare(config('a'))), '10.224.3.3', 'of one that has ended');
  t.equal(addressOf(await next.prepare(config('b'))), '10.224.3.4');
  t.equal(await system.walk('running', 88), `${directory}/tasks/running/hosts`, 'restarted by hand, it has its own');
  t.same(system.attached, ['88 10.224.3.2']);
  await t.rejects(system.walk('ended', 89), { message: 'address 10.224.3.3 is in use by a by now' });
  next.adopt([container('running', 'running', '10.224.3.2')], (task) => task === 'a');
  t.equal(system.looks, 1);
  while (readdirSync(`${directory}/tasks`).length > 2) await new Promise((resolve) => setImmediate(resolve));
  t.same(readdirSync(`${directory}/tasks`).sort(), ['a', 'running']);
  await next.remove();
  t.notOk(existsSync(directory));
  t.ok(system.isRemoved);
});

t.test('more tasks than addresses are refused, until one goes', async (t) => {
  const { network } = setting(t);
  network.use('10.224.3.0/30');
  await network.prepare(config('a'));
  await t.rejects(network.prepare(config('b')), {
    code: 'resource-exhausted',
    message: 'no free address in gateway subnet 10.224.3.0/30: 1 in use',
  });
  network.forget('a');
  t.equal(addressOf(await network.prepare(config('b'))), '10.224.3.2');
});

t.test('a gate that somebody takes away is opened anew', async (t) => {
  const { network, system } = setting(t);
  network.use(SUBNET);
  await network.prepare(config('a'));
  const [lost] = system.gates.splice(0);
  lost?.onLost(new Error('unmounted'));
  while (system.gates.length === 0) await new Promise((resolve) => setImmediate(resolve));
  t.ok(await system.walk('a', 1));
});

t.test('one that starts while a gate is away fails, and those after it have their network as before', async (t) => {
  const { directory, network, system } = setting(t);
  network.use(SUBNET);
  await network.prepare(config('a'));
  const refusal = new ApiaryError('internal', `mounting "${directory}/gate/a" to rootfs: no such file or directory`);
  const start = () => {
    const [lost] = system.gates.splice(0);
    lost?.onLost(new Error('unmounted'));
    return Promise.reject(refusal);
  };
  await t.rejects(network.start(config('a'), 'c', start), refusal);
  t.equal(network.trouble, '');
  await until(() => system.gates.length === 1);
  t.equal(await network.start(config('a'), 'c', async () => void (await system.walk('a', 77))), 'started');
});

t.test('a task that ends while it is being attached, or looked for, is not known afterwards', async (t) => {
  const { network, system } = setting(t);
  network.use(SUBNET);
  const asked = config('a', [FRONT]);
  await network.prepare(asked);
  const ended = () => network.observe({ ...container('a', 'exited', '10.224.3.2'), networks: [FRONT] });
  let walking: Promise<unknown> | undefined;
  const starting = network.start(asked, 'c', async () => {
    walking = system.walk('a', 77);
    await walking;
  });
  // It waits for the managers to tell of its network.
  await until(() => walking !== undefined);
  t.notOk(await settledWithin(starting));
  ended();
  network.apply(networks({ a: [FRONT] }));
  await starting;
  t.same([system.local, [...system.askers]], [[], []]);

  let answer = (_namespace: number) => {};
  system.namespaceOf = () =>
    new Promise((resolve) => {
      answer = resolve;
    });
  network.observe({ ...container('a', 'running', '10.224.3.2'), networks: [FRONT], pid: 78 });
  ended();
  answer(78);
  await new Promise((resolve) => setImmediate(resolve));
  t.same([system.local, [...system.askers]], [[], []]);
});

t.test('an agent runs a task on the engine’s own network when nobody came through the gate, and says so', async (t) => {
  const { system, directory, network: unused } = setting(t);
  await unused.close();
  const manager = await FakeManager.start();
  manager.gatewaySubnet = SUBNET;
  const engine = new FakeEngine();
  engine.plugins = [
    { Type: 'Network', Name: 'bridge' },
    { Type: 'Volume', Name: 'local' },
  ];
  const clock = new SystemClock();
  const agent = startAgent({
    identity: () => IDENTITY,
    managers: () => [manager.addr],
    advertiseAddr: '10.0.0.1',
    engine,
    network: (onTrouble) => new GateNetwork({ directory, clock, rng: new SeededRng(1), logger, onTrouble, system }),
    clock,
    rng: new SeededRng(1),
    logger,
    channel: () => ({
      credentials: ChannelCredentials.createInsecure(),
      options: { 'grpc.use_local_subchannel_pool': 1 },
    }),
  });
  t.teardown(async () => {
    await agent.stop();
    manager.stop();
  });
  /** The one task whose container the runtime starts as it should. */
  engine.before = async (call, what) => {
    if (call === 'start' && engine.containers.get(what)?.taskId === 'well') await system.walk('well', 77);
  };
  await manager.until(() => manager.sessions === 1);
  const described = () =>
    manager.said.flatMap(({ body }) => {
      if (body?.$case === 'hello') return body.value.description?.descriptionJson ?? '';
      return body?.$case === 'description' ? body.value.descriptionJson : [];
    });
  t.match(described().at(-1), '"Name":"overlay"', 'it can make overlay networks');
  manager.assign({ well: 'running' });
  await manager.state('well', 'running');
  t.same(system.attached, ['77 10.224.3.2']);
  manager.assign({ ill: 'running' });
  const { container: last } = await manager.state('ill', 'running');
  t.same(engine.done.slice(2), [
    'create web.1.ill',
    'start web.1.ill',
    'stop web.1.ill',
    'remove web.1.ill',
    'create web.1.ill',
    'start web.1.ill',
  ]);
  t.equal(engine.of('ill').id, last?.id);
  await manager.until(() => described().at(-1)?.includes('"apiary.gateway.trouble":"the engine') === true);
  t.notMatch(described().at(-1), '"Name":"overlay"', 'no task that is on one comes here from now on');
});

t.test('ports of the host lead to a task from before it starts until it has ended', async (t) => {
  const { network, system, make } = setting(t);
  network.use(SUBNET);
  network.adopt([], () => true);
  const wanted = (...numbers: number[]): TaskPort[] =>
    numbers.map((publishedPort) => ({ protocol: 'tcp', publishedPort, targetPort: 80 }));
  network.apply({ ...networks({ a: [] }), publishedPorts: new Map([['tcp/32767', PUBLISHED]]) });
  const asked = config('a', [], wanted(0, 8080));
  const created = await network.prepare(asked);
  t.equal(labelsOf(created)['apiary.gateway.ports'], 'tcp/32766:80,tcp/8080:80');
  let early: string[] = [];
  await network.start(asked, 'c', async () => {
    early = system.hostPorts;
    await system.walk('a', 77);
  });
  t.same(early, ['32766 10.224.3.2', '8080 10.224.3.2']);
  t.same(system.published, ['tcp/32767']);
  t.same(system.cookies, [77n]);

  const rival = config('b', [], wanted(8080));
  await network.prepare(rival);
  await t.rejects(
    network.start(rival, 'c', async () => void t.fail('it is not started')),
    { code: 'failed-precondition', message: 'Bind for 0.0.0.0:8080 failed: port is already allocated' },
  );
  await network.close();

  const later = make();
  t.teardown(() => later.close());
  later.use(SUBNET);
  system.hostPorts = [];
  const ports = wanted(32_766);
  later.adopt([{ ...container('a', 'running', '10.224.3.2'), ports, pid: 77 }], () => true);
  await until(() => system.hostPorts.length === 1);
  t.same(system.hostPorts, ['32766 10.224.3.2']);
  later.observe({ ...container('a', 'exited', '10.224.3.2'), ports });
  await until(() => system.hostPorts.length === 0);
});

t.test('an engine that stands still holds up no stop', async (t) => {
  const { directory, system, clock, network: unused } = setting(t);
  await unused.close();
  let isClosed = false;
  const asked: string[] = [];
  const standsStill = (call: string) => () => {
    asked.push(call);
    return new Promise<never>(() => {});
  };
  const engine: EngineNetworks = {
    list: standsStill('list'),
    create: standsStill('create'),
    remove: standsStill('remove'),
    endpoints: standsStill('endpoints'),
    container: standsStill('container'),
    disconnect: standsStill('disconnect'),
    close: () => {
      isClosed = true;
    },
  };
  const attachable = { engine, pluginSocket: join(directory, '..', 'plugin.sock') };
  const network = new GateNetwork({
    directory,
    clock,
    rng: new SeededRng(1),
    logger,
    onTrouble: () => {},
    system,
    attachable,
  });
  network.adopt([], () => true);
  await until(() => asked.length > 0);
  const closed = network.close();
  while (!(await settledWithin(closed))) clock.advance(1_000);
  t.ok(isClosed, 'what it was asked last is given up');
  t.same(asked, ['list']);
});

t.test('a node that cannot have VIPs says why', async (t) => {
  const { network } = setting(t, 'vips');
  network.use(SUBNET);
  await until(() => network.vipTrouble !== '');
  t.equal(network.vipTrouble, 'no BPF here');
  t.equal(network.trouble, '');
});
