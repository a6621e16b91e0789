import { Assembler, BpfProgram, deleteNetworkNamespace } from '@apiary/agent-native';
import t, { type Test } from 'tap';
import {
  type HostPort,
  ipv6GatewayAddress,
  ipv6GatewaySubnet,
  type NetworkState,
  type PublishedPort,
  readGatewaySubnet,
} from '../core/index.js';
import { Host, Machine, namespaceOf } from './ingress-machines.fixture.js';
import { inOwnNetwork } from './own-network.fixture.js';

/** This file runs in a network namespace of its own: the hosts' link is in it. */
const skip = inOwnNetwork(import.meta.url);
t.setTimeout(120_000);

const OUTSIDE = '192.0.2.99';
const LOOPBACK_INDEX = 1;
const noTcx = skip === false && (await tcxGap());

/** Why no program can be put at a link here, or false. */
async function tcxGap(): Promise<string | false> {
  const attachType = 'tcx-ingress';
  const instructions = new Assembler().mov('r0', -1).exit().assemble();
  try {
    const program = await BpfProgram.load({ type: 'sched-cls', attachType, instructions });
    const link = await program.link({ linkIndex: LOOPBACK_INDEX, attachType });
    for (const object of [link, program]) object.close();
    return false;
  } catch (error) {
    return `the kernel takes no BPF programs at links (${error})`;
  }
}

/** What tasks run: says who it is and who asks, on 80 by TCP and on 53 by UDP; what it hears by TCP it repeats. */
const server = (name: string) => `
  require('net').createServer((s) => {
    s.write('${name} ' + s.remoteAddress.replace('::ffff:', '') + '\\n');
    s.on('data', (d) => s.write(d)).on('error', () => {});
  }).listen(80, () => {
    const u = require('dgram').createSocket('udp6');
    u.on('message', (m, from) => u.send('${name} ' + from.address.replace('::ffff:', ''), from.port, from.address)).bind(53, () => console.log('up'));
  })`;

t.test('published ports', { skip }, async (t) => {
  const hosts: Host[] = [];
  for (const index of [1, 2, 3]) {
    const host = new Host(await Machine.plugIn(t, `h${index}`, `192.0.2.${index}`), index);
    t.teardown(() => host.kill());
    hosts.push(host);
  }
  const [one, two, three] = hosts as [Host, Host, Host];
  const client = await Machine.plugIn(t, 'client', OUTSIDE);
  // As a distribution may have it.
  two.sh('sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1');
  const everything =
    'ip -br link; ip rule; ip route; ip -6 rule; ip -6 route show table all | grep -v fe80; sysctl -a -r ipv6.*forwarding; nft list ruleset';
  const found = two.sh(everything);
  await Promise.all(hosts.map((host) => host.start()));

  const tasks = new Map<string, { host: Host; machine: Machine }>();
  for (const [name, host] of [
    ['a', two],
    ['b', three],
    ['idle', one],
  ] as const) {
    const path = await namespaceOf(t, name);
    const address = host.gateway.replace(/\.1$/, '.2');
    await host.order({ do: 'attach', path, address, isReachedByIpv6: name === 'a' || name === 'b' });
    const machine = new Machine(path, address);
    tasks.set(name, { host, machine });
    if (name !== 'idle') await machine.talk(t, server(name)).hear();
  }
  const task = (name: string): Machine => tasks.get(name)?.machine ?? client;

  const ipv6Of = (name: string) => (name === 'idle' ? '' : ipv6GatewayAddress(task(name).address));

  const port = (protocol: string, publishedPort: number, targetPort: number, ...names: string[]): PublishedPort => ({
    protocol,
    publishedPort,
    targetPort,
    serviceId: 's',
    backends: names.map((name) => ({
      taskId: name,
      nodeId: tasks.get(name)?.host.id ?? '',
      gatewayAddress: task(name).address,
      gatewayIpv6Address: ipv6Of(name),
    })),
  });
  const nodes = new Map(
    hosts.map(({ id, address, ipv6Address, subnet }) => [
      id,
      { nodeId: id, addr: address, gatewaySubnet: subnet, wireguardKey: '', ipv6Addresses: ipv6Address },
    ]),
  );
  const state = (host: Host, ports: PublishedPort[]): NetworkState => ({
    selfId: host.id,
    dataPathPort: 4789,
    networks: new Map(),
    endpointSets: new Map(),
    nodes,
    publishedPorts: new Map(ports.map((each) => [`${each.protocol}/${each.publishedPort}`, each])),
    tasks: new Map(),
  });
  const publish = (...ports: PublishedPort[]) =>
    Promise.all(hosts.map((host) => host.order({ do: 'apply', state: state(host, ports) })));
  const repaired = async (host: Host, what: string, command: string) => {
    host.repaired.length = 0;
    host.sh(command);
    await host.until(() => host.repaired.includes(what));
  };
  await Promise.all(hosts.map((host) => host.order({ do: 'publish', ports: [] })));
  const http = port('tcp', 8080, 80, 'a', 'b');
  const dns = port('udp', 5353, 53, 'a');
  await publish(http, dns, port('tcp', 8081, 80, 'a'), port('tcp', 8082, 80));

  await t.test('lead to every task from every host, with the client’s own address', async (t) => {
    for (const host of hosts) {
      const answers = Array.from({ length: 4 }, () => client.ask(host.address)).sort();
      t.same(answers, [`a ${OUTSIDE}`, `a ${OUTSIDE}`, `b ${OUTSIDE}`, `b ${OUTSIDE}`], host.id);
    }
    t.equal(client.ask(one.address, 8082), '', 'without tasks, nobody answers');
    t.equal(client.ask(one.address, 8083), '');
  });

  await t.test('by IPv6 too, from everywhere, with the client’s own address', async (t) => {
    const all = [client, ...hosts];
    for (const from of all) {
      for (const host of hosts) {
        const seen = from.ipv6Address;
        const said = [1, 2, 3, 4].map(() => from.ask(host.ipv6Address)).sort();
        t.same(said, [`a ${seen}`, `a ${seen}`, `b ${seen}`, `b ${seen}`], `${seen} to ${host.ipv6Address}`);
      }
      if (from instanceof Host) {
        const gateway = ipv6GatewayAddress(from.gateway);
        t.equal(from.ask('::1', 8081), `a ${gateway}`, `${from.id} by localhost`);
      }
    }
    t.equal(client.ask(one.ipv6Address, 8082), '', 'one that leads nowhere');
    const asked = `const u = require('dgram').createSocket('udp6');
      u.on('message', (m) => console.log(String(m)));
      process.stdin.on('data', (to) => u.send('x', 5353, String(to).trim()));`;
    for (const from of [client, one, two]) {
      const { say, hear } = from.talk(t, asked);
      for (const host of hosts) {
        say(host.ipv6Address);
        t.equal(await hear(), `a ${from.ipv6Address}`);
      }
      if (from instanceof Host) say('::1');
      if (from instanceof Host) t.equal(await hear(), `a ${ipv6GatewayAddress(from.gateway)}`);
    }
    for (const name of ['a', 'b']) t.match(task(name).ask(one.ipv6Address), /^[ab] /, `${name} itself`);
    const [a, b] = [task('a'), task('b')];
    t.equal(b.ask(ipv6Of('a'), 80), '', 'from another task, but by what is published');
    t.equal(client.ask(ipv6Of('a'), 80), '', 'from outside');
    t.equal(two.ask(ipv6Of('a'), 80), `a ${ipv6GatewayAddress(two.gateway)}`, 'from its host');
    t.equal(a.sh('ip -6 addr show lo'), '', 'nothing else of IPv6');
    t.equal(task('idle').sh('ip -6 addr'), '');
    for (const host of hosts) {
      t.equal(
        host.sh('sysctl -n net.ipv6.conf.eth0.forwarding net.ipv6.conf.eth0.accept_ra').replace('\n', ' '),
        '0 1',
      );
    }
  });

  await t.test('and that of another host, and of the host itself', async (t) => {
    for (const from of hosts) {
      for (const to of hosts) t.equal(from.ask(to.address, 8081), `a ${from.address}`, `${from.id} to ${to.id}`);
      t.equal(from.ask('127.0.0.1', 8081), `a ${from.gateway}`, `${from.id} by localhost`);
      t.match(from.ask(from.gateway, 8081), /^a /);
      t.match(from.ask(two.gateway, 8081), /^a /, `${from.id} by the gateway of n2`);
    }
  });

  await t.test('for tasks too, under their host’s address', async (t) => {
    for (const [name, { host, machine }] of tasks) {
      for (const to of hosts) t.equal(machine.ask(to.address, 8081), `a ${host.gateway}`, `${name} to ${to.id}`);
    }
  });

  await t.test('but for names, which tasks ask their host for, whatever its firewall', async (t) => {
    const [asking, others] = [task('idle'), [port('tcp', 8081, 80, 'a'), port('tcp', 53, 80, 'a')]];
    await one.order({ do: 'answer-names' });
    await publish(http, dns, ...others);
    const seen = `names ${asking.address}`;
    t.equal(asking.ask(one.gateway, 53), seen);
    t.equal(client.ask(one.address, 53), `a ${OUTSIDE}`);
    one.sh(
      'nft add table ip firewall; nft "add chain ip firewall in { type filter hook input priority 0; policy drop; }"',
    );
    t.teardown(() => one.sh('nft delete table ip firewall'));
    t.equal(asking.ask(one.gateway, 53), seen);
    const question = asking.talk(
      t,
      `const u = require('dgram').createSocket('udp4');
      u.on('message', (m, from) => console.log(m + ' from ' + from.address));
      process.stdin.on('data', () => u.send('x', 53, '${one.gateway}'));`,
    );
    question.say('now');
    await one.until(() => one.repaired.includes('asked'));
    await publish(http, port('udp', 5353, 53, 'b'), port('udp', 53, 53, 'a'), ...others);
    await repaired(one, 'apiary_names', 'ip link del apiary_names');
    t.equal(asking.ask(one.gateway, 53), seen, 'also when the link is made anew');
    t.equal(await question.hear(), `${seen} from ${one.gateway}`, 'also of what was asked before ports changed');
    await publish(http, dns, ...others);
    const name = readGatewaySubnet(one.subnet).names;
    for (const from of [asking, task('a'), client]) t.equal(from.ask(name, 53), '', 'and nowhere else');
  });

  await t.test('and are the only way to a task, but from the hosts', async (t) => {
    const [a, b, idle] = [task('a'), task('b'), task('idle')];
    for (const from of [b, idle]) t.equal(from.ask(a.address, 80), '', 'from another task');
    client.sh(`ip route add ${two.subnet} via ${two.address}; ip route add ${three.subnet} via ${one.address}`);
    t.equal(client.ask(a.address, 80), '', 'from outside, straight');
    t.equal(client.ask(b.address, 80), '', 'from outside, by way of another host');
    t.equal(one.ask(a.address, 80), `a ${one.gateway}`, 'from another host');
    t.equal(two.ask(a.address, 80), `a ${two.gateway}`, 'from its own');
  });

  await t.test('carry more than fits into a packet', async (t) => {
    for (const to of [one.address, one.ipv6Address]) {
      const echo = client.talk(
        t,
        `
        const s = require('net').connect(8081, '${to}'); let bytes = 0;
        s.once('data', () => s.write(Buffer.alloc(2_000_000)));
        s.on('data', (d) => { bytes += d.length; if (bytes > 2_000_000) { console.log('all'); s.destroy(); } });`,
      );
      t.equal(await echo.hear(), 'all', to);
    }
  });

  const moves = async (t: Test, family: 4 | 6) => {
    const [to, seen] = family === 4 ? [one.address, OUTSIDE] : [one.ipv6Address, client.ipv6Address];
    const flow = client.talk(
      t,
      `
      const u = require('dgram').createSocket('udp${family}');
      u.on('message', (m, from) => console.log(m + ' from ' + from.address));
      process.stdin.on('data', () => u.send('x', 5353, '${to}'));`,
    );
    const answer = async () => {
      flow.say('now');
      return await flow.hear();
    };
    t.equal(await answer(), `a ${seen} from ${to}`);
    await publish(http, port('udp', 5353, 53, 'b'));
    t.equal(await answer(), `b ${seen} from ${to}`);
    await publish(http, port('udp', 5353, 53));
    flow.say('now');
    await publish(http, dns);
    t.equal(await answer(), `a ${seen} from ${to}`);
    t.match(two.sh('echo'), '', 'and every host is still there');
  };

  await t.test('of UDP: a flow whose task is gone goes on with another at once', async (t) => {
    for (const family of [4, 6] as const) await moves(t, family);
  });

  const lasting = (t: Test, to: Machine, portNumber = 8080) => {
    const { say, hear } = client.talk(
      t,
      `
      const s = require('net').connect(${portNumber}, '${to.address}').setEncoding('utf8');
      s.on('data', (d) => process.stdout.write(d)).on('error', (e) => console.log(e.code)).on('close', () => console.log('closed'));
      process.stdin.on('data', (d) => s.write(d));`,
    );
    return {
      hear,
      echo: async () => {
        say('still there');
        return await hear();
      },
    };
  };

  await t.test('lead a client to one task by several hosts at once, also from one port of its own', async (t) => {
    await publish(port('tcp', 8080, 80, 'a'), dns);
    t.teardown(() => publish(http, dns));
    const sockets = hosts.map(({ address }) =>
      client.talk(
        t,
        `
        const s = require('net').connect({ port: 8080, host: '${address}', localPort: 40404 }).setEncoding('utf8');
        s.on('data', (d) => process.stdout.write(d)).on('error', (e) => console.log(e.code));
        process.stdin.on('data', (d) => s.write(d));`,
      ),
    );
    for (let round = 0; round < 3; round++) {
      for (const { say, hear } of sockets) {
        if (round > 0) say('still there');
        t.equal(await hear(), round === 0 ? `a ${OUTSIDE}` : 'still there');
      }
    }
  });

  await t.test('keep connections while sets change, and while nobody looks after them', async (t) => {
    const { hear, echo } = lasting(t, one);
    const [name = ''] = (await hear()).split(' ');
    const other = name === 'a' ? 'b' : 'a';
    await publish(port('tcp', 8080, 80, other), dns);
    t.equal(client.ask(one.address), `${other} ${OUTSIDE}`);
    t.equal(await echo(), 'still there', 'of a task that drains');
    await Promise.all(hosts.map((host) => host.kill()));
    t.equal(await echo(), 'still there');
    t.equal(client.ask(one.address), `${other} ${OUTSIDE}`);
    await Promise.all(hosts.map((host) => host.start()));
    t.equal(await echo(), 'still there');
    t.equal(client.ask(one.address), `${other} ${OUTSIDE}`, 'before anything was heard of managers');
    await Promise.all(hosts.map((host) => host.order({ do: 'publish', ports: [] })));
    t.equal(client.ask(one.address), `${other} ${OUTSIDE}`, 'also when the host’s own ports are known');
    await publish(http, dns, port('tcp', 8081, 80, 'a'));
    t.equal(await echo(), 'still there');
    t.same(new Set([client.ask(one.address), client.ask(one.address)]), new Set([`a ${OUTSIDE}`, `b ${OUTSIDE}`]));
  });

  await t.test('go past the tunnel’s device, and by it while nobody looks after them', { skip: noTcx }, async (t) => {
    const sentByDevice = (): number => JSON.parse(one.sh('ip -s -j link show apiary_gwx'))[0].stats64.tx.packets;
    const asked = (): number => {
      const before = sentByDevice();
      t.equal(client.ask(one.address, 8081), `a ${OUTSIDE}`);
      return sentByDevice() - before;
    };
    // Whoever was not talked to yet is found by the kernel's own way.
    asked();
    t.equal(asked(), 0);
    await one.kill();
    t.ok(asked() > 0, 'by the device');
    await one.start();
    await one.order({ do: 'publish', ports: [] });
    await publish(http, dns, port('tcp', 8081, 80, 'a'));
    t.equal(asked(), 0);
    await repaired(one, 'apiary_gwx', 'ip link del apiary_gwx');
    asked();
    t.equal(asked(), 0, 'also by another device');
    const policy = `src ${one.address} dst ${three.address} dir out`;
    one.sh(`ip xfrm policy add ${policy} tmpl proto esp mode transport`);
    await repaired(one, 'apiary_gwx', 'ip link set apiary_gwx down');
    t.ok(asked() > 0, 'by the device, which asks what IPsec says');
    one.sh(`ip xfrm policy delete ${policy}`);
    await repaired(one, 'apiary_gwx', 'ip link set apiary_gwx down');
    t.equal(asked(), 0);
  });

  await t.test('are put back when somebody takes a part of them away', async (t) => {
    const routes = 'routes to 2 hosts';
    const lost: [Host, string, string][] = [
      [one, 'nftables table "inet apiary"', 'nft delete element inet apiary ports { tcp . 8081 }'],
      [one, 'nftables table "inet apiary"', 'nft flush chain inet apiary tcp_8081'],
      [one, routes, `ip route del ${two.subnet}`],
      [one, routes, `ip neigh del ${two.gateway} dev apiary_gwx`],
      [one, routes, 'bridge fdb del 02:62:0a:e0:02:01 dev apiary_gwx'],
      [one, routes, `ip route replace ${two.subnet} via ${three.gateway} dev apiary_gwx onlink`],
      [two, routes, 'ip rule del pref 97; ip rule del pref 97'],
      [two, routes, 'ip rule del pref 96'],
      [two, routes, `ip route flush table ${0x6100e001}`],
      [two, 'apiary_gwx', 'ip link set apiary_gwx down'],
      [two, 'apiary_gwx', 'ip link del apiary_gwx'],
      [two, 'apiary_gwx', 'sysctl -qw net.ipv4.conf.apiary_gwx.rp_filter=1'],
      [
        one,
        'IPv6 routes to 2 hosts',
        `ip -6 route del ${ipv6GatewaySubnet(two.subnet)}; ip -6 neigh del ${ipv6GatewayAddress(two.gateway)} dev apiary_gwx`,
      ],
      [two, 'IPv6 routes to 2 hosts', `ip -6 rule del pref 97; ip -6 route flush table ${0x6100e001}`],
      [two, 'forwarding of IPv6', 'sysctl -qw net.ipv6.conf.all.forwarding=0'],
      [two, 'IPv6 of apgw0ae00202', `ip -6 route del ${ipv6Of('a')}; ip -6 route del ::1 dev apgw0ae00202 table local`],
      [two, 'IPv6 address of apiary_gw', 'ip -6 addr flush dev apiary_gw'],
    ];
    for (const [host, what, command] of lost) {
      await repaired(host, what, command);
      t.equal(client.ask(one.address, 8081), `a ${OUTSIDE}`, command);
      t.equal(client.ask(one.ipv6Address, 8081), `a ${client.ipv6Address}`, `by IPv6: ${command}`);
      t.equal(two.ask('::1', 8081), `a ${ipv6GatewayAddress(two.gateway)}`, `from itself: ${command}`);
    }
  });

  await t.test('of one host lead to its own task, there alone', async (t) => {
    const own = (protocol: string, hostAddress: string, publishedPort: number): HostPort => ({
      taskId: 'a',
      protocol,
      hostAddress,
      publishedPort,
      targetPort: protocol === 'udp' ? 53 : 80,
      gatewayAddress: task('a').address,
      gatewayIpv6Address: ipv6Of('a'),
    });
    await two.order({
      do: 'publish',
      ports: [
        own('tcp', '', 9000),
        own('tcp', two.address, 9001),
        own('udp', '', 9000),
        own('tcp', two.ipv6Address, 9002),
      ],
    });
    t.equal(client.ask(two.ipv6Address, 9000), `a ${client.ipv6Address}`);
    t.equal(two.ask('::1', 9000), `a ${ipv6GatewayAddress(two.gateway)}`);
    t.equal(one.ask(two.ipv6Address, 9000), `a ${one.ipv6Address}`);
    t.equal(client.ask(two.ipv6Address, 9001), '', 'published at an address of IPv4');
    t.equal(client.ask(two.ipv6Address, 9002), `a ${client.ipv6Address}`);
    t.equal(client.ask(two.address, 9002) + two.ask('::1', 9002), '', 'not at the address of IPv6 that was asked for');
    t.equal(client.ask(two.address, 9000), `a ${OUTSIDE}`);
    t.equal(client.ask(one.address, 9000), '');
    t.equal(two.ask('127.0.0.1', 9000), `a ${two.gateway}`);
    t.equal(two.ask(two.address, 9000), `a ${two.address}`);
    t.equal(one.ask(two.address, 9000), `a ${one.address}`);
    t.equal(task('a').ask(two.address, 9000), `a ${two.gateway}`, 'the task itself');
    t.equal(client.ask(two.address, 9001), `a ${OUTSIDE}`);
    t.equal(two.ask('127.0.0.1', 9001), '', 'not at the address that was asked for');
    await two.order({ do: 'publish', ports: [] });
    t.equal(client.ask(two.address, 9000), '');
  });

  await t.test('and what is internal has them, but no way out', async (t) => {
    const { machine } = tasks.get('a') ?? { machine: client };
    const way = await client.talk(
      t,
      `require('net').createServer((s) => console.log(s.remoteAddress) ?? s.end('out\\n')).listen(7000, () => console.log('up'))`,
    );
    await way.hear();
    t.equal(machine.ask(OUTSIDE, 7000), 'out');
    t.equal(machine.ask(client.ipv6Address, 7000), 'out', 'by IPv6');
    t.same(
      [await way.hear(), await way.hear()],
      [`::ffff:${two.address}`, two.ipv6Address],
      'under its host’s address',
    );
    const internal = {
      networkId: 'i',
      name: 'i',
      vni: 5000,
      subnet: '',
      gateway: '',
      internal: true,
      attachable: false,
      encrypted: false,
      mtu: 0,
      engineNetwork: '',
    };
    const local = {
      taskId: 'a',
      serviceId: 's',
      gatewayAddress: machine.address,
      namespace: 1,
      namespaceCookie: 1n,
      attachments: [{ networkId: 'i', address: '', aliases: [] }],
    };
    const ports = [port('tcp', 8081, 80, 'a')];
    const confined = { ...state(two, ports), networks: new Map([['i', internal]]), tasks: new Map([['a', local]]) };
    await two.order({ do: 'apply', state: confined });
    t.equal(machine.ask(OUTSIDE, 7000), '');
    t.equal(machine.ask(client.ipv6Address, 7000), '', 'by IPv6');
    t.equal(client.ask(one.address, 8081), `a ${OUTSIDE}`);
    t.equal(client.ask(one.ipv6Address, 8081), `a ${client.ipv6Address}`);
    await publish(...ports);
  });

  await t.test('leave nothing behind', async (t) => {
    t.same(
      hosts.flatMap(({ troubles }) => troubles),
      [],
    );
    for (const name of tasks.keys()) await deleteNetworkNamespace(task(name).path).catch(() => {});
    for (const host of hosts) await host.order({ do: 'remove' });
    t.equal(two.sh(everything), found);
  });
});
