import type { ContainerSpec, EndpointSpec, NetworkSpec } from '@apiary/api/model';
import t, { type Test } from 'tap';
import { Cluster, type PlacedContainer, serviceSpec, skipWithoutHosts } from '../cluster/cluster.js';
import { type Host, until } from '../hosts/index.js';

t.setTimeout(400_000);
t.test('overlay networks', { skip: skipWithoutHosts }, async (t) => {
  const cluster = await Cluster.up(t, 3);
  const [first, second, third] = [1, 2, 3].map((n) => cluster.hosts.host(n)) as [Host, Host, Host];

  interface Asked {
    replicas?: number;
    networks: { Target: string; Aliases?: string[] }[];
    /** On which host; by default on any, spread. */
    host?: number;
    endpoint?: EndpointSpec;
    spec?: ContainerSpec;
    script?: string;
  }

  async function network(t: Test, name: string, spec: Partial<NetworkSpec> = {}): Promise<void> {
    t.teardown(() => cluster.manager.removeNetwork(name));
    await cluster.manager.createNetwork({ Name: name, Driver: 'overlay', ...spec });
  }

  async function create(t: Test, name: string, asked: Asked): Promise<void> {
    const { replicas = 1, networks, host, endpoint, spec, script = 'sleep 1d' } = asked;
    const plain = serviceSpec(name, { replicas, restartDelayMs: 0 });
    const { TaskTemplate } = plain;
    const container = { ...TaskTemplate.ContainerSpec, Command: ['sh', '-c', script], ...spec };
    t.teardown(async () => {
      await cluster.manager.removeService(name).catch(() => {});
      await cluster.gone(name);
    });
    await cluster.manager.createService({
      ...plain,
      TaskTemplate: {
        ...TaskTemplate,
        ContainerSpec: container,
        Networks: networks,
        ...(host !== undefined && { Placement: { Constraints: [`node.hostname==h${host}`] } }),
      },
      ...(endpoint && { EndpointSpec: endpoint }),
    });
  }

  async function run(t: Test, name: string, asked: Asked): Promise<PlacedContainer[]> {
    await create(t, name, asked);
    return cluster.settled(name, asked.replicas ?? 1);
  }

  async function inside({ Id, host }: PlacedContainer, command: string): Promise<string> {
    const { code, stdout, stderr } = await host.engineDocker('exec', Id, 'sh', '-c', command);
    if (code !== 0) throw new Error(`${command} in ${Id.slice(0, 8)}: ${stdout}${stderr}`);
    return stdout.trim();
  }

  async function on(host: Host, command: string): Promise<string> {
    const { code, stdout, stderr } = await host.exec('sh', ['-c', command]);
    if (code !== 0) throw new Error(`${command} on ${host.name}: ${stdout}${stderr}`);
    return stdout.trim();
  }

  const reaches = (container: PlacedContainer, address: string, options = ''): Promise<boolean> =>
    inside(container, `ping -c1 -W1 ${options} ${address}`).then(
      () => true,
      () => false,
    );
  /** On its n-th overlay network. */
  const addressOf = ({ Labels }: PlacedContainer, n = 0): string =>
    JSON.parse(Labels['apiary.networks'] ?? '[]')[n]?.[1] ?? '';
  const lookUp = async (container: PlacedContainer, name: string): Promise<string[]> => {
    const said = await inside(container, `nslookup ${name} 2>&1 || true`);
    return [
      ...said
        .split(/\n\s*\n/)
        .slice(1)
        .join('\n')
        .matchAll(/Address(?: \d+)?: (\S+)/g),
    ].map(([, address]) => address ?? '');
  };
  const everyPair = async (containers: readonly PlacedContainer[]): Promise<boolean> => {
    const pairs = containers.map((from) =>
      inside(from, containers.map((to) => `ping -c1 -W1 ${addressOf(to)} >/dev/null`).join(' && ')),
    );
    return Promise.all(pairs).then(
      () => true,
      () => false,
    );
  };
  const parts = (host: Host) => on(host, 'ls /run/netns 2>/dev/null || true');

  await t.test('tasks on different hosts find one another by name, and strangers do not', async (t) => {
    await network(t, 'front');
    await network(t, 'back');
    const serve = 'while :; do echo $(hostname) | nc -l -p 80; done';
    const [one] = await run(t, 'one', { host: 1, networks: [{ Target: 'front' }] });
    const [web] = await run(t, 'web', { host: 2, networks: [{ Target: 'front', Aliases: ['www'] }], script: serve });
    const [other] = await run(t, 'other', { host: 2, networks: [{ Target: 'back' }] });
    if (one === undefined || web === undefined || other === undefined) throw new Error('not three containers');
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
    await network(t, 'front');
    const [one] = await run(t, 'one', { host: 1, networks: [{ Target: 'front' }] });
    if (one === undefined) throw new Error('no container');
    await run(t, 'web', { host: 2, networks: [{ Target: 'front' }] });
    await until('the name', async () => (await lookUp(one, 'tasks.web')).length === 1, { timeoutMs: 1_000 });
    await cluster.manager.removeService('web');
    await until('the name to go', async () => (await lookUp(one, 'tasks.web')).length === 0, { timeoutMs: 2_000 });
  });

  await t.test('what runs goes on while swarmd is away, and is as it was when it is back', async (t) => {
    await network(t, 'front');
    // The manager's own: another's tasks would be put elsewhere once it is taken for lost.
    const names = [1, 2, 3].map((host) => `on${host}`);
    const placed = names.map((name, i) => run(t, name, { host: i + 1, networks: [{ Target: 'front' }] }));
    const containers = (await Promise.all(placed)).flat();
    const [here, there] = containers;
    if (here === undefined || there === undefined) throw new Error('not two containers');
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
    await network(t, 'front');
    const containers = await run(t, 'web', { replicas: 3, networks: [{ Target: 'front' }] });
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
    await network(t, 'front');
    await run(t, 'web', { replicas: 3, networks: [{ Target: 'front' }] });
    await third.cut();
    const { ID, Spec, Version } = await cluster.manager.service('web');
    await cluster.manager.updateService(ID, Version.Index, { ...Spec, Mode: { Replicated: { Replicas: 6 } } });
    await until(
      'the scale-up on the others',
      async () => (await cluster.containers('web', [first, second])).length >= 4,
    );
    await third.heal();
    await cluster.nodeIs(3, 'ready');
    const containers = await cluster.settled('web', 6);
    await until('every pair', () => everyPair(containers), { timeoutMs: 5_000 });
  });

  await t.test('what an encrypted network carries is never seen in the clear', async (t) => {
    await network(t, 'secret', { Options: { encrypted: '' } });
    const rules = ['4789', '4790'].map((port) => `udp dport ${port} counter`).join('; ');
    await on(second, `nft 'table inet heard { chain in { type filter hook prerouting priority -300; ${rules}; }; }'`);
    t.teardown(() => on(second, 'nft delete table inet heard'));
    const [one] = await run(t, 'one', { host: 1, networks: [{ Target: 'secret' }] });
    const [two] = await run(t, 'two', { host: 2, networks: [{ Target: 'secret' }] });
    if (one === undefined || two === undefined) throw new Error('not two containers');
    await until('the tunnel', () => reaches(one, addressOf(two)), { timeoutMs: 12_000 });
    t.same(await lookUp(one, 'tasks.two'), [addressOf(two)]);
    const heard = await on(second, 'nft list table inet heard');
    t.match(heard, /dport 4789 counter packets 0 /);
    t.match(heard, /dport 4790 counter packets [1-9]/);
  });

  await t.test('an internal network has no way out; networks of the engine are the engine’s', async (t) => {
    await network(t, 'sealed', { Internal: true });
    const [sealed] = await run(t, 'sealed', { host: 1, networks: [{ Target: 'sealed' }] });
    const [hosts] = await run(t, 'hosts', { host: 1, networks: [{ Target: 'host' }] });
    if (sealed === undefined || hosts === undefined) throw new Error('not two containers');
    t.notMatch(await inside(sealed, 'ip route'), /default/);
    t.notOk(await reaches(sealed, second.address));
    t.match(await inside(hosts, 'ip -o addr'), new RegExp(first.address.replaceAll('.', '\\.')));
  });

  await t.test('with the last task of a network all of it is gone from a host', async (t) => {
    for (const host of cluster.hosts) {
      await until('nothing to be left', async () => !(await parts(host)).includes('apiary'), { timeoutMs: 10_000 });
      await until('WireGuard to be gone', async () => !(await on(host, 'ps ax')).includes('wireguard-go apwg'));
      t.pass(host.name);
    }
  });
});
