import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { Cluster, type PlacedContainer, skipWithoutHosts } from '../cluster/cluster.js';
import { run, until } from '../hosts/index.js';
import { NetworkBed, on, unreached } from './network-bed.js';

/** It is not compiled: it lies beside the source. */
const SCTP = fileURLToPath(new URL('../../network/sctp.pl', import.meta.url));

t.setTimeout(200_000);
t.test(
  'what hosts send each other goes by the addresses that were asked for',
  { skip: skipWithoutHosts },
  async (t) => {
    const cluster = await Cluster.hosts(t, 2);
    const bed = new NetworkBed(cluster);
    const [first, second] = [cluster.hosts.host(1), cluster.hosts.host(2)];
    const data = (number: number) => `198.51.100.${number}`;
    await Promise.all([first, second].map((host) => host.startSwarmd()));
    for (const host of [first, second]) await on(host, `ip addr add ${data(host.number)}/24 dev eth0`);
    const init = ['--advertise-addr', first.address, '--data-path-addr', data(1)];
    const made = await first.docker('swarm', 'init', ...init);
    t.equal(made.code, 0, made.stderr);
    const { JoinTokens } = await cluster.manager.swarmInspect();
    const asked = ['--token', JoinTokens.Worker, '--advertise-addr', second.address, '--data-path-addr', data(2)];
    await second.mustSwarmctl('join', ...asked, `${first.address}:2377`);
    await cluster.nodeIs(2, 'ready');
    t.equal((await cluster.node(2)).Status.Addr, second.address, 'it is still known by the address that it advertises');

    const rules = [first, second].flatMap((host) => [
      `ip saddr ${host.address} udp dport { 4789, 4790 } counter`,
      `ip saddr ${data(host.number)} ip daddr 198.51.100.0/24 udp dport { 4789, 4790 } counter`,
    ]);
    for (const host of [first, second]) {
      const chain = `chain in { type filter hook prerouting priority -300; ${rules.join('; ')}; }`;
      await on(host, `nft 'table inet heard { ${chain}; }'`);
    }
    for (const [name, Options] of [
      ['plain', {}],
      ['secret', { encrypted: '' }],
    ] as const) {
      await bed.network(t, name, { Options });
      const containers: PlacedContainer[] = await bed.run(t, name, {
        replicas: 2,
        networks: [name],
        script: 'mkdir /www; echo it works > /www/file; exec httpd -f -p 80 -h /www',
        endpoint: name === 'plain' ? { Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080 }] } : {},
      });
      await until('each to reach each', async () => (await unreached(containers)).length === 0, { timeoutMs: 10_000 });
    }
    for (const host of [first, second]) {
      for (const address of [first.address, second.address, data(1), data(2)]) {
        t.equal(await on(host, `curl -sm5 http://${address}:8080/file`), 'it works', `${host.name} asks ${address}`);
      }
      const heard = await on(host, 'nft list table inet heard');
      t.match(heard, /saddr 198\S+ .*counter packets [1-9]/);
      t.notMatch(heard, /saddr 10\.\S+ .*counter packets [1-9]/);
    }

    await second.killSwarmd();
    await second.startSwarmd();
    await cluster.nodeIs(2, 'ready');
    t.match(
      await on(second, 'ip netns exec apiary ip -d link show type vxlan'),
      `local ${data(2)}`,
      'a restart knows it',
    );

    await t.test(
      'also SCTP that is published: each way in leads to the task, and the client has its own address',
      async (t) => {
        const [task] = await bed.run(t, 'sctp', {
          host: 2,
          networks: ['plain'],
          endpoint: {
            Ports: [
              { Protocol: 'sctp', TargetPort: 80, PublishedPort: 9080 },
              { Protocol: 'sctp', TargetPort: 80, PublishedPort: 9081, PublishMode: 'host' },
            ],
          },
        });
        const pid = await second.engineDocker('inspect', '--format', '{{.State.Pid}}', task?.Id ?? '');
        const log = join(second.directory, 'sctp.log');
        const enter = ['-t', pid.stdout.trim(), '-n', 'perl', SCTP, 'serve', '80'];
        const server = await second.spawn('nsenter', enter, log);
        t.teardown(async () => {
          server.kill('SIGKILL');
          await server.exited;
        });
        await until('it to listen', () => readFileSync(log, 'utf8').includes('ready'));
        for (const [address, port] of [
          [first.address, '9080'],
          [second.address, '9080'],
          [second.address, '9081'],
        ] as const) {
          const { code, stdout, stderr } = await run(['perl', SCTP, 'ask', address, port]);
          t.equal(code, 0, stderr);
          t.equal(stdout.trim(), `${address} ${port}`);
        }
        const outside = first.address.replace(/\.\d+$/, '.254');
        t.same(new Set(readFileSync(log, 'utf8').match(/^\d+\.\S+$/gm)), new Set([outside]));
      },
    );
  },
);
