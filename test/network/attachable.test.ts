import t from 'tap';
import { Cluster, skipWithoutHosts } from '../cluster/cluster.js';
import { type Host, type Outcome, until } from '../hosts/index.js';
import { NetworkBed } from './network-bed.js';

const IPV6 = '{{.NetworkSettings.Networks.six.GlobalIPv6Address}}';
/** Says on a port who it is. */
const serving = (port: string) => `mkdir /w; hostname > /w/index.html; exec httpd -f -p ${port} -h /w`;
const SLEEP = ['busybox:test', 'sleep', '1d'];

t.setTimeout(400_000);
t.test('containers that are no tasks, on attachable networks', { skip: skipWithoutHosts }, async (t) => {
  const cluster = await Cluster.up(t, 2);
  const bed = new NetworkBed(cluster);
  const [first, second] = [1, 2].map((n) => cluster.hosts.host(n)) as [Host, Host];

  async function must(outcome: Promise<Outcome>): Promise<string> {
    const { code, stdout, stderr } = await outcome;
    if (code !== 0) throw new Error(`${stdout}${stderr}`.trim());
    return stdout.trim();
  }
  async function refused(outcome: Promise<Outcome>): Promise<string> {
    const { code, stdout, stderr } = await outcome;
    if (code === 0) throw new Error(`not refused: ${stdout}`);
    return stderr.trim();
  }
  const inside = (host: Host, container: string, command: string) =>
    must(host.engineDocker('exec', container, 'sh', '-c', command));
  const reaches = (host: Host, container: string, address: string): Promise<boolean> =>
    inside(host, container, `ping -c1 -W1 ${address}`).then(
      () => true,
      () => false,
    );
  const addressOf = (host: Host, container: string, network: string) => {
    const format = `{{(index .NetworkSettings.Networks "${network}").IPAddress}}`;
    return must(host.engineDocker('inspect', '--format', format, container));
  };
  const lookUp = (host: Host, container: string, name: string) =>
    inside(host, container, `nslookup ${name} 2>&1 || true`).then((said) =>
      Array.from(
        said
          .split(/\n\s*\n/)
          .slice(1)
          .join('\n')
          .matchAll(/Address(?: \d+)?: (\S+)/g),
        ([, each]) => each,
      ),
    );
  const finds = (host: Host, container: string, name: string, address: string) =>
    until(`${container} to find ${name} at ${address}`, async () =>
      (await lookUp(host, container, name)).includes(address),
    );
  /** How many of the network's addresses are in use. */
  const used = async (network: string) =>
    (await cluster.manager.request<{ IPsInUse: number }[]>('GET', `/apiary/v1/networks/${network}/usage`))[0]?.IPsInUse;
  const network = (name: string, ...options: string[]) =>
    must(first.swarmctl('network', 'create', '-d', 'overlay', '--attachable', ...options, name));
  const engineHas = (host: Host, name: string) =>
    until(`${host.name}'s engine to have ${name}`, () =>
      host.engineDocker('network', 'inspect', name).then(({ code }) => code === 0),
    );

  await network('front');
  await engineHas(second, 'front');

  await t.test('they and tasks find each other by name on all hosts, and VIPs lead from them to tasks', async (t) => {
    await must(first.docker('run', '-d', '--name', 'alpha', '--network', 'front', ...SLEEP));
    const options = ['--network', 'front', '--network-alias', 'bee', '--hostname', 'hive'];
    await must(second.engineDocker('run', '-d', '--name', 'beta', ...options, ...SLEEP));
    const [alpha, beta] = [await addressOf(first, 'alpha', 'front'), await addressOf(second, 'beta', 'front')];
    t.not(alpha, beta);
    t.ok(await reaches(first, 'alpha', beta));
    await finds(first, 'alpha', 'beta', beta);
    await finds(first, 'alpha', 'bee', beta);
    await finds(second, 'beta', 'alpha', alpha);
    await finds(second, 'beta', 'beta', beta);
    t.match(await inside(first, 'alpha', `nslookup ${beta}`), /beta\.front/);

    const [task] = await bed.run(t, 'web', { replicas: 2, networks: ['front'], script: serving('80') });
    const { Endpoint } = await cluster.manager.service('web');
    const vip = Endpoint?.VirtualIPs?.[0]?.Addr?.split('/')[0] ?? '';
    await finds(second, 'beta', 'web', vip);
    t.equal((await lookUp(second, 'beta', 'tasks.web')).length, 2);
    for (const [host, name] of [
      [first, 'alpha'],
      [second, 'beta'],
    ] as const) {
      t.match(await inside(host, name, `printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | nc web 80`), /200 OK/);
    }
    if (task === undefined) throw new Error('web has no task');
    await finds(task.host, task.Id, 'alpha', alpha);
    t.ok(await reaches(task.host, task.Id, beta));
    await cluster.remove('web');
  });

  await t.test('the network in use is not removed, and says by which container', async (t) => {
    t.match(
      await refused(first.docker('network', 'rm', 'front')),
      /network \w+ is in use by container (alpha on node h1|beta on node h2)/,
    );
    t.match(
      await must(first.docker('network', 'ls', '--filter', 'name=front', '--format', '{{.Driver}} {{.Scope}}')),
      'overlay swarm',
    );
    const { Containers } = await cluster.manager.network('front');
    const names = Object.values(Containers ?? {}).map((each) => ('Name' in each ? each.Name : ''));
    t.same(names.sort(), ['alpha', 'beta'], 'wherever they are');
  });

  await t.test(
    'a container is connected and disconnected while it runs, with an address that it chooses',
    async (t) => {
      await network('back', '--subnet', '10.77.0.0/24', '--opt', 'encrypted');
      await must(first.docker('network', 'connect', '--ip', '10.77.0.50', '--alias', 'ace', 'back', 'alpha'));
      await engineHas(second, 'back');
      await must(second.engineDocker('network', 'connect', 'back', 'beta'));
      t.equal(await addressOf(first, 'alpha', 'back'), '10.77.0.50');
      await finds(second, 'beta', 'ace', '10.77.0.50');
      await until('beta to reach alpha', () => reaches(second, 'beta', '10.77.0.50'));
      t.match(
        await refused(second.engineDocker('run', '--rm', '--network', 'back', '--ip', '10.77.0.50', ...SLEEP)),
        'address 10.77.0.50 on network back is in use: choose another',
      );
      t.equal(await used('back'), 2);
      await must(first.docker('network', 'disconnect', 'back', 'alpha'));
      await must(second.engineDocker('network', 'disconnect', 'back', 'beta'));
      await until('the addresses to be free', async () => (await used('back')) === 0);
      t.ok(await reaches(first, 'alpha', await addressOf(second, 'beta', 'front')), 'the other network goes on');
      await must(first.docker('network', 'rm', 'back'));
      await until("it to be gone from beta's engine", () =>
        second.engineDocker('network', 'inspect', 'back').then(({ code }) => code !== 0),
      );
    },
  );

  await t.test(
    'on a network of IPv6 they have an address of each family, known by name as those of tasks are',
    async (t) => {
      await network('six', '--ipv6', '--subnet', '10.78.0.0/24', '--subnet', 'fd00:78::/64');
      for (const host of [first, second]) await engineHas(host, 'six');
      const names = ['one', 'two', 'three', 'four'];
      const hosts = new Map(names.map((name, i) => [name, i % 2 === 0 ? first : second]));
      await Promise.all(
        [...hosts].map(([name, host]) =>
          must(host.engineDocker('run', '-d', '--name', name, '--network', 'six', ...SLEEP)),
        ),
      );
      const ipv6Of = (name: string) => must((hosts.get(name) ?? first).engineDocker('inspect', '--format', IPV6, name));
      const addresses = await Promise.all(names.map(ipv6Of));
      t.equal(new Set(addresses).size, names.length);
      const inspected = Object.values((await cluster.manager.network('six')).Containers ?? {});
      const shown = inspected.map((each) => ('IPv6Address' in each ? each.IPv6Address : ''));
      t.same(shown.sort(), addresses.map((address) => `${address}/64`).sort());
      for (const [i, name] of names.entries()) {
        await finds(second, 'two', name, addresses[i] ?? '');
        t.ok(await reaches(second, 'two', addresses[i] ?? ''), `${name} at ${addresses[i]}`);
      }
      t.match(await inside(second, 'two', 'ip -6 route'), /^fd00:78::\/64 dev eth0/);
      t.notMatch(await inside(second, 'two', 'ip -6 route'), 'default', 'no way out');

      await bed.run(t, 'web6', { replicas: 2, networks: ['six'], script: serving('[::]:80') });
      const vip = (await cluster.manager.service('web6')).Endpoint?.VirtualIPs?.[1]?.Addr?.split('/')[0] ?? '';
      t.match(vip, /^fd00:78::/);
      await finds(first, 'one', 'web6', vip);
      const asked = `printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | nc ${vip} 80`;
      for (const name of ['one', 'two']) t.match(await inside(hosts.get(name) ?? first, name, asked), /200 OK/);
      await cluster.remove('web6');

      const chosen = ['--network', 'six', '--ip6', 'fd00:78::abcd'];
      await must(first.engineDocker('run', '-d', '--name', 'five', ...chosen, ...SLEEP));
      hosts.set('five', first);
      t.equal(await ipv6Of('five'), 'fd00:78::abcd');
      const words = 'address fd00:78::abcd on network six is in use: choose another';
      t.match(await refused(second.engineDocker('run', '--rm', ...chosen, ...SLEEP)), words);
      t.equal(await used('six'), 5, 'it has given back the other one that it was given');

      const ping = inside(first, 'one', `ping -c 60 -i 0.05 -q ${addresses[1]}`);
      await second.killSwarmd();
      await second.startSwarmd();
      await cluster.nodeIs(2, 'ready');
      t.match(await ping, ' 0% packet loss');
      await finds(second, 'two', 'one', addresses[0] ?? '');
      for (const [name, host] of hosts) await must(host.engineDocker('rm', '-f', name));
      await until('all addresses to be free', async () => (await used('six')) === 0);
      await must(first.docker('network', 'rm', 'six'));
    },
  );

  await t.test('a network that is not attachable refuses them in words of Docker', async (t) => {
    await must(first.swarmctl('network', 'create', '-d', 'overlay', 'shut'));
    t.match(
      await refused(first.docker('run', '--network', 'shut', ...SLEEP)),
      'Could not attach to network shut: rpc error: code = PermissionDenied desc = network shut not manually attachable',
    );
    await must(first.docker('network', 'rm', 'shut'));
  });

  await t.test('swarmd that is killed and started again disturbs nothing, and knows what it had', async (t) => {
    const beta = await addressOf(second, 'beta', 'front');
    const ping = inside(first, 'alpha', `ping -c 100 -i 0.05 -q ${beta}`);
    await second.killSwarmd();
    await second.startSwarmd();
    await cluster.nodeIs(2, 'ready');
    t.match(await ping, ' 0% packet loss');
    await finds(second, 'beta', 'alpha', await addressOf(first, 'alpha', 'front'));
    t.equal(await used('front'), 2);
    await must(second.engineDocker('restart', '-t', '0', 'beta'));
    await finds(first, 'alpha', 'bee', await addressOf(second, 'beta', 'front'));
    await until('the old address to be free', async () => (await used('front')) === 2);
  });

  await t.test('what has ended gives its address back, however it ended', async (t) => {
    await must(first.engineDocker('run', '--rm', '--network', 'front', 'busybox:test', 'true'));
    await must(second.docker('rm', '-f', 'beta'));
    await until('one address to be in use', async () => (await used('front')) === 1);
    t.match(await lookUp(first, 'alpha', 'beta'), []);

    await must(second.engineDocker('run', '-d', '--name', 'gamma', '--network', 'front', ...SLEEP));
    await until('two addresses to be in use', async () => (await used('front')) === 2);
    await second.killEngine();
    await second.startEngine();
    await until("the address of what the engine's death has ended to be free", async () => (await used('front')) === 1);
    await must(second.engineDocker('start', 'gamma'));
    await finds(first, 'alpha', 'gamma', await addressOf(second, 'gamma', 'front'));
  });

  await t.test(
    'what is to be restarted always is back with its host, whoever of engine and swarmd is first',
    async () => {
      await must(
        second.engineDocker('run', '-d', '--name', 'delta', '--restart', 'always', '--network', 'front', ...SLEEP),
      );
      await Promise.all([second.killEngine(), second.killSwarmd()]);
      await Promise.all([second.startEngine(), second.startSwarmd()]);
      const isRunning = async () => (await must(second.engineDocker('ps', '-q', '--filter', 'name=delta'))) !== '';
      await until('delta to run', isRunning, { timeoutMs: 5_000 });
      await finds(first, 'alpha', 'delta', await addressOf(second, 'delta', 'front'));
      await must(second.engineDocker('rm', '-f', 'delta'));
      await must(second.engineDocker('start', 'gamma'));
      await until('two addresses to be in use', async () => (await used('front')) === 2);
    },
  );

  await t.test('a node that is no longer of the cluster has its own taken off, and keeps no network', async (t) => {
    const { ID } = await cluster.node(2);
    await cluster.manager.removeNode(ID, true);
    t.equal(await used('front'), 1, 'their addresses are free at once');
    const format = '{{len .NetworkSettings.Networks}}';
    await until('gamma to run on alone', async () => {
      const networks = await must(second.engineDocker('inspect', '--format', format, 'gamma'));
      return networks === '0';
    });
    await cluster.client(2).swarmLeave(true);
    t.notMatch(await must(second.engineDocker('network', 'ls')), 'apiary');
    t.match(await must(second.engineDocker('ps')), 'gamma');
  });
});
