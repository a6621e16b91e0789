import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  attachedPrograms,
  BpfMap,
  BpfProgram,
  bpfIds,
  createNetworkNamespace,
  deleteNetworkNamespace,
  networkNamespaceCookie,
} from '@apiary/agent-native';
import { VirtualClock } from '@apiary/std';
import t, { type Test } from 'tap';
import type { NetworkState, VipMember, VipRow } from '../core/index.js';
import { HostVips } from './host-vips.js';
import { inOwnNetwork, sh } from './own-network.fixture.js';
import { VipBalancer } from './vip-balancer.js';

/** This file runs in a network namespace of its own. */
const noNetwork = inOwnNetwork(import.meta.url);
const tree = readFileSync('/proc/mounts', 'utf8')
  .split('\n')
  .map((line) => line.split(' '))
  .find((fields) => fields[2] === 'cgroup2')?.[1];
const skip = noNetwork || (tree === undefined && 'no cgroup v2 tree is mounted');

const VIP = '10.0.0.100';
const IPV6_VIP = 'fd00::100';
const VNI = 4097;

/** A task on a bridge of this namespace, that stands for a network. */
interface Task {
  path: string;
  address: string;
  ipv6Address: string;
  cookie: bigint;
}

async function task(t: Test, number: number): Promise<Task> {
  mkdirSync('/run/netns', { recursive: true });
  const name = `apiary-vip-${process.pid}-${number}`;
  const [path, address, ipv6Address] = [`/run/netns/${name}`, `10.0.0.${number}`, `fd00::${number}`];
  await createNetworkNamespace(path);
  t.teardown(() => deleteNetworkNamespace(path));
  sh(`ip link show net0 >/dev/null 2>&1 || { ip link add net0 type bridge; ip link set net0 up; }
    ip link add v${number} type veth peer name eth0 netns ${name}; ip link set v${number} master net0 up`);
  sh(
    `nsenter --net=${path} sh -c 'ip addr add ${address}/24 dev eth0; ip addr add ${ipv6Address}/64 dev eth0 nodad; ip link set eth0 up; ip link set lo up'`,
  );
  return { path, address, ipv6Address, cookie: await networkNamespaceCookie({ path }) };
}

function cgroupOf(t: Test): string {
  const cgroup = join(tree ?? '', `apiary-vip-${process.pid}`);
  mkdirSync(cgroup);
  t.teardown(() => rmdirSync(cgroup));
  return cgroup;
}

/** Runs `code` in a task, and answers with what it printed. */
async function runIn(cgroup: string, { path }: Task, code: string, onOutput = (_text: string) => {}): Promise<string> {
  const script = `process.stdin.once('data', () => { process.stdin.destroy(); ${code} })`;
  const child = spawn('nsenter', [`--net=${path}`, process.execPath, '-e', script]);
  writeFileSync(join(cgroup, 'cgroup.procs'), String(child.pid));
  child.stdin.write('go');
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk) => {
      output += chunk;
      onOutput(String(chunk));
    });
  await once(child, 'close');
  return output.trim();
}

/** Says its address, to whoever connects to port 80 or sends to port 53, until the test ends. */
async function server(t: Test, { path, address }: Task): Promise<void> {
  const script = `
    require('net').createServer((s) => { s.write('${address}'); s.on('data', (d) => s.write(d)).on('error', () => {}) }).listen(80, () => {
      const u = require('dgram').createSocket('udp4');
      u.on('message', (m, from) => u.send('${address}', from.port, from.address)).bind(53, () => {
        const six = require('dgram').createSocket({ type: 'udp6', ipv6Only: true });
        six.on('message', (m, from) => six.send('${address}', from.port, from.address)).bind(53, () => console.log('up'));
      });
    })`;
  const child = spawn('nsenter', [`--net=${path}`, process.execPath, '-e', script]);
  await once(child.stdout, 'data');
  t.teardown(async () => {
    child.kill('SIGKILL');
    await once(child, 'close');
  });
}

/** Connects so many times, and prints who answered: a line each, with the peer's name. */
const connecting = (times: number, host = VIP) => `
  (async () => {
    for (let i = 0; i < ${times}; i++) await new Promise((next) => {
      const s = require('net').connect(80, '${host}').on('data', (who) => { console.log(String(who), s.remoteAddress); s.destroy(); });
      s.on('error', (e) => console.log(e.code)).on('close', next);
    });
  })()`;

/** Sends so many datagrams from one socket, and prints who answered and from where. */
const asking = (times: number, host = VIP) => `
  const u = require('dgram').createSocket('${host.includes(':') ? 'udp6' : 'udp4'}'); let left = ${times};
  u.on('message', (who, from) => { console.log(String(who), from.address); --left ? u.send('x', 53, '${host}') : u.close(); });
  u.on('error', (e) => { console.log(e.code); u.close(); });
  u.send('x', 53, '${host}', (e) => { if (e) { console.log(e.code); u.close(); } });`;

/** The same from a socket that is connected, which says whom it takes for its peer. */
const conversing = (host: string) => `
  const u = require('dgram').createSocket('${host.includes(':') ? 'udp6' : 'udp4'}');
  u.on('message', (who, from) => { console.log(String(who), from.address, u.remoteAddress().address); u.close(); });
  u.connect(53, '${host}', () => u.send('x'));`;

const distinct = (output: string): string[] => [...new Set(output.split('\n'))].sort();

/** A network whose one service runs as one task, and another task of this host. */
function networkState(asker: Task, backend: Task): NetworkState {
  const networkId = 'n';
  const network = { networkId, name: 'n', vni: VNI, subnet: '', gateway: '', internal: false };
  const endpoint = { taskId: 't', serviceId: 's', nodeId: 'self', address: backend.address, taskName: '', aliases: [] };
  const { ipv6Address } = backend;
  const task = {
    taskId: 'a',
    serviceId: 'x',
    gatewayAddress: '',
    namespace: 1,
    namespaceCookie: asker.cookie,
    namespacePath: asker.path,
  };
  return {
    selfId: 'self',
    dataPathPort: 4789,
    networks: new Map([[networkId, { ...network, attachable: false, encrypted: false, mtu: 0, engineNetwork: '' }]]),
    endpointSets: new Map([
      [
        networkId,
        {
          version: 1,
          endpoints: new Map([['t', { ...endpoint, live: true, ipv6Address }]]),
          services: new Map([['s', { serviceId: 's', name: 's', vip: VIP, aliases: [], ipv6Vip: IPV6_VIP }]]),
        },
      ],
    ]),
    nodes: new Map(),
    publishedPorts: new Map(),
    tasks: new Map([['a', { ...task, attachments: [{ networkId, address: asker.address, aliases: [] }] }]]),
  };
}

t.test('sockets that connect to a VIP', { skip }, async (t) => {
  const cgroup = cgroupOf(t);
  const directory = mkdtempSync(join(tmpdir(), 'apiary-vip-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const options = { directory: join(directory, 'bpf'), cgroup };
  let balancer = new VipBalancer(options);
  t.teardown(() => balancer.remove());
  const [asker, one, two, stranger] = [await task(t, 2), await task(t, 3), await task(t, 4), await task(t, 5)];
  for (const each of [one, two]) await server(t, each);
  const members: VipMember[] = [asker, one, two].map(({ cookie }) => ({ namespaceCookie: cookie, vni: VNI }));
  const row = (...tasks: Task[]): VipRow[] => [
    { vip: VIP, vni: VNI, backends: tasks.map(({ address }) => address) },
    { vip: IPV6_VIP, vni: VNI, backends: tasks.map(({ ipv6Address }) => ipv6Address) },
  ];
  const programs = async () => (await attachedPrograms({ cgroup, attachType: 'connect4' })).programIds;
  await balancer.ensure(row(one, two), members);

  await t.test('connect to each of the live tasks, and know them by the VIP', async (t) => {
    const answers = [`${one.address} ${VIP}`, `${two.address} ${VIP}`];
    t.same(distinct(await runIn(cgroup, asker, connecting(40))), answers);
    t.match(
      distinct(await runIn(cgroup, asker, connecting(40, `::ffff:${VIP}`))),
      [/10.0.0.3 /, /10.0.0.4 /],
      'as IPv6',
    );
    const datagrams = distinct(await runIn(cgroup, asker, asking(10)));
    t.equal(datagrams.length, 1, 'one socket talks to one task');
    t.ok(answers.includes(String(datagrams[0])));
  });

  await t.test('of IPv6 do so too, also where they write an IPv4 address as theirs', async (t) => {
    for (const vip of [IPV6_VIP, `::ffff:${VIP}`]) {
      const answers = [`${one.address} ${vip}`, `${two.address} ${vip}`];
      t.same(distinct(await runIn(cgroup, asker, connecting(40, vip))), answers, vip);
      for (const script of [asking(10, vip), conversing(vip)]) {
        const datagrams = distinct(await runIn(cgroup, asker, script));
        t.equal(datagrams.length, 1);
        t.ok(
          answers.some((answer) => datagrams[0]?.startsWith(answer)),
          String(datagrams),
        );
      }
      t.match(await runIn(cgroup, asker, conversing(vip)), new RegExp(`${vip} ${vip}$`), 'its peer is the VIP');
    }
    const outside = `${connecting(1, IPV6_VIP)}; setTimeout(() => process.exit(), 300)`;
    t.notMatch(await runIn(cgroup, stranger, outside), /10\.0\.0\.[34]/, 'nor a stranger');
    t.match(await runIn(cgroup, asker, connecting(1, two.ipv6Address)), `${two.address} ${two.ipv6Address}`);
  });

  await t.test('are left alone when they are not on the network', async (t) => {
    const output = await runIn(cgroup, stranger, `${connecting(1)}; setTimeout(() => process.exit(), 300)`);
    t.notMatch(output, /10\.0\.0\.[34]/);
  });

  await t.test('keep a task that drains, which gets no new ones', async (t) => {
    const script = `
      const s = require('net').connect(80, '${VIP}'); let heard = 0;
      s.on('data', (d) => { if (heard++ === 0) console.log('first ' + d); else { console.log('again ' + d); s.destroy(); } });
      process.on('SIGUSR1', () => s.write('x'));`;
    await balancer.ensure(row(one), members);
    const child = spawn('nsenter', [
      `--net=${asker.path}`,
      process.execPath,
      '-e',
      `process.stdin.once('data', () => { process.stdin.destroy(); ${script} })`,
    ]);
    writeFileSync(join(cgroup, 'cgroup.procs'), String(child.pid));
    child.stdin.write('go');
    const [first] = await once(child.stdout, 'data');
    t.equal(String(first).trim(), `first ${one.address}`);
    await balancer.ensure(row(two), members);
    t.same(distinct(await runIn(cgroup, asker, connecting(10))), [`${two.address} ${VIP}`]);
    t.same(distinct(await runIn(cgroup, asker, asking(3))), [`${two.address} ${VIP}`]);
    child.kill('SIGUSR1');
    const [again] = await once(child.stdout, 'data');
    t.equal(String(again).trim(), 'again x');
    await once(child, 'close');
  });

  await t.test('are refused at once when there is no live task', async (t) => {
    await balancer.ensure(row(), members);
    t.equal(await runIn(cgroup, asker, connecting(1)), 'ECONNREFUSED');
    t.equal(await runIn(cgroup, asker, asking(1)), 'ECONNREFUSED');
    t.equal(await runIn(cgroup, asker, connecting(1, IPV6_VIP)), 'ECONNREFUSED');
    t.equal(await runIn(cgroup, asker, asking(1, IPV6_VIP)), 'ECONNREFUSED');
    await balancer.ensure(row(one), members);
  });

  await t.test('do so while nobody looks after it, and after somebody else has taken it over', async (t) => {
    const attached = await programs();
    t.equal(attached.length, 1);
    balancer.close();
    t.same(distinct(await runIn(cgroup, asker, connecting(3))), [`${one.address} ${VIP}`]);
    balancer = new VipBalancer(options);
    t.same(await balancer.ensure(row(one, two), members), []);
    t.equal((await programs()).length, 1, 'never two');
    t.same(distinct(await runIn(cgroup, asker, connecting(40))).length, 2);
  });

  await t.test('do so again when somebody took something away', async (t) => {
    for (const name of ['connect4', 'sendmsg4']) rmSync(join(options.directory, 'vip-1', name));
    t.same(await balancer.ensure(row(one), members), ['VIPs']);
    balancer.close();
    t.equal((await programs()).length, 1, 'its name is back');
    balancer = new VipBalancer(options);
    await balancer.ensure(row(one), members);
    t.same(await balancer.ensure(row(one), members.slice(1)), ['who may use VIPs']);
    t.same(await balancer.ensure(row(one), members), ['who may use VIPs']);
  });

  await t.test('are looked after by a host that is told of its networks', async (t) => {
    balancer.close();
    const clock = new VirtualClock();
    const heard: string[] = [];
    const logger = { info: (fields: object) => heard.push(JSON.stringify(fields)), warn: () => t.fail() };
    const vips = await HostVips.open({ ...options, clock, logger });
    t.teardown(() => vips.close());
    t.same(distinct(await runIn(cgroup, asker, connecting(2))), [`${one.address} ${VIP}`], 'it has not been told yet');
    await vips.apply(networkState(asker, two));
    t.same(distinct(await runIn(cgroup, asker, connecting(2, IPV6_VIP))), [`${two.address} ${IPV6_VIP}`]);
    t.same(distinct(await runIn(cgroup, asker, connecting(2))), [`${two.address} ${VIP}`]);
    const vipsMap = await BpfMap.openPinned(join(options.directory, 'vip-1', 'vips'));
    t.teardown(() => vipsMap.close());
    await vipsMap.deleteMany((await vipsMap.entries()).map(({ key }) => key));
    while (heard.length === 0) {
      clock.advance(1_000);
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    t.same(distinct(await runIn(cgroup, asker, connecting(2))), [`${two.address} ${VIP}`]);
    await vips.close();
    vipsMap.close();
    balancer = new VipBalancer(options);
    await balancer.ensure(row(one), members);
  });

  await t.test('by UDP hear of it when their task has ended, and connect to another', async (t) => {
    balancer.close();
    const logger = { info: () => {}, warn: (fields: object) => t.fail(JSON.stringify(fields)) };
    const vips = await HostVips.open({ ...options, clock: new VirtualClock(), logger });
    t.teardown(() => vips.close());
    const both = networkState(asker, two);
    const set = both.endpointSets.get('n');
    const [first] = set?.endpoints.values() ?? [];
    if (set === undefined || first === undefined) throw new Error('no endpoint');
    const draining = { ...first, taskId: 'u', address: one.address, ipv6Address: one.ipv6Address, live: false };
    const withBoth = { ...set, endpoints: new Map([...set.endpoints, ['u', draining]]) };
    await vips.apply({ ...both, endpointSets: new Map([['n', withBoth]]) });
    const heard: string[] = [];
    let wake = () => {};
    const talks = [VIP, IPV6_VIP, one.address].map((host) => {
      const again = `const talk = (once) => { ${conversing(host).replace('u.close();', 'once && u.close();')}
        u.on('error', (e) => { console.log(e.code); u.close(); talk(true); }); }; talk(false);`;
      return runIn(cgroup, asker, again, (text) => {
        // What is said in one moment may come in one piece.
        heard.push(
          ...text
            .trim()
            .split('\n')
            .map((line) => `${host} ${line}`),
        );
        wake();
      });
    });
    const until = async (lines: number) => {
      while (heard.length < lines) await new Promise<void>((resolve) => (wake = resolve));
      return heard.splice(0).sort();
    };
    const answer = (from: Task, host: string) => `${host} ${from.address} ${host} ${host}`;
    t.same(await until(3), [answer(one, one.address), answer(two, VIP), answer(two, IPV6_VIP)].sort());
    await vips.apply(networkState(asker, one));
    t.same(
      await until(4),
      [`${VIP} ECONNABORTED`, answer(one, VIP), `${IPV6_VIP} ECONNABORTED`, answer(one, IPV6_VIP)].sort(),
      'and a task that lives keeps its clients',
    );
    await vips.apply(networkState(asker, two));
    t.same(await until(2), [`${one.address} ECONNABORTED`, answer(one, one.address)].sort());
    await Promise.all(talks);
    await vips.close();
    balancer = new VipBalancer(options);
    await balancer.ensure(row(one), members);
  });

  await t.test('leave nothing once the last VIP is gone', async (t) => {
    const [id = 0] = await programs();
    const program = await BpfProgram.openById(id);
    const { mapIds } = await program.info();
    program.close();
    t.equal(mapIds.length, 3);
    await balancer.ensure([], []);
    t.notMatch(readFileSync('/proc/mounts', 'utf8'), directory);
    // The kernel frees what nobody holds a moment later.
    while ((await programs()).length > 0) await new Promise<void>((resolve) => setImmediate(resolve));
    while ((await bpfIds('map')).some((each) => mapIds.includes(each)) || (await bpfIds('program')).includes(id)) {
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  });
});
