import { spawnSync } from 'node:child_process';
import t from 'tap';
import {
  type Change,
  Conntrack,
  IpsecPolicies,
  Netlink,
  type NetworkEvent,
  NetworkWatch,
  Ruleset,
  type WatchSubject,
} from '../index.js';
import { networkOf, refusal, withoutRoot as skip } from '../kernel.fixture.js';
import { BRIDGE, mac, network, VXLAN } from './netlink.fixture.js';

t.test('a refusal says what was asked for, the number and the words of the kernel', { skip }, async (t) => {
  const { net } = await network(t);
  await net.apply([BRIDGE]);
  const because = async (change: Change) => (await refusal(net.apply([change]))).message;
  const address: Change = { do: 'add-address', address: { link: 'br0', address: '10.0.0.1/20' } };
  await net.apply([address]);
  t.equal(await because(address), 'add address 10.0.0.1/20 to "br0": EEXIST: ipv4: Address already assigned');
  t.equal(
    await because({ do: 'add-route', route: { destination: '10.50.0.0/16', gateway: '172.16.0.1' } }),
    'add route to 10.50.0.0/16 via 172.16.0.1: ENETUNREACH: Nexthop has invalid gateway',
  );
  t.equal(
    await because({ do: 'add-link', link: { kind: 'vxlan', name: 'vx1', vxlan: { vni: 2 ** 24 } } }),
    'add vxlan link "vx1": ERANGE: VXLAN ID must be lower than 16777216',
  );
  t.equal(await because({ do: 'delete-link', link: 'absent' }), 'delete link "absent": ENODEV: no link "absent"');
  t.match(await because({ do: 'set-link', link: 'br0', to: { mtu: 70000 } }), /^set mtu of link "br0": EINVAL: .*mtu/);
  t.match(await because({ in: { pid: 4_000_000 }, do: 'delete-link', link: 'x' }), /\/proc\/4000000\/ns\/net: ENOENT/);
  const unknown = await refusal(Netlink.open({ namespace: { path: '/run/netns/absent' } }));
  t.match(unknown, { code: 'ENOENT', message: 'open network namespace /run/netns/absent: ENOENT' });
  t.match(
    (await refusal(Netlink.open({ namespace: { path: '/proc/self/ns/mnt' } }))).message,
    /enter network namespace .*: EINVAL/,
  );
  const wrong = (change: object, words: RegExp) => t.rejects(net.apply([change as Change]), words);
  await wrong({ do: 'add-address', address: { link: 'br0', address: '10.0.0.300/20' } }, /no IP address/);
  await wrong({ do: 'add-address', address: { link: 'br0', address: '10.0.0.3/33' } }, /no IP prefix/);
  await wrong({ do: 'add-link', link: { kind: 'vxlan', name: 'v', vxlan: { vnid: 7 } } }, /vxlan has no option "vnid"/);
  await wrong({ do: 'add-link', link: { kind: 'bridge', name: 'a/b' } }, /cannot be the name of a link/);
  await wrong({ do: 'set-link', link: 'br0', to: { isUpp: true } }, /has no "isUpp"/);
  await wrong({ do: 'dance' }, /not known/);
});

t.test('a batch that stops keeps what was done, one that goes on tells of each', { skip }, async (t) => {
  const { net } = await network(t);
  const add = (i: number): Change => ({ do: 'add-address', address: { link: 'br0', address: `10.0.${i}.1/24` } });
  t.equal((await refusal(net.apply([BRIDGE, add(1), add(1), add(2)]))).code, 'EEXIST');
  t.same(
    (await net.addresses({ family: 'ipv4' })).map(({ address }) => address),
    ['10.0.1.1/24'],
  );
  const results = await net.tryAll([add(1), add(3), { do: 'delete-link', link: 'absent' }, add(4), add(3)]);
  t.same(
    results.map((error) => error?.code),
    ['EEXIST', undefined, 'ENODEV', undefined, 'EEXIST'],
  );
  t.equal((await net.addresses({ family: 'ipv4' })).length, 3);
  t.same(await net.tryAll([]), []);
});

t.test('thousands of entries in one call, and all of them listed', { skip }, async (t) => {
  const { net } = await network(t);
  const count = 10_000;
  await net.apply([VXLAN]);
  const changes = Array.from({ length: count }, (_, i): Change => {
    const fdb = {
      link: 'vx0',
      mac: mac(i),
      table: 'self',
      destination: `10.${i >> 14}.${(i >> 7) & 127}.${i & 127}`,
    } as const;
    return { do: 'add-fdb', fdb };
  });
  const start = performance.now();
  t.same((await net.tryAll(changes)).filter(Boolean), []);
  t.comment(`${Math.round((count / (performance.now() - start)) * 1000)} forwarding entries a second`);
  const listed = new Map((await net.fdb({ link: 'vx0' })).map((entry) => [entry.mac, entry.destination]));
  t.ok(changes.every((change) => change.do === 'add-fdb' && listed.get(change.fdb.mac) === change.fdb.destination));
  t.ok((await net.tryAll(changes)).every((error) => error?.code === 'EEXIST'));
  t.same((await net.tryAll(changes.map((change) => ({ ...change, do: 'delete-fdb' }) as Change))).filter(Boolean), []);
  t.same(
    (await net.fdb({ link: 'vx0' })).filter(({ destination }) => destination !== undefined),
    [],
  );
});

t.test('many callers at once, and the rest of a closed connection', { skip }, async (t) => {
  const { path } = await networkOf(t);
  const net = await Netlink.open({ namespace: { path } });
  const links = await Promise.all(Array.from({ length: 500 }, () => net.links()));
  t.ok(links.every((found) => found.some(({ name }) => name === 'lo')));
  const last = net.links();
  const closed = net.close();
  t.ok((await last).length > 0, 'what was asked before is answered');
  await closed;
  await t.rejects(net.links(), /closed/);
  await t.rejects(net.close(), /closed/);
});

/** Collects events until all that are waited for have come. */
function collector() {
  const events: NetworkEvent[] = [];
  let wake = () => {};
  return {
    events,
    listener: (more: readonly NetworkEvent[]) => {
      events.push(...more);
      wake();
    },
    until: async (isThere: (events: readonly NetworkEvent[]) => boolean) => {
      while (!isThere(events)) await new Promise<void>((resolve) => (wake = resolve));
    },
  };
}

t.test('what changes is told, whoever changes it', { skip }, async (t) => {
  const { net, space } = await network(t);
  const { events, listener, until } = collector();
  const subjects: WatchSubject[] = ['links', 'addresses', 'routes', 'rules', 'neighbours'];
  const watch = await NetworkWatch.open({ subjects, listener, onFailure: (error) => t.error(error), namespace: space });
  const changes: Change[] = [
    BRIDGE,
    VXLAN,
    { do: 'add-address', address: { link: 'br0', address: '10.0.0.1/24' } },
    { do: 'add-route', route: { destination: '10.1.0.0/24', gateway: '10.0.0.2' } },
    { do: 'add-rule', rule: { family: 'ipv4', priority: 50, table: 99 } },
    { do: 'add-neighbour', neighbour: { link: 'br0', address: '10.0.0.2', mac: mac(2) } },
    { do: 'add-fdb', fdb: { link: 'vx0', mac: mac(3), table: 'self', destination: '192.0.2.1' } },
  ];
  await net.apply(changes);
  await net.apply([
    { do: 'delete-fdb', fdb: { link: 'vx0', mac: mac(3), table: 'self', destination: '192.0.2.1' } },
    { do: 'delete-neighbour', neighbour: { link: 'br0', address: '10.0.0.2' } },
    { do: 'delete-rule', rule: { family: 'ipv4', priority: 50 } },
    { do: 'delete-route', route: { destination: '10.1.0.0/24' } },
    { do: 'delete-address', address: { link: 'br0', address: '10.0.0.1/24' } },
    { do: 'delete-link', link: 'vx0' },
  ]);
  await until((all) => all.some((event) => event.change === 'gone' && event.kind === 'link'));
  const told = (change: string, test: (event: NetworkEvent) => boolean) =>
    t.ok(
      events.some((event) => event.change === change && test(event)),
      `${change} ${test}`,
    );
  for (const change of ['set', 'gone']) {
    told(change, (event) => 'link' in event && event.link.name === 'vx0');
    told(change, (event) => 'address' in event && event.address.address === '10.0.0.1/24');
    told(change, (event) => 'route' in event && event.route.destination === '10.1.0.0/24');
    told(change, (event) => 'rule' in event && event.rule.priority === 50);
    told(change, (event) => 'fdb' in event && event.fdb.mac === mac(3) && event.fdb.destination === '192.0.2.1');
  }
  told('set', (event) => 'neighbour' in event && event.neighbour.address === '10.0.0.2');
  watch.close();
  watch.close();
  const before = events.length;
  await net.apply([{ do: 'delete-link', link: 'br0' }]);
  await net.links();
  t.equal(events.length, before, 'and nothing after it was closed');
  const options = { listener, onFailure: () => {}, namespace: { path: '/run/netns/absent' } };
  t.equal((await refusal(NetworkWatch.open({ ...options, subjects: ['links'] }))).code, 'ENOENT');
  await t.rejects(NetworkWatch.open({ ...options, subjects: ['weather' as WatchSubject] }), /cannot be watched/);
});

t.test('IPsec policies are seen as they come and go, as often as one asks', { skip }, async (t) => {
  const { path, name } = await networkOf(t);
  const policies = await IpsecPolicies.open({ namespace: { path } });
  t.teardown(() => policies?.close());
  const policy = (command: string, rest = '') =>
    spawnSync('ip', `-n ${name} xfrm policy ${command} src 192.0.2.1 dst 192.0.2.2 dir out ${rest}`.trim().split(' '));
  if (policies === undefined) return t.not(policy('add', 'action block').status, 0, 'a kernel without IPsec');
  for (const round of [1, 2]) {
    t.equal(await policies.areThere(), false, `${round}`);
    t.equal(policy('add', 'action block').status, 0);
    t.equal(await policies.areThere(), true);
    t.equal(policy('delete').status, 0);
  }
});

t.test('flows that are tracked are told with their translation, and forgotten', { skip }, async (t) => {
  const { path } = await networkOf(t);
  const inside = (...command: string[]) => {
    const { status, stderr } = spawnSync('nsenter', [`--net=${path}`, ...command], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`${command.join(' ')}: ${stderr}`);
  };
  inside('ip', 'link', 'set', 'lo', 'up');
  inside(
    'nft',
    `table ip n {
      chain n { type nat hook output priority -100; udp dport 53 dnat to 127.0.0.2:54; }
      chain m { type filter hook output priority 0; ct mark set 7; }
    }`,
  );
  inside('bash', '-c', 'echo x > /dev/udp/127.0.0.1/53');
  const conntrack = await Conntrack.open({ namespace: { path } });
  const flows = await conntrack.flows('udp');
  t.match(flows, [
    {
      protocol: 'udp',
      original: { source: '127.0.0.1', destination: '127.0.0.1', destinationPort: 53 },
      reply: { source: '127.0.0.2', sourcePort: 54, destination: '127.0.0.1' },
      mark: 7,
    },
  ]);
  t.same(await conntrack.flows('tcp'), []);
  await conntrack.forget(flows);
  t.same(await conntrack.flows('udp'), []);
  await conntrack.forget(flows);
  await conntrack.close();
  t.equal((await refusal(Conntrack.open({ namespace: { path: '/run/netns/nowhere' } }))).code, 'ENOENT');
});

t.test(
  'rules are changed all at once, if they are those of a generation, and not at all when one is refused',
  { skip },
  async (t) => {
    const { path } = await networkOf(t);
    const nft = (...args: string[]) =>
      spawnSync('nsenter', [`--net=${path}`, 'nft', ...args], { encoding: 'utf8' }).stdout;
    nft('table inet n { map m { type inet_proto . inet_service : verdict; }; }');
    const rules = await Ruleset.open({ namespace: { path } });
    const generation = await rules.generation();
    const key = [Uint8Array.of(6), Uint8Array.of(0, 80)];
    const targets = ['fd00::1', 'fd00::2'].map((address, i) => ({ address, port: 8080 + i }));
    const next = await rules.change(
      'n',
      [
        { do: 'add-chain', chain: 'c' },
        { do: 'add-translation', chain: 'c', protocol: 17, targets },
        { do: 'add-translation', chain: 'c', protocol: 17, targets: targets.slice(1) },
        { do: 'add-goto', map: 'm', key, chain: 'c' },
      ],
      generation,
    );
    t.equal(next, await rules.generation());
    const made = nft('list', 'table', 'inet', 'n');
    t.match(made, 'elements = { tcp . 80 : goto c }');
    t.match(made, 'meta l4proto udp dnat ip6 to numgen inc mod 2 map { 0 : fd00::1 . 8080, 1 : fd00::2 . 8081 }');
    t.match(made, 'meta l4proto udp dnat ip6 to [fd00::2]:8081');
    t.equal(await rules.change('n', [{ do: 'flush-chain', chain: 'c' }], generation), undefined, 'they have changed');
    const refused = await refusal(
      rules.change(
        'n',
        [
          { do: 'flush-chain', chain: 'c' },
          { do: 'delete-chain', chain: 'c' },
        ],
        next ?? 0,
      ),
    );
    t.match(refused, { code: 'EBUSY', operation: 'delete-chain in table "n"' });
    const none = rules.change('n', [{ do: 'add-translation', chain: 'c', protocol: 6, targets: [] }], next ?? 0);
    await t.rejects(none, RangeError);
    t.equal(nft('list', 'table', 'inet', 'n'), made, 'as it was');
    await rules.close();
  },
);
