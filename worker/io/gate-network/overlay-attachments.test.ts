import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SeededRng } from '@apiary/std';
import t from 'tap';
import { type AssignedNetworks, networksOfLabel } from '../../core/index.js';
import type { EngineNetworks } from '../attachable/engine-networks.js';
import {
  config,
  container,
  FRONT,
  labelsOf,
  logger,
  networks,
  PUBLISHED,
  SEALED,
  SUBNET,
  setting,
  settledWithin,
  until,
} from './gate-network.fixture.js';
import { GateNetwork } from './gate-network.js';

t.test(
  'a task on overlay networks has all of its interfaces before it starts, and asks its host for names',
  async (t) => {
    const { directory, network, system } = setting(t);
    network.use(SUBNET);
    const asked = config('a', [FRONT, SEALED]);
    const created = await network.prepare(asked);
    t.equal(labelsOf(created)['apiary.networks'], '[["front","10.0.0.3","fd00::3"],["sealed","10.0.1.3"]]');
    t.same(networksOfLabel(labelsOf(created)['apiary.networks']), [FRONT, { ...SEALED, ipv6Address: '' }]);
    const starting = network.start(asked, '0123456789abcdef', async () => void (await system.walk('a', 77)));
    // The managers tell of its networks while it waits.
    network.apply(networks({ a: [FRONT, SEALED] }));
    t.equal(await starting, 'started');
    t.same(system.overlay, [
      'names at 10.224.3.0',
      '10.224.3.2 beside IPv6',
      '10.224.3.2 reached by IPv6',
      'a 10.0.0.3,10.0.1.3',
    ]);
    t.match(
      readFileSync(`${directory}/tasks/a/hosts`, 'utf8'),
      /\n10\.0\.0\.3\t0123456789ab\nfd00::3\t0123456789ab\n10\.0\.1\.3\t0123456789ab\n$/,
    );
    t.match(readFileSync(`${directory}/tasks/a/resolv.conf`, 'utf8'), /nameserver 10\.224\.3\.1\noptions ndots:0\n/);
    t.match(system.local, [{ taskId: 'a', gatewayAddress: '10.224.3.2', namespace: 77, attachments: [FRONT, SEALED] }]);
    t.same([...system.askers], [['10.224.3.2', ['192.0.2.1']]], 'its own resolvers are asked for it');
    network.forget('a');
    t.same(system.askers.size, 0);
    t.same(system.local, []);
    t.match(system.overlay.slice(-2), ['a 10.0.0.3,10.0.1.3', 'forget a']);
  },
);

t.test('a task on internal networks alone has no way out', async (t) => {
  const { network, system } = setting(t);
  network.use(SUBNET);
  network.apply(networks({ a: [SEALED], b: [FRONT, SEALED] }));
  for (const [taskId, attachments] of [
    ['a', [SEALED]],
    ['b', [FRONT, SEALED]],
  ] as const) {
    const asked = config(taskId, [...attachments]);
    await network.prepare(asked);
    await network.start(asked, 'c', async () => void (await system.walk(taskId, 77)));
  }
  t.same(
    system.overlay.filter((each) => each.includes('no way out')),
    ['10.224.3.2 has no way out'],
  );
});

t.test('a task that cannot be attached to its networks fails, with the reason', async (t) => {
  const { network, system, clock } = setting(t);
  network.use(SUBNET);
  const asked = config('a', [{ ...FRONT, networkId: 'stranger' }]);
  await network.prepare(asked);
  let isWalking = () => {};
  const walking = new Promise<void>((resolve) => {
    isWalking = resolve;
  });
  const lost = network.start(asked, 'c', async () => {
    const walked = system.walk('a', 77);
    isWalking();
    await walked;
  });
  await walking;
  const failed = t.rejects(lost, {
    message: /attaching its network failed: network stranger: the managers have not told/,
  });
  while (system.overlay.length > 0 && !(await settledWithin(failed))) clock.advance(1_000);
  await failed;
  network.apply(networks({ b: [FRONT] }));
  system.refuse = 'overlay';
  await network.prepare(config('b', [FRONT]));
  await t.rejects(
    network.start(config('b', [FRONT]), 'c', async () => void (await system.walk('b', 78))),
    { message: /attaching its network failed: add veth link: ENOSPC/ },
  );
  const without = setting(t, 'gateway');
  without.network.use(SUBNET);
  await t.rejects(without.network.prepare(config('a', [FRONT])), {
    message: /cannot attach it to its networks: nft is not installed/,
  });
});

t.test('what an earlier process attached is known again by what its container says', async (t) => {
  const { network, system } = setting(t);
  network.use(SUBNET);
  const found = { ...container('a', 'running', '10.224.3.9'), networks: [FRONT], pid: 77 };
  network.adopt([found], () => true);
  await until(() => system.overlay.includes('found a'));
  network.apply(networks({ a: [FRONT] }));
  t.match(system.local, [{ taskId: 'a', gatewayAddress: '10.224.3.9', namespace: 77, attachments: [FRONT] }]);
  t.same([...system.askers], [['10.224.3.9', ['192.0.2.7']]], 'whose resolvers the managers know');
});

t.test(
  'a task that is published has a way for answers, also on internal networks; and leaves before it ends',
  async (t) => {
    const { network, system, clock, make } = setting(t);
    network.use(SUBNET);
    const backend = { taskId: 'a', nodeId: 'n1', gatewayAddress: '10.224.3.2' };
    const others = [{ ...backend, taskId: 'z' }];
    const state = (backends: (typeof backend)[]): AssignedNetworks => ({
      ...networks({ a: [SEALED] }),
      publishedPorts: new Map([['tcp/80', { ...PUBLISHED, backends }]]),
    });
    network.apply(state([backend, ...others]));
    const asked = config('a', [SEALED]);
    if (asked.gateway !== undefined) asked.gateway.isPublished = true;
    await network.prepare(asked);
    await network.start(asked, 'c', async () => void (await system.walk('a', 77)));
    t.notMatch(system.overlay.join(), 'no way out');
    const gone = network.withdrawn('a', 's');
    t.notOk(await settledWithin(gone));
    network.apply(state(others));
    while (!(await settledWithin(gone))) clock.advance(100);
    await network.close();

    const later = make();
    t.teardown(() => later.close());
    later.use(SUBNET);
    later.apply(state(others));
    later.adopt([{ ...container('a', 'created', '10.224.3.2'), networks: [SEALED] }], () => true);
    await later.start(asked, 'c', async () => void (await system.walk('a', 78)));
    t.notMatch(system.overlay.join(), 'no way out', 'also when a process before this one has had it made');
  },
);

t.test('a task that starts before all who were on networks are known waits for that', async (t) => {
  const { directory, system, clock, network: unused } = setting(t);
  await unused.close();
  const unanswered = () => new Promise<never>(() => {});
  const engine: EngineNetworks = {
    list: unanswered,
    create: unanswered,
    remove: unanswered,
    endpoints: unanswered,
    container: unanswered,
    disconnect: unanswered,
    close: () => {},
  };
  const attachable = { engine, pluginSocket: join(directory, '..', 'plugin.sock') };
  const rng = new SeededRng(1);
  const network = new GateNetwork({ directory, clock, rng, logger, onTrouble: () => {}, system, attachable });
  network.use(SUBNET);
  network.apply(networks({ a: [FRONT] }));
  const asked = config('a', [FRONT]);
  await network.prepare(asked);
  let walking: Promise<unknown> | undefined;
  const starting = network.start(asked, 'c', async () => {
    walking = system.walk('a', 77);
    await walking;
  });
  await until(() => walking !== undefined);
  while (!(await settledWithin(starting))) clock.advance(1_000);
  t.equal(await starting, 'started');
  t.match(system.local, [{ taskId: 'a', attachments: [FRONT] }]);
  const closed = network.close();
  while (!(await settledWithin(closed))) clock.advance(1_000);
});
