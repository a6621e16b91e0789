import fc from 'fast-check';
import t from 'tap';
import {
  AddressPool,
  type DnsWishes,
  freeGatewayIndex,
  GATEWAY_POOL,
  GATEWAY_SUBNETS,
  gatewaySubnet,
  hostsFile,
  isResolvedStub,
  missingAccepts,
  overlap,
  parseIpv4,
  parseIpv4Prefix,
  presentAccepts,
  readGatewaySubnet,
  resolvConf,
} from './index.js';

const NO_WISHES: DnsWishes = { nameservers: [], search: [], options: [] };

t.test('every node number has a subnet of its own inside of the pool', async (t) => {
  t.equal(gatewaySubnet(0), '10.224.0.0/24');
  t.equal(gatewaySubnet(256), '10.225.0.0/24');
  t.equal(gatewaySubnet(GATEWAY_SUBNETS - 1), '10.255.255.0/24');
  for (const index of [-1, 0.5, GATEWAY_SUBNETS]) t.throws(() => gatewaySubnet(index), { code: 'invalid-argument' });
  const number = fc.nat(GATEWAY_SUBNETS - 1);
  fc.assert(
    fc.property(number, number, (a, b) => {
      const [first, second] = [parseIpv4Prefix(gatewaySubnet(a)), parseIpv4Prefix(gatewaySubnet(b))];
      t.ok(overlap(first, parseIpv4Prefix(GATEWAY_POOL)));
      t.equal(overlap(first, second), a === b);
    }),
  );
});

t.test('the lowest number that is free is given out', async (t) => {
  t.equal(freeGatewayIndex([]), 0);
  t.equal(freeGatewayIndex([1, undefined, 0, 3]), 2);
  t.equal(freeGatewayIndex(Array.from({ length: GATEWAY_SUBNETS }, (_, i) => i)), undefined);
});

t.test('a subnet has its gateway first, and no task at its last address', async (t) => {
  t.match(readGatewaySubnet('10.224.3.7/24'), {
    subnet: '10.224.3.0/24',
    gateway: '10.224.3.1',
    firstAddress: parseIpv4('10.224.3.2'),
    lastAddress: parseIpv4('10.224.3.254'),
  });
  for (const text of ['', '10.224.3.0', '10.224.3.0/33', '10.224.3.0/31', '1.2.3/24', '01.2.3.4/24', '10.256.0.0/24']) {
    t.throws(() => readGatewaySubnet(text), { code: 'invalid-argument' }, text);
  }
});

t.test('no two have one address, and the one given back last is given out last', async (t) => {
  const subnet = readGatewaySubnet('10.0.0.0/29');
  const owners = ['a', 'b', 'c', 'd', 'e', 'f'];
  const act = fc.record({
    owner: fc.constantFrom(...owners),
    act: fc.oneof(fc.constantFrom('take', 'release'), fc.integer({ min: 0, max: 8 })),
  });
  fc.assert(
    fc.property(fc.array(act, { maxLength: 60 }), (acts) => {
      const pool = new AddressPool(subnet);
      /** The oracle: a list of addresses in the order in which they are to be given out, and a map. */
      let order = ['10.0.0.2', '10.0.0.3', '10.0.0.4', '10.0.0.5', '10.0.0.6'];
      const held = new Map<string, string>();
      const giveBack = (owner: string) => {
        const address = held.get(owner);
        if (address !== undefined) order.push(address);
        held.delete(owner);
      };
      for (const { owner, act } of acts) {
        if (act === 'take') {
          const wanted = held.get(owner) ?? order[0];
          if (wanted === undefined) t.throws(() => pool.take(owner), { code: 'resource-exhausted' });
          else {
            t.equal(pool.take(owner), wanted);
            held.set(owner, wanted);
            order = order.filter((address) => address !== wanted);
          }
        } else if (act === 'release') {
          pool.release(owner);
          giveBack(owner);
        } else {
          const wanted = `10.0.0.${act}`;
          const holder = [...held].find(([, address]) => address === wanted)?.[0];
          if (act < 2 || act > 6) t.throws(() => pool.claim(owner, wanted), { code: 'invalid-argument' });
          else if (holder !== undefined && holder !== owner) {
            t.throws(() => pool.claim(owner, wanted), { code: 'already-exists', message: new RegExp(`by ${holder}`) });
          } else if (holder === undefined) {
            pool.claim(owner, wanted);
            giveBack(owner);
            order = order.filter((address) => address !== wanted);
            held.set(owner, wanted);
          }
        }
        t.equal(pool.used, held.size);
        for (const each of owners) t.equal(pool.addressOf(each), held.get(each));
      }
    }),
  );
});

t.test('a resolver is the host’s, but for what cannot be reached from inside', async (t) => {
  const host =
    '# made by dhcp\nsearch lan\nnameserver 127.0.0.1\nnameserver 192.0.2.1\nnameserver fd00::1\noptions rotate\n';
  t.equal(resolvConf(host, NO_WISHES), '# made by dhcp\nsearch lan\nnameserver 192.0.2.1\noptions rotate\n');
  const publicOnes = 'nameserver 8.8.8.8\nnameserver 8.8.4.4\n';
  for (const none of ['', 'nameserver ::1\n', 'nameserver 127.0.0.53'])
    t.equal(resolvConf(none, NO_WISHES), publicOnes);
  t.equal(resolvConf('search lan\nnameserver 127.0.0.1\n', NO_WISHES), `search lan\n${publicOnes}`);
});

t.test('what a service asks of its resolver stands in place of the host’s', async (t) => {
  const host = 'domain old\nsearch lan\nnameserver 192.0.2.1\noptions rotate timeout:1\n';
  const asked = (wishes: Partial<DnsWishes>) => resolvConf(host, { ...NO_WISHES, ...wishes });
  t.equal(asked({ nameservers: ['127.0.0.1'] }), 'search lan\nnameserver 127.0.0.1\noptions rotate timeout:1\n');
  t.equal(asked({ search: ['a', 'b'] }), 'search a b\nnameserver 192.0.2.1\noptions rotate timeout:1\n');
  t.equal(asked({ search: ['.'], options: ['ndots:2'] }), 'nameserver 192.0.2.1\noptions ndots:2\n');
  t.equal(
    resolvConf('nameserver 127.0.0.1', { ...NO_WISHES, search: ['a'] }),
    'search a\nnameserver 8.8.8.8\nnameserver 8.8.4.4\n',
  );
});

t.test('the stub of systemd-resolved is told from other resolvers', async (t) => {
  t.ok(isResolvedStub('# x\nnameserver 127.0.0.53\noptions edns0\n'));
  t.notOk(isResolvedStub('nameserver 127.0.0.53\nnameserver 192.0.2.1\n'));
  t.notOk(isResolvedStub('nameserver 192.0.2.1\n'));
});

t.test('a hosts file has what Docker puts there', async (t) => {
  const extra = [
    { name: 'db', address: '192.0.2.9' },
    { name: 'up', address: 'host-gateway' },
  ];
  t.equal(
    hostsFile({ addresses: ['10.224.0.2'], hostname: 'a.b.c', gateway: '10.224.0.1', extra }),
    '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\n' +
      'ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n192.0.2.9\tdb\n10.224.0.1\tup\n10.224.0.2\ta.b.c a\n',
  );
  t.match(hostsFile({ addresses: ['10.0.0.2'], hostname: 'web', gateway: '', extra: [] }), /\n10\.0\.0\.2\tweb\n$/);
});

/** What iptables makes of a chain's rules when it is called. */
function called(rules: string[], call: string[]): string[] {
  const [operation, , ...rest] = call;
  if (operation === '-I') return rules.toSpliced(Number(rest[0]) - 1, 0, rest.slice(1).join(' '));
  return rules.toSpliced(rules.indexOf(rest.join(' ')), 1);
}

t.test(
  'whatever an administrator wrote in Docker’s chain stays, comes first, and is all that is left in the end',
  async (t) => {
    const rule = fc.constantFrom('-i eth9 -j DROP', '-j RETURN', '-i gw -j ACCEPT', '-s 1.2.3.4/32 -j LOG');
    const listing = (rules: string[]) =>
      ['-N DOCKER-USER', ...rules.map((each) => `-A DOCKER-USER ${each}`)].join('\n');
    fc.assert(
      fc.property(fc.array(rule, { maxLength: 6 }), (before) => {
        const after = missingAccepts(listing(before), ['gw', 'gwx']).reduce(called, before);
        const end = after.indexOf('-j RETURN');
        const reached = end < 0 ? after : after.slice(0, end);
        for (const link of ['gw', 'gwx']) {
          t.ok(reached.includes(`-i ${link} -j ACCEPT`));
          t.ok(reached.includes(`-o ${link} -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT`));
        }
        t.same(missingAccepts(listing(after), ['gw', 'gwx']), [], 'once is enough');
        const theirs = (rules: string[]) => rules.filter((each) => !/^-[io] gwx? /.test(each));
        t.same(theirs(after), theirs(before));
        t.same(presentAccepts(listing(after), ['gw', 'gwx']).reduce(called, after), theirs(before));
      }),
    );
    t.same(missingAccepts('-N DOCKER-USER\n-A DOCKER-USER -j RETURN', ['gw', 'gwx'])[0], [
      '-I',
      'DOCKER-USER',
      '1',
      '-i',
      'gw',
      '-j',
      'ACCEPT',
    ]);
  },
);
