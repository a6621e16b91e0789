import { createSocket } from 'node:dgram';
import { get } from 'node:http';
import { createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import t, { type Test } from 'tap';
import { Cluster, type PlacedContainer, skipWithoutHosts } from '../cluster/cluster.js';
import { type Host, until } from '../hosts/index.js';
import { mustRun } from '../hosts/process.js';
import { inside, NetworkBed, on, pidsOf } from './network-bed.js';

/** A task that says on port 80, as a web page, who it is and who asks. */
const WHO = `mkdir -p /www/cgi-bin
  printf '#!/bin/sh\\nprintf "Content-Type: text/plain\\r\\n\\r\\n"; echo $(hostname) $REMOTE_ADDR | tr -d []' > /www/cgi-bin/who
  chmod +x /www/cgi-bin/who
  exec httpd -f -p 80 -h /www`;

t.setTimeout(300_000);
t.test('what is published, by IPv6', { skip: skipWithoutHosts }, async (t) => {
  const cluster = await Cluster.up(t, 2);
  const bed = new NetworkBed(cluster);
  const [first, second] = [1, 2].map((n) => cluster.hosts.host(n)) as [Host, Host];
  const [, a = '0', b = '0'] = first.address.split('.');
  const ipv6Of = (address: string) => `fd77:${a}:${b}::${address.split('.').at(-1)}`;
  const addresses = [first, second].map(({ address }) => ipv6Of(address)) as [string, string];
  const [one, two] = addresses;
  /** The machine's own, on the hosts' link. */
  const machine = first.address.replace(/\.\d+$/, '.254');
  const outside = ipv6Of(machine);
  for (const host of [first, second]) await on(host, `ip -6 addr add ${ipv6Of(host.address)}/64 dev eth0 nodad`);
  const links = Object.entries(networkInterfaces());
  const [link = ''] = links.find(([, held]) => held?.some(({ address }) => address === machine)) ?? [];
  await mustRun(['ip', '-6', 'addr', 'add', `${outside}/64`, 'dev', link, 'nodad']);

  const request = (host: string, port: number): Promise<string> =>
    new Promise((resolve) => {
      const asked = get({ host, port, path: '/cgi-bin/who', timeout: 2_000, agent: false }, (answer) => {
        let text = '';
        answer.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        answer.on('end', () => resolve(text.trim()));
      });
      asked.on('timeout', () => asked.destroy()).on('error', () => resolve(''));
    });
  const from = (host: Host, address: string, port: number): Promise<string> =>
    on(host, `curl -gsm2 http://[${address}]:${port}/cgi-bin/who || true`);
  /** Has a task's network say by UDP who it is and who asks. */
  const sayByUdp = async (t: Test, { host, Id }: PlacedContainer, port: number) => {
    const [pid = ''] = await pidsOf(host, [Id]);
    const script = `const udp = require('dgram').createSocket('udp6');
      udp.on('message', (_, from) => udp.send('${Id.slice(0, 12)} ' + from.address, from.port, from.address)).bind(${port});`;
    const log = `${host.directory}/udp-${Id.slice(0, 12)}.log`;
    const server = await host.spawn('nsenter', ['-t', pid, '--net', process.execPath, '-e', script], log);
    t.teardown(async () => {
      server.kill('SIGKILL');
      await server.exited;
    });
  };
  /** Who answers by UDP, asked again until somebody does. */
  const byUdp = async (host: string, port: number): Promise<string> => {
    const socket = createSocket('udp6');
    let said = '';
    socket.on('message', (message) => (said = String(message).trim()));
    await until(`an answer by ${host}`, async () => {
      socket.send('x', port, host);
      return said !== '';
    });
    socket.close();
    return said;
  };
  const names = (containers: readonly PlacedContainer[]) => containers.map(({ Id }) => Id.slice(0, 12)).sort();
  /** Asks until everybody has answered, and nobody was seen as somebody else. */
  const all = async (
    t: Test,
    what: string,
    ask: () => Promise<string>,
    who: readonly PlacedContainer[],
    seen: string,
  ) => {
    const found = new Set<string>();
    await until(what, async () => {
      const [name = '', client = ''] = (await ask()).split(' ');
      if (name !== '') t.equal(client, seen, what);
      if (name !== '') found.add(name);
      return found.size === who.length;
    });
    t.same([...found].sort(), names(who));
  };

  await t.test('leads from every host to every task, which sees its client', async (t) => {
    const Ports = [
      { PublishedPort: 8080, TargetPort: 80 },
      { PublishedPort: 5353, TargetPort: 53, Protocol: 'udp' as const },
    ];
    const tasks = await bed.run(t, 'web', { replicas: 4, script: WHO, endpoint: { Ports } });
    t.equal(new Set(tasks.map(({ host }) => host.name)).size, 2);
    for (const address of addresses) {
      await all(t, `outside to ${address}`, () => request(address, 8080), tasks, outside);
      for (const host of [first, second]) {
        const seen = ipv6Of(host.address);
        await all(t, `${host.name} to ${address}`, () => from(host, address, 8080), tasks, seen);
      }
    }
    for (const host of [first, second]) {
      const own = await on(host, "ip -6 -o addr show apiary_gw | sed 's|.*inet6 ||; s|/.*||'");
      await all(t, `${host.name} by localhost`, () => from(host, '::1', 8080), tasks, own);
    }
    for (const task of tasks) await sayByUdp(t, task, 53);
    for (const address of addresses) {
      const [name = '', client] = (await byUdp(address, 5353)).split(' ');
      t.ok(names(tasks).includes(name), `UDP by ${address}`);
      t.equal(client, outside);
    }
    await first.killSwarmd();
    t.match(await request(one, 8080), outside, 'while swarmd is away');
    await first.startSwarmd();
    await cluster.nodeIs(1, 'ready');
    await all(t, 'after swarmd has come back', () => request(one, 8080), tasks, outside);
  });

  await t.test('leads to a host’s own task, at an address of IPv6 alone where that is asked for', async (t) => {
    const Ports = [
      { PublishedPort: 8081, TargetPort: 80, PublishMode: 'host' as const },
      { PublishedPort: 8082, TargetPort: 80, PublishMode: 'host' as const, HostIP: two },
    ];
    const [task] = await bed.run(t, 'own', { host: 2, script: WHO, endpoint: { Ports } });
    const answer = `${task?.Id.slice(0, 12)} ${outside}`;
    await until('it to answer', async () => (await request(two, 8081)) === answer);
    t.equal(await request(two, 8082), answer);
    t.equal(await request(second.address, 8082), '', 'nowhere else');
    t.equal(await request(one, 8081), '');
    t.match(await from(second, '::1', 8081), task?.Id.slice(0, 12));
    t.match(await from(first, two, 8081), one);
  });

  await t.test('and tasks on networks of IPv6 have a way out by it, but for internal ones', async (t) => {
    const server = createServer((socket) => socket.end(socket.remoteAddress ?? '')).listen(0, outside);
    t.teardown(() => server.close());
    await new Promise((resolve) => server.once('listening', resolve));
    const place = server.address();
    const port = typeof place === 'object' && place !== null ? place.port : 0;
    await bed.network(t, 'six', { EnableIPv6: true });
    await bed.network(t, 'shut', { EnableIPv6: true, Internal: true });
    const ask = `nc -w2 ${outside} ${port} </dev/null 2>&1 || true`;
    t.equal(await inside(await bed.one(t, 'out', { networks: ['six'], host: 1 }), ask), one);
    t.match(await inside(await bed.one(t, 'in', { networks: ['shut'], host: 1 }), ask), /unreachable/);
  });

  await t.test('a host without IPv6 goes on as before, and nobody is led to its tasks by it', async (t) => {
    await second.stopSwarmd();
    await on(second, 'sysctl -qw net.ipv6.conf.all.disable_ipv6=1');
    await second.startSwarmd();
    await cluster.nodeIs(2, 'ready');
    const Ports = [{ PublishedPort: 8083, TargetPort: 80 }];
    const tasks = await bed.run(t, 'some', { replicas: 4, script: WHO, endpoint: { Ports } });
    t.equal(new Set(tasks.map(({ host }) => host.name)).size, 2);
    const able = tasks.filter(({ host }) => host === first);
    await all(t, 'by IPv6', () => request(one, 8083), able, outside);
    for (let i = 0; i < 8; i++) t.ok(names(able).includes((await request(one, 8083)).split(' ')[0] ?? ''));
    await all(t, 'by IPv4', () => request(second.address, 8083), tasks, `::ffff:${machine}`);
  });
});
