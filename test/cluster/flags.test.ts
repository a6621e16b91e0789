import t from 'tap';
import { type Host, hostsUp, until } from '../hosts/index.js';
import { skipWithoutHosts } from './cluster.js';

t.setTimeout(120_000);

/** Every flag of `service create` that says something of the container. */
const FLAGS = [
  ...['--label', 'a=b', '--container-label', 'cl=1', '--env', 'A=1', '--env', 'N={{.Node.Hostname}}'],
  ...['--hostname', '{{.Service.Name}}-{{.Task.Slot}}', '--host', 'h:1.2.3.4', '--workdir', '/tmp'],
  ...['--dns', '8.8.8.8', '--dns-search', 'x.y', '--dns-option', 'ndots:2', '--user', '0:0', '--group', '5'],
  ...['--cap-add', 'NET_ADMIN', '--cap-drop', 'CHOWN', '--sysctl', 'net.core.somaxconn=10', '--ulimit', 'nofile=50:60'],
  ...['--init', '--read-only', '--tty', '--stop-signal', 'INT', '--stop-grace-period', '3s', '--isolation', 'default'],
  ...['--health-cmd', 'true', '--health-interval', '1s', '--health-retries', '2', '--health-timeout', '2s'],
  ...['--health-start-period', '1s', '--limit-memory', '64m', '--limit-cpu', '.5', '--limit-pids', '20'],
  ...['--mount', 'type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=0700', '--mount', 'type=bind,src=/etc,dst=/e,readonly'],
  ...['--mount', 'type=volume,src=vol1,dst=/v,volume-label=q=1,volume-nocopy'],
  ...['--log-driver', 'json-file', '--log-opt', 'max-size=1m', '--restart-condition', 'none'],
];
/** How a container gets its network is ours, and files that it needs for that are mounted. */
const OF_NETWORK = ['NetworkDisabled', 'Binds', 'PortBindings', 'Mounts', 'NetworkMode', 'Hostname'];

/** What the engine of a host was told of the one container of a service. */
async function containerOf(host: Host, service: string) {
  const container = await until(`a container of ${service} that runs`, async () => {
    const all = await host.engineContainers();
    return all.find(({ Labels, State }) => Labels['com.docker.swarm.service.name'] === service && State === 'running');
  });
  const { stdout } = await host.exec('docker', ['--host', `unix://${host.engineSocket}`, 'inspect', container.Id]);
  const [{ Config, HostConfig, Mounts }] = JSON.parse(stdout);
  const mounts = HostConfig.Mounts;
  for (const part of [Config, HostConfig]) for (const key of OF_NETWORK) delete part[key];
  for (const key of Object.keys(Config.Labels)) if (/^com\.docker\.swarm|^apiary/.test(key)) delete Config.Labels[key];
  // Each lab has its hosts' groups by its own name.
  delete HostConfig.CgroupParent;
  const places = Mounts.map(({ Destination }: { Destination: string }) => Destination)
    .filter((place: string) => !place.startsWith('/etc/'))
    .sort();
  return { Config, HostConfig, mounts, places };
}

t.test('every flag reaches the container as Docker Swarm hands it on', { skip: skipWithoutHosts }, async (t) => {
  const hosts = await hostsUp(2, { signals: false });
  t.teardown(() => hosts.down());
  const [ours, theirs] = [hosts.host(1), hosts.host(2)];
  await ours.startSwarmd();
  const init = await ours.swarmctl('init', '--advertise-addr', ours.address);
  t.equal(init.code, 0, init.stderr);
  const docker = (host: Host, socket: string, ...words: string[]) =>
    host.exec('docker', ['--host', `unix://${socket}`, ...words]);
  const swarm = await docker(theirs, theirs.engineSocket, 'swarm', 'init', '--advertise-addr', theirs.address);
  t.equal(swarm.code, 0, swarm.stderr);
  const words = ['service', 'create', '--detach', '--no-resolve-image', '--name', 'all', ...FLAGS];
  const command = [...words, 'busybox:test', 'sleep', '1d'];
  for (const [host, socket] of [
    [ours, ours.swarmdSocket],
    [theirs, theirs.engineSocket],
  ] as const) {
    const created = await docker(host, socket, ...command);
    t.equal(created.code, 0, created.stderr);
  }
  const [own, other] = [await containerOf(ours, 'all'), await containerOf(theirs, 'all')];
  t.same(own.Config.Env.slice(0, 2), ['A=1', 'N=h1']);
  const named = (value: object) => JSON.parse(JSON.stringify(value).replaceAll('N=h2', 'N=h1'));
  t.same(named(own), named(other));

  await t.test('and an update ends in the states and words of Docker Swarm', async (t) => {
    const scenarios = [
      { name: 'good', flags: [], change: ['--env-add', 'A=1'] },
      { name: 'paused', flags: [], change: ['--args', 'false'] },
      { name: 'goes-on', flags: ['--update-failure-action', 'continue'], change: ['--args', 'false'] },
      { name: 'back', flags: ['--update-failure-action', 'rollback'], change: ['--args', 'false'] },
      // A task that never runs.
      { name: 'no-image', flags: ['--update-failure-action', 'rollback'], change: ['--image', 'nowhere:1'] },
      {
        name: 'no-volume',
        flags: ['--update-failure-action', 'rollback', '--update-order', 'start-first'],
        change: ['--mount-add', 'type=volume,src=v,dst=/v'],
      },
    ];
    const always = ['--replicas', '2', '--restart-delay', '1s', '--update-monitor', '1s', '--rollback-monitor', '1s'];
    const endOf = async (host: Host, socket: string, { name, flags, change }: (typeof scenarios)[number]) => {
      const must = async (...args: string[]) => {
        const { code, stdout, stderr } = await docker(host, socket, 'service', ...args);
        if (code !== 0) throw new Error(`${args.join(' ')}: ${stderr}`);
        return stdout;
      };
      const quiet = ['--detach', '--no-resolve-image'];
      await must('create', ...quiet, '--name', name, ...always, ...flags, 'busybox:test', 'sleep', '1d');
      const states = ['ps', '--filter', 'desired-state=running', '--format', '{{.CurrentState}}', name];
      await until(`${name} to run`, async () => (await must(...states)).match(/Running/g)?.length === 2);
      await must('update', ...quiet, ...change, name);
      const update = await until(
        `the update of ${name} to end`,
        async () => {
          const [{ UpdateStatus: status }] = JSON.parse(await must('inspect', name));
          return status && !['updating', 'rollback_started'].includes(status.State) && status;
        },
        { timeoutMs: 60_000 },
      );
      await must('rm', name);
      const { State: state, Message: message } = update;
      return `${name} ${state}: ${message.replace(/task [a-z0-9]{25}/, 'task T')}`;
    };
    const endsOf = (host: Host, socket: string) => Promise.all(scenarios.map((each) => endOf(host, socket, each)));
    const [ends, otherEnds] = await Promise.all([endsOf(ours, ours.swarmdSocket), endsOf(theirs, theirs.engineSocket)]);
    t.same(ends, otherEnds);
    t.match(ends.slice(3), [/rollback_completed/, /rollback_completed/, /rollback_completed/]);
  });
});
