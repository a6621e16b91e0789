import t from 'tap';
import { Cluster, type PlacedContainer, skipWithoutHosts } from '../cluster/cluster.js';
import { type Host, until } from '../hosts/index.js';
import { addressOf, inside, lookUp, NetworkBed, on, unreached } from './network-bed.js';

const DATA_PATH_PORT = 7789;
const UNDERLAY_MTU = 1_400;
/** Five addresses that can be given out: the first is the gateway's, the last nobody's. */
const TINY = '10.99.0.0/29';

t.setTimeout(400_000);
t.test(
  'networks of three managers, on hosts with several addresses and small packets',
  { skip: skipWithoutHosts },
  async (t) => {
    const cluster = await Cluster.hosts(t, 3);
    const bed = new NetworkBed(cluster);
    for (const { address, number } of bed.hosts) {
      // The kernel would send from the first address of a link.
      await on(
        cluster.hosts.host(number),
        `ip link set eth0 mtu ${UNDERLAY_MTU}; ip addr flush dev eth0
      ip addr add 198.51.100.${number}/24 dev eth0; ip addr add ${address}/24 dev eth0`,
      );
    }
    await cluster.form({ managers: 3, dataPathPort: DATA_PATH_PORT });

    const addressesOf = (containers: readonly PlacedContainer[]) => containers.map((each) => addressOf(each)).sort();
    const vipOf = async (service: string) => (await cluster.manager.service(service)).Endpoint?.VirtualIPs;
    /** What waits says why. */
    const waiting = async (service: string) => {
      const tasks = (await cluster.tasks(service)).filter(({ DesiredState }) => DesiredState === 'running');
      return tasks.filter(({ Status }) => Status.State === 'pending');
    };

    await t.test('carry what is as large as can be, between the addresses that are advertised', async (t) => {
      const rules = [1, 2, 3].flatMap((n) => [
        `ip saddr ${cluster.hosts.host(n).address} udp dport ${DATA_PATH_PORT} counter`,
        `ip saddr 198.51.100.${n} udp dport ${DATA_PATH_PORT} counter`,
      ]);
      for (const host of bed.hosts) {
        await on(
          host,
          `nft 'table inet heard { chain in { type filter hook prerouting priority -300; ${rules.join('; ')}; }; }'`,
        );
      }
      for (const [name, options, overhead] of [
        ['plain', {}, 50],
        ['secret', { encrypted: '' }, 130],
      ] as const) {
        await bed.network(t, name, { Options: options });
        const containers = await bed.run(t, name, {
          replicas: 3,
          networks: [name],
          script: 'mkdir /www; head -c 300000 /dev/zero > /www/file; exec httpd -f -p 80 -h /www',
          endpoint: name === 'plain' ? { Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080 }] } : {},
        });
        await until('each to reach each', async () => (await unreached(containers)).length === 0, { timeoutMs: 5_000 });
        const [one, two] = containers as [PlacedContainer, PlacedContainer];
        t.match(await inside(one, 'ip link show eth1'), new RegExp(`mtu ${UNDERLAY_MTU - overhead} `));
        await inside(one, `ping -c1 -W1 -s ${UNDERLAY_MTU - overhead - 28} ${addressOf(two)}`);
        const bytes = await inside(one, `wget -qO- http://${addressOf(two)}/file | wc -c`);
        t.equal(bytes, '300000', name);
      }
      for (const host of bed.hosts) {
        for (let i = 0; i < 3; i++)
          t.equal(await on(host, `curl -sm5 http://${host.address}:8080/file | wc -c`), '300000');
        const heard = await on(host, 'nft list table inet heard');
        t.match(heard, /saddr 10\.\S+ udp dport 7789 counter packets [1-9]/);
        t.notMatch(heard, /saddr 198\.\S+ udp dport 7789 counter packets [1-9]/);
      }
    });

    await t.test('that ask for one subnet at once: one of them gets it', async (t) => {
      const IPAM = { Driver: 'default', Config: [{ Subnet: '10.98.0.0/24' }] };
      const asked = await Promise.allSettled(
        [1, 2, 3].map((n) => cluster.client(n).createNetwork({ Name: `net${n}`, Driver: 'overlay', IPAM })),
      );
      const refused = asked.flatMap((each) => (each.status === 'rejected' ? [String(each.reason)] : []));
      const [made, ...others] = [1, 2, 3].filter((_, i) => asked[i]?.status === 'fulfilled');
      t.teardown(() => cluster.manager.removeNetwork(`net${made}`));
      t.same(others, []);
      for (const reason of refused) t.match(reason, new RegExp(`10\\.98\\.0\\.0/24.*net${made}`));
    });

    await t.test('whose subnet is full have tasks wait and say so, until an address is given back', async (t) => {
      await bed.network(t, 'tiny', { IPAM: { Driver: 'default', Config: [{ Subnet: TINY }] } });
      await bed.run(t, 'first', { networks: ['tiny'] });
      await bed.create(t, 'web', { replicas: 6, networks: ['tiny'], endpoint: { Mode: 'dnsrr' } });
      // The gateway apart there are five, of which the first service has two.
      const [task] = await until('three to wait', async () => {
        const tasks = await waiting('web');
        return tasks.length === 3 && tasks;
      });
      t.match(`${task?.Status.Message} ${task?.Status.Err}`, /tiny/);
      await cluster.remove('first');
      await until('one to wait', async () => (await waiting('web')).length === 1);
      await bed.scale('web', 5);
      const containers = await cluster.settled('web', 5);
      t.same(addressesOf(containers), ['10.99.0.2', '10.99.0.3', '10.99.0.4', '10.99.0.5', '10.99.0.6']);
      t.same(await unreached(containers), []);
    });

    await t.test('whose leader is killed between a task’s allocation and its start keep what it gave', async (t) => {
      await bed.network(t, 'front');
      await bed.run(t, 'before', { replicas: 3, networks: ['front'] });
      const vip = await vipOf('before');
      const leader = await cluster.managersAre(1, 2, 3);
      const others = bed.hosts.filter(({ number }) => number !== leader) as [Host, Host];
      cluster.ask(others[0].number);
      // What is assigned cannot start.
      for (const { enginePid } of others) process.kill(enginePid, 'SIGSTOP');
      const Placement = { Constraints: [`node.hostname!=h${leader}`] };
      const given = async () => {
        const tasks = await cluster.tasks('web');
        const held = tasks.filter(({ NetworksAttachments = [] }) => NetworksAttachments.length > 0);
        return (
          held.length === 4 &&
          held.map(({ ID, NetworksAttachments }) => JSON.stringify([ID, NetworksAttachments])).sort()
        );
      };
      await bed.create(t, 'web', { replicas: 4, networks: ['front'], placement: Placement });
      const allocated = await until('the tasks to have addresses', given);
      await cluster.hosts.host(leader).killSwarmd();
      for (const { enginePid } of others) process.kill(enginePid, 'SIGCONT');
      const containers = await until('the tasks to run', async () => {
        const running = (await cluster.containers('web', others)).filter(({ State }) => State === 'running');
        return running.length === 4 && running;
      });
      t.same(await given(), allocated);
      await cluster.hosts.host(leader).startSwarmd();
      await cluster.managersAre(1, 2, 3);
      const all = [...containers, ...(await cluster.settled('before', 3))];
      t.equal(new Set(addressesOf(all)).size, 7, 'nobody has another’s');
      await until('each to reach each', async () => (await unreached(all)).length === 0, { timeoutMs: 5_000 });
      t.same(await vipOf('before'), vip);
    });

    await t.test('are as they were when all managers were killed', async (t) => {
      await bed.network(t, 'front');
      const containers = await bed.run(t, 'web', { replicas: 3, networks: ['front'] });
      const vip = await vipOf('web');
      await Promise.all(bed.hosts.map((host) => host.killSwarmd()));
      t.same(await unreached(containers), []);
      await Promise.all(bed.hosts.map((host) => host.startSwarmd()));
      await cluster.managersAre(1, 2, 3);
      t.same(
        (await cluster.settled('web', 3)).map(({ Id }) => Id),
        containers.map(({ Id }) => Id),
      );
      t.same(await vipOf('web'), vip);
      const [one] = containers as [PlacedContainer];
      const names = () => lookUp(one, 'tasks.web').then((addresses) => addresses.sort().join());
      await until('the name', async () => (await names()) === addressesOf(containers).join());
      const [more] = await bed.run(t, 'more', { networks: ['front'] });
      t.notOk([...addressesOf(containers), vip?.[0]?.Addr?.split('/')[0]].includes(addressOf(more as PlacedContainer)));
      t.same(await unreached([...containers, more as PlacedContainer]), []);
    });

    await t.test('of a node that is lost and removed get its addresses back', async (t) => {
      await bed.network(t, 'tiny', { IPAM: { Driver: 'default', Config: [{ Subnet: TINY }] } });
      const endpoint = { Mode: 'dnsrr' };
      await bed.run(t, 'lost', { replicas: 3, host: 3, networks: ['tiny'], endpoint });
      await bed.create(t, 'web', {
        replicas: 4,
        networks: ['tiny'],
        endpoint,
        placement: { Constraints: ['node.hostname!=h3'] },
      });
      await until('two to wait', async () => (await waiting('web')).length === 2);
      cluster.ask(1);
      await cluster.hosts.host(3).cut();
      await cluster.nodeIs(3, 'down');
      t.equal((await waiting('web')).length, 2, 'nobody knows whether its containers run');
      await cluster.updateNode(3, { Role: 'worker' });
      await cluster.managersAre(1, 2);
      await cluster.manager.removeNode((await cluster.node(3)).ID, true);
      await until('all to run', async () => (await waiting('web')).length === 0);
      t.same(await unreached(await cluster.settled('web', 4)), []);
      await cluster.manager.removeService('lost');
      await cluster.hosts.host(3).heal();
      await cluster.gone('lost');
    });
  },
);
