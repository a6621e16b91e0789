import t from 'tap';
import { until } from '../hosts/index.js';
import { Cluster, skipWithoutHosts } from './cluster.js';

t.setTimeout(240_000);

t.test('placement, drains and rebalances', { skip: skipWithoutHosts }, async (t) => {
  const cluster = await Cluster.hosts(t, 3);
  const [first, second, third] = [cluster.hosts.host(1), cluster.hosts.host(2), cluster.hosts.host(3)];
  const gpus = ['gpu=UUID1', 'gpu=UUID2'].flatMap((term) => ['--node-generic-resource', term]);
  await Promise.all([first.startSwarmd(), second.startSwarmd({ args: gpus }), third.startSwarmd()]);
  await cluster.form();
  const ctl = async (...args: string[]) => {
    const { code, stdout, stderr } = await first.swarmctl(...args);
    return { code, stdout, stderr };
  };
  const create = (...args: string[]) => ctl('service', 'create', '--no-resolve-image', ...args);
  const sleeping = 'busybox:test';

  t.test('a generic resource is claimed where it is, and the container finds which', async (t) => {
    t.teardown(() => cluster.remove('infer'));
    const made = await create('-d', '--name', 'infer', '--replicas', '3', '--generic-resource', 'gpu=1', sleeping);
    t.equal(made.code, 0, made.stderr);
    const running = await until('two containers of infer on h2', async () => {
      const containers = (await cluster.containers('infer')).filter(({ State }) => State === 'running');
      return containers.length === 2 && containers.every(({ host }) => host === second) && containers;
    });
    const envs = await Promise.all(running.map(({ Id }) => second.docker('inspect', '-f', '{{json .Config.Env}}', Id)));
    const claims = envs.map(({ stdout }) => /DOCKER_RESOURCE_GPU=\w+/.exec(stdout)?.[0]);
    t.same(claims.sort(), ['DOCKER_RESOURCE_GPU=UUID1', 'DOCKER_RESOURCE_GPU=UUID2']);
    const { stdout } = await ctl('service', 'ps', '--no-trunc', '--format', '{{.Error}}', 'infer');
    t.match(stdout, /"no suitable node \(3 nodes: insufficient gpu \(need 1, largest free 0 on h[123]\)\)"/);
  });

  t.test('a drain is waited for, and moves start-first; a rebalance brings tasks back', async (t) => {
    t.teardown(() => cluster.remove('web'));
    const made = await create('-d', '--name', 'web', '--replicas', '3', '--update-order', 'start-first', sleeping);
    t.equal(made.code, 0, made.stderr);
    await cluster.settled('web', 3);
    const drained = await ctl('node', 'update', '--availability', 'drain', '--wait', 'h3');
    t.equal(drained.code, 0, drained.stderr);
    t.match(drained.stdout, /h3: drained, no task left/);
    t.same(
      (await cluster.containers('web', [third])).filter(({ State }) => State === 'running'),
      [],
    );
    await cluster.settled('web', 3);
    await ctl('node', 'update', '--availability', 'active', 'h3');
    const moved = await ctl('node', 'rebalance');
    t.equal(moved.code, 0, moved.stderr);
    t.match(moved.stdout, /rebalance: done/);
    const places = (await cluster.settled('web', 3)).map(({ host }) => host.name);
    t.same(places.sort(), ['h1', 'h2', 'h3']);
  });
});
