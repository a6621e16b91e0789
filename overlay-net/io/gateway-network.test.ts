import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { createNetworkNamespace, deleteNetworkNamespace } from '@apiary/agent-native';
import { VirtualClock } from '@apiary/std';
import { SystemClock } from '@apiary/std/io';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import {
  gatewayRules,
  type NetworkState,
  NO_FILTER,
  type PortRow,
  portRowKey,
  readGatewaySubnet,
} from '../core/index.js';
import { GatewayNetwork, type GatewayNetworkOptions, removeGatewayNetwork } from './gateway-network.js';
import { GATEWAY_LINK } from './kernel-names.js';
import { inOwnNetwork, sh } from './own-network.fixture.js';
import { PacketFilter } from './packet-filter.js';

/** This file runs in a network namespace of its own: its gateway network is not this machine's. */
const skip = inOwnNetwork(import.meta.url);

const SUBNET = '10.224.3.0/24';
const GATEWAY = '10.224.3.1';
const ABROAD = '192.0.2.2';

/** Their names and addresses: the rest comes a moment after they are made. */
const LINKS = "ip -br link | awk '{ print $1, $3 }'";

function link(name: string): { address: string; ifindex: number } {
  return JSON.parse(sh(`ip -j link show ${name}`))[0];
}

/** What was put right by a network, to be waited for. */
class Repairs {
  #heard: string[] = [];
  #wake = () => {};

  readonly logger = {
    info: (fields: object) => {
      if ('repaired' in fields && Array.isArray(fields.repaired)) this.#heard.push(...fields.repaired);
      this.#wake();
    },
    warn: (fields: object, message: string) => t.fail(`${message}: ${JSON.stringify(fields)}`),
  };

  /** @param clock  let go on until it is so */
  async of(what: string, clock?: VirtualClock): Promise<void> {
    while (!this.#heard.includes(what)) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        if (clock !== undefined) setImmediate(resolve);
      });
      clock?.advance(1_000);
    }
    this.#heard = [];
  }
}

async function network(t: Test, options: Partial<GatewayNetworkOptions> = {}): Promise<GatewayNetwork> {
  const { logger } = new Repairs();
  const opened = await GatewayNetwork.open({ subnet: SUBNET, clock: new VirtualClock(), logger, ...options });
  t.teardown(async () => {
    // Some have been closed by then.
    await opened.close().catch(() => {});
    await removeGatewayNetwork();
  });
  return opened;
}

/** A network namespace as a container's is before its process starts. */
async function container(t: Test, label: string): Promise<{ path: string }> {
  mkdirSync('/run/netns', { recursive: true });
  const path = `/run/netns/apiary-gateway-${process.pid}-${label}`;
  await createNetworkNamespace(path);
  t.teardown(() => deleteNetworkNamespace(path).catch(() => {}));
  return { path };
}

/** Another host, which knows of no gateway network: what is not masqueraded gets no answer. */
async function abroad(t: Test): Promise<{ path: string }> {
  const there = await container(t, 'abroad');
  sh(`ip link add wan type veth peer name eth0 netns ${there.path.split('/').pop()}
    ip addr add 192.0.2.1/24 dev wan; ip link set wan up; ip link set lo up`);
  sh(`nsenter --net=${there.path} sh -c 'ip addr add ${ABROAD}/24 dev eth0; ip link set eth0 up'`);
  t.teardown(() => sh('ip link del wan'));
  return there;
}

/** Tried again: what is asked for while a link is being made anew is asked for again by the kernel a second later. */
function reaches({ path }: { path: string }, address: string, source?: string): boolean {
  const from = source === undefined ? [] : ['-I', source];
  const args = [`--net=${path}`, 'busybox', 'ping', '-c1', '-W1', ...from, address];
  return [1, 2].some(() => spawnSync('nsenter', args).status === 0);
}

t.test('a task reaches its host, and the world under its host’s address, but no other task', { skip }, async (t) => {
  await abroad(t);
  const gateway = await network(t);
  const [one, two] = [await container(t, 'one'), await container(t, 'two')];
  await gateway.attach(one, '10.224.3.2');
  await gateway.attach(two, '10.224.3.3');
  t.match(sh(`nsenter --net=${one.path} ip -o addr`), /lo .*127\.0\.0\.1\/8[\s\S]*eth0 .*10\.224\.3\.2\/24/);
  t.equal(sh(`nsenter --net=${one.path} ip route show default`), `default via ${GATEWAY} dev eth0 proto static`);
  t.notMatch(sh(`nsenter --net=${one.path} ip -o addr`), /inet6/);
  for (const each of [one, two]) {
    t.ok(reaches(each, GATEWAY));
    t.ok(reaches(each, ABROAD), 'masqueraded');
  }
  t.equal(spawnSync('busybox', ['ping', '-c1', '-W1', '10.224.3.3']).status, 0, 'and its host reaches it');
  t.notOk(reaches(one, '10.224.3.3'));
  const mac = link(GATEWAY_LINK).address;
  sh(`nsenter --net=${one.path} ip neigh replace 10.224.3.3 lladdr ${mac} dev eth0`);
  t.notOk(reaches(one, '10.224.3.3'), 'nor by way of the host');
  sh(`nsenter --net=${one.path} ip addr replace 10.224.3.9/32 dev eth0`);
  const refused = () => Number(sh('nstat -asz TcpExtIPReversePathFilter').match(/IPReversePathFilter +(\d+)/)?.[1]);
  const before = refused();
  t.notOk(reaches(one, ABROAD, '10.224.3.9'));
  t.ok(refused() > before, 'nor is it let send under an address that is not its own');
});

t.test('with Docker’s rules, which drop what they do not know', { skip }, async (t) => {
  await abroad(t);
  sh('iptables -P FORWARD DROP; iptables -N DOCKER-USER; iptables -A DOCKER-USER -s 10.224.3.9 -j DROP');
  sh('iptables -A DOCKER-USER -j RETURN; iptables -A FORWARD -j DOCKER-USER');
  t.teardown(() => sh('iptables -F; iptables -X; iptables -P FORWARD ACCEPT'));
  const before = sh('iptables -S');
  const gateway = await network(t);
  const [allowed, denied] = [await container(t, 'allowed'), await container(t, 'denied')];
  await gateway.attach(allowed, '10.224.3.2');
  await gateway.attach(denied, '10.224.3.9');
  t.ok(reaches(allowed, ABROAD));
  t.notOk(reaches(denied, ABROAD), 'what the administrator drops is dropped');
  await gateway.close();
  await removeGatewayNetwork();
  t.equal(sh('iptables -S'), before);
});

t.test('what somebody takes away is put back, and tasks go on', { skip }, async (t) => {
  await abroad(t);
  const repairs = new Repairs();
  const clock = new VirtualClock();
  const gateway = await network(t, { clock, logger: repairs.logger });
  const task = await container(t, 'task');
  await gateway.attach(task, '10.224.3.2');
  t.ok(reaches(task, ABROAD));

  const lost: [string, string, string][] = [
    [`ip link del ${GATEWAY_LINK}`, GATEWAY_LINK, 'the link with its address'],
    [`ip addr flush dev ${GATEWAY_LINK}`, `address of ${GATEWAY_LINK}`, 'its address'],
    [`ip link set ${GATEWAY_LINK} down`, `address of ${GATEWAY_LINK}`, 'being up'],
    ['ip route del unreachable 10.224.3.0/24', `address of ${GATEWAY_LINK}`, 'what leads to nobody'],
    ['ip link set apgw0ae00302 down', 'apgw0ae00302', 'a task’s link'],
    ['ip link set apgw0ae00302 group default', 'apgw0ae00302', 'what the rules know it by'],
    ['ip route del 10.224.3.2', 'apgw0ae00302', 'its route'],
    ['ip neigh del 10.224.3.2 dev apgw0ae00302', 'apgw0ae00302', 'its neighbour'],
    ['ip link add br-x type bridge; ip link set apgw0ae00302 master br-x', 'apgw0ae00302', 'that it is nobody’s port'],
  ];
  for (const [command, repaired, what] of lost) {
    sh(command);
    await repairs.of(repaired, clock);
    t.ok(reaches(task, ABROAD), what);
  }
});

t.test('rules that are deleted or changed are back as soon as it is heard of', { skip }, async (t) => {
  const repairs = new Repairs();
  await network(t, { clock: new SystemClock(), logger: repairs.logger });
  const rules = sh('nft list table inet apiary');
  sh('nft delete table inet apiary');
  await repairs.of('nftables table "inet apiary"');
  t.equal(sh('nft list table inet apiary'), rules);
  sh('nft add rule inet apiary forward drop');
  await repairs.of('nftables table "inet apiary"');
  t.equal(sh('nft list table inet apiary'), rules);
  sh('iptables -N DOCKER-USER');
  t.teardown(() => sh('iptables -F; iptables -X'));
  await repairs.of('accepts in DOCKER-USER');
});

/** Ports that lead to some of a few tasks. */
const ports: fc.Arbitrary<PortRow[]> = fc
  .uniqueArray(
    fc.record({
      protocol: fc.constantFrom('tcp', 'udp', 'sctp'),
      hostAddress: fc.constantFrom('', '192.0.2.1'),
      port: fc.constantFrom(53, 8080, 65535),
      targets: fc.array(fc.record({ address: fc.constantFrom('10.224.3.2', '10.255.0.9'), port: fc.nat(65_535) }), {
        minLength: 1,
        maxLength: 12,
      }),
    }),
    { selector: (row) => portRowKey(row), maxLength: 6 },
  )
  .map((rows) => rows.sort((a, b) => (portRowKey(a) < portRowKey(b) ? -1 : 1)));

const listed = () => sh('nft list table inet apiary');
/** The table without its order, which is that of the changes. */
const contents = () =>
  listed()
    .replace(/\n}$/, '')
    .split(/\n(?=\tchain|\tmap)/)
    .map((part) => part.trim())
    .sort();

t.test('what changes of ports is changed at once, to what nft would have made of it', { skip }, async (t) => {
  const filter = new PacketFilter(readGatewaySubnet(SUBNET));
  t.teardown(async () => {
    await filter.close();
    await removeGatewayNetwork();
  });
  const subnet = readGatewaySubnet(SUBNET);
  await filter.want(NO_FILTER);
  await filter.ensure();
  await fc.assert(
    fc.asyncProperty(fc.array(ports, { minLength: 1, maxLength: 4 }), async (steps) => {
      const looking = filter.ensure();
      let wanted = NO_FILTER;
      for (const rows of steps) {
        wanted = { ...NO_FILTER, ports: rows };
        t.equal(await filter.want(wanted), true, 'without a look, or beside one');
      }
      t.same(await looking, []);
      const made = contents();
      sh(`nft -f - <<'END'\n${gatewayRules(subnet, wanted)}\nEND`);
      t.same(made, contents());
      t.equal(await filter.want(NO_FILTER), wanted.ports.length === 0, 'somebody has changed something');
      await filter.ensure();
    }),
    { numRuns: 10 },
  );
  const [first = NO_FILTER, second = NO_FILTER] = fc
    .sample(ports, { numRuns: 2, seed: 1 })
    .map((rows) => ({ ...NO_FILTER, ports: rows }));
  await filter.want(first);
  sh('nft add table ip of_others');
  t.teardown(() => sh('nft delete table ip of_others'));
  t.equal(await filter.want(second), false);
  t.same(await filter.ensure(), [], 'what is another’s was changed, and ours was as it should be');
  const made = contents();
  t.equal(await filter.want(first), true);
  sh('nft flush chain inet apiary forward');
  t.same(await filter.ensure(), ['nftables table "inet apiary"'], 'also when nobody had looked since it was changed');
  t.equal(await filter.want(second), true);
  t.same(contents(), made);
});

t.test('closed, it stays; opened again, it takes over what is there; removed, nothing is left', { skip }, async (t) => {
  await abroad(t);
  const [links, tables] = [sh(LINKS), sh('nft list tables')];
  const first = await network(t);
  const task = await container(t, 'task');
  await first.attach(task, '10.224.3.2');
  t.ok(reaches(task, ABROAD));
  await first.close();
  t.ok(reaches(task, ABROAD));
  const { ifindex } = link(GATEWAY_LINK);
  const second = await network(t);
  t.equal(link(GATEWAY_LINK).ifindex, ifindex);
  t.ok(reaches(task, ABROAD));
  t.ok(await second.isAttached('10.224.3.2'));
  await deleteNetworkNamespace(task.path);
  await second.close();
  await removeGatewayNetwork();
  t.equal(sh(LINKS), links);
  t.equal(sh('nft list tables'), tables);
});

t.test('a name that a killed process left of its namespace for names goes with the next', { skip }, async (t) => {
  const pid = spawnSync('sh', ['-c', 'echo $$'], { encoding: 'utf8' }).stdout.trim();
  mkdirSync('/run/netns', { recursive: true });
  await createNetworkNamespace(`/run/netns/apiary-names-${pid}`);
  await network(t);
  const names = () =>
    readdirSync('/run/netns').filter((name) => [pid, process.pid].some((each) => name === `apiary-names-${each}`));
  t.same(names(), []);
});

t.test('a task that is attached anew, at the same address, has it', { skip }, async (t) => {
  const gateway = await network(t);
  const [before, after] = [await container(t, 'before'), await container(t, 'after')];
  await gateway.attach(before, '10.224.3.2');
  await gateway.attach(after, '10.224.3.2');
  t.ok(reaches(after, GATEWAY));
  t.notOk(reaches(before, GATEWAY));
  sh(`ip link del ${GATEWAY_LINK}`);
  const last = await container(t, 'last');
  await gateway.attach(last, '10.224.3.3');
  t.ok(reaches(last, GATEWAY), 'also when its address was just taken away');
});

t.test('an address that is put back by two at once is there for both', { skip }, async (t) => {
  const clock = new VirtualClock();
  const gateway = await network(t, { clock });
  for (let last = 2; last < 10; last++) {
    const task = await container(t, `task${last}`);
    sh(`ip link del ${GATEWAY_LINK}`);
    clock.advance(3_000);
    await gateway.attach(task, `10.224.3.${last}`);
    t.ok(reaches(task, GATEWAY));
  }
});

t.test('the first packet of a task gets its answer', { skip }, async (t) => {
  const gateway = await network(t);
  for (let last = 2; last < 42; last++) {
    const task = await container(t, `task${last}`);
    await gateway.attach(task, `10.224.3.${last}`);
    const said = sh(`nsenter --net=${task.path} busybox ping -c1 -W5 ${GATEWAY}`);
    // The kernel asks for an address again after a second.
    t.ok(Number(said.match(/time=([\d.]+) ms/)?.[1]) < 900, said);
    await deleteNetworkNamespace(task.path);
  }
});

t.test('what cannot be attached says why, and leaves nothing', { skip }, async (t) => {
  const gateway = await network(t);
  const gone = { path: '/run/netns/apiary-gateway-nowhere' };
  await t.rejects(gateway.attach(gone, '10.224.3.2'), { code: 'ENOENT' });
  const task = await container(t, 'task');
  sh(`nsenter --net=${task.path} sh -c 'ip link add eth0 type bridge; ip addr add 10.224.3.2/24 dev eth0'`);
  await t.rejects(gateway.attach(task, '10.224.3.2'), { code: 'EEXIST' });
  t.notOk(await gateway.isAttached('10.224.3.2'));
});

t.test(
  'what cannot be made of what the managers say is told, and holds up nothing that they say next',
  { skip },
  async (t) => {
    const warned: string[] = [];
    const logger = { info: () => {}, warn: (fields: object) => void warned.push(JSON.stringify(fields)) };
    const gateway = await network(t, { logger });
    await gateway.publish([]);
    const port = { protocol: 'tcp', publishedPort: 8080, targetPort: 80, serviceId: 's' };
    const peer = { nodeId: 'n2', addr: '192.0.2.2', gatewaySubnet: 'nonsense', wireguardKey: '' };
    const state = (nodes: (typeof peer)[]): NetworkState => ({
      selfId: 'n1',
      dataPathPort: 4789,
      networks: new Map(),
      endpointSets: new Map(),
      nodes: new Map(nodes.map((node) => [node.nodeId, node])),
      publishedPorts: new Map([
        ['tcp/8080', { ...port, backends: [{ taskId: 'a', nodeId: 'n1', gatewayAddress: '10.224.3.2' }] }],
      ]),
      tasks: new Map(),
    });
    await gateway.apply(state([peer]));
    t.match(warned, [/nonsense/]);
    await gateway.apply(state([]));
    t.match(sh('nft list ruleset'), /8080/);
  },
);

t.test('a host that is part of the subnet, or a link that is another’s, is refused', { skip }, async (t) => {
  await abroad(t);
  const open = (subnet: string) => network(t, { subnet });
  await t.rejects(open('192.0.2.0/25'), { message: /overlaps 192\.0\.2\.1\/24, the address of wan/ });
  await t.rejects(open('nonsense'), { code: 'invalid-argument' });
  t.notMatch(sh('ip -br link'), GATEWAY_LINK);
  const other = await network(t, { subnet: '10.224.4.0/24' });
  const task = await container(t, 'task');
  await other.attach(task, '10.224.4.2');
  await t.rejects(open(SUBNET), { message: /in use with address 10\.224\.4\.1\/32/ });
  t.ok(reaches(task, '10.224.4.1'));
});
