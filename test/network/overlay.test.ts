import t from 'tap';
import { Cluster, type PlacedContainer, skipWithoutHosts } from '../cluster/cluster.js';
import { type Host, until } from '../hosts/index.js';
import {
  addressOf,
  healedAfterScaleUp,
  inside,
  ipv6AddressOf,
  lookUp,
  NetworkBed,
  on,
  reaches,
  unreached,
} from './network-bed.js';

t.setTimeout(400_000);
t.test('overlay networks', { skip: skipWithoutHosts }, async (t) => {
  const cluster = await Cluster.up(t, 3);
  const [first, second, third] = [1, 2, 3].map((n) => cluster.hosts.host(n)) as [Host, Host, Host];

  const bed = new NetworkBed(cluster);
  const everyPair = async (containers: readonly PlacedContainer[]) => (await unreached(containers)).length === 0;
  const parts = (host: Host) => on(host, 'ls /run/netns 2>/dev/null || true');

  await t.test('tasks on different hosts find one another by name, and strangers do not', async (t) => {
    await bed.network(t, 'front');
    await bed.network(t, 'back');
    const serve = 'while :; do echo $(hostname) | nc -l -p 80; done';
    const one = await bed.one(t, 'one', { host: 1, networks: ['front'] });
    const web = await bed.one(t, 'web', { host: 2, networks: [{ Target: 'front', Aliases: ['www'] }], script: serve });
    const other = await bed.one(t, 'other', { host: 2, networks: ['back'] });
    t.match(addressOf(web), /^10\.\d+\.\d+\.\d+$/);
    t.match(await inside(one, 'ip -o addr show eth1'), new RegExp(`inet ${addressOf(one)}/\\d+`));
    t.ok(await reaches(one, addressOf(web)));
    t.ok(await reaches(web, addressOf(one)));
    t.same(await lookUp(one, 'tasks.web'), [addressOf(web)]);
    t.same(await lookUp(one, 'tasks.www'), [addressOf(web)]);
    t.match(await inside(one, 'nc -w2 web 80 </dev/null'), web.Id.slice(0, 12));
    t.match(await inside(one, `nslookup ${addressOf(web)}`), /name = web\.1\.\w+\.front/);
    t.same(await lookUp(other, 'tasks.web'), []);
    t.notOk(await reaches(other, addressOf(web)));
    t.match(await inside(one, 'cat /etc/hosts'), new RegExp(`\n${addressOf(one)}\t${one.Id.slice(0, 12)}$`));
    t.notMatch(await parts(third), /apiary/, 'nothing on a host without tasks');
    t.notMatch(await on(first, 'ip link'), /ap[bv]\d/, 'nor among the links of one with tasks');
  });

  await t.test('a name is not answered any more once its task is on its way out', async (t) => {
    await bed.network(t, 'front');
    const one = await bed.one(t, 'one', { host: 1, networks: ['front'] });
    await bed.run(t, 'web', { host: 2, networks: ['front'] });
    await until('the name', async () => (await lookUp(one, 'tasks.web')).length === 1, { timeoutMs: 1_000 });
    await cluster.manager.removeService('web');
    await until('the name to go', async () => (await lookUp(one, 'tasks.web')).length === 0, { timeoutMs: 2_000 });
  });

  await t.test('what runs goes on while swarmd is away, and is as it was when it is back', async (t) => {
    await bed.network(t, 'front');
    // The manager's own: another's tasks would be put elsewhere once it is taken for lost.
    const names = [1, 2, 3].map((host) => `on${host}`);
    const placed = names.map((name, i) => bed.run(t, name, { host: i + 1, networks: ['front'] }));
    const containers = (await Promise.all(placed)).flat();
    const [here, there] = containers as [PlacedContainer, PlacedContainer];
    const links = () => on(first, "ip netns exec apiary ip -o link | cut -d: -f1,2 | sed 's/@.*//'");
    const before = await links();
    await inside(
      here,
      `(ping -i 0.1 -w 600 ${addressOf(there)} | sed 's/.*seq=\\([0-9]*\\).*/\\1/' > /seqs) & sleep 1`,
    );
    await first.killSwarmd();
    t.ok(await everyPair(containers));
    await first.startSwarmd();
    await cluster.nodeIs(1, 'ready');
    await until('names to be answered', async () => (await lookUp(here, 'tasks.on2')).length === 1);
    await inside(here, 'killall ping; sleep 0.5');
    const seqs = (await inside(here, 'cat /seqs')).split('\n').map(Number).filter(Number.isInteger).slice(1, -4);
    t.same(
      seqs.filter((seq, i) => i > 0 && seq !== (seqs[i - 1] ?? 0) + 1),
      [],
      'no packet was lost',
    );
    t.equal(await links(), before);
    t.ok(await everyPair(containers));
  });

  await t.test('what somebody takes away is back within five seconds', async (t) => {
    await bed.network(t, 'front');
    const containers = await bed.run(t, 'web', { replicas: 3, networks: ['front'] });
    const inNamespace = (command: string) => `ip netns exec apiary sh -c '${command}'`;
    const each = (pattern: string) =>
      inNamespace(`for l in $(ls /sys/class/net | grep ${pattern}); do ip link del $l; done`);
    const entries =
      'bridge fdb | grep "dst " | while read mac _ dev _ dst _; do bridge fdb del $mac dev $dev dst $dst; done';
    for (const command of [each('apv'), each('apb'), each('^t0'), inNamespace(entries), 'ip netns del apiary']) {
      await on(first, command);
      await until(`every pair after: ${command}`, () => everyPair(containers), { timeoutMs: 5_000 });
      t.pass(command);
    }
  });

  await t.test('a host that was cut off during a scale-up is reached by all within five seconds', async (t) => {
    await bed.network(t, 'front');
    await bed.run(t, 'web', { replicas: 3, networks: ['front'] });
    const tookMs = await healedAfterScaleUp(bed, 'web', [third]);
    t.ok(tookMs < 5_000, `${tookMs.toFixed(0)} ms`);
  });

  await t.test(
    'an encrypted network is never seen in the clear, and its tunnel is back within five seconds',
    async (t) => {
      await bed.network(t, 'secret', { Options: { encrypted: '' } });
      const rules = ['4789', '4790'].map((port) => `udp dport ${port} counter`).join('; ');
      await on(second, `nft 'table inet heard { chain in { type filter hook prerouting priority -300; ${rules}; }; }'`);
      t.teardown(() => on(second, 'nft delete table inet heard'));
      const containers = await bed.run(t, 'web', { replicas: 3, networks: ['secret'] });
      await until('every pair', () => everyPair(containers), { timeoutMs: 5_000 });
      const [one] = containers as [PlacedContainer];
      t.same((await lookUp(one, 'tasks.web')).sort(), containers.map((each) => addressOf(each)).sort());
      const inTunnel = 'ip netns exec apiary-tunnel';
      for (const command of [
        `${inTunnel} ip link del apwg`,
        'kill -9 $(pidof wireguard-go)',
        `${inTunnel} wg set apwg private-key /dev/null`,
        `${inTunnel} ip route flush table main`,
        `${inTunnel} ip addr flush dev apwg`,
        'ip netns del apiary-tunnel',
      ]) {
        await on(first, command);
        await until(`every pair after: ${command}`, () => everyPair(containers), { timeoutMs: 5_000 });
        t.pass(command);
      }
      const heard = await on(second, 'nft list table inet heard');
      t.match(heard, /dport 4789 counter packets 0 /);
      t.match(heard, /dport 4790 counter packets [1-9]/);
    },
  );

  await t.test('on a network of IPv6 tasks reach one another by both, by address, by name and by VIP', async (t) => {
    await bed.network(t, 'dual', { EnableIPv6: true });
    const serve = 'while :; do echo $(hostname) | nc -l -p 80; done';
    const one = await bed.one(t, 'one', { host: 1, networks: ['dual'] });
    const web = await bed.one(t, 'web', { host: 2, networks: ['dual'], script: serve });
    const shown = JSON.parse((await first.docker('network', 'inspect', 'dual')).stdout)[0];
    t.equal(shown.EnableIPv6, true);
    t.match(shown.IPAM.Config, [{ Subnet: /^10\./ }, { Subnet: /^fd[0-9a-f:]+::\/64$/, Gateway: /::1$/ }]);
    t.match(Object.values(shown.Containers), [{ IPv6Address: /::\w+\/64$/ }, { IPv6Address: /::\w+\/64$/ }]);
    const [own, address] = [ipv6AddressOf(one), ipv6AddressOf(web)];
    t.match(await inside(one, 'ip -o -6 addr show eth1'), `inet6 ${own}/64 scope global`);
    t.match(await inside(one, 'ip -o -6 addr show lo'), '::1/128');
    t.match(await inside(one, 'ip -o -6 addr show eth0'), /inet6 fd61:\S+\/128 scope global/, 'the way out');
    t.ok(await reaches(one, address), 'at once');
    t.ok(await reaches(web, own));
    const [hostname, hosts] = [one.Id.slice(0, 12), await inside(one, 'cat /etc/hosts')];
    t.match(hosts, `\n${addressOf(one)}\t${hostname}\n${own}\t${hostname}`);
    const vips = (await cluster.manager.service('web')).Endpoint.VirtualIPs?.map(({ Addr = '' }) => Addr.split('/')[0]);
    t.same((await lookUp(one, 'web')).sort(), vips?.sort());
    t.same((await lookUp(one, 'tasks.web')).sort(), [addressOf(web), address].sort());
    t.match(await inside(one, `nslookup ${address}`), /name = web\.1\.\w+\.dual/);
    const [vip, ipv6Vip] = vips ?? [];
    for (const to of [address, ipv6Vip, `::ffff:${vip}`, 'web']) {
      t.match(await inside(one, `nc -w2 ${to} 80 </dev/null`), web.Id.slice(0, 12), String(to));
    }
    await first.killSwarmd();
    t.ok(await reaches(one, address), 'also while swarmd is away');
    await first.startSwarmd();
    await cluster.nodeIs(1, 'ready');
    await until('names to be answered', async () => (await lookUp(one, 'web')).length === 2);
    t.match(await inside(one, `nc -w2 ${ipv6Vip} 80 </dev/null`), web.Id.slice(0, 12));
  });

  await t.test('an internal network has no way out; networks of the engine are the engine’s', async (t) => {
    await bed.network(t, 'sealed', { Internal: true });
    const sealed = await bed.one(t, 'sealed', { host: 1, networks: ['sealed'] });
    const hosts = await bed.one(t, 'hosts', { host: 1, networks: ['host'] });
    t.notMatch(await inside(sealed, 'ip route'), /default/);
    t.notOk(await reaches(sealed, second.address));
    t.match(await inside(hosts, 'ip -o addr'), new RegExp(first.address.replaceAll('.', '\\.')));
  });

  await t.test('a host that leaves and joins again at once is found where it is now', async (t) => {
    await bed.network(t, 'front');
    const one = await bed.one(t, 'one', { host: 1, networks: ['front'] });
    await bed.run(t, 'web', { replicas: 2, networks: ['front'] });
    for (let round = 0; round < 2; round++) {
      const { ID } = await cluster.node(3);
      await cluster.client(3).swarmLeave();
      await cluster.nodeIs(3, 'down');
      await cluster.manager.removeNode(ID, true);
      await cluster.join(3);
      await cluster.nodeIs(3, 'ready');
      const [here, there] = [
        await bed.one(t, `here${round}`, { host: 2, networks: ['front'] }),
        await bed.one(t, `there${round}`, { host: 3, networks: ['front'] }),
      ];
      const all = [one, here, there, ...(await cluster.settled('web', 2))];
      await until('each to reach each', () => everyPair(all), { timeoutMs: 5_000 });
      for (const from of [one, here, there]) {
        t.same(await lookUp(from, `tasks.there${round}`), [addressOf(there)]);
        t.equal((await lookUp(from, 'tasks.web')).length, 2);
      }
    }
  });

  await t.test('with the last task of a network all of it is gone from a host', async (t) => {
    for (const host of cluster.hosts) {
      await until('nothing to be left', async () => !(await parts(host)).includes('apiary'), { timeoutMs: 10_000 });
      await until('WireGuard to be gone', async () => !(await on(host, 'ps ax')).includes('wireguard-go apwg'));
      t.pass(host.name);
    }
  });
});

t.test('hosts that know one another by IPv6 alone', { skip: skipWithoutHosts }, async (t) => {
  const cluster = await Cluster.hosts(t, 2);
  const [first, second] = [1, 2].map((n) => cluster.hosts.host(n)) as [Host, Host];
  for (const host of cluster.hosts) {
    await on(host, `ip addr add fd00:aa::${host.number}/64 dev eth0 nodad`);
    await host.startSwarmd();
  }
  const listening = { ListenAddr: '[::]:2377' };
  await cluster.manager.swarmInit({ AdvertiseAddr: '[fd00:aa::1]', ...listening });
  const request = await cluster.joinRequest(2, 'Worker');
  await cluster.client(2).swarmJoin({ ...request, AdvertiseAddr: '[fd00:aa::2]', ...listening });
  for (const { number } of cluster.hosts) await cluster.nodeIs(number, 'ready');
  const bed = new NetworkBed(cluster);
  await bed.network(t, 'dual', { EnableIPv6: true });
  const serve = 'while :; do echo $(hostname) | nc -l -p 80; done';
  const endpoint = { Ports: [{ TargetPort: 80, PublishedPort: 8080 }] };
  const one = await bed.one(t, 'one', { host: 1, networks: ['dual'] });
  const web = await bed.one(t, 'web', { host: 2, networks: ['dual'], script: serve, endpoint });
  t.match(await on(first, 'ip netns exec apiary bridge fdb'), /dst fd00:aa::2 /);
  t.ok(await reaches(one, addressOf(web)));
  t.ok(await reaches(one, ipv6AddressOf(web)));
  t.match(await inside(one, 'nc -w2 web 80 </dev/null'), web.Id.slice(0, 12));
  for (const { address } of [first, second]) {
    t.match(await on(first, `busybox nc -w2 ${address} 8080 </dev/null`), web.Id.slice(0, 12), 'a published port');
  }
});
