import { spawn } from 'node:child_process';
import { once } from 'node:events';
import t from 'tap';
import { type Change, type Link, Netlink } from '../index.js';
import { json, networkOf, withoutRoot as skip } from '../kernel.fixture.js';
import { BRIDGE, mac, network, VXLAN } from './netlink.fixture.js';

t.test('links are made with their options, as ip(8) sees them', { skip }, async (t) => {
  const { net, name } = await network(t);
  const vxlan = {
    vni: 4097,
    local: '10.9.0.1',
    port: 4789,
    learning: false,
    ttl: 9,
    ageingSeconds: 60,
    maxEntries: 500,
    sourcePorts: '40000-50000',
    proxy: true,
    l2Miss: true,
    l3Miss: true,
    udpChecksum: false,
  };
  await net.apply([
    {
      do: 'add-link',
      link: {
        kind: 'bridge',
        name: 'br0',
        address: '02:42:00:00:00:01',
        bridge: {
          ageingTimeMs: 42_000,
          stp: 0,
          multicastSnooping: false,
          netfilterIptables: false,
          groupForwardMask: 8,
        },
      },
    },
    { do: 'add-link', link: { kind: 'vxlan', name: 'vx0', index: 77, mtu: 1400, master: 'br0', isUp: true, vxlan } },
    { do: 'add-link', link: { kind: 'vxlan', name: 'vx6', vxlan: { vni: 5, local: 'fd00::1', port: 4790 } } },
    { do: 'add-link', link: { kind: 'veth', name: 'v0', peer: { name: 'v1', mtu: 1300 } } },
    {
      do: 'set-link',
      link: 'vx0',
      to: { port: { isolated: true, neighbourSuppression: true, learning: false, cost: 9 } },
    },
  ]);
  const [vx] = json('ip', name, 'link', 'show', 'dev', 'vx0');
  t.match(vx, { ifindex: 77, mtu: 1400, master: 'br0', operstate: 'UNKNOWN' });
  t.match(vx?.linkinfo, {
    info_data: {
      id: 4097,
      local: '10.9.0.1',
      port: 4789,
      learning: false,
      ttl: 9,
      ageing: 60,
      limit: 500,
      port_range: { low: 40000, high: 50000 },
      proxy: true,
      l2miss: true,
      l3miss: true,
      udp_csum: false,
    },
    info_slave_data: { isolated: true, neigh_suppress: true, learning: false, cost: 9 },
  });
  const [bridge] = json('ip', name, 'link', 'show', 'dev', 'br0');
  t.equal(bridge?.address, '02:42:00:00:00:01');
  t.match(bridge?.linkinfo, {
    info_data: { ageing_time: 4200, mcast_snooping: 0, nf_call_iptables: 0, group_fwd_mask: '0x8' },
  });
  t.match(json('ip', name, 'link', 'show', 'dev', 'v0')[0], { link: 'v1' });

  const links = new Map((await net.links()).map((link) => [link.name, link]));
  t.match(links.get('vx0'), { index: 77, kind: 'vxlan', master: links.get('br0')?.index ?? 0, isUp: true, vxlan });
  t.match(links.get('vx0')?.port, { isolated: true, neighbourSuppression: true, learning: false, cost: 9 });
  t.match(links.get('br0'), { kind: 'bridge', isUp: false, bridge: { ageingTimeMs: 42_000, groupForwardMask: 8 } });
  t.match(links.get('v1'), { kind: 'veth', mtu: 1300, parent: links.get('v0')?.index ?? 0 });
  t.match(links.get('vx6'), { vxlan: { local: 'fd00::1' } });
  t.match(links.get('lo'), { isLoopback: true, kind: '' });
  const names = (found: Link[]) => found.map((link) => link.name).sort();
  t.same(names(await net.links({ master: 'br0' })), ['vx0']);
  t.same(names(await net.links({ kind: 'veth' })), ['v0', 'v1']);
  t.equal((await net.link('vx0'))?.index, 77);
  t.equal((await net.link(77))?.name, 'vx0');
  t.equal(await net.link('absent'), undefined);
  t.equal(await net.link(4242), undefined);
});

t.test('links are changed, renamed, moved and deleted', { skip }, async (t) => {
  const { net, name, space } = await network(t);
  const other = await network(t, 'b');
  await net.apply([
    BRIDGE,
    { do: 'add-link', link: { kind: 'veth', name: 'v0', peer: { name: 'v1' } } },
    {
      do: 'set-link',
      link: 'v0',
      to: { mtu: 1280, alias: 'one end', master: 'br0', isUp: true, address: '02:00:00:00:00:09', txQueueLength: 5 },
    },
    { do: 'set-link', link: 'v1', to: { name: 'renamed', namespace: other.space } },
    { in: other.space, do: 'set-link', link: 'renamed', to: { isUp: true, ipv6AddressGeneration: 'none' } },
    { do: 'set-link', link: 'br0', to: { bridge: { ageingTimeMs: 0 } } },
  ]);
  t.match(json('ip', name, 'link', 'show', 'dev', 'v0')[0], {
    mtu: 1280,
    ifalias: 'one end',
    master: 'br0',
    operstate: 'UP',
    address: '02:00:00:00:00:09',
    txqlen: 5,
  });
  t.match(json('ip', other.name, 'link', 'show', 'dev', 'renamed')[0], { inet6_addr_gen_mode: 'none' });
  t.same(await other.net.addresses({ link: 'renamed' }), []);
  t.match(await net.link('br0'), { bridge: { ageingTimeMs: 0 } });
  await net.apply([{ do: 'set-link', link: 'v0', to: { master: null, isUp: false } }]);
  t.match(await net.link('v0'), { isUp: false, master: undefined });
  // Made, renamed and made again under one name, in one batch: each name means what it means when its turn comes.
  await net.apply([
    { do: 'add-link', link: { kind: 'bridge', name: 'x' } },
    { do: 'set-link', link: 'x', to: { name: 'y' } },
    { do: 'add-link', link: { kind: 'bridge', name: 'x', isUp: true } },
    { do: 'add-address', address: { link: 'y', address: '10.1.0.1/24' } },
    { do: 'add-address', address: { link: 'x', address: '10.2.0.1/24' } },
    { do: 'delete-link', link: 'v0' },
  ]);
  t.same(
    (await net.addresses({ link: 'y' })).map(({ address }) => address),
    ['10.1.0.1/24'],
  );
  t.equal(await net.link('v0'), undefined);
  t.equal(await other.net.link('renamed'), undefined, 'the other end goes with it');
  t.ok(space.path.endsWith(name));
});

t.test('a container is attached in one call, into the namespace of a process', { skip }, async (t) => {
  const { net, name } = await network(t);
  const process = spawn('unshare', ['--net', 'sh', '-c', 'echo ready; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.teardown(() => process.stdin.end());
  await once(process.stdout, 'data');
  const container = { pid: process.pid ?? 0 };
  const there = { in: container } as const;
  await net.apply([
    BRIDGE,
    {
      do: 'add-link',
      link: {
        kind: 'veth',
        name: 'veth7',
        isUp: true,
        master: 'br0',
        mtu: 1450,
        peer: { name: 'eth0', namespace: container, address: '02:42:0a:00:00:05', mtu: 1450 },
      },
    },
    { do: 'set-link', link: 'veth7', to: { port: { isolated: true } } },
    { ...there, do: 'set-link', link: 'lo', to: { isUp: true } },
    { ...there, do: 'set-link', link: 'eth0', to: { isUp: true } },
    { ...there, do: 'add-address', address: { link: 'eth0', address: '10.0.0.5/20' } },
    {
      ...there,
      do: 'add-address',
      address: { link: 'eth0', address: 'fd00::5/64', isWithoutDuplicateDetection: true },
    },
    { ...there, do: 'add-route', route: { destination: 'default', gateway: '10.0.0.1' } },
    { ...there, do: 'add-route', route: { destination: 'default', gateway: 'fd00::1' } },
    {
      ...there,
      do: 'add-route',
      route: { destination: '192.0.2.0/24', gateway: '10.99.0.1', link: 'eth0', isOnLink: true },
    },
  ]);
  t.match(json('ip', name, 'link', 'show', 'dev', 'veth7')[0], { master: 'br0', mtu: 1450, operstate: 'UP' });
  const inside = await Netlink.open({ namespace: container });
  t.teardown(() => inside.close());
  t.match(await inside.link('eth0'), { address: '02:42:0a:00:00:05', mtu: 1450, isUp: true, hasCarrier: true });
  t.match(await inside.addresses({ link: 'eth0', family: 'ipv4' }), [{ address: '10.0.0.5/20', scope: 'global' }]);
  t.ok(
    (await inside.addresses({ link: 'eth0' })).some(
      ({ address, isTentative }) => address === 'fd00::5/64' && !isTentative,
    ),
  );
  const routes = await inside.routes({ table: 'main' });
  t.ok(routes.some((route) => route.destination === 'default' && route.gateway === '10.0.0.1'));
  t.ok(routes.some((route) => route.destination === 'default' && route.gateway === 'fd00::1'));
  t.ok(routes.some((route) => route.destination === '192.0.2.0/24' && route.isOnLink && route.gateway === '10.99.0.1'));
});

t.test('attaching a container takes less than 10 ms', { skip }, async (t) => {
  const { net } = await network(t);
  await net.apply([BRIDGE, { do: 'add-address', address: { link: 'br0', address: '10.0.0.1/20' } }]);
  const times: number[] = [];
  for (let i = 1; i <= 21; i++) {
    const { path } = await networkOf(t, `c${i}`);
    const there = { in: { path } } as const;
    const peer = { name: 'eth0', namespace: { path }, mtu: 1450, address: mac(i) };
    const start = performance.now();
    await net.apply([
      { do: 'add-link', link: { kind: 'veth', name: `v${i}`, isUp: true, master: 'br0', mtu: 1450, peer } },
      { do: 'set-link', link: `v${i}`, to: { port: { isolated: true } } },
      { ...there, do: 'set-link', link: 'lo', to: { isUp: true } },
      { ...there, do: 'set-link', link: 'eth0', to: { isUp: true } },
      { ...there, do: 'add-address', address: { link: 'eth0', address: `10.0.1.${i}/20` } },
      { ...there, do: 'add-route', route: { destination: 'default', gateway: '10.0.0.1' } },
    ]);
    times.push(performance.now() - start);
  }
  const median = times.sort((a, b) => a - b)[10] ?? Number.NaN;
  t.comment(`median of ${times.length}: ${median.toFixed(2)} ms, slowest ${times.at(-1)?.toFixed(2)} ms`);
  t.ok(median < 10, `${median} ms`);
});

t.test('addresses, as ip(8) sees them', { skip }, async (t) => {
  const { net, name } = await network(t);
  await net.apply([
    BRIDGE,
    {
      do: 'add-address',
      address: { link: 'br0', address: '10.0.0.1/20', broadcast: '10.0.15.255', label: 'br0:x', metric: 70 },
    },
    {
      do: 'add-address',
      address: { link: 'br0', address: '10.7.0.1/32', peer: '10.8.0.1', scope: 'link', hasNoPrefixRoute: true },
    },
    { do: 'add-address', address: { link: 'br0', address: 'fd00::1/64', isWithoutDuplicateDetection: true } },
  ]);
  const seen = json('ip', name, 'addr', 'show', 'dev', 'br0')[0]?.addr_info as Record<string, unknown>[];
  const own = (address: string) => seen.find(({ local }) => local === address);
  t.match(own('10.0.0.1'), { prefixlen: 20, broadcast: '10.0.15.255', label: 'br0:x', metric: 70, scope: 'global' });
  t.match(own('10.7.0.1'), { address: '10.8.0.1', scope: 'link', noprefixroute: true });
  t.match(own('fd00::1'), { prefixlen: 64 });
  const read = (await net.addresses({ link: 'br0', family: 'ipv4' })).sort((a, b) => (a.address < b.address ? -1 : 1));
  t.match(read, [
    { address: '10.0.0.1/20', broadcast: '10.0.15.255', label: 'br0:x' },
    { address: '10.7.0.1/32', peer: '10.8.0.1', scope: 'link', hasNoPrefixRoute: true },
  ]);
  await net.apply([
    { do: 'add-address', address: { link: 'br0', address: '10.0.0.1/20', isReplacing: true, metric: 90 } },
    { do: 'delete-address', address: { link: 'br0', address: '10.7.0.1/32', peer: '10.8.0.1' } },
  ]);
  t.match(await net.addresses({ family: 'ipv4' }), [{ address: '10.0.0.1/20' }]);
  t.ok(
    (await net.routes({ table: 'main' })).some((route) => route.destination === '10.0.0.0/20' && route.metric === 90),
  );
  t.same(await net.addresses({ link: 'lo' }), []);
});

t.test('routes: on-link, tables, types, metrics, several next hops, replacement', { skip }, async (t) => {
  const { net, name } = await network(t);
  await net.apply([
    BRIDGE,
    { do: 'add-address', address: { link: 'br0', address: '10.0.0.1/20' } },
    {
      do: 'add-route',
      route: { destination: '10.64.0.0/24', gateway: '10.99.0.2', link: 'br0', isOnLink: true, table: 7000 },
    },
    {
      do: 'add-route',
      route: { destination: '10.65.0.0/24', link: 'br0', metric: 5, mtu: 1300, source: '10.0.0.1', protocol: 150 },
    },
    { do: 'add-route', route: { destination: '10.66.0.0/16', type: 'blackhole' } },
    {
      do: 'add-route',
      route: {
        destination: '10.67.0.0/16',
        nextHops: [
          { gateway: '10.0.0.2', weight: 3 },
          { gateway: '10.0.0.3', link: 'br0', isOnLink: true },
        ],
      },
    },
    { do: 'add-route', route: { destination: 'default', gateway: '10.0.0.9' } },
    { do: 'add-route', route: { destination: 'default', gateway: '10.0.0.10', ifExists: 'replace' } },
    { do: 'add-route', route: { destination: 'fd01::/64', link: 'br0' } },
    { do: 'add-route', route: { destination: '10.68.0.0/16', gateway: 'fe80::1', link: 'br0' } },
  ]);
  t.match(json('ip', name, 'route', 'show', 'table', '7000'), [
    { dst: '10.64.0.0/24', gateway: '10.99.0.2', dev: 'br0', flags: ['onlink'], protocol: 'static' },
  ]);
  const seen = json('ip', name, 'route', 'show');
  const to = (dst: string) => seen.filter((route) => route.dst === dst);
  t.match(to('10.65.0.0/24'), [
    { metric: 5, prefsrc: '10.0.0.1', metrics: [{ mtu: 1300 }], protocol: '150', scope: 'link' },
  ]);
  t.match(to('10.66.0.0/16'), [{ type: 'blackhole' }]);
  t.match(to('10.67.0.0/16')[0]?.nexthops, [
    { gateway: '10.0.0.2', weight: 3 },
    { gateway: '10.0.0.3', weight: 1, flags: ['onlink'] },
  ]);
  t.match(to('default'), [{ gateway: '10.0.0.10' }]);
  t.match(to('10.68.0.0/16'), [{ via: { family: 'inet6', host: 'fe80::1' } }]);

  const read = await net.routes({ table: 'main', family: 'ipv4' });
  const route = (destination: string) => read.find((found) => found.destination === destination);
  t.match(route('10.65.0.0/24'), { metric: 5, mtu: 1300, source: '10.0.0.1', protocol: '150', scope: 'link' });
  t.match(route('10.67.0.0/16')?.nextHops, [{ weight: 3 }, { gateway: '10.0.0.3', isOnLink: true }]);
  t.equal(route('10.68.0.0/16')?.gateway, 'fe80::1');
  t.match(await net.routes({ table: 7000 }), [{ destination: '10.64.0.0/24', isOnLink: true, table: 7000 }]);
  t.same(await net.routes({ table: 7001 }), [], 'a table that is not there is empty');
  t.match(await net.routes({ protocol: 150 }), [{ destination: '10.65.0.0/24' }]);
  t.ok((await net.routes({ family: 'ipv6', table: 'main' })).some(({ destination }) => destination === 'fd01::/64'));
  await net.apply([
    { do: 'delete-route', route: { destination: '10.64.0.0/24', table: 7000 } },
    { do: 'delete-route', route: { destination: '10.66.0.0/16', type: 'blackhole' } },
    { do: 'delete-route', route: { destination: 'default' } },
  ]);
  t.same(json('ip', name, 'route', 'show', 'table', '7000'), []);
  t.notOk((await net.routes()).some(({ type, destination }) => type === 'blackhole' || destination === 'default'));
});

t.test('rules, as ip(8) sees them', { skip }, async (t) => {
  const { net, name } = await network(t);
  await net.apply([
    {
      do: 'add-rule',
      rule: { family: 'ipv4', priority: 100, inputLink: 'gw0', mark: 0x20, markMask: 0xff, table: 7000 },
    },
    {
      do: 'add-rule',
      rule: {
        family: 'ipv4',
        priority: 101,
        source: '10.0.0.0/8',
        destination: '10.1.0.0/16',
        isInverted: true,
        action: 'prohibit',
      },
    },
    {
      do: 'add-rule',
      rule: { family: 'ipv4', priority: 102, ipProtocol: 6, destinationPorts: '80-90', suppressPrefixLength: 0 },
    },
    { do: 'add-rule', rule: { family: 'ipv6', priority: 103, source: 'fd00::/8', table: 'main' } },
  ]);
  const seen = new Map(json('ip', name, 'rule', 'show').map((rule) => [rule.priority, rule]));
  t.match(seen.get(100), { iif: 'gw0', fwmark: '0x20', fwmask: '0xff', table: '7000' });
  t.match(seen.get(101), { src: '10.0.0.0', srclen: 8, dst: '10.1.0.0', dstlen: 16, action: 'prohibit' });
  t.match(seen.get(102), { ipproto: 'tcp', dport_start: 80, dport_end: 90, suppress_prefixlen: 0, table: 'main' });
  const read = new Map((await net.rules()).map((rule) => [rule.priority, rule]));
  t.match(read.get(100), {
    family: 'ipv4',
    inputLink: 'gw0',
    mark: 0x20,
    markMask: 0xff,
    table: 7000,
    action: 'lookup',
  });
  t.match(read.get(101), { source: '10.0.0.0/8', isInverted: true, action: 'prohibit' });
  t.match(read.get(102), { destinationPorts: '80-90', suppressPrefixLength: 0, ipProtocol: 6 });
  t.match(read.get(103), { family: 'ipv6', source: 'fd00::/8' });
  await net.apply([{ do: 'delete-rule', rule: { family: 'ipv4', priority: 100 } }]);
  const rest = (await net.rules({ family: 'ipv4' })).map(({ priority }) => priority);
  t.same(rest, [0, 101, 102, 32766, 32767]);
});

t.test('neighbours and forwarding entries, as ip(8) and bridge(8) see them', { skip }, async (t) => {
  const { net, name } = await network(t);
  await net.apply([
    BRIDGE,
    VXLAN,
    { do: 'set-link', link: 'vx0', to: { master: 'br0' } },
    { do: 'add-neighbour', neighbour: { link: 'br0', address: '10.0.0.5', mac: mac(5) } },
    {
      do: 'add-neighbour',
      neighbour: { link: 'br0', address: 'fd00::5', mac: mac(6), state: 'noarp', isExternallyLearned: true },
    },
    { do: 'add-neighbour', neighbour: { link: 'br0', address: '10.0.0.6', isProxy: true } },
    { do: 'add-fdb', fdb: { link: 'vx0', mac: mac(5), table: 'self', destination: '192.0.2.1', port: 4999, vni: 9 } },
    {
      do: 'add-fdb',
      fdb: { link: 'vx0', mac: '00:00:00:00:00:00', table: 'self', destination: '192.0.2.2', ifExists: 'append' },
    },
    {
      do: 'add-fdb',
      fdb: { link: 'vx0', mac: '00:00:00:00:00:00', table: 'self', destination: '192.0.2.3', ifExists: 'append' },
    },
    { do: 'add-fdb', fdb: { link: 'vx0', mac: mac(5), table: 'master', isSticky: true } },
  ]);
  const neighbours = json('ip', name, 'neigh', 'show', 'dev', 'br0');
  t.match(
    neighbours.find(({ dst }) => dst === '10.0.0.5'),
    { lladdr: mac(5), state: ['PERMANENT'] },
  );
  t.match(
    neighbours.find(({ dst }) => dst === 'fd00::5'),
    { lladdr: mac(6), state: ['NOARP'] },
  );
  const entries = json('bridge', name, 'fdb', 'show', 'dev', 'vx0').filter((entry) => entry.mac === mac(5));
  t.match(
    entries.find(({ dst }) => dst === '192.0.2.1'),
    { port: 4999, vni: 9, flags: ['self'], state: 'permanent' },
  );
  t.match(
    entries.find(({ master }) => master === 'br0'),
    { state: 'static' },
  );

  const read = await net.neighbours({ link: 'br0', family: 'ipv4' });
  t.match(
    read.find(({ address }) => address === '10.0.0.5'),
    { mac: mac(5), state: 'permanent', isProxy: false },
  );
  t.match(await net.neighbours({ isProxy: true, family: 'ipv4' }), [{ address: '10.0.0.6', isProxy: true }]);
  const fdb = await net.fdb({ link: 'vx0' });
  t.match(
    fdb.find((entry) => entry.mac === mac(5) && entry.table === 'self'),
    { destination: '192.0.2.1', port: 4999, vni: 9 },
  );
  t.match(
    fdb.find((entry) => entry.mac === mac(5) && entry.table === 'master'),
    { state: 'static', isSticky: true },
  );
  t.same(
    fdb
      .filter((entry) => entry.mac === '00:00:00:00:00:00')
      .map(({ destination }) => destination)
      .sort(),
    ['192.0.2.2', '192.0.2.3'],
  );
  t.ok((await net.fdb({ bridge: 'br0' })).some((entry) => entry.mac === mac(5)));
  await net.apply([
    { do: 'add-fdb', fdb: { link: 'vx0', mac: mac(5), table: 'self', destination: '192.0.2.9', ifExists: 'replace' } },
    { do: 'delete-fdb', fdb: { link: 'vx0', mac: '00:00:00:00:00:00', table: 'self', destination: '192.0.2.2' } },
    { do: 'add-neighbour', neighbour: { link: 'br0', address: '10.0.0.5', mac: mac(7), isReplacing: true } },
    { do: 'delete-neighbour', neighbour: { link: 'br0', address: 'fd00::5' } },
  ]);
  const after = (await net.fdb({ link: 'vx0' })).filter((entry) => entry.table === 'self');
  t.same(after.map(({ destination }) => destination).sort(), ['192.0.2.3', '192.0.2.9']);
  const changed = await net.neighbours({ link: 'br0', family: 'ipv4' });
  t.equal(changed.find(({ address }) => address === '10.0.0.5')?.mac, mac(7));
});

t.test('two namespaces exchange a packet over VXLAN', { skip }, async (t) => {
  const a = await network(t, 'a');
  const b = await network(t, 'b');
  const sides = [
    { own: 1, other: 2, at: a },
    { own: 2, other: 1, at: b },
  ];
  await a.net.apply([
    { do: 'add-link', link: { kind: 'veth', name: 'under', isUp: true, peer: { name: 'under', namespace: b.space } } },
    ...sides.flatMap(({ own, other, at: { space } }): Change[] => [
      { in: space, do: 'set-link', link: 'under', to: { isUp: true } },
      { in: space, do: 'add-address', address: { link: 'under', address: `192.0.2.${own}/24` } },
      {
        in: space,
        do: 'add-link',
        link: {
          kind: 'vxlan',
          name: 'vx0',
          isUp: true,
          address: mac(own),
          vxlan: { vni: 4097, port: 4789, learning: false, local: `192.0.2.${own}` },
        },
      },
      { in: space, do: 'add-address', address: { link: 'vx0', address: `10.0.0.${own}/20` } },
      { in: space, do: 'add-neighbour', neighbour: { link: 'vx0', address: `10.0.0.${other}`, mac: mac(other) } },
      {
        in: space,
        do: 'add-fdb',
        fdb: { link: 'vx0', mac: mac(other), table: 'self', destination: `192.0.2.${other}` },
      },
    ]),
  ]);
  const run = (path: string, code: string) => spawn('nsenter', [`--net=${path}`, process.execPath, '-e', code]);
  const server = run(
    b.space.path,
    `const s = require('dgram').createSocket('udp4').bind(7000, '10.0.0.2', () => console.log('ready'));
     s.on('message', (text, from) => s.send('re: ' + text, from.port, from.address, () => s.close()));`,
  );
  await once(server.stdout, 'data');
  const client = run(
    a.space.path,
    `const s = require('dgram').createSocket('udp4');
     s.on('message', (text, from) => { console.log(text + ' from ' + from.address); s.close(); });
     s.send('hello', 7000, '10.0.0.2');`,
  );
  const [answer] = await once(client.stdout, 'data');
  t.equal(String(answer).trim(), 're: hello from 10.0.0.2');
});
