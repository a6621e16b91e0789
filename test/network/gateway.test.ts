import type { ContainerSpec, EndpointSpec } from '@apiary/api/model';
import t, { type Test } from 'tap';
import { Cluster, type PlacedContainer, serviceSpec, skipWithoutHosts } from '../cluster/cluster.js';
import { type Host, type LongRunning, unixRequest, until } from '../hosts/index.js';

/** A task that says on port 80, as a web page, who asks. */
const WHO = `mkdir -p /www/cgi-bin && printf '#!/bin/sh\\necho; echo $REMOTE_ADDR | tr -d []f | sed s/^:*//' > /www/cgi-bin/who
  chmod +x /www/cgi-bin/who && exec httpd -f -p 80 -h /www`;

t.setTimeout(400_000);
t.test('the gateway network', { skip: skipWithoutHosts }, async (t) => {
  const cluster = await Cluster.up(t, 3);
  const [entry, other] = [cluster.hosts.host(1), cluster.hosts.host(2)];

  interface Asked {
    replicas?: number;
    host?: number;
    endpoint?: EndpointSpec;
    spec?: ContainerSpec;
    /** What the task does; by default nothing. */
    script?: string;
    maxAttempts?: number;
  }

  /** Makes a service on one host, which is gone when the test ends. */
  async function create(t: Test, name: string, asked: Asked = {}): Promise<void> {
    const { replicas = 1, host = 1, endpoint, spec, script = 'sleep 1d', maxAttempts } = asked;
    const plain = serviceSpec(name, { replicas, restartDelayMs: 0, ...(maxAttempts !== undefined && { maxAttempts }) });
    const { TaskTemplate } = plain;
    const container = { ...TaskTemplate.ContainerSpec, Command: ['sh', '-c', script], ...spec };
    const Placement = { Constraints: [`node.hostname==h${host}`] };
    t.teardown(() => cluster.remove(name));
    await cluster.manager.createService({
      ...plain,
      TaskTemplate: { ...TaskTemplate, ContainerSpec: container, Placement },
      ...(endpoint && { EndpointSpec: endpoint }),
    });
  }

  async function run(t: Test, name: string, asked: Asked = {}): Promise<PlacedContainer[]> {
    await create(t, name, asked);
    return cluster.settled(name, asked.replicas ?? 1);
  }

  async function inside({ Id, host }: PlacedContainer, command: string): Promise<string> {
    const { code, stdout, stderr } = await host.engineDocker('exec', Id, 'sh', '-c', command);
    if (code !== 0) throw new Error(`${command} in ${Id.slice(0, 8)}: ${stdout}${stderr}`);
    return stdout.trim();
  }

  const reaches = (container: PlacedContainer, address: string): Promise<boolean> =>
    inside(container, `ping -c1 -W1 ${address}`).then(
      () => true,
      () => false,
    );

  async function on(host: Host, command: string): Promise<string> {
    const { code, stdout, stderr } = await host.exec('sh', ['-c', command]);
    if (code !== 0) throw new Error(`${command} on ${host.name}: ${stdout}${stderr}`);
    return stdout.trim();
  }

  const addressOf = ({ Labels }: PlacedContainer): string => Labels['apiary.gateway.address'] ?? '';
  const ports = async (host: Host): Promise<string[]> =>
    (await on(host, 'ip -br link')).split('\n').filter((line) => line.startsWith('apgw'));
  const files = (host: Host): Promise<string> => on(host, `ls ${host.directory}/swarmd-exec/network/tasks`);

  /** Something on a host that says, to whoever connects, from where; and goes on saying it. */
  async function listener(t: Test, host: Host, port: number): Promise<void> {
    // The port may be held for a moment yet for the task that had it.
    const script = `const server = require('net').createServer({ allowHalfOpen: true }, (socket) => {
      const say = () => socket.write(socket.remoteAddress + '\\n');
      say();
      const timer = setInterval(say, 50);
      socket.on('error', () => {}).on('close', () => clearInterval(timer));
    });
    const listen = () => server.listen(${port}, '0.0.0.0');
    server.on('error', () => setTimeout(listen, 50));
    listen()`;
    const server = await host.spawn(process.execPath, ['-e', script], `${host.directory}/listener.log`);
    t.teardown(async () => {
      server.kill('SIGKILL');
      await server.exited;
    });
    await until(`port ${port} of ${host.name}`, async () => {
      const said = await on(host, `busybox nc -w1 127.0.0.1 ${port} </dev/null | head -n1`);
      return said !== '';
    });
  }

  await t.test('is there when the task’s process starts, with names as Docker has them', async (t) => {
    const [container] = await run(t, 'web', {
      script: '{ ip -o addr; ip route; } > /seen; sleep 1d',
      spec: {
        Hostname: 'box.lan',
        Hosts: ['192.0.2.9 db db.lan'],
        DNSConfig: { Nameservers: ['192.0.2.53'], Search: ['lan'], Options: ['ndots:2'] },
        ReadOnly: false,
      },
    });
    if (container === undefined) throw new Error('no container');
    const address = addressOf(container);
    t.match(address, /^10\.224\.\d+\.\d+$/);
    const seen = await inside(container, 'cat /seen');
    t.match(seen, new RegExp(`eth0\\s+inet ${address}/24`));
    t.match(seen, /default via 10\.224\.\d+\.1 dev eth0/);
    t.notMatch(seen, /inet6/);
    t.equal(await inside(container, 'cat /etc/resolv.conf'), 'search lan\nnameserver 192.0.2.53\noptions ndots:2');
    t.match(await inside(container, 'cat /etc/hosts'), /\n192\.0\.2\.9\tdb\n192\.0\.2\.9\tdb\.lan\n/);
    t.match(await inside(container, 'cat /etc/hosts'), new RegExp(`\n${address}\tbox\\.lan box$`));
    t.equal(await inside(container, 'cat /etc/hostname; hostname'), 'box.lan\nbox.lan');
    await inside(container, 'echo 192.0.2.10 more >> /etc/hosts');

    const [plain] = await run(t, 'plain');
    if (plain === undefined) throw new Error('no container');
    const { stdout } = await entry.engineDocker('run', '--rm', 'busybox:test', 'cat', '/etc/resolv.conf');
    t.equal(await inside(plain, 'cat /etc/resolv.conf'), stdout.trim(), 'the one that the engine would have made');
    t.match(await inside(plain, 'cat /etc/hosts'), new RegExp(`\t${plain.Id.slice(0, 12)}$`));
  });

  await t.test('leads to the host and, under its address, to other hosts, but to no other task', async (t) => {
    await listener(t, other, 7001);
    const [one, two] = await run(t, 'web', { replicas: 2, script: 'while :; do echo hello | nc -l -p 80; done' });
    if (one === undefined || two === undefined) throw new Error('not two containers');
    t.not(addressOf(one), addressOf(two));
    t.ok(await reaches(one, entry.address));
    t.equal(await inside(one, `nc ${other.address} 7001 </dev/null | head -n1`), entry.address, 'masqueraded');
    t.equal(await on(entry, `busybox nc -w2 ${addressOf(two)} 80 </dev/null`), 'hello', 'the host reaches its tasks');
    t.notOk(await reaches(one, addressOf(two)));
    t.notOk(await reaches(two, addressOf(one)));
  });

  await t.test('does without swarmd for what runs', async (t) => {
    await listener(t, other, 7002);
    const [container] = await run(t, 'web', {
      // Tried again until it is made, never once it was: then it ends with 0.
      script: `until nc -w 5 ${other.address} 7002 > /heard < /dev/null; do :; done & sleep 1d`,
    });
    if (container === undefined) throw new Error('no container');
    const heard = async () => Number(await inside(container, 'wc -l < /heard'));
    const grows = async () => {
      const before = await heard();
      await until('more to be heard', async () => (await heard()) > before);
    };
    await grows();
    await entry.killSwarmd();
    await grows();
    t.match(await inside(container, 'cat /etc/hosts'), new RegExp(addressOf(container)));
    await entry.startSwarmd();
    await cluster.nodeIs(1, 'ready');
    await grows();
    const [same] = await cluster.settled('web', 1);
    t.equal(same?.Id, container.Id);
    const [later] = await run(t, 'later');
    t.not(addressOf(later as PlacedContainer), addressOf(container), 'its address stays its own');
    t.ok(await reaches(later as PlacedContainer, other.address));
  });

  await t.test('leaves nothing of a task that is gone, whose address is another’s then', async (t) => {
    await until('no task to be left', async () => (await ports(entry)).length === 0 && (await files(entry)) === '');
    const before = await run(t, 'web', { replicas: 3 });
    t.equal((await ports(entry)).length, 3);
    await cluster.remove('web');
    await until('the links to go', async () => (await ports(entry)).length === 0);
    await until('the files to go', async () => (await files(entry)) === '');
    const after = await run(t, 'web', { replicas: 3 });
    const addresses = [...before, ...after].map(addressOf);
    t.equal(new Set(addresses).size, 6, 'the one used last is used again last');
  });

  await t.test('is back when somebody took a part of it away', async (t) => {
    const [container] = await run(t, 'web');
    if (container === undefined) throw new Error('no container');
    for (const command of ['ip link del apiary_gw', 'nft delete table inet apiary', 'iptables -F DOCKER-USER']) {
      await on(entry, command);
      await until(`the way out after: ${command}`, () => reaches(container, other.address), { timeoutMs: 5_000 });
      t.pass(command);
    }
  });

  await t.test('is there again after the engine was killed', async (t) => {
    await run(t, 'web');
    await entry.killEngine();
    await entry.startEngine();
    const [container] = await cluster.settled('web', 1);
    t.ok(await reaches(container as PlacedContainer, other.address));
  });

  await t.test('is there again in a container that somebody restarts', async (t) => {
    await run(t, 'web');
    const [{ Id } = { Id: '' }] = await cluster.settled('web', 1);
    await entry.engineDocker('restart', '-t', '0', Id);
    const [container] = await cluster.settled('web', 1);
    t.ok(await reaches(container as PlacedContainer, other.address));
  });

  await t.test('says in the task’s error why it cannot be attached, while it cannot', async (t) => {
    // The bridge may be put back between the two.
    await on(entry, 'until ip link del apiary_gw; ip link add apiary_gw type veth peer name in_the_way; do :; done');
    await create(t, 'web', { maxAttempts: 0 });
    const [task] = await until('the task to fail', async () => {
      const failed = (await cluster.tasks('web')).filter(({ Status }) => Status.Err !== undefined);
      return failed.length > 0 && failed;
    });
    t.match(task?.Status.Err, /^starting container failed: attaching its network failed: .*apgw/);
    await on(entry, 'ip link del apiary_gw');
    await cluster.remove('web');
    await until('the bridge to be back', () => on(entry, 'ip link show apiary_gw'));
    await run(t, 'web');
  });

  await t.test('leads from ports of the host to its tasks, which see who connects', async (t) => {
    const Ports = [
      { TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' as const, Protocol: 'tcp' as const },
      { TargetPort: 80, PublishMode: 'host' as const, Protocol: 'tcp' as const },
    ];
    const [container] = await run(t, 'web', { endpoint: { Ports }, script: WHO });
    t.not(addressOf(container as PlacedContainer), '');
    const asks = (host: Host, address: string, port = 8080) =>
      on(host, `curl -sm5 http://${address}:${port}/cgi-bin/who`);
    await until('an answer', () => asks(entry, entry.address).catch(() => undefined));
    t.equal(await asks(other, entry.address), other.address, 'from another host');
    t.equal(await asks(entry, entry.address), entry.address, 'from the host itself');
    t.match(await asks(entry, '127.0.0.1'), /^10\.224\.\d+\.1$/, 'by localhost');
    const [task] = await cluster.tasks('web');
    const bound = task?.Status.PortStatus?.Ports?.map(({ PublishedPort = 0 }) => PublishedPort) ?? [];
    t.same(bound[0], 8080);
    t.ok((bound[1] ?? 0) >= 30_000);
    t.equal(await asks(other, entry.address, bound[1]), other.address, 'also by the port that was found');

    await entry.killSwarmd();
    t.equal(await asks(other, entry.address), other.address, 'while swarmd is away');
    await entry.startSwarmd();
    await cluster.nodeIs(1, 'ready');
    t.equal(await asks(other, entry.address), other.address, 'and when it is back');
    await on(entry, 'nft flush chain inet apiary tcp_8080');
    await until('the port to be back', () => asks(other, entry.address).catch(() => undefined));

    await cluster.remove('web');
    await listener(t, entry, 8080);
    await create(t, 'taken', { endpoint: { Ports: Ports.slice(0, 1) }, maxAttempts: 0 });
    const [failed] = await until('the task to fail', async () => {
      const tasks = (await cluster.tasks('taken')).filter(({ Status }) => Status.Err !== undefined);
      return tasks.length > 0 && tasks;
    });
    t.match(
      failed?.Status.Err,
      /^starting container failed: listen tcp4 0\.0\.0\.0:8080: bind: address already in use$/,
    );
  });

  await t.test('goes with the node’s membership', async (t) => {
    await run(t, 'web', { host: 2 });
    t.match(await on(other, 'nft list tables; ip -br link'), /apiary/);
    await cluster.client(2).swarmLeave(true);
    const left = await on(other, 'nft list tables; ip -br link; iptables -S; cat /proc/mounts');
    t.notMatch(left, /apiary_gw|apgw|inet apiary|network\/gate/);
    t.notMatch(await on(other, `ls ${other.directory}/swarmd-exec`), /network/);
  });

  await t.test('is done without where it cannot be, and the node says so', async (t) => {
    const host = cluster.hosts.host(3);
    let apart: LongRunning | undefined;
    t.teardown(async () => {
      apart?.kill('SIGKILL');
      await apart?.exited;
    });
    const trouble = async () => (await cluster.node(3)).Description.Engine?.Labels?.['apiary.gateway.trouble'];
    const isOnDocker0 = async (container: PlacedContainer | undefined) => {
      if (container === undefined) throw new Error('no container');
      t.match(await inside(container, 'ip -o addr'), /inet 172\.17\./);
      t.ok(await reaches(container, entry.address));
    };
    t.equal(await trouble(), undefined);
    await host.stopSwarmd();
    await on(host, 'mount --bind /dev/null /dev/fuse');
    await host.startSwarmd();
    const reason = await until('the node to say why', trouble);
    t.match(reason, /./);
    const [blind] = await run(t, 'blind', { host: 3 });
    await isOnDocker0(blind);
    await on(host, 'umount /dev/fuse');
    await host.stopSwarmd();

    // In a mount namespace of its own, swarmd has a gate that the engine does not see.
    const [command, ...args] = ['unshare', '--mount', '--propagation', 'private', ...host.swarmdCommand()];
    apart = await host.spawn(command ?? '', args, host.swarmdLog);
    await until('swarmd to answer', async () => (await unixRequest(host.swarmdSocket, 'GET', '/_ping')).status === 200);
    await until('the node to be well', async () => (await trouble()) === undefined);
    const [apartOne] = await run(t, 'apart', { host: 3 });
    await isOnDocker0(apartOne);
    t.match(await until('the node to say why', trouble), /the engine does not see .*gate as it is here/);
    const tasks = (await cluster.tasks('apart')).length;
    t.equal(tasks, 1, 'the first task did not fail over it');
  });
});
