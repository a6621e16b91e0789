import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { until } from '../hosts/index.js';
import { Cluster, serviceSpec, skipWithoutHosts } from './cluster.js';

t.setTimeout(240_000);

/** A service of which each task writes what is given, then waits. */
async function talker(t: Test, cluster: Cluster, name: string, options: { replicas: number; script: string }) {
  const spec = serviceSpec(name, { replicas: options.replicas });
  const ContainerSpec = { ...spec.TaskTemplate.ContainerSpec, Command: ['sh', '-c', options.script] };
  await cluster.manager.createService({ ...spec, TaskTemplate: { ...spec.TaskTemplate, ContainerSpec } });
  t.teardown(() => cluster.remove(name));
  await cluster.settled(name, options.replicas);
}

const COUNTER = 'trap "exit 0" TERM; i=0; while :; do i=$((i + 1)); echo "$i"; sleep 0.1; done';

/** What a command that follows has written so far. */
async function follow(t: Test, cluster: Cluster, number: number, ...args: string[]) {
  const host = cluster.hosts.host(number);
  const log = `${host.swarmdLog}.follow-${Math.random().toString(36).slice(2)}`;
  const socket = `unix://${host.swarmdSocket}`;
  const command = await host.spawn('docker', ['--host', socket, 'service', 'logs', '--follow', ...args], log);
  let isOver = false;
  const exited = command.exited.then(() => {
    isOver = true;
  });
  t.teardown(async () => {
    if (!isOver) command.kill('SIGKILL');
    await exited;
  });
  return { lines: () => readFileSync(log, 'utf8').split('\n').slice(0, -1), exited };
}

t.test('logs of a cluster of three managers', { skip: skipWithoutHosts }, async (t) => {
  const cluster = await Cluster.up(t, 3, { managers: 3 });
  await cluster.managersAre(1, 2, 3);

  t.test('of all nodes come in order of time, from whichever manager is asked, as docker shows them', async (t) => {
    await talker(t, cluster, 'web', { replicas: 6, script: 'echo one; echo two >&2; echo three; exec sleep 1d' });
    for (const number of [1, 2, 3]) {
      const host = cluster.hosts.host(number);
      const ours = await host.swarmctl('service', 'logs', 'web');
      t.equal(ours.code, 0, ours.stderr);
      t.equal(ours.stdout.split('\n').length, 13, ours.stdout);
      t.equal(ours.stderr.split('\n').length, 7);
      t.equal(new Set(ours.stdout.match(/@h\d/g)).size, 3, 'of three nodes');
      const theirs = await host.docker('service', 'logs', 'web');
      t.same([ours.stdout, ours.stderr], [theirs.stdout, theirs.stderr]);
      const stamped = await host.swarmctl('service', 'logs', '--timestamps', '--raw', 'web');
      const stamps = stamped.stdout.split('\n').slice(0, -1);
      t.same(stamps, [...stamps].sort(), 'in order of time');
      // The engine may have the streams of a container in another order than its process wrote them.
      const last = await host.swarmctl('service', 'logs', '--raw', '--tail', '1', 'web');
      t.equal((last.stdout + last.stderr).split('\n').length, 7, 'one of each task');
      const since = stamps.at(-1)?.split(' ')[0] ?? '';
      t.equal((await host.swarmctl('service', 'logs', '--raw', '--since', since, 'web')).stdout, 'three\n');
    }
    const [task] = await cluster.tasks('web');
    const one = await cluster.hosts.host(2).swarmctl('task', 'logs', '--raw', task?.ID ?? '');
    t.same([one.stdout, one.stderr], ['one\nthree\n', 'two\n']);
  });

  t.test('are followed over new tasks, and to the end of the service', async (t) => {
    await talker(t, cluster, 'grows', { replicas: 1, script: COUNTER });
    const { lines, exited } = await follow(t, cluster, 2, 'grows');
    await until('lines of the first task', () => lines().length > 3);
    const { Spec, Version } = await cluster.manager.service('grows');
    await cluster.manager.updateService('grows', Version.Index, { ...Spec, Mode: { Replicated: { Replicas: 3 } } });
    await until('lines of three tasks', () => new Set(lines().map((line) => line.split(' ')[0])).size === 3);
    await cluster.manager.removeService('grows');
    await exited;
    for (const name of new Set(lines().map((line) => line.split(' ')[0]))) {
      const counts = lines()
        .filter((line) => line.startsWith(`${name} `))
        .map((line) => Number(line.split('| ')[1]));
      t.same(
        counts,
        counts.map((_, i) => i + 1),
        'each from its first line, none left out, none twice',
      );
    }
  });

  t.test('are followed over a change of leader, without a line left out or twice', async (t) => {
    await talker(t, cluster, 'goes-on', { replicas: 2, script: COUNTER });
    const leader = await cluster.managersAre(1, 2, 3);
    const [asked = 1] = [1, 2, 3].filter((number) => number !== leader);
    cluster.ask(asked);
    const { lines } = await follow(t, cluster, asked, '--no-trunc', 'goes-on');
    await until('lines of both', () => lines().length > 10);
    await cluster.hosts.host(leader).killSwarmd();
    await until('another leader', async () => {
      const nodes = await cluster.client(asked).nodes();
      return nodes.some(({ ManagerStatus, Description }) => {
        return ManagerStatus?.Leader === true && Description.Hostname !== `h${leader}`;
      });
    });
    const before = lines().length;
    await until('more lines', () => lines().length > before + 20, { timeoutMs: 60_000 });
    const names = new Set(lines().map((line) => line.split(' ')[0]));
    for (const name of names) {
      const counts = lines()
        .filter((line) => line.startsWith(`${name} `))
        .map((line) => Number(line.split('| ')[1]));
      t.same(
        counts,
        counts.map((_, i) => i + 1),
        `${name}: none left out, none twice`,
      );
    }
    await cluster.hosts.host(leader).startSwarmd();
    await cluster.managersAre(1, 2, 3);
  });

  t.test('are kept when tasks and services are gone, on the nodes that ran them', async (t) => {
    await talker(t, cluster, 'gone', { replicas: 3, script: 'echo "I was $HOSTNAME"; echo err >&2; exec sleep 1d' });
    const tasks = await cluster.tasks('gone');
    const shown = async (...words: string[]) => {
      const { code, stdout, stderr } = await cluster.hosts.host(2).swarmctl('service', 'logs', ...words);
      return { code, lines: `${stdout}${stderr}`.split('\n').slice(0, -1).sort() };
    };
    const before = await shown('gone');
    t.equal(before.lines.length, 6);
    const { Spec, Version } = await cluster.manager.service('gone');
    await cluster.manager.updateService('gone', Version.Index, { ...Spec, Mode: { Replicated: { Replicas: 0 } } });
    await until('the tasks to be gone', async () => (await cluster.tasks('gone')).length === 0);
    await until('their output to be kept', async () => (await shown('gone')).lines.length === 6);
    t.same(await shown('gone'), before, 'of a service that is there');
    const theirs = await cluster.hosts.host(2).docker('service', 'logs', 'gone');
    t.same([theirs.code, theirs.stdout], [0, ''], 'docker, which could not say whose they are, is not given them');
    await cluster.manager.removeService('gone');
    t.same((await shown('gone')).lines, before.lines, 'of one that is not');
    await cluster.hosts.host(1).killSwarmd();
    await cluster.hosts.host(1).startSwarmd();
    await cluster.managersAre(1, 2, 3);
    await until('node 1 to answer again', async () => (await shown('gone')).lines.length === 6);
    const [task] = tasks;
    const one = await cluster.hosts.host(3).swarmctl('task', 'logs', '--raw', task?.ID ?? '');
    t.match(one.stdout, /^I was /);
    t.match(await shown('never-was'), { code: 1, lines: ['no such task or service: never-was'] });
  });

  t.test('say what is missing when a node does not answer', async (t) => {
    await talker(t, cluster, 'cut', { replicas: 3, script: 'echo here; exec sleep 1d' });
    const leader = await cluster.managersAre(1, 2, 3);
    cluster.ask(leader);
    const [other = 2] = [1, 2, 3].filter((number) => number !== leader);
    const { ID } = await cluster.node(other);
    await cluster.hosts.host(other).pauseSwarmd();
    t.teardown(() => cluster.hosts.host(other).resumeSwarmd());
    const started = performance.now();
    const { code, stdout, stderr } = await cluster.hosts.host(leader).swarmctl('service', 'logs', '--raw', 'cut');
    t.ok(performance.now() - started < 10_000);
    t.equal(code, 1);
    t.equal(stdout, 'here\nhere\n');
    t.match(
      stderr,
      new RegExp(`error from daemon in stream: Error grabbing logs: .*warning: incomplete log stream. .*${ID}`),
    );
  });
});
