import { createSocket } from 'node:dgram';
import { existsSync, readFileSync } from 'node:fs';
import { get } from 'node:http';
import { connect } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import { BpfMap } from '@apiary/agent-native';
import type { EndpointSpec, PortConfig } from '@apiary/api/model';
import t, { type Test } from 'tap';
import { Cluster, type PlacedContainer, skipWithoutHosts } from '../cluster/cluster.js';
import { type Host, until } from '../hosts/index.js';
import { addressOf, inside, lookUp, NetworkBed, on, pidsOf, unreached } from './network-bed.js';

/**
 * A task that says on port 80, as a web page, who it is and who asks. Once it is told to end, it answers what it has begun
 * with: on a machine that is busy, that takes its time.
 */
const WHO = `mkdir -p /www/cgi-bin
  printf '#!/bin/sh\\nprintf "Content-Type: text/plain\\r\\n\\r\\n"; echo $(hostname) $REMOTE_ADDR | tr -d [] | sed s/::ffff://' > /www/cgi-bin/who
  chmod +x /www/cgi-bin/who
  trap 'sleep 2; exit 0' TERM
  httpd -f -p 80 -h /www & wait`;
const HEALTHY = { Test: ['CMD-SHELL', 'nc -w1 127.0.0.1 80 </dev/null'], Interval: 3e8, Timeout: 2e9, Retries: 5 };

/**
 * What firewalld has in the kernel for its public zone with the cluster's ports, and of what is forwarded for its trusted one with
 * the gateway's links. The real one would also be at the machine's next start: its package enables it.
 */
const FIREWALLD = `table inet firewalld {
  chain filter_INPUT {
    type filter hook input priority filter + 10; policy accept;
    ct state { established, related } accept
    ct status dnat accept
    iifname "lo" accept
    ct state invalid drop
    tcp dport { 22, 2377 } accept
    udp dport 4789-4790 accept
    meta l4proto { icmp, ipv6-icmp } accept
    reject with icmpx admin-prohibited
  }
  chain filter_FORWARD {
    type filter hook forward priority filter + 10; policy accept;
    ct state { established, related } accept
    ct status dnat accept
    iifname "lo" accept
    ct state invalid drop
    iifname { "apgw*", "apiary_gwx" } accept
    reject with icmpx admin-prohibited
  }
}`;
const skipWithoutUfw = !['/usr/sbin/ufw', '/sbin/ufw'].some((path) => existsSync(path)) && 'ufw is not installed';

interface Asked {
  replicas?: number;
  host?: number;
  ports?: PortConfig[];
  networks?: string[];
  mode?: EndpointSpec['Mode'];
  script?: string;
  stopSignal?: string;
}

t.setTimeout(400_000);
t.test('published ports and VIPs', { skip: skipWithoutHosts }, async (t) => {
  const cluster = await Cluster.up(t, 3);
  const bed = new NetworkBed(cluster);
  const hosts = [1, 2, 3].map((n) => cluster.hosts.host(n)) as [Host, Host, Host];
  const [first, second, third] = hosts;
  /** The machine's own, on the hosts' link. */
  const outside = first.address.replace(/\.\d+$/, '.254');

  const toBed = ({ ports, mode, script = WHO, stopSignal, ...where }: Asked): Parameters<typeof bed.run>[2] => ({
    ...where,
    script,
    endpoint: { ...(mode !== undefined && { Mode: mode }), ...(ports && { Ports: ports }) },
    container: {
      StopGracePeriod: stopSignal === undefined ? 2e9 : 10e9,
      ...(stopSignal && { StopSignal: stopSignal }),
      ...(script === WHO && { Healthcheck: HEALTHY }),
    },
  });
  const run = (t: Test, name: string, asked: Asked) => bed.run(t, name, toBed(asked));

  /** A request from this machine. @returns  who answered, and whom it saw */
  const request = (host: Host, port: number): Promise<string> =>
    new Promise((resolve, reject) => {
      const options = { host: host.address, port, path: '/cgi-bin/who', timeout: 5_000 };
      const asked = get(options, (answer) => {
        let text = '';
        answer.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        answer.on('end', () => resolve(text.trim()));
        answer.on('error', reject);
      });
      asked.on('error', reject).on('timeout', () => asked.destroy(new Error('no answer in time')));
    });
  const from = (host: Host, address: string, port: number) =>
    on(host, `curl -sm5 http://${address}:${port}/cgi-bin/who`);
  const nameOf = ({ Id }: PlacedContainer) => Id.slice(0, 12);
  const tcp = (PublishedPort: number): PortConfig => ({ Protocol: 'tcp', TargetPort: 80, PublishedPort });

  await t.test('lead from every host to every task, which sees its client', async (t) => {
    const tasks = await run(t, 'web', { replicas: 2, ports: [tcp(8080)] });
    const names = new Set(tasks.map(nameOf));
    for (const host of hosts) {
      await until(`an answer by ${host.name}`, () => request(host, 8080).catch(() => undefined));
      const expected = [...names].map((name) => `${name} ${outside}`).sort();
      await until(`both to answer by ${host.name}`, async () => {
        const answers = await Promise.all(Array.from({ length: 6 }, () => request(host, 8080)));
        return [...new Set(answers)].sort().join() === expected.join();
      });
      for (const to of hosts) {
        const answer = await from(host, to.address, 8080);
        t.equal(answer.split(' ')[1], host.address, `${host.name} by ${to.name}`);
      }
      t.match((await from(host, 'localhost', 8080)).split(' ')[1], /^10\.224\.\d+\.1$/, `${host.name} by localhost`);
    }
    await cluster.manager.removeService('web');
    await until('the port to be gone', () =>
      request(third, 8080).then(
        () => false,
        () => true,
      ),
    );
    for (const host of hosts)
      await until('its rules to go', async () => !(await on(host, 'nft list table inet apiary')).includes('tcp_8080'));
  });

  await t.test('VIPs lead to tasks on other hosts, for those on the network alone', async (t) => {
    await bed.network(t, 'front');
    const tasks = await run(t, 'web', { replicas: 2, networks: ['front'] });
    const [asker] = await run(t, 'asker', { host: 1, networks: ['front'], script: 'sleep 1d' });
    const [stranger] = await run(t, 'stranger', { host: 1, script: 'sleep 1d' });
    if (asker === undefined || stranger === undefined) throw new Error('no container');
    const { Endpoint } = await cluster.manager.service('web');
    const vip = Endpoint?.VirtualIPs?.[0]?.Addr?.split('/')[0] ?? '';
    t.match(vip, /^10\./);
    const page = (address: string) =>
      `printf 'GET /cgi-bin/who HTTP/1.0\\r\\n\\r\\n' | nc -w3 ${address} 80 | tail -n1`;
    const answers = async (name: string) => {
      const said = await inside(asker, `for i in 1 2 3 4 5 6 7 8 9 10 11 12; do ${page(name)}; done`);
      return new Set(said.split('\n').map((line) => line.split(' ')[0]));
    };
    const names = new Set(tasks.map(nameOf));
    await until('both to answer', async () => (await answers('web')).size === 2);
    t.same(await answers(vip), names);
    t.equal(await inside(stranger, `${page(vip)} || true`), '');

    // The manager's own: another's tasks would be put elsewhere once it is taken for lost.
    await first.killSwarmd();
    t.same(await answers(vip), names, 'also while swarmd is away');
    await first.startSwarmd();
    await cluster.nodeIs(1, 'ready');
    t.same(await answers(vip), names);
    const connecting = `for (let i = 0; i < 16; i++) {
      const socket = require("dgram").createSocket("udp4").on("error", () => {});
      socket.connect(5353, "${vip}");
    }
    setInterval(() => {}, 1e6)`;
    const clients = await bed.one(t, 'clients', {
      host: 1,
      networks: ['front'],
      container: { Mounts: [{ Type: 'bind', Source: '/', Target: '/machine' }] },
      script: `chroot /machine ${process.execPath} -e '${connecting}'`,
    });
    const clientsOf = async (task: PlacedContainer) => {
      const hexadecimal = Buffer.from(addressOf(task).split('.').map(Number).reverse()).toString('hex').toUpperCase();
      return (await inside(clients, 'cat /proc/net/udp')).split(` ${hexadecimal}:14E9 `).length - 1;
    };
    const counts = await until('all of them', async () => {
      const found = await Promise.all(tasks.map(clientsOf));
      return found.reduce((sum, count) => sum + count, 0) === 16 && found;
    });
    const at = counts.indexOf(Math.max(...counts));
    const [gone, stays] = [tasks[at], tasks[1 - at]];
    if (gone === undefined || stays === undefined) throw new Error('no task');
    await gone.host.engineDocker('kill', gone.Id);
    await until('its clients to hear of it', async () => (await clientsOf(gone)) === 0, { timeoutMs: 2_000 });
    t.ok((await clientsOf(stays)) >= 16 - Math.max(...counts), 'and nobody else');
    await until('the other alone', async () => {
      const left = await answers(vip).catch(() => new Set());
      return left.size > 0 && !left.has(nameOf(gone));
    });
  });

  await t.test('what somebody takes away of ports, names and VIPs is back within five seconds', async (t) => {
    await bed.network(t, 'front');
    await run(t, 'web', { replicas: 2, ports: [tcp(8080)], networks: ['front'] });
    const [asker] = await run(t, 'asker', { host: 3, networks: ['front'], script: 'sleep 1d' });
    if (asker === undefined) throw new Error('no container');
    const table = () => on(third, 'nft list table inet apiary').catch(() => '');
    /** Whatever the order in which they were made. */
    const wordsOf = (rules: string) => rules.split(/[\s,]+/).sort();
    let before = '';
    const links = ['apiary_gwx', 'apiary_names'];
    const isWhole = async () =>
      // A task of this host answers also while there is no way to others.
      (await on(third, 'ip -br link show up').then((up) => links.every((link) => up.includes(link)))) &&
      isDeepStrictEqual(wordsOf(await table()), wordsOf(before)) &&
      (await request(third, 8080).catch(() => '')).endsWith(` ${outside}`) &&
      (await inside(asker, 'nc -w1 web 80 </dev/null').then(
        () => true,
        () => false,
      )) &&
      (await lookUp(asker, 'tasks.web')).length === 2;
    await until('all of it', async () => {
      before = await table();
      return /numgen inc mod 2/.test(before) && (await isWhole());
    });
    const pinned = await on(third, 'awk \'$3 == "bpf" { print $2 }\' /proc/mounts | grep /vips$');
    const ofVips = `/proc/${third.swarmdPid}/root${pinned}/vip-1`;
    const emptied = async (name: string) => {
      const map = await BpfMap.openPinned(`${ofVips}/${name}`);
      try {
        const keys = (await map.entries()).map(({ key }) => key);
        t.not(keys.length, 0);
        await map.deleteMany(keys);
      } finally {
        map.close();
      }
    };
    const taken: [what: string, take: () => Promise<unknown>][] = [
      "nft 'delete element inet apiary ports { tcp . 8080 }'",
      'nft flush chain inet apiary tcp_8080',
      'nft flush set inet apiary entries; nft flush map inet apiary entry_zones',
      'nft delete table inet apiary',
      'ip link del apiary_names',
      'ip link del apiary_gwx',
      'ip link set apiary_gwx down',
    ].map((command) => [command, () => on(third, command)]);
    taken.push(['the VIPs', () => emptied('vips')], ['who may use VIPs', () => emptied('members')]);
    taken.push(['a program', () => on(third, `rm ${pinned}/vip-1/connect4`)]);
    for (const [what, take] of taken) {
      await take();
      await until(`all of it after: ${what}`, isWhole, { timeoutMs: 5_000 });
      t.pass(what);
    }
  });

  await t.test('no request is lost while a service is updated', async (t) => {
    await run(t, 'web', { replicas: 3, ports: [tcp(8080)] });
    for (const host of hosts) await until('an answer', () => request(host, 8080).catch(() => undefined));
    const failures: string[] = [];
    let [answered, isOver] = [0, false];
    const clients = hosts.map(async (host) => {
      while (!isOver) {
        await request(host, 8080).then(
          () => answered++,
          (error: unknown) => failures.push(`by ${host.name}: ${String(error)}`),
        );
      }
    });
    const { ID, Version, Spec } = await cluster.manager.service('web');
    const { TaskTemplate } = Spec;
    await cluster.manager.updateService(ID, Version.Index, {
      ...Spec,
      TaskTemplate: { ...TaskTemplate, ContainerSpec: { ...TaskTemplate.ContainerSpec, Env: ['V=2'] } },
      UpdateConfig: { Parallelism: 1, Order: 'start-first' },
    });
    await until('the update to end', async () => {
      return (await cluster.manager.service('web')).UpdateStatus?.State === 'completed';
    });
    await cluster.settled('web', 3);
    isOver = true;
    await Promise.all(clients);
    t.same(failures, [], `of ${answered}`);
    t.ok(answered > 100, `${answered} were answered`);
  });

  /** An echo of TCP and UDP in the network of a task, which says first who it is; it is gone with the task. */
  async function echo(t: Test, { host, Id }: PlacedContainer, port: number): Promise<void> {
    const [pid = ''] = await pidsOf(host, [Id]);
    const name = Id.slice(0, 12);
    const script = `
      const listening = [];
      const tcp = require('net').createServer((socket) => {
        socket.write('${name}\\n');
        socket.on('data', (data) => socket.write('${name} ' + data)).on('error', () => {});
      });
      tcp.listen(${port}, () => console.log('tcp'));
      const udp = require('dgram').createSocket('udp4');
      udp.on('message', (data, { address, port }) => udp.send('${name} ' + address, port, address));
      udp.bind(${port}, () => console.log('udp'));`;
    const log = `${host.directory}/echo-${name}.log`;
    const server = await host.spawn('nsenter', ['-t', pid, '--net', process.execPath, '-e', script], log);
    t.teardown(async () => {
      server.kill('SIGKILL');
      await server.exited;
    });
    const isListening = () => ['tcp', 'udp'].every((each) => readFileSync(log, 'utf8').includes(each));
    await until('the echo', isListening, { log });
  }

  /** Datagrams of one flow, from this machine. */
  function flowTo(t: Test, host: Host, port: number) {
    const socket = createSocket('udp4');
    const heard: string[] = [];
    socket.on('message', (message) => heard.push(String(message)));
    const asking = setInterval(() => socket.send('x', port, host.address), 10);
    t.teardown(() => {
      clearInterval(asking);
      socket.close();
    });
    return heard;
  }

  await t.test('of UDP: a flow to a task that has died goes on with another at once', async (t) => {
    const udp: PortConfig = { Protocol: 'udp', TargetPort: 5353, PublishedPort: 5300 };
    const tasks = await run(t, 'names', { replicas: 3, ports: [udp], script: 'sleep 1d' });
    for (const task of tasks) await echo(t, task, 5353);
    const heard = flowTo(t, first, 5300);
    await until('an answer', () => heard.length > 3);
    t.equal(new Set(heard).size, 1, 'one flow is with one task');
    const [said = ''] = heard;
    t.equal(said.split(' ')[1], outside, 'which sees its client');
    const answering = tasks.find((task) => said.startsWith(nameOf(task)));
    await answering?.host.engineDocker('kill', answering.Id);
    const killedAt = performance.now();
    await until('another', () => heard.at(-1) !== said);
    const tookMs = performance.now() - killedAt;
    t.ok(tookMs < 1_000, `${tookMs.toFixed(0)} ms`);
    t.ok(tasks.some((task) => task !== answering && heard.at(-1)?.startsWith(nameOf(task))));
  });

  await t.test('a task that is to stop keeps its connections, and gets no new ones', async (t) => {
    const tasks = await run(t, 'web', {
      replicas: 2,
      ports: [{ Protocol: 'tcp', TargetPort: 7, PublishedPort: 8007 }],
      script: 'trap "sleep 2; exit 0" TERM; sleep 1d & wait',
      stopSignal: 'SIGTERM',
    });
    for (const task of tasks) await echo(t, task, 7);
    const connections: { name: string; heard: string[]; say: (text: string) => void }[] = [];
    /** @returns who answers */
    const dial = () =>
      new Promise<string>((resolve, reject) => {
        const socket = connect(8007, first.address).setEncoding('utf8');
        t.teardown(() => void socket.destroy());
        const heard: string[] = [];
        socket.on('error', reject).once('data', (name: string) => {
          connections.push({ name: name.trim(), heard, say: (text) => void socket.write(text) });
          socket.on('data', (text: string) => void heard.push(text));
          resolve(name.trim());
        });
      });
    const dialled = async (times: number) => new Set(await Promise.all(Array.from({ length: times }, dial)));
    await until('both to answer', async () => (await dialled(4)).size === 2);
    await bed.scale('web', 1);
    await until('one to answer alone', async () => (await dialled(4)).size === 1);
    const running = (await cluster.containers('web')).filter(({ State }) => State === 'running');
    t.equal(running.length, 2, 'the other has not ended yet');
    for (const connection of connections) connection.say('still there?');
    await until('each to say so', () =>
      connections.every(({ name, heard }) => heard.join('').endsWith(`${name} still there?`)),
    );
    const [left] = await cluster.settled('web', 1);
    t.same([...(await dialled(6))], [nameOf(left as PlacedContainer)]);
  });

  await t.test('at one address of hosts, in ranges, in both modes, by localhost too', async (t) => {
    const [task] = await run(t, 'web', {
      host: 1,
      ports: [
        { ...tcp(8081), PublishMode: 'host', HostIP: '127.0.0.1' },
        { ...tcp(8082), HostIP: first.address },
        { ...tcp(8083), PublishMode: 'host' },
        ...[8090, 8091, 8092].map(tcp),
        { Protocol: 'udp', TargetPort: 5353, PublishedPort: 5300 },
        { Protocol: 'udp', TargetPort: 5353, PublishedPort: 5301, PublishMode: 'host', HostIP: first.address },
      ],
    });
    await echo(t, task as PlacedContainer, 5353);
    const name = nameOf(task as PlacedContainer);
    const byTcp = async (host: Host, address: string, port: number) => {
      const said = await from(host, address, port).catch(() => 'refused');
      return said.startsWith(name) ? said.slice(name.length + 1) : said;
    };
    const byUdp = async (host: Host, address: string, port: number) => {
      const script = `const socket = require('dgram').createSocket('udp4');
        socket.on('message', (said) => { console.log(String(said)); process.exit(); });
        socket.on('error', () => process.exit());
        socket.connect(${port}, '${address}', () => socket.send('x'));
        setTimeout(() => process.exit(), 1000);`;
      const { stdout } = await host.exec(process.execPath, ['-e', script]);
      return stdout === '' ? 'refused' : stdout.trim().slice(name.length + 1);
    };
    await until('an answer', async () => (await byTcp(first, first.address, 8083)) !== 'refused');
    const localhost = /^10\.224\.\d+\.1$/;
    t.match(await byTcp(first, '127.0.0.1', 8081), localhost);
    t.equal(await byTcp(first, first.address, 8081), 'refused');
    t.equal(await byTcp(third, first.address, 8081), 'refused');
    t.equal(await byTcp(third, first.address, 8082), third.address);
    t.equal(await byTcp(first, first.address, 8082), first.address);
    t.equal(await byTcp(first, '127.0.0.1', 8082), 'refused');
    t.equal(await byTcp(third, third.address, 8082), 'refused');
    t.match(await byTcp(first, '127.0.0.1', 8083), localhost);
    t.equal(await byTcp(third, third.address, 8083), 'refused', 'of one host alone');
    for (const port of [8090, 8091, 8092]) t.equal(await byTcp(third, first.address, port), third.address);
    t.equal(await byUdp(third, first.address, 5300), third.address);
    t.equal(await byUdp(third, third.address, 5300), third.address);
    t.match(await byUdp(third, '127.0.0.1', 5300), localhost);
    t.equal(await byUdp(third, first.address, 5301), third.address);
    t.equal(await byUdp(first, '127.0.0.1', 5301), 'refused');
    await cluster.remove('web');
    // Whoever has the port next must be able to.
    const listens =
      "process.on('uncaughtException', () => process.exit(1)); require('net').createServer().listen(8083, () => process.exit(0))";
    await until('the port to be free', () => on(first, `${process.execPath} -e "${listens}" && echo free`));
    const ports = [{ ...tcp(8084), PublishMode: 'host', HostIP: '192.0.2.77' }];
    await bed.create(t, 'nowhere', toBed({ host: 1, ports }));
    const failed = await until('the task to fail', async () => {
      return (await cluster.tasks('nowhere')).find(({ Status }) => Status.Err !== undefined);
    });
    t.match(failed.Status.Err, /listen tcp4 192\.0\.2\.77:8084: bind: cannot assign requested address/);
  });

  await t.test('beside the host’s own firewall, once it lets the cluster in', { skip: skipWithoutUfw }, async (t) => {
    await bed.network(t, 'front');
    const tasks = await run(t, 'web', { replicas: 3, ports: [tcp(8080)], networks: ['front'] });
    const [here, there] = [tasks.find(({ host }) => host === second), tasks.find(({ host }) => host === first)];
    if (here === undefined || there === undefined) throw new Error('not one on each host');
    const everything = async (what: string) => {
      for (const from of [here, there]) t.equal((await lookUp(from, 'tasks.web')).length, 3, `names: ${what}`);
      t.same(await unreached(tasks), [], `overlay: ${what}`);
      for (const host of [first, second]) {
        const answers = await Promise.all(Array.from({ length: 6 }, () => request(host, 8080)));
        t.equal(new Set(answers).size, 3, `a port of ${host.name}: ${what}`);
        for (const answer of answers) t.equal(answer.split(' ')[1], outside);
      }
      for (let i = 0; i < 3; i++) t.match(await from(first, second.address, 8080), first.address);
      await inside(here, `ping -c1 -W2 ${first.address}`);
    };
    const ours = () => on(second, 'nft list table inet apiary');
    /** What is there of others, but for counts and for our accepts in Docker's chain. */
    const theirs = () =>
      on(
        second,
        "(iptables -S; nft list tables; nft list table inet firewalld 2>/dev/null) | grep -v -e apiary_gw -e apgw | sed 's/ counter.*//'",
      );
    const before = await until('all of its tasks behind the port', async () => {
      const rules = await ours();
      return rules.includes('numgen inc mod 3') && rules;
    });
    for (const asker of [here, there]) {
      await until('all of its names', async () => (await lookUp(asker, 'tasks.web')).length === 3);
    }
    const changed = async () => {
      const rules = await theirs();
      await run(t, 'more', { host: 2, ports: [tcp(8081)], networks: ['front'] });
      await until('its port', () => request(second, 8081).catch(() => undefined));
      await cluster.remove('more');
      await until('its port to go', async () => (await ours()) === before);
      t.equal(await theirs(), rules, 'what is others’ stays as it is');
    };

    // The machine's own files are not to be changed.
    for (const path of ['/etc/ufw', '/etc/default/ufw']) {
      const copy = `/run/of${path.replaceAll('/', '-')}`;
      await on(second, `cp -a ${path} ${copy} && mount --bind ${copy} ${path}`);
      t.teardown(() => on(second, `umount ${path}`));
    }
    t.teardown(() => on(second, 'ufw disable'));
    await on(
      second,
      `ufw default deny incoming; ufw default deny routed; ufw --force enable
      ufw allow 2377/tcp; ufw allow 4789:4790/udp`,
    );
    await everything('ufw');
    await on(second, 'ufw reload');
    t.equal(await ours(), before);
    await changed();
    await everything('ufw, after a reload and a change');
    await on(second, 'ufw disable');
    await everything('without ufw');

    await on(second, `nft -f - <<'END'\n${FIREWALLD}\nEND`);
    t.teardown(() => on(second, 'nft delete table inet firewalld'));
    await everything('firewalld');
    await on(second, `nft -f - <<'END'\ndelete table inet firewalld\n${FIREWALLD}\nEND`);
    t.equal(await ours(), before);
    await changed();
    await everything('firewalld, after a reload and a change');
  });

  await t.test('leave a host as it was found', async (t) => {
    const found = () =>
      on(third, 'ip -br link | sed s/@.*//; ip rule; nft list table inet apiary; grep bpf /proc/mounts || true');
    const before = await until('nothing of what was before', async () => {
      const now = await found();
      return !/tcp_|vips/.test(now) && now;
    });
    await bed.network(t, 'front');
    await run(t, 'web', { host: 3, ports: [tcp(8080)], networks: ['front'] });
    t.match(await found(), /tcp_8080[\s\S]*vips/);
    await cluster.manager.removeService('web');
    await cluster.gone('web');
    await until('all of it to go', async () => (await found()) === before);
  });
});
