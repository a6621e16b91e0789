import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { GateOptions, NamespaceRef } from '@apiary/agent-native';
import type { AssignedNetwork, HostPort, LocalTask, NetworkState, TaskAttachment } from '@apiary/overlay-net/core';
import type { Asker, NameServerOptions } from '@apiary/overlay-net/io';
import { ApiaryError, SeededRng, VirtualClock } from '@apiary/std';
import { SystemClock } from '@apiary/std/io';
import { ChannelCredentials } from '@grpc/grpc-js';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import {
  type AssignedNetworks,
  type ContainerConfig,
  type EngineContainer,
  networksOfLabel,
  type TaskPort,
} from '../../core/index.js';
import { IDENTITY } from '../agent.fixture.js';
import { startAgent } from '../agent.js';
import type { EngineNetworks } from '../attachable/engine-networks.js';
import { FakeEngine } from '../fake-engine.js';
import { FakeManager } from '../fake-manager.js';
import { GateNetwork } from './gate-network.js';
import type { GatewaySystem } from './gateway-system.js';

const SUBNET = '10.224.3.0/24';
const logger = pino({ level: 'silent' });

/** A kernel as the tests want it: processes are in the namespace that is their number, those below 10 in the host's. */
class FakeSystem implements GatewaySystem {
  /** `namespace address` of every interface there is. */
  readonly attached: string[] = [];
  gates: GateOptions[] = [];
  refuse = '';
  isRemoved = false;
  looks = 0;
  /** What was done to overlay networks and names. */
  readonly overlay: string[] = [];
  local: LocalTask[] = [];
  published: string[] = [];
  hostPorts: string[] = [];
  readonly reserved = new Set<number>();
  cookies: (bigint | undefined)[] = [];
  readonly askers = new Map<string, readonly string[]>();

  async openGate(options: GateOptions) {
    if (this.refuse === 'gate') throw new Error('no FUSE here');
    this.gates.push(options);
    return { close: () => this.gates.splice(this.gates.indexOf(options), 1) };
  }

  async openGateway() {
    if (this.refuse === 'gateway') throw new Error('nft is not installed');
    return {
      names: { address: '10.224.3.0', namespace: { path: '' } },
      attach: async (
        namespace: { pid: number } | { path: string },
        address: string,
        { hasWayOut = true, hasIpv6 = false, isReachedByIpv6 = false } = {},
      ) => {
        if (this.refuse === 'attach') throw new Error('add veth link: EPERM');
        this.attached.push(`${'pid' in namespace ? namespace.pid : ''} ${address}`);
        if (!hasWayOut) this.overlay.push(`${address} has no way out`);
        if (hasIpv6) this.overlay.push(`${address} beside IPv6`);
        if (isReachedByIpv6) this.overlay.push(`${address} reached by IPv6`);
      },
      ipv6Addresses: this.refuse === 'ipv6' ? '' : '2001:db8::1',
      ipv6AddressOf: (address: string) => (this.refuse === 'ipv6' ? '' : `fd00::${address.split('.').at(-1)}`),
      isAttached: async (address: string) => this.attached.some((each) => each.endsWith(` ${address}`)),
      look: () => {
        this.looks++;
      },
      apply: async ({ publishedPorts }: NetworkState) => {
        this.published = [...publishedPorts.keys()];
      },
      publish: async (ports: readonly HostPort[]) => {
        this.hostPorts = ports.map(({ publishedPort, gatewayAddress }) => `${publishedPort} ${gatewayAddress}`);
      },
      close: async () => {},
    };
  }

  async openOverlay() {
    return {
      wireguardKey: 'key=',
      apply: ({ tasks }: NetworkState) => {
        this.local = [...tasks.values()];
      },
      attach: async (taskId: string, _namespace: NamespaceRef, attachments: readonly TaskAttachment[]) => {
        if (this.refuse === 'overlay') throw new Error('add veth link: ENOSPC');
        this.overlay.push(`${taskId} ${attachments.map(({ address }) => address).join()}`);
      },
      found: async (taskId: string) => {
        this.overlay.push(`found ${taskId}`);
      },
      forget: (taskId: string) => {
        this.overlay.push(`forget ${taskId}`);
      },
      offer: async () => {},
      retract: async () => {},
      close: async () => {},
    };
  }

  async openVips() {
    if (this.refuse === 'vips') throw new Error('no BPF here');
    return {
      apply: async ({ tasks }: NetworkState) => {
        this.cookies = Array.from(tasks.values(), ({ namespaceCookie }) => namespaceCookie);
      },
      close: async () => {},
    };
  }

  async namespaceAt(): Promise<never> {
    throw new Error('no such namespace');
  }

  async openNamespaceNames(): Promise<never> {
    throw new Error('no such namespace');
  }

  async removeVips() {
    this.isRemoved = true;
  }

  async cookieOf(pid: number) {
    return BigInt(pid);
  }

  readonly reserve = async (_protocol: string, port: number) => {
    if (this.reserved.has(port)) throw Object.assign(new Error('in use'), { code: 'EADDRINUSE' });
    this.reserved.add(port);
    return { release: () => void this.reserved.delete(port) };
  };

  async openNames({ address }: NameServerOptions) {
    this.overlay.push(`names at ${address}`);
    return {
      apply: () => {},
      know: (from: string, { nameservers }: Asker) => void this.askers.set(from, nameservers),
      forget: (from: string) => void this.askers.delete(from),
      answer: () => {},
      close: async () => {},
    };
  }

  async resolvers() {
    return ['192.0.2.53'];
  }

  async removeGateway() {
    this.isRemoved = true;
  }

  async namespaceOf(pid: number) {
    return pid < 10 ? undefined : pid;
  }

  /** A process walks along a task's path. */
  async walk(taskId: string, pid: number): Promise<string | undefined> {
    const [gate] = this.gates;
    if (gate === undefined) throw new Error('Transport endpoint is not connected');
    return gate.resolve(taskId, { pid });
  }
}

function setting(t: Test, refuse = '') {
  const directory = join(mkdtempSync(join(tmpdir(), 'gate-network-')), 'network');
  t.teardown(() => rmSync(join(directory, '..'), { recursive: true }));
  const system = new FakeSystem();
  system.refuse = refuse;
  const troubles: string[] = [];
  const clock = new VirtualClock();
  const make = () => {
    const network: GateNetwork = new GateNetwork({
      directory,
      clock,
      rng: new SeededRng(1),
      logger,
      onTrouble: () => {
        if (network.trouble !== '') troubles.push(network.trouble);
      },
      system,
    });
    return network;
  };
  return { directory, system, troubles, clock, network: make(), make };
}

function config(taskId: string, networks: TaskAttachment[] = [], ports: TaskPort[] = []): ContainerConfig {
  return {
    name: `web.1.${taskId}`,
    taskId,
    body: { Image: 'i', Labels: { a: 'b' }, HostConfig: { Dns: ['192.0.2.1'] } },
    gateway: {
      hostname: '',
      hosts: [{ name: 'db', address: '192.0.2.9' }],
      dns: { nameservers: ['192.0.2.1'], search: [], options: [] },
      networks,
      ports,
      isPublished: ports.length > 0,
      files: ['hosts', 'resolvConf'],
    },
  };
}

function container(taskId: string, state: EngineContainer['state'], gatewayAddress?: string): EngineContainer {
  const facts = { id: `c-${taskId}`, taskId, nodeId: 'n1', state, pid: 0, exitCode: 0, oomKilled: false, error: '' };
  return { ...facts, ...(gatewayAddress !== undefined && { gatewayAddress }), ports: [] };
}

const labelsOf = ({ body }: ContainerConfig) => body['Labels'] as Record<string, string>;
const addressOf = (created: ContainerConfig) => labelsOf(created)['apiary.gateway.address'];

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

const FRONT: TaskAttachment = { networkId: 'front', address: '10.0.0.3', aliases: [], ipv6Address: 'fd00::3' };
const PUBLISHED = { protocol: 'tcp', publishedPort: 80, targetPort: 80, serviceId: 's', backends: [] };
const SEALED: TaskAttachment = { networkId: 'sealed', address: '10.0.1.3', aliases: [] };

function networks(tasks: Record<string, TaskAttachment[]>): AssignedNetworks {
  const network = (networkId: string): [string, AssignedNetwork] => [
    networkId,
    {
      networkId,
      name: networkId,
      vni: 4097,
      subnet: '10.0.0.0/24',
      gateway: '10.0.0.1',
      internal: networkId === 'sealed',
      attachable: false,
      encrypted: false,
      mtu: 0,
      engineNetwork: '',
    },
  ];
  return {
    selfId: 'n1',
    dataPathPort: 4789,
    networks: new Map(['front', 'sealed'].map(network)),
    endpointSets: new Map(),
    nodes: new Map(),
    publishedPorts: new Map(),
    attachments: { networks: [], attachments: [] },
    tasks: new Map(
      Object.entries(tasks).map(([taskId, attachments]) => [
        taskId,
        { taskId, serviceId: 's', nameservers: ['192.0.2.7'], attachments },
      ]),
    ),
  };
}

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

/** Whether it is over after all that is due now was done. */
async function settledWithin(promise: Promise<unknown>): Promise<boolean> {
  let isOver = false;
  const over = () => {
    isOver = true;
  };
  promise.then(over, over);
  await new Promise((resolve) => setImmediate(resolve));
  return isOver;
}

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

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
}

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

t.test(
  'a task that is published has a way for answers, also on internal networks; and leaves before it ends',
  async (t) => {
    const { network, system, clock } = setting(t);
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
  },
);

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
