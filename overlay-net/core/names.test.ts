import fc from 'fast-check';
import t from 'tap';
import {
  answerName,
  type DnsQuery,
  type Endpoint,
  type EndpointSet,
  isAnswerTo,
  type NameAnswer,
  type NamedService,
  NetworkNames,
  type Question,
  RESPONSE_CODES,
  readQuery,
  TYPES,
  withId,
  writeAnswer,
} from './index.js';

interface Net {
  name: string;
  endpoints: Endpoint[];
  services: NamedService[];
}

const task = (id: string, serviceId: string, address: string, live = true, aliases: string[] = []): Endpoint => ({
  taskId: id,
  serviceId,
  nodeId: 'n1',
  address,
  taskName: `${serviceId}.1.${id}`,
  aliases,
  live,
});

const service = (serviceId: string, vip: string, aliases: string[] = []): NamedService => ({
  serviceId,
  name: serviceId,
  vip,
  aliases,
});

const setOf = ({ endpoints, services }: Net): EndpointSet => ({
  version: 1,
  endpoints: new Map(endpoints.map((each) => [each.taskId, each])),
  services: new Map(services.map((each) => [each.serviceId, each])),
});

const namesOf = (net: Net, hasVips = true) => new NetworkNames({ name: net.name }, setOf(net), { hasVips });

const FRONT: Net = {
  name: 'front',
  endpoints: [
    task('a', 'web', '10.0.0.3', true, ['any']),
    task('b', 'web', '10.0.0.4'),
    task('c', 'web', '10.0.0.5', false),
    task('d', 'db', '10.0.0.6', true, ['any']),
    task('e', 'old', '10.0.0.7', false),
  ],
  services: [service('web', '10.0.0.2', ['www']), service('db', ''), service('old', '10.0.0.9')],
};

const ask = (name: string, type: Question['type'] = 'A', nets = [FRONT], hasVips = true): NameAnswer =>
  answerName(
    { name, type },
    nets.map((net) => namesOf(net, hasVips)),
  );

const are = (...addresses: string[]): NameAnswer => ({ kind: 'addresses', addresses });

t.test('a service’s name is its VIP, or with dnsrr the addresses of the tasks that take connections', async (t) => {
  t.same(ask('web'), are('10.0.0.2'));
  t.same(ask('WWW'), are('10.0.0.2'));
  t.same(ask('tasks.web'), are('10.0.0.3', '10.0.0.4'));
  t.same(ask('tasks.www'), are('10.0.0.3', '10.0.0.4'));
  t.same(ask('db'), are('10.0.0.6'));
  t.same(ask('web', 'A', [FRONT], false), are('10.0.0.3', '10.0.0.4'), 'and where the kernel knows no VIPs');
  t.same(ask('any'), are('10.0.0.3', '10.0.0.6'), 'an alias that several have');
  t.same(ask('web.1.a'), are('10.0.0.3'), 'a task’s own');
  t.same(ask('web.front'), are('10.0.0.2'));
  t.same(ask('web.1.a.front'), are('10.0.0.3'));
});

t.test('who takes no connections has no name, but is still nobody else’s business', async (t) => {
  t.same(ask('old'), { kind: 'nobody' });
  t.same(ask('tasks.old'), { kind: 'nobody' });
  t.same(ask('web.1.c'), { kind: 'nobody' });
  t.same(ask('web', 'other'), { kind: 'empty' }, 'it has no IPv6 address');
  for (const name of ['example.com', 'web.back', 'webb', '', 'front']) t.same(ask(name), { kind: 'elsewhere' });
});

t.test('on a network of IPv6 a name has addresses of both families', async (t) => {
  const dual: Net = {
    name: 'dual',
    endpoints: [
      { ...task('x', 'web', '10.1.0.3'), ipv6Address: 'fd00::3' },
      { ...task('y', 'web', '10.1.0.4'), ipv6Address: 'fd00::4' },
      { ...task('z', 'gone', '10.1.0.5'), ipv6Address: 'fd00::5', live: false },
    ],
    services: [{ ...service('web', '10.1.0.2'), ipv6Vip: 'fd00::2' }, service('gone', '10.1.0.6')],
  };
  t.same(ask('web', 'A', [dual]), are('10.1.0.2'));
  t.same(ask('web', 'AAAA', [dual]), are('fd00::2'));
  t.same(ask('web', 'AAAA', [dual], false), are('fd00::3', 'fd00::4'), 'where the kernel knows no VIPs');
  t.same(ask('tasks.web', 'AAAA', [dual]), are('fd00::3', 'fd00::4'));
  t.same(ask('web.1.x.dual', 'AAAA', [dual]), are('fd00::3'));
  t.same(ask('gone', 'AAAA', [dual]), { kind: 'nobody' });
  t.same(ask('web', 'other', [dual]), { kind: 'empty' });
  t.same(ask('web', 'AAAA'), { kind: 'empty' }, 'the other network has none');
  t.same(ask('web', 'AAAA', [FRONT, dual]), are('fd00::2'), 'as with Docker, of the first network that has one');
  const reverse = (last: string) => `${last}.${'0.'.repeat(27)}0.0.d.f.ip6.arpa`;
  t.same(ask(reverse('4'), 'PTR', [dual]), { kind: 'names', names: ['web.1.y.dual'] });
  t.same(ask(reverse('2').toUpperCase(), 'PTR', [dual]), { kind: 'names', names: ['web.dual'] });
  for (const name of [reverse('9'), 'f.ip6.arpa', reverse('g')])
    t.same(ask(name, 'PTR', [dual]), { kind: 'elsewhere' });
});

t.test('an address has the name of who has it', async (t) => {
  t.same(ask('3.0.0.10.in-addr.arpa', 'PTR'), { kind: 'names', names: ['web.1.a.front'] });
  t.same(ask('2.0.0.10.IN-ADDR.ARPA', 'PTR'), { kind: 'names', names: ['web.front'] });
  for (const name of ['8.8.8.8.in-addr.arpa', '0.10.in-addr.arpa', 'web']) {
    t.same(ask(name, 'PTR'), { kind: 'elsewhere' });
  }
});

t.test('who is on several networks hears of the first that has somebody', async (t) => {
  const back: Net = { name: 'back', endpoints: [task('x', 'web', '10.1.0.3')], services: [service('web', '10.1.0.2')] };
  t.same(ask('web', 'A', [back, FRONT]), are('10.1.0.2'));
  t.same(ask('web', 'A', [FRONT, back]), are('10.0.0.2'));
  t.same(ask('web.back', 'A', [FRONT, back]), are('10.1.0.2'));
  const gone: Net = { ...FRONT, endpoints: [] };
  t.same(ask('web', 'A', [gone, back]), are('10.1.0.2'));
  t.same(ask('web', 'A', []), { kind: 'elsewhere' });
});

/** Answers by looking at everything, for a name without its network. */
function slowly(name: string, { endpoints, services }: Net, hasVips: boolean, isIpv6: boolean): string[] | undefined {
  const live = endpoints.filter((each) => each.live);
  const of = (each: Endpoint) => (isIpv6 ? (each.ipv6Address ?? '') : each.address);
  const tasksOf = (each: NamedService) => live.filter((one) => one.serviceId === each.serviceId).map(of);
  const called = (each: NamedService, as: string) => each.name === as || each.aliases.includes(as);
  const direct = services.filter((each) => called(each, name));
  if (direct.length > 0) {
    return direct.flatMap((each) => {
      const tasks = tasksOf(each);
      const vip = isIpv6 ? (each.ipv6Vip ?? '') : each.vip;
      return tasks.length > 0 && vip !== '' && hasVips ? [vip] : tasks;
    });
  }
  const spread = services.filter((each) => name.startsWith('tasks.') && called(each, name.slice(6)));
  if (spread.length > 0) return spread.flatMap(tasksOf);
  const tasks = endpoints.filter((each) => each.taskName === name || each.aliases.includes(name));
  return tasks.length > 0 ? tasks.filter((each) => each.live).map(of) : undefined;
}

const someNet = fc
  .record({
    endpoints: fc.uniqueArray(
      fc.record({
        id: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
        serviceId: fc.constantFrom('web', 'db', 'gone'),
        live: fc.boolean(),
        aliases: fc.subarray(['any', 'www', 'x']),
      }),
      { selector: ({ id }) => id },
    ),
    services: fc.uniqueArray(
      fc.record({
        serviceId: fc.constantFrom('web', 'db', 'api'),
        isVirtual: fc.boolean(),
        aliases: fc.subarray(['any', 'www']),
      }),
      { selector: ({ serviceId }) => serviceId },
    ),
  })
  .map(
    ({ endpoints, services }): Net => ({
      name: 'front',
      endpoints: endpoints.map((each, i) => ({
        ...task(each.id, each.serviceId, `10.0.0.${i + 3}`, each.live, each.aliases),
        ipv6Address: `fd00::${i + 3}`,
      })),
      services: services.map((each, i) => ({
        ...service(each.serviceId, each.isVirtual ? `10.0.1.${i}` : '', each.aliases),
        ipv6Vip: each.isVirtual ? `fd00::1:${i}` : '',
      })),
    }),
  );

t.test('every name stands for what a slow look at everything says', async (t) => {
  const names = ['web', 'db', 'api', 'gone', 'any', 'www', 'x', 'tasks.web', 'tasks.any', 'web.1.a', 'db.1.b'];
  fc.assert(
    fc.property(someNet, fc.constantFrom(...names), fc.boolean(), fc.boolean(), (net, name, hasVips, isIpv6) => {
      const expected = slowly(name, net, hasVips, isIpv6);
      const answer = ask(name, isIpv6 ? 'AAAA' : 'A', [net], hasVips);
      if (expected === undefined) t.equal(answer.kind, 'elsewhere');
      else if (expected.length === 0) t.equal(answer.kind, 'nobody');
      else t.same(answer.kind === 'addresses' && [...answer.addresses].sort(), [...new Set(expected)].sort());
    }),
  );
});

/** A query's bytes. */
function query(name: string, type: number, udpBytes?: number): Uint8Array {
  const labels = name.split('.').flatMap((label) => [label.length, ...Buffer.from(label)]);
  const options = udpBytes === undefined ? [] : [0, 0, 41, udpBytes >> 8, udpBytes & 0xff, 0, 0, 0, 0, 0, 0];
  const counts = [0, 1, 0, 0, 0, 0, 0, udpBytes === undefined ? 0 : 1];
  return Uint8Array.from([0x12, 0x34, 1, 0, ...counts, ...labels, 0, 0, type, 0, 1, ...options]);
}

const read = (message: Uint8Array): DnsQuery => {
  const found = readQuery(message);
  if (found === undefined) throw new Error('not read');
  return found;
};

t.test('a query is read, and what is none is not', async (t) => {
  t.match(read(query('tasks.web', TYPES.A)), {
    id: 0x1234,
    name: 'tasks.web',
    type: 1,
    udpBytes: 512,
    hasOptions: false,
  });
  t.match(read(query('web', TYPES.AAAA, 1232)), { type: 28, udpBytes: 1232, hasOptions: true });
  t.match(read(query('web', TYPES.A, 100)), { udpBytes: 512 });
  t.match(read(query('web', TYPES.A, 65_000)), { udpBytes: 1_400 });
  const answered = writeAnswer(read(query('web', TYPES.A)), { code: 0 }, 512);
  t.equal(readQuery(answered), undefined, 'an answer');
  fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => void readQuery(bytes)));
  const whole = query('web.front', TYPES.A, 1232);
  for (let length = 0; length < whole.length - 11; length++) t.equal(readQuery(whole.subarray(0, length)), undefined);
});

t.test('an answer has all that fits, and says when there is more', async (t) => {
  const asked = read(query('web', TYPES.A));
  const addresses = Array.from({ length: 100 }, (_, i) => `10.200.0.${i}`);
  const cut = writeAnswer(asked, { code: RESPONSE_CODES.noError, addresses }, asked.udpBytes);
  t.ok(cut.length <= 512 && cut.length > 490);
  t.equal((cut[2] ?? 0) & 2, 2, 'truncated');
  const all = Buffer.from(writeAnswer(asked, { code: RESPONSE_CODES.noError, addresses }, Number.POSITIVE_INFINITY));
  t.equal(all.readUInt16BE(6), 100);
  t.equal((all[2] ?? 0) & 2, 0);
  t.same([...all.subarray(-4)], [10, 200, 0, 99]);
  const ipv6 = Buffer.from(writeAnswer(read(query('web', TYPES.AAAA)), { code: 0, addresses: ['fd00::7'] }, 512));
  t.equal(ipv6.subarray(-28).toString('hex'), `c00c001c0001000000000010fd00${'00'.repeat(13)}07`);
  const most = Array.from({ length: 5_000 }, () => '10.0.0.1');
  t.ok(writeAnswer(asked, { code: 0, addresses: most }, Number.POSITIVE_INFINITY).length <= 65_535);
});

t.test('an answer is taken for one only when its number and question are those that were sent', async (t) => {
  const asked = read(query('web', TYPES.A));
  const answer = writeAnswer(asked, { code: 0, addresses: ['10.0.0.1'] }, 512);
  t.ok(isAnswerTo(answer, 0x1234, asked.question));
  t.notOk(isAnswerTo(answer, 0x1235, asked.question));
  t.ok(isAnswerTo(withId(answer, 0x1235), 0x1235, asked.question));
  t.notOk(isAnswerTo(answer, 0x1234, read(query('wex', TYPES.A)).question));
  t.notOk(isAnswerTo(query('web', TYPES.A), 0x1234, asked.question), 'the query itself');
});
