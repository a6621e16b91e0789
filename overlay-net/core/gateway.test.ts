import fc from 'fast-check';
import t from 'tap';
import {
  confinedTasks,
  ENTRY_MARK,
  entryAddresses,
  type GatewayFilter,
  type GatewayPeer,
  gatewayArrangement,
  gatewayPeers,
  gatewayRules,
  gatewayRulesUpdate,
  gatewaySubnet,
  type HostPort,
  isEntryTable,
  type KnownPeers,
  knownPeers,
  type LocalTask,
  lostPeers,
  MOST_VIP_BACKENDS,
  type NetworkState,
  NO_FILTER,
  type PortRow,
  portRows,
  readGatewaySubnet,
  strayFlows,
  type TunnelRow,
  tunnelChanges,
  tunnelEnd,
  tunnelRowKey,
  tunnelRows,
  vipRows,
} from './index.js';

const EMPTY: NetworkState = {
  selfId: 'n1',
  dataPathPort: 4789,
  networks: new Map(),
  endpointSets: new Map(),
  nodes: new Map(),
  publishedPorts: new Map(),
  tasks: new Map(),
};
const byKey = <T>(key: (item: T) => string, items: readonly T[]) => new Map(items.map((item) => [key(item), item]));
const node = (nodeId: string, addr: string, index: number | undefined) => ({
  nodeId,
  addr,
  gatewaySubnet: index === undefined ? '' : gatewaySubnet(index),
  wireguardKey: '',
});
const nodesOf = (...nodes: ReturnType<typeof node>[]) => byKey(({ nodeId }) => nodeId, nodes);

t.test('the other nodes with a gateway network are its peers, each with a mark and a MAC of its own', async (t) => {
  const nodes = nodesOf(
    node('n3', '192.0.2.3', 259),
    node('n1', '192.0.2.1', 1),
    node('n2', '2001:db8::2', 2),
    node('n4', '192.0.2.4', undefined),
    node('n5', 'nowhere', 5),
    node('n6', '192.0.2.6', 2),
  );
  const peers = gatewayPeers({ selfId: 'n1', nodes });
  t.same(
    peers.map(({ nodeId }) => nodeId),
    ['n2', 'n3'],
  );
  t.match(peers[1], { underlay: '192.0.2.3', gateway: '10.225.3.1', mac: '02:62:0a:e1:03:01', mark: 0x6100e103 });
  t.same(entryAddresses(peers), ['10.224.2.1', '10.225.3.1', '192.0.2.3']);
  t.same(tunnelEnd({ ...EMPTY, nodes }), { local: '192.0.2.1', port: 4789 });
  t.equal(tunnelEnd({ ...EMPTY, nodes, dataPathPort: 0 }), undefined);
  t.equal(tunnelEnd(EMPTY), undefined);
  const index = fc.nat(8191);
  fc.assert(
    fc.property(index, index, (a, b) => {
      const [one, two] = gatewayPeers({
        selfId: '',
        nodes: nodesOf(node('a', '192.0.2.1', a), node('b', '192.0.2.2', b)),
      });
      t.ok(isEntryTable(one?.mark ?? 0));
      if (a === b) t.equal(two, undefined);
      else t.ok(one?.mark !== two?.mark && one?.mac !== two?.mac);
    }),
  );
  t.notOk(isEntryTable(254) || isEntryTable(0x62000000) || isEntryTable(0xe1000000));
});

const peer = fc.integer({ min: 1, max: 6 }).map((index): GatewayPeer => {
  const { subnet, gateway } = readGatewaySubnet(gatewaySubnet(index));
  return {
    nodeId: `n${index}`,
    underlay: `192.0.2.${index}`,
    subnet,
    gateway,
    mac: `02:${index}`,
    mark: ENTRY_MARK + 0xe000 + index,
  };
});
const peers = fc.uniqueArray(peer, { selector: ({ nodeId }) => nodeId });

t.test('a host that is not known yet leads nowhere, and says of IPv6 only what it has', async (t) => {
  const known = { ...EMPTY, nodes: nodesOf(node('n1', '192.0.2.1', 1), node('n2', '192.0.2.2', 2)) };
  const peers = gatewayPeers(known);
  t.strictSame(gatewayArrangement(known, [], undefined), {
    ways: { end: { local: '192.0.2.1', port: 4789 }, peers },
    filter: { ...NO_FILTER, peers, dataPathPort: 4789 },
  });
  t.equal(gatewayArrangement(known, [], 'own-only').filter.ipv6, 'own-only');
  t.strictSame(gatewayArrangement(EMPTY, [], undefined), { ways: { end: undefined, peers: [] }, filter: NO_FILTER });
});

t.test('rows that are there stay, others go, missing ones come', async (t) => {
  const changed = (row: TunnelRow): TunnelRow => ('mac' in row ? { ...row, mac: 'other' } : row);
  fc.assert(
    fc.property(peers, peers, fc.boolean(), (before, after, isTampered) => {
      const present = tunnelRows(before, '10.224.9.1').map((row, i) =>
        isTampered && i % 3 === 0 ? changed(row) : row,
      );
      const wanted = tunnelRows(after, '10.224.9.1');
      const { remove, add } = tunnelChanges(wanted, present);
      // The oracle: sets of texts.
      const text = (rows: readonly TunnelRow[]) => rows.map((row) => JSON.stringify(row)).sort();
      const left = text(present).filter((row) => !text(remove).includes(row));
      t.same([...left, ...text(add)].sort(), text(wanted));
      t.ok(text(remove).every((row) => !text(wanted).includes(row)));
      t.equal(new Set(wanted.map(tunnelRowKey)).size, wanted.length);
    }),
  );
  const twice: TunnelRow[] = [
    { kind: 'pass', priority: 96 },
    { kind: 'pass', priority: 96 },
  ];
  t.same(tunnelChanges(twice.slice(1), twice), { remove: twice.slice(1), add: [] });
});

const port = fc.record({
  protocol: fc.constantFrom('tcp', 'udp'),
  hostAddress: fc.constantFrom('', '192.0.2.1', 'fd00::1'),
  port: fc.integer({ min: 80, max: 83 }),
  targets: fc.uniqueArray(
    fc.record({
      address: fc.constantFrom('10.224.0.2', '10.224.1.2', '10.224.2.2'),
      ipv6Address: fc.constantFrom('', 'fd61::2', 'fd61::3'),
      port: fc.constant(80),
    }),
    {
      minLength: 1,
      selector: ({ address }) => address,
    },
  ),
});
const filter: fc.Arbitrary<GatewayFilter> = fc.record({
  peers,
  dataPathPort: fc.constantFrom(0, 4789, 4790),
  ports: fc.uniqueArray(port, { selector: (row) => `${row.hostAddress} ${row.protocol} ${row.port}` }),
  confined: fc.uniqueArray(fc.constantFrom('10.224.0.2', '10.224.0.3')),
});

/** The oracle: a table as nft keeps it, changed line by line. What cannot be done is refused. */
class DumbTable {
  readonly sets = new Map<string, Set<string>>();
  readonly chains = new Map<string, string[]>();

  run(script: string): this {
    for (const line of script.split('\n')) {
      const [, act = '', kind = '', name = '', rest = ''] = /^(\w+) (\w+) inet apiary (\w+) ?(.*)$/.exec(line) ?? [];
      const elements = /^\{ (.*) \}$/.exec(rest)?.[1]?.split(/, (?=[^}]*$)/) ?? [];
      if (act === 'add' && kind === 'element') for (const element of elements) this.#set(name).add(element);
      if (act === 'delete' && kind === 'element') this.#deleteElements(name, elements);
      if (act === 'flush' && (kind === 'set' || kind === 'map')) this.#set(name).clear();
      if (act === 'add' && kind === 'chain') this.chains.set(name, []);
      if (act === 'add' && kind === 'rule') this.#chain(name).push(rest);
      if (act === 'flush' && kind === 'chain') this.#chain(name).length = 0;
      if (act === 'delete' && kind === 'chain') this.#deleteChain(name);
    }
    return this;
  }

  get text(): string {
    const sets = [...this.sets]
      .map(([name, set]) => `${name} ${[...set].sort().join()}`)
      .filter((line) => !line.endsWith(' '));
    return [...sets, ...[...this.chains].map(([name, rules]) => `${name}: ${rules.join()}`)].sort().join('\n');
  }

  #set(name: string): Set<string> {
    const set = this.sets.get(name) ?? new Set();
    this.sets.set(name, set);
    return set;
  }

  #chain(name: string): string[] {
    const chain = this.chains.get(name);
    if (chain === undefined) throw new Error(`no chain ${name}`);
    return chain;
  }

  #deleteElements(name: string, keys: string[]): void {
    for (const key of keys) {
      const element = [...this.#set(name)].find((each) => each.startsWith(`${key} : `));
      if (element === undefined) throw new Error(`no element ${key}`);
      this.#set(name).delete(element);
    }
  }

  #deleteChain(name: string): void {
    if (this.#chain(name).length > 0) throw new Error(`${name} is not empty`);
    for (const set of this.sets.values()) {
      if ([...set].some((element) => element.endsWith(`goto ${name}`))) throw new Error(`${name} is in use`);
    }
    this.chains.delete(name);
  }
}

t.test('an update makes of one table what a new one would be, and touches nothing that is the same', async (t) => {
  const subnet = readGatewaySubnet('10.224.9.0/24');
  fc.assert(
    fc.property(filter, filter, fc.constantFrom(undefined, 'open', 'own-only'), (one, other, ipv6) => {
      const [before, after] =
        ipv6 === undefined
          ? [one, other]
          : [
              { ...one, ipv6 },
              { ...other, ipv6 },
            ];
      const table = new DumbTable().run(gatewayRules(subnet, before)).run(gatewayRulesUpdate(before, after));
      t.equal(table.text, new DumbTable().run(gatewayRules(subnet, after)).text);
      t.equal(gatewayRulesUpdate(after, structuredClone(after)), '');
      for (const row of after.ports.filter((row) =>
        before.ports.some((each) => JSON.stringify(each) === JSON.stringify(row)),
      )) {
        if (row.hostAddress === '')
          t.notMatch(gatewayRulesUpdate(before, after), new RegExp(`\\b${row.protocol}_${row.port}\\b`));
      }
    }),
  );
  const whole = gatewayRules(subnet, NO_FILTER);
  t.notMatch(whole, /ip6|icmpv6/, 'a host without IPv6 need not know what that is');
  const row = { protocol: 'tcp', port: 80, targets: [{ address: '10.224.0.2', ipv6Address: 'fd61::2', port: 80 }] };
  const ports = ['', '192.0.2.1', 'fd00::1'].map((hostAddress) => ({ ...row, hostAddress }));
  const dual = gatewayRules(subnet, { ...NO_FILTER, ports, confined: ['10.224.9.2'], ipv6: 'own-only' });
  const [both, ipv4, ipv6] = ['tcp_80', 'tcp_80_at_192_0_2_1', 'tcp_80_at_fd00__1'].map((chain) =>
    Array.from(dual.matchAll(new RegExp(`add rule inet apiary ${chain} .*dnat (.*)`, 'g')), ([, to]) => to),
  );
  t.same(
    [both, ipv4, ipv6],
    [['ip to 10.224.0.2:80', 'ip6 to [fd61::2]:80'], ['ip to 10.224.0.2:80'], ['ip6 to [fd61::2]:80']],
  );
  t.match(dual, /add element inet apiary host_ports6 \{ fd00::1 \. tcp \. 80 : goto tcp_80_at_fd00__1 \}/);
  t.match(dual, /add element inet apiary confined6 \{ fd61:7069:6172:7900::ae0:902 \}/);
  t.match(dual, /ip6 saddr fd61:7069:6172:7900::ae0:900\/120 oifgroup != 9701 masquerade/);
  t.match(dual, /meta nfproto ipv6 meta iifkind != "bridge" drop/);
  t.notMatch(gatewayRules(subnet, { ...NO_FILTER, ipv6: 'open' }), /iifkind/);
  t.same([...new Set(whole.match(/table \w+ \w+/g))], ['table inet apiary']);
  t.match(whole, /ip saddr 10\.224\.9\.0\/24 oifgroup != \{ 9701, 9703 \} masquerade/);
});

const published = (publishedPort: number, ...backends: [nodeId: string, address: string][]) => ({
  protocol: 'tcp',
  publishedPort,
  targetPort: 80,
  serviceId: 's',
  backends: backends.map(([nodeId, gatewayAddress], i) => ({ taskId: `t${i}`, nodeId, gatewayAddress })),
});

t.test('a port leads to the backends that can be reached, and is none without', async (t) => {
  const nodes = nodesOf(node('n1', '192.0.2.1', 1), node('n2', '192.0.2.2', 2));
  const known = gatewayPeers({ selfId: 'n1', nodes });
  const publishedPorts = byKey(
    ({ publishedPort }) => `tcp/${publishedPort}`,
    [
      published(8080, ['n2', '10.224.2.2'], ['n1', '10.224.1.2'], ['n9', '10.224.9.2'], ['n1', '']),
      published(8081, ['n9', '10.224.9.2']),
      published(8082),
    ],
  );
  const own: HostPort = {
    taskId: 't',
    protocol: 'udp',
    hostAddress: '',
    publishedPort: 53,
    targetPort: 5353,
    gatewayAddress: '10.224.1.3',
  };
  const taken = { ...own, protocol: 'tcp', publishedPort: 8080 };
  const rows = portRows({ selfId: 'n1', publishedPorts }, known, [own, taken, { ...taken, hostAddress: '192.0.2.1' }]);
  t.same(
    rows.map(
      ({ protocol, hostAddress, port, targets }) =>
        `${hostAddress} ${protocol}/${port} ${targets.map((it) => `${it.address}:${it.port}`)}`,
    ),
    [' tcp/8080 10.224.1.2:80,10.224.2.2:80', ' udp/53 10.224.1.3:5353', '192.0.2.1 tcp/8080 10.224.1.3:5353'],
  );
});

t.test('flows to where a port no longer leads are told, and no others', async (t) => {
  const rows: PortRow[] = [
    { protocol: 'udp', hostAddress: '', port: 53, targets: [{ address: '10.224.1.2', port: 53 }] },
    { protocol: 'udp', hostAddress: '192.0.2.1', port: 53, targets: [{ address: '10.224.1.3', port: 53 }] },
    { protocol: 'tcp', hostAddress: '', port: 54, targets: [{ address: '10.224.1.2', port: 53 }] },
  ];
  const flow = (destination: string, destinationPort: number, source: string) => ({
    original: { destination, destinationPort },
    reply: { source },
  });
  const stray = [
    flow('127.0.0.1', 53, '10.224.1.9'),
    flow('127.0.0.1', 53, '127.0.0.1'),
    flow('192.0.2.1', 53, '10.224.1.2'),
    flow('192.0.2.2', 54, '10.224.2.2'),
  ];
  const well = [
    flow('127.0.0.1', 53, '10.224.1.2'),
    flow('192.0.2.1', 53, '10.224.1.3'),
    flow('198.51.100.1', 53, '198.51.100.1'),
    flow('192.0.2.1', 54, '192.0.2.1'),
  ];
  const entries = new Set(['127.0.0.1', '192.0.2.1', '192.0.2.2']);
  const isGateway = (address: string) => address.startsWith('10.224.');
  t.same(strayFlows([...stray, ...well], 'udp', rows, entries, isGateway), stray);
});

const task = (taskId: string, cookie: bigint, ...networkIds: string[]): LocalTask => ({
  taskId,
  serviceId: 's',
  gatewayAddress: `10.224.1.${taskId}`,
  namespace: 1,
  namespaceCookie: cookie,
  attachments: networkIds.map((networkId) => ({ networkId, address: '', aliases: [] })),
});
const network = (networkId: string, vni: number, internal = false) => ({
  networkId,
  name: networkId,
  vni,
  subnet: '',
  gateway: '',
  internal,
  attachable: false,
  encrypted: false,
  mtu: 0,
  engineNetwork: '',
});

t.test('tasks on internal networks alone have no way out', async (t) => {
  const networks = byKey(({ networkId }) => networkId, [network('in', 1, true), network('out', 2)]);
  const tasks = byKey(
    ({ taskId }) => taskId,
    [task('2', 1n, 'in'), task('3', 1n, 'in', 'out'), task('4', 1n), task('5', 1n, 'in', 'in')],
  );
  t.same(confinedTasks({ networks, tasks }), ['10.224.1.2', '10.224.1.5']);
});

t.test('a VIP leads to the live tasks of its service, for the tasks here that are on its network', async (t) => {
  const networks = byKey(({ networkId }) => networkId, [network('a', 4097), network('b', 4098), network('host', 0)]);
  const service = (serviceId: string, vip: string) => ({ serviceId, name: serviceId, vip, aliases: [] });
  const endpoint = (taskId: string, serviceId: string, address: string, live: boolean) => ({
    taskId,
    serviceId,
    nodeId: 'n2',
    address,
    taskName: taskId,
    aliases: [],
    live,
  });
  const endpoints = byKey(
    ({ taskId }) => taskId,
    [
      endpoint('1', 'web', '10.0.0.9', true),
      endpoint('2', 'web', '10.0.0.3', true),
      endpoint('3', 'web', '10.0.0.4', false),
      endpoint('4', 'db', '10.0.0.5', true),
    ],
  );
  const services = byKey(
    ({ serviceId }) => serviceId,
    [service('web', '10.0.0.100'), service('db', ''), service('idle', '10.0.0.101')],
  );
  const set = { version: 1, endpoints, services };
  const state: NetworkState = {
    ...EMPTY,
    networks,
    endpointSets: new Map([
      ['a', set],
      ['b', set],
    ]),
    tasks: byKey(({ taskId }) => taskId, [task('2', 7n, 'a', 'host'), task('3', 0n, 'b')]),
  };
  t.same(vipRows(state), {
    rows: [
      { vip: '10.0.0.100', vni: 4097, backends: ['10.0.0.3', '10.0.0.9'] },
      { vip: '10.0.0.101', vni: 4097, backends: [] },
    ],
    members: [{ namespaceCookie: 7n, vni: 4097 }],
  });
  t.same(vipRows({ ...state, tasks: new Map() }), { rows: [], members: [] });

  const many = Array.from({ length: MOST_VIP_BACKENDS + 100 }, (_, i) =>
    endpoint(`${i}`, 'web', `10.1.${i >> 8}.${i & 255}`, true),
  );
  const shares = ['n1', 'n2', 'n3'].map((selfId) => {
    const endpointSets = new Map([['a', { ...set, endpoints: byKey(({ taskId }) => taskId, many) }]]);
    return vipRows({ ...state, selfId, endpointSets }).rows[0]?.backends ?? [];
  });
  for (const each of shares) t.equal(new Set(each).size, MOST_VIP_BACKENDS);
  t.equal(new Set(shares.flat()).size, many.length, 'each host has its share');
});

t.test('who has left a network is told to those here who are on it, and nothing else is', async (t) => {
  const NETWORKS = ['a', 'b'] as const;
  const set = fc
    .record({ version: fc.integer({ min: 1, max: 2 }), tasks: fc.uniqueArray(fc.integer({ min: 1, max: 4 })) })
    .map(({ version, tasks }) => ({
      version,
      endpoints: byKey(
        ({ taskId }) => taskId,
        tasks.map((i) => {
          const endpoint = { taskId: `t${i}`, serviceId: 's', nodeId: 'n2', taskName: '', aliases: [], live: i > 1 };
          return { ...endpoint, address: `10.0.0.${i}`, ...(i % 2 === 0 && { ipv6Address: `fd00::${i}` }) };
        }),
      ),
      services: new Map(),
    }));
  const state = fc
    .tuple(fc.array(fc.constantFrom(...NETWORKS)), fc.dictionary(fc.constantFrom(...NETWORKS), set))
    .map(([on, sets]): NetworkState => {
      const attachments = on.map((networkId) => ({ networkId, address: '10.0.0.9', aliases: [] }));
      const task = { taskId: 'x', serviceId: 's', gatewayAddress: '', namespace: 1, attachments };
      const tasks = [
        { ...task, namespacePath: '/proc/1/ns/net' },
        { ...task, taskId: 'y' },
      ];
      return { ...EMPTY, endpointSets: new Map(Object.entries(sets)), tasks: byKey(({ taskId }) => taskId, tasks) };
    });
  const addressesOf = ({ endpointSets }: NetworkState, networkId: string) =>
    [...(endpointSets.get(networkId)?.endpoints.values() ?? [])].flatMap(({ address, ipv6Address }) => [
      address,
      ...(ipv6Address === undefined ? [] : [ipv6Address]),
    ]);
  fc.assert(
    fc.property(fc.array(state, { minLength: 2, maxLength: 4 }), (states) => {
      let known: KnownPeers = new Map();
      let before = EMPTY;
      for (const now of states) {
        const next = knownPeers(now, known);
        t.equal(knownPeers(now, next).get('a'), next.get('a'), 'what has not changed is not looked at again');
        const expected = [...(now.tasks.get('x')?.attachments ?? [])]
          .filter(({ networkId }) => now.endpointSets.has(networkId))
          .flatMap(({ networkId }) =>
            addressesOf(before, networkId).filter((each) => !addressesOf(now, networkId).includes(each)),
          );
        const told = lostPeers(known, next, now);
        t.same([...(told.get('/proc/1/ns/net') ?? [])].sort(), [...new Set(expected)].sort());
        t.equal(told.size, expected.length === 0 ? 0 : 1);
        known = next;
        before = now;
      }
    }),
  );
});
