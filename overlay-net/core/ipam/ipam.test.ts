import { SeededRng } from '@apiary/std';
import fc from 'fast-check';
import t from 'tap';
import {
  addressIn,
  addressRange,
  capacityOf,
  FIRST_VNI,
  formatIp,
  formatIpNetwork,
  freeAddress,
  freeSubnet,
  freeVni,
  type IpNetwork,
  LAST_VNI,
  lastOf,
  networkContains,
  networksOverlap,
  numberIn,
  parseIp,
  parseIpNetwork,
  readSubnet,
  uniqueLocalPool,
  useIn,
} from './index.js';

const ipv4 = fc.record({ bits: fc.constant(32 as const), value: fc.bigInt(0n, 2n ** 32n - 1n) });
const ipv6 = fc.record({ bits: fc.constant(128 as const), value: fc.bigInt(0n, 2n ** 128n - 1n) });
/** With runs of zeros, which is what its short form is about. */
const ipv6Groups = fc.array(fc.constantFrom(0n, 0n, 0n, 1n, 0xabcn), { minLength: 8, maxLength: 8 }).map((groups) => ({
  bits: 128 as const,
  value: groups.reduce<bigint>((value, group) => (value << 16n) | group, 0n),
}));

t.test('what is written of an address is read as that address', async (t) => {
  fc.assert(
    fc.property(fc.oneof(ipv4, ipv6, ipv6Groups), (address) => {
      const text = formatIp(address);
      t.same(parseIp(text), address);
    }),
  );
  t.equal(formatIp({ bits: 128, value: 1n }), '::1');
  t.equal(formatIp({ bits: 128, value: 0xfd00_0097_0001n << 80n }), 'fd00:97:1::');
  t.equal(formatIp({ bits: 128, value: 0x1_0000n }), '::1:0');
  for (const text of ['', '1.2.3', '1.2.3.256', '1::2::3', '1:2:3:4:5:6:7:8:9', 'fffff::', '::g']) {
    t.equal(parseIp(text), undefined, text);
  }
  for (const text of ['10.0.0.0', '10.0.0.0/33', 'fd00::/129', 'x/8', '10.0.0.0/']) {
    t.throws(() => parseIpNetwork(text), { code: 'invalid-argument' }, text);
  }
});

t.test('two networks overlap when one of them has the first address of the other', async (t) => {
  const network = fc
    .tuple(fc.oneof(ipv4, ipv6), fc.integer({ min: 0, max: 32 }))
    .map(([{ bits, value }, length]) =>
      parseIpNetwork(`${formatIp({ bits, value: value % 4096n })}/${length + bits - 32}`),
    );
  fc.assert(
    fc.property(network, network, (a, b) => {
      const has = (one: IpNetwork, other: IpNetwork) => networkContains(one, { bits: other.bits, value: other.first });
      t.equal(networksOverlap(a, b), has(a, b) || has(b, a));
    }),
  );
});

t.test('the subnet of a pool that is chosen is the first that nobody has', async (t) => {
  const taken = fc.array(
    fc
      .tuple(fc.nat(300), fc.integer({ min: 22, max: 32 }))
      .map(([block, length]) =>
        formatIpNetwork(parseIpNetwork(`${formatIp({ bits: 32, value: BigInt(0x0a000000 + block * 64) })}/${length}`)),
      ),
    { maxLength: 12 },
  );
  fc.assert(
    fc.property(taken, fc.integer({ min: 21, max: 28 }), (taken, length) => {
      const pools = ['10.0.4.0/22', '10.0.0.0/21'];
      // Every subnet of every pool in its order, until one is free.
      let expected: string | undefined;
      for (const pool of pools.map(parseIpNetwork)) {
        if (length < pool.length) continue;
        for (
          let first = pool.first;
          first <= lastOf(pool) && expected === undefined;
          first += 2n ** BigInt(32 - length)
        ) {
          const candidate = { bits: 32 as const, first, length };
          if (!taken.some((text) => networksOverlap(parseIpNetwork(text), candidate)))
            expected = formatIpNetwork(candidate);
        }
      }
      t.equal(freeSubnet(pools, length, taken), expected);
    }),
    { numRuns: 300 },
  );
  t.equal(freeSubnet(['fd00::/40'], 64, ['fd00::/64', '10.0.0.0/8']), 'fd00:0:0:1::/64');
});

t.test(
  'a cluster has its own /48 for networks of IPv6: always the same, and another than other clusters',
  async (t) => {
    const pools = Array.from({ length: 2000 }, (_, i) => uniqueLocalPool(`cluster-${i}`));
    t.equal(new Set(pools).size, pools.length);
    t.equal(uniqueLocalPool('cluster-7'), pools[7]);
    const local = parseIpNetwork('fd00::/8');
    t.ok(pools.every((pool) => pool.endsWith('/48') && networksOverlap(local, parseIpNetwork(pool))));
  },
);

t.test('a subnet has a gateway, and what is asked for lies within it', async (t) => {
  t.same(readSubnet({ Subnet: '10.1.0.0/24' }), { subnet: '10.1.0.0/24', gateway: '10.1.0.1' });
  t.same(
    readSubnet({ Subnet: '10.1.0.0/24', IPRange: '10.1.0.64/26', Gateway: '', AuxiliaryAddresses: { a: '10.1.0.9' } }),
    { subnet: '10.1.0.0/24', gateway: '10.1.0.64', ipRange: '10.1.0.64/26', reserved: ['10.1.0.9'] },
  );
  t.equal(readSubnet({ Subnet: 'fd00:97:1::/64' }).gateway, 'fd00:97:1::1');
  const refused: [Parameters<typeof readSubnet>[0], RegExp][] = [
    [{}, /invalid CIDR address/],
    [{ Subnet: '10.1.0.1/24' }, /it should be 10\.1\.0\.0\/24/],
    [{ Subnet: '10.1.0.0/31' }, /no room/],
    [{ Subnet: 'fe80::/64' }, /no host can have: choose one of fd00::\/8/],
    [{ Subnet: 'ff05::/64' }, /no host can have/],
    [{ Subnet: '::ffff:0:0/112' }, /no host can have/],
    [{ Subnet: '10.1.0.0/24', Gateway: '10.1.1.1' }, /gateway 10\.1\.1\.1 is not in subnet 10\.1\.0\.0\/24/],
    [{ Subnet: '10.1.0.0/24', Gateway: '10.1.0.255' }, /no address that a host/],
    [{ Subnet: '10.1.0.0/24', IPRange: '10.1.0.0/23' }, /ip-range 10\.1\.0\.0\/23 is not in subnet/],
    [{ Subnet: '10.1.0.0/24', AuxiliaryAddresses: { a: 'fd00::1' } }, /auxiliary address a=fd00::1 is not in subnet/],
  ];
  for (const [request, message] of refused) t.throws(() => readSubnet(request), { code: 'invalid-argument', message });
});

t.test('a VXLAN id is one that no network has, and seldom the one that was given back last', async (t) => {
  const rng = new SeededRng(3);
  const taken = new Set<number>();
  for (let i = 0; i < 1000; i++) {
    const vni = freeVni(taken, rng) ?? 0;
    t.ok(vni >= FIRST_VNI && vni <= LAST_VNI && !taken.has(vni));
    taken.add(vni);
  }
  t.not(freeVni(new Set(), rng), freeVni(new Set(), rng));
});

t.test(
  'an address that is given is free and within the range; the next one in turn, and none only when all are taken',
  async (t) => {
    /** A /64 is looked at as far as 1100 addresses lead. */
    const subnets = ['10.0.0.0/28', '10.0.0.0/22', '10.0.0.0/30', 'fd00::/124', 'fd00::/118', 'fd00::/64'];
    const use = fc.record({
      subnet: fc.constantFrom(...subnets),
      isPart: fc.boolean(),
      taken: fc.uniqueArray(fc.nat(1100), { maxLength: 900 }),
      fill: fc.boolean(),
      last: fc.option(fc.nat(1100), { nil: undefined }),
      grows: fc.boolean(),
    });
    fc.assert(
      fc.property(use, ({ subnet, isPart: wantsPart, taken, fill, last, grows }) => {
        const whole = parseIpNetwork(subnet);
        const { bits } = whole;
        const isPart = wantsPart && bits - whole.length === 4;
        const at = (offset: number) => formatIp({ bits, value: whole.first + BigInt(offset) });
        const ipRange = `${at(8)}/${bits - 3}`;
        const special = [at(1), at(9), at(2)];
        const [gateway = '', ...reserved] = special;
        const range = addressRange({ subnet, gateway, ...(isPart && { ipRange }), reserved });
        const used = new Set((fill ? Array.from({ length: 1100 }, (_, i) => i) : taken).map(at));
        const lastAddress = last === undefined ? undefined : at(last);
        const ipv6Use = { count: used.size, last: lastAddress, has: (one: string) => used.has(one) };
        const ipv4Use = {
          count: used.size,
          last: lastAddress === undefined ? undefined : numberIn(range, lastAddress),
          has: (one: number) => used.has(addressIn(range, one)),
        };
        const number = freeAddress(range, bits === 32 ? ipv4Use : useIn(range, ipv6Use), grows);
        // Every address of the range, one after the other.
        const free: string[] = [];
        const network = parseIpNetwork(isPart ? ipRange : subnet);
        const end = lastOf(network) - whole.first;
        for (let offset = Number(network.first - whole.first); offset <= (end < 1200n ? Number(end) : 1200); offset++) {
          const text = at(offset);
          const isBroadcast = bits === 32 && whole.first + BigInt(offset) === lastOf(whole);
          if (offset !== 0 && !isBroadcast && !special.includes(text) && !used.has(text)) free.push(text);
        }
        t.equal(number === undefined, free.length === 0);
        if (number === undefined) return;
        t.ok(free.includes(addressIn(range, number)));
        if (grows) return;
        const wasLast = last ?? Number.POSITIVE_INFINITY;
        const next = free.find((one) => Number((parseIp(one)?.value ?? 0n) - whole.first) > wasLast);
        const isBehind =
          lastAddress !== undefined && networkContains(network, parseIp(lastAddress) ?? { bits, value: 0n });
        t.equal(addressIn(range, number), (isBehind ? next : undefined) ?? free[0]);
      }),
      { numRuns: 600 },
    );
    t.equal(capacityOf(addressRange({ subnet: '10.0.0.0/24', gateway: '10.0.0.1' })), 253);
    t.equal(capacityOf(addressRange({ subnet: 'fd00::/120', gateway: 'fd00::1' })), 254, 'there is no broadcast');
    const far = addressRange({ subnet: 'fd00::/16', gateway: 'fd00::1', ipRange: 'fd00:ffff::/32' });
    t.equal(
      addressIn(far, freeAddress(far, { count: 0, last: undefined, has: () => false }, false) ?? -1),
      'fd00:ffff::',
    );
  },
);
