import { get } from 'node:http';
import type { EndpointSpec, NetworkSpec, PortConfig } from '@apiary/api/model';
import t, { type Test } from 'tap';
import { Cluster, type PlacedContainer, serviceSpec, skipWithoutHosts } from '../cluster/cluster.js';
import { type Host, until } from '../hosts/index.js';

/** A task that says on port 80, as a web page, who it is and who asks. */
/** Once it is told to end, it answers what it has begun with: on a machine that is busy, that takes its time. */
const WHO = `mkdir -p /www/cgi-bin
  printf '#!/bin/sh\\nprintf "Content-Type: text/plain\\r\\n\\r\\n"; echo $(hostname) $REMOTE_ADDR | tr -d [] | sed s/::ffff://' > /www/cgi-bin/who
  chmod +x /www/cgi-bin/who
  trap 'sleep 2; exit 0' TERM
  httpd -f -p 80 -h /www & wait`;
const HEALTHY = { Test: ['CMD-SHELL', 'nc -w1 127.0.0.1 80 </dev/null'], Interval: 3e8, Timeout: 2e9, Retries: 5 };

interface Asked {
  replicas?: number;
  host?: number;
  ports?: PortConfig[];
  networks?: string[];
  mode?: EndpointSpec['Mode'];
  script?: string;
}

t.setTimeout(400_000);
t.test('published ports and VIPs', { skip: skipWithoutHosts }, async (t) => {
  const cluster = await Cluster.up(t, 3);
  const hosts = [1, 2, 3].map((n) => cluster.hosts.host(n)) as [Host, Host, Host];
  const [first, , third] = hosts;
  /** The machine's own, on the hosts' link. */
  const outside = first.address.replace(/\.\d+$/, '.254');

  function specOf(name: string, { replicas = 1, host, ports, networks = [], mode, script = WHO }: Asked) {
    const plain = serviceSpec(name, { replicas, restartDelayMs: 0 });
    const { TaskTemplate } = plain;
    return {
      ...plain,
      TaskTemplate: {
        ...TaskTemplate,
        ContainerSpec: {
          ...TaskTemplate.ContainerSpec,
          Command: ['sh', '-c', script],
          StopGracePeriod: 2e9,
          ...(script === WHO && { Healthcheck: HEALTHY }),
        },
        Networks: networks.map((Target) => ({ Target })),
        ...(host !== undefined && { Placement: { Constraints: [`node.hostname==h${host}`] } }),
      },
      EndpointSpec: { ...(mode !== undefined && { Mode: mode }), ...(ports && { Ports: ports }) },
    };
  }

  async function run(t: Test, name: string, asked: Asked): Promise<PlacedContainer[]> {
    t.teardown(async () => {
      await cluster.manager.removeService(name).catch(() => {});
      await cluster.gone(name);
    });
    await cluster.manager.createService(specOf(name, asked));
    return cluster.settled(name, asked.replicas ?? 1);
  }

  async function network(t: Test, name: string, spec: Partial<NetworkSpec> = {}): Promise<void> {
    t.teardown(() => cluster.manager.removeNetwork(name));
    await cluster.manager.createNetwork({ Name: name, Driver: 'overlay', ...spec });
  }

  async function on(host: Host, command: string): Promise<string> {
    const { code, stdout, stderr } = await host.exec('sh', ['-c', command]);
    if (code !== 0) throw new Error(`${command} on ${host.name}: ${stdout}${stderr}`);
    return stdout.trim();
  }

  async function inside({ Id, host }: PlacedContainer, command: string): Promise<string> {
    const { code, stdout, stderr } = await host.engineDocker('exec', Id, 'sh', '-c', command);
    if (code !== 0) throw new Error(`${command} in ${Id.slice(0, 8)}: ${stdout}${stderr}`);
    return stdout.trim();
  }

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
    await network(t, 'front');
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
    const [gone] = tasks;
    await gone?.host.engineDocker('kill', gone.Id);
    await until('the other alone', async () => {
      const left = await answers(vip).catch(() => new Set());
      return left.size > 0 && !left.has(gone === undefined ? '' : nameOf(gone));
    });
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

  await t.test('leave a host as it was found', async (t) => {
    const found = () =>
      on(third, 'ip -br link | sed s/@.*//; ip rule; nft list table inet apiary; grep bpf /proc/mounts || true');
    const before = await until('nothing of what was before', async () => {
      const now = await found();
      return !/tcp_|vips/.test(now) && now;
    });
    await network(t, 'front');
    await run(t, 'web', { host: 3, ports: [tcp(8080)], networks: ['front'] });
    t.match(await found(), /tcp_8080[\s\S]*vips/);
    await cluster.manager.removeService('web');
    await cluster.gone('web');
    await until('all of it to go', async () => (await found()) === before);
  });
});
