import fc from 'fast-check';
import t from 'tap';
import {
  type AssignedNetwork,
  type Endpoint,
  forwardingRows,
  linkLocalOf,
  macOf,
  type NetworkState,
  networkMtu,
  type OverlayChange,
  type OverlayRow,
  type OverlayRows,
  overlayDiff,
  overlayKey,
  portName,
  vniOfLink,
} from './index.js';

const network = (changes: Partial<AssignedNetwork> = {}): AssignedNetwork => ({
  networkId: 'net1',
  name: 'front',
  vni: 4097,
  subnet: '10.0.0.0/20',
  gateway: '10.0.0.1',
  internal: false,
  attachable: false,
  encrypted: false,
  mtu: 0,
  engineNetwork: '',
  ...changes,
});

const endpoint = (taskId: string, nodeId: string, address: string, changes: Partial<Endpoint> = {}): Endpoint => ({
  taskId,
  serviceId: 'web',
  nodeId,
  address,
  taskName: `web.1.${taskId}`,
  aliases: [],
  live: true,
  ...changes,
});

const NODES = ['n1', 'n2', 'n3'];

function stateOf(
  networks: AssignedNetwork[],
  endpoints: Record<string, Endpoint[]>,
  dataPathPort = 4789,
): NetworkState {
  const local = Object.entries(endpoints).flatMap(([networkId, each]) =>
    each.filter(({ nodeId }) => nodeId === 'n1').map((one) => ({ networkId, ...one })),
  );
  return {
    selfId: 'n1',
    dataPathPort,
    networks: new Map(networks.map((each) => [each.networkId, each])),
    endpointSets: new Map(
      Object.entries(endpoints).map(([id, each]) => [
        id,
        { version: 1, endpoints: new Map(each.map((one) => [one.taskId, one])), services: new Map() },
      ]),
    ),
    nodes: new Map(
      NODES.map((nodeId, i) => [nodeId, { nodeId, addr: `192.0.2.${i + 1}`, gatewaySubnet: '', wireguardKey: '' }]),
    ),
    publishedPorts: new Map(),
    tasks: new Map(
      local.map(({ taskId, serviceId, networkId, address }) => [
        taskId,
        {
          taskId,
          serviceId,
          gatewayAddress: '',
          namespace: 1,
          nameservers: [],
          attachments: [{ networkId, address, aliases: [] }],
        },
      ]),
    ),
  };
}

const rowsOf = (rows: OverlayRow[]): OverlayRows => new Map(rows.map((row) => [overlayKey(row), row]));

t.test('a network has a bridge, a VXLAN device, a port for each task here and rows for each elsewhere', async (t) => {
  const endpoints = [
    endpoint('a', 'n1', '10.0.0.2'),
    endpoint('b', 'n2', '10.0.0.3', { live: false }),
    endpoint('c', 'gone', '10.0.0.4'),
  ];
  const rows = forwardingRows(stateOf([network()], { net1: endpoints }), 1400);
  t.same(
    [...(rows?.values() ?? [])],
    [
      { kind: 'bridge', vni: 4097, mtu: 1350 },
      { kind: 'vxlan', vni: 4097, local: '192.0.2.1', port: 4789, mtu: 1350, isEncrypted: false, hasIpv6: false },
      { kind: 'port', vni: 4097, address: '10.0.0.2' },
      { kind: 'fdb', vni: 4097, mac: '02:61:0a:00:00:03', vtep: '192.0.2.2' },
      { kind: 'neighbour', vni: 4097, address: '10.0.0.3', mac: '02:61:0a:00:00:03' },
    ],
  );
});

t.test('who has an IPv6 address elsewhere has a row for it too, unless links are too small for IPv6', async (t) => {
  const endpoints = [
    endpoint('a', 'n1', '10.0.0.2', { ipv6Address: 'fd00::2' }),
    endpoint('b', 'n2', '10.0.0.3', { ipv6Address: 'fd00::3' }),
  ];
  const state = stateOf([network({ ipv6Subnet: 'fd00::/64' })], { net1: endpoints });
  const rows = [...(forwardingRows(state, 1330)?.values() ?? [])];
  t.match(rows[1], { kind: 'vxlan', hasIpv6: true });
  t.same(rows.slice(4), [
    { kind: 'neighbour', vni: 4097, address: '10.0.0.3', mac: '02:61:0a:00:00:03' },
    { kind: 'neighbour', vni: 4097, address: 'fd00::3', mac: '02:61:0a:00:00:03' },
  ]);
  const small = [...(forwardingRows(state, 1329)?.values() ?? [])];
  t.match(small[1], { kind: 'vxlan', hasIpv6: false });
  t.equal(small.length, 5);
  t.equal(linkLocalOf('10.1.2.3'), 'fe80::61:aff:fe01:203');
});

t.test('there is nothing of a network of the engine’s, and nothing is known without this host’s address', async (t) => {
  t.same(forwardingRows(stateOf([network({ vni: 0, engineNetwork: 'host' })], {}), 1500), new Map());
  const state = stateOf([network()], {});
  t.equal(forwardingRows({ ...state, selfId: 'stranger' }, 1500), undefined);
  t.same(forwardingRows({ ...state, selfId: 'stranger', networks: new Map() }, 1500), new Map());
});

t.test('an address that two endpoints have leads to the one that takes connections', async (t) => {
  for (const order of [
    [0, 1],
    [1, 0],
  ] as const) {
    const both = [endpoint('old', 'n2', '10.0.0.9', { live: false }), endpoint('new', 'n3', '10.0.0.9')];
    const rows = forwardingRows(stateOf([network()], { net1: order.flatMap((i) => both[i] ?? []) }), 1500);
    t.match(rows?.get(`fdb 4097 ${macOf('10.0.0.9')}`), { vtep: '192.0.2.3' });
  }
});

t.test('what encapsulation takes comes off the MTU', async (t) => {
  t.equal(networkMtu(network(), 1500, '192.0.2.1'), 1450);
  t.equal(networkMtu(network({ encrypted: true }), 1500, '192.0.2.1'), 1370);
  t.equal(networkMtu(network(), 1500, '2001:db8::1'), 1430);
  t.equal(networkMtu(network({ mtu: 9000 }), 1500, '192.0.2.1'), 8950);
});

t.test('a link’s name says whose it is', async (t) => {
  t.equal(portName(2 ** 24 - 1, '255.255.255.255').length, 15);
  t.same(vniOfLink(portName(4097, '10.0.0.2')), { kind: 'port', vni: 4097 });
  t.same(['apb7', 'apv7', 'apb', 'eth0', 'tun0', 'apgw0ae00302'].map(vniOfLink), [
    { kind: 'bridge', vni: 7 },
    { kind: 'vxlan', vni: 7 },
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
});

const VXLAN_FIXED = ['local', 'port', 'isEncrypted', 'hasIpv6'] as const;

/** A kernel: does what it is told, refuses what a real one would, and takes with a device what is part of it. */
class Kernel {
  readonly rows: Map<string, OverlayRow>;

  constructor(rows: OverlayRows) {
    this.rows = new Map(rows);
  }

  apply({ do: what, row }: OverlayChange): void {
    const key = overlayKey(row);
    const has = (kind: 'bridge' | 'vxlan') => this.rows.has(`${kind} ${row.vni}`);
    if (what === 'remove') {
      if (!this.rows.delete(key)) throw new Error(`remove ${key}: not there`);
      if (row.kind !== 'vxlan') return;
      for (const [other, { kind, vni }] of this.rows) {
        if (vni === row.vni && (kind === 'fdb' || kind === 'neighbour')) this.rows.delete(other);
      }
      return;
    }
    if ((what === 'add') === this.rows.has(key)) throw new Error(`${what} ${key}: EEXIST or ENOENT`);
    if (row.kind !== 'bridge' && !has('bridge')) throw new Error(`${key}: no bridge`);
    if ((row.kind === 'fdb' || row.kind === 'neighbour') && !has('vxlan')) throw new Error(`${key}: no device`);
    const before = this.rows.get(key);
    if (before?.kind === 'vxlan' && row.kind === 'vxlan' && VXLAN_FIXED.some((key) => before[key] !== row[key])) {
      throw new Error(`${key}: this cannot be changed`);
    }
    this.rows.set(key, row);
  }
}

const someState = fc
  .record({
    networks: fc.uniqueArray(
      fc.record({
        vni: fc.integer({ min: 1, max: 3 }),
        encrypted: fc.boolean(),
        mtu: fc.constantFrom(0, 1400),
        ipv6Subnet: fc.constantFrom('', 'fd00::/64'),
      }),
      { selector: ({ vni }) => vni },
    ),
    endpoints: fc.array(
      fc.record({
        vni: fc.integer({ min: 1, max: 3 }),
        nodeId: fc.constantFrom(...NODES, 'gone'),
        host: fc.integer({ min: 2, max: 9 }),
        live: fc.boolean(),
      }),
      { maxLength: 12 },
    ),
    port: fc.constantFrom(4789, 4790),
  })
  .map(({ networks, endpoints, port }) => {
    const sets: Record<string, Endpoint[]> = {};
    endpoints.forEach(({ vni, nodeId, host, live }, i) => {
      const set = sets[`net${vni}`] ?? [];
      sets[`net${vni}`] = set;
      set.push(endpoint(`t${i}`, nodeId, `10.0.${vni}.${host}`, { live, ipv6Address: `fd00::${host}` }));
    });
    const given = networks.map((each) => network({ ...each, networkId: `net${each.vni}` }));
    return stateOf(given, sets, port);
  });

t.test('whatever was there, what the diff does leaves what is desired', async (t) => {
  fc.assert(
    fc.property(someState, someState, fc.infiniteStream(fc.boolean()), (before, after, isKept) => {
      const had = forwardingRows(before, 1500) ?? new Map<string, OverlayRow>();
      const wanted = forwardingRows(after, 1500) ?? new Map<string, OverlayRow>();
      // Somebody took a part of it away, and what cannot be without it went too.
      const present = [...had.values()].filter(() => isKept.next().value);
      const whole = present.filter(
        ({ kind, vni }) =>
          kind === 'bridge' ||
          (present.some((row) => row.kind === 'bridge' && row.vni === vni) &&
            (kind === 'vxlan' || kind === 'port' || present.some((row) => row.kind === 'vxlan' && row.vni === vni))),
      );
      const kernel = new Kernel(rowsOf(whole));
      for (const change of overlayDiff(wanted, kernel.rows)) kernel.apply(change);
      const left = [...kernel.rows].filter(([key, { kind }]) => kind !== 'port' || wanted.has(key));
      t.same(new Map(left.sort()), new Map([...wanted].sort()));
      const vnis = new Set([...wanted.values()].map(({ vni }) => vni));
      t.notOk(
        [...kernel.rows.values()].some(({ vni }) => !vnis.has(vni)),
        'nothing of a network that is not wanted',
      );
      t.same(overlayDiff(wanted, kernel.rows), [], 'and then there is nothing to do');
    }),
  );
});

t.test('what is as it should be is not touched', async (t) => {
  fc.assert(
    fc.property(someState, someState, (before, after) => {
      const [had, wanted] = [forwardingRows(before, 1500), forwardingRows(after, 1500)];
      if (had === undefined || wanted === undefined) return;
      const remade = new Set<number>();
      for (const { do: what, row } of overlayDiff(wanted, had)) {
        if (what === 'remove' && row.kind === 'vxlan') remade.add(row.vni);
        const [a, b] = [had.get(overlayKey(row)), wanted.get(overlayKey(row))];
        t.ok(remade.has(row.vni) || JSON.stringify(a) !== JSON.stringify(b), overlayKey(row));
      }
    }),
  );
});
