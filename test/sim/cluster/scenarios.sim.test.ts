import { isTerminal, type ServiceSpec } from '@apiary/api/model';
import { rebalanceService, type TaskRecord, updateNode } from '@apiary/manager/core';
import t from 'tap';
import { raise, Scenario } from './scenario.js';

/** The failures of other orchestrators that must not happen here, and what people ask for, by the numbers of README.md. */

t.setTimeout(300_000);

t.test('failure 5: a task behind a broken link is replaced, and is not said to have ended while it runs', async (t) => {
  const scenario = await Scenario.begin(5, 3);
  const { cluster } = scenario;
  await scenario.createNetwork('front');
  await scenario.create('web', 5, 1e9, on('front'));
  await scenario.until(() => scenario.running('web').length === 5);
  const [host] = scenario.workers;
  const lost = scenario.running('web').filter(({ nodeId }) => nodeId === host?.nodeId);
  t.ok(lost.length > 0);
  if (host !== undefined) scenario.cutOff(host);
  const isReplaced = () =>
    scenario.running('web').filter(({ nodeId, desiredState }) => nodeId !== host?.nodeId && desiredState === 'running')
      .length === 5;
  await scenario.until(isReplaced);
  t.equal(host?.engine.running.length, lost.length, 'nobody could stop what runs there');
  for (const { id } of lost) {
    t.match(
      cluster.view?.task(id),
      { desiredState: 'shutdown', status: { state: 'running' } },
      'nor knows that it ended',
    );
  }
  const addresses = lost.map(({ networks }) => networks?.[0]?.address);
  const others = scenario.serving('web').map(({ networks }) => networks?.[0]?.address);
  t.notOk(
    others.some((address) => addresses.includes(address)),
    'what runs there has its addresses for itself',
  );
  cluster.network.heal();
  await scenario.settled(t);
  t.equal(host?.engine.running.length, 0);
});

t.test('failure 9: a node that is promoted and demoted in a hurry is in the end what was asked last', async (t) => {
  const scenario = await Scenario.begin(5, 3);
  const { cluster } = scenario;
  const id = scenario.workers[0]?.nodeId ?? raise('no worker');
  for (let i = 0; i < 25; i++) {
    const Role = i % 2 === 0 ? ('manager' as const) : ('worker' as const);
    cluster.request((view) => {
      const { meta, spec } = view.node(id) ?? raise('the node is gone');
      return updateNode(view, { id, version: meta.version, spec: { ...spec, Role } });
    });
    if (i % 7 === 3) cluster.leader?.transferLeadership();
    await cluster.run(cluster.nowMs + cluster.chance.between(5, 900));
  }
  await scenario.settled(t);
  t.equal(cluster.view?.node(id)?.role, 'manager');
  t.ok(cluster.leader?.replica.members.voters.includes(id));
});

t.test(
  'failure 10: what is freed wakes those that wait for it at once, and what is no longer wanted does not wait',
  async (t) => {
    const scenario = await Scenario.begin(3, 1);
    const pending = () => scenario.tasks('api').filter(({ status }) => status.state === 'pending');
    await scenario.create('web', 3, 8e9);
    await scenario.until(() => scenario.running('web').length === 3);
    await scenario.create('api', 3, 4e9);
    await scenario.until(() => pending().length === 3);
    await scenario.change('api', (spec) => ({ ...spec, TaskTemplate: { ...spec.TaskTemplate, ForceUpdate: 1 } }));
    await scenario.change('api', (spec) => ({ ...spec, Mode: { Replicated: { Replicas: 2 } } }));
    await scenario.until(() => pending().length === 2);
    t.equal(scenario.tasks('api').length, 2, 'those that were superseded are gone');
    await scenario.change('web', (spec) => ({ ...spec, Mode: { Replicated: { Replicas: 2 } } }));
    await scenario.until(() => scenario.tasks('web').length === 2);
    t.ok((await scenario.until(() => pending().length === 0)) < 100, 'both find room on the node that is free');
    await scenario.settled(t);
  },
);

t.test('failure 11: a host port is free again once its service is removed', async (t) => {
  const scenario = await Scenario.begin(3, 1);
  const ports = [{ Protocol: 'tcp', PublishMode: 'host', PublishedPort: 80, TargetPort: 80 }];
  for (const name of ['first', 'second', 'third']) {
    await scenario.create(name, 3, 1e9, { EndpointSpec: { Ports: ports } });
    await scenario.until(() => scenario.running(name).length === 3);
    await scenario.remove(name);
  }
  await scenario.settled(t);
  t.same(scenario.cluster.view?.tasks(), []);
});

t.test(
  'failure 1: VIPs are the same under every leader and after the power was gone, and no address is two',
  async (t) => {
    const scenario = await Scenario.begin(5, 3);
    const { cluster } = scenario;
    await scenario.createNetwork('front', '10.50.0.0/26');
    const names = ['a', 'b', 'c', 'd'];
    const vips = () => names.map((name) => cluster.service(name)?.endpoint?.vips[0]?.address);
    for (const [i, name] of names.entries()) {
      await scenario.create(name, 3, 1e8, on('front'));
      if (i === 1) cluster.leader?.transferLeadership();
      if (i === 2) scenario.leaderHost.killDaemon();
      await scenario.until(() => cluster.leader !== undefined && scenario.serving(name).length === 3);
    }
    const before = vips();
    t.equal(new Set(before).size, 4);
    for (const host of cluster.hosts) host.crash();
    await cluster.run(cluster.nowMs + 5_000);
    for (const host of cluster.hosts) host.boot();
    await scenario.until(() => cluster.leader !== undefined);
    t.same(vips(), before);
    await scenario.create('late', 9, 1e8, on('front'));
    await scenario.settled(t);
    const { view } = cluster;
    const id = scenario.networkId('front');
    t.equal(view?.addresses(id).owners.size, 4 + 12 + 1 + 9, 'each has one');
  },
);

t.test('failure 2: the addresses of a node that is removed, or that comes back, are free again', async (t) => {
  const scenario = await Scenario.begin(5, 1);
  const { cluster } = scenario;
  // 13 addresses for tasks: what leaks is soon missed.
  await scenario.createNetwork('small', '10.50.0.0/28');
  await scenario.create('web', 8, 1e8, { ...on('small'), EndpointSpec: { Mode: 'dnsrr' } });
  const used = () => cluster.view?.addresses(scenario.networkId('small')).owners.size;
  await scenario.until(() => scenario.serving('web').length === 8);
  for (const host of scenario.workers.slice(0, 2)) {
    const { nodeId = '' } = host;
    host.crash();
    await scenario.until(() => scenario.serving('web').every((task) => task.nodeId !== nodeId));
    await scenario.until(() => scenario.serving('web').length === 8);
    t.ok((used() ?? 0) > 8, 'nobody knows that what ran there runs no more');
    cluster.removeNode(nodeId);
    await scenario.until(() => used() === 8);
  }
  const [, , crashed] = scenario.workers;
  crashed?.crash();
  await cluster.run(cluster.nowMs + 30_000);
  crashed?.boot();
  await scenario.until(() => used() === 8);
  t.equal(scenario.serving('web').length, 8);
});

t.test('failure 3: a host that leaves and joins in a hurry hides nothing of what runs', async (t) => {
  const scenario = await Scenario.begin(4, 1);
  const { cluster } = scenario;
  await scenario.createNetwork('front');
  await scenario.create('web', 6, 1e8, on('front'));
  const [host = raise('no worker')] = scenario.workers;
  for (let i = 0; i < 4; i++) {
    const { nodeId = '' } = host;
    await scenario.until(() => host.engine.running.length > 0);
    cluster.removeNode(nodeId);
    await scenario.until(() => host.nodeId === undefined);
    cluster.join(host, 'worker');
    await scenario.until(() => host.nodeId !== undefined);
    await scenario.change('web', (spec) => ({ ...spec, TaskTemplate: { ...spec.TaskTemplate, ForceUpdate: i + 1 } }));
  }
  await scenario.settled(t);
});

t.test('failure 4: a host that missed changes of its networks has all of them once it is heard again', async (t) => {
  const scenario = await Scenario.begin(4, 1);
  const { cluster } = scenario;
  await scenario.createNetwork('front');
  for (const name of ['web', 'api']) await scenario.create(name, 6, 1e8, on('front'));
  await scenario.until(() => [...scenario.serving('web'), ...scenario.serving('api')].length === 12);
  const [host = raise('no worker')] = scenario.workers;
  for (const missedMs of [300, 2_000, 40_000]) {
    scenario.cutOff(host);
    await scenario.remove('api');
    await scenario.change('web', (spec) => ({ ...spec, Mode: { Replicated: { Replicas: 4 } } }));
    await cluster.run(cluster.nowMs + missedMs);
    cluster.network.heal();
    await scenario.create('api', 6, 1e8, on('front'));
    await scenario.change('web', (spec) => ({ ...spec, Mode: { Replicated: { Replicas: 6 } } }));
    await scenario.settled(t);
  }
});

t.test('failure 12: what was taken away with its network can be had again at once', async (t) => {
  const scenario = await Scenario.begin(3, 1);
  for (let i = 0; i < 3; i++) {
    await scenario.createNetwork('shop_default', '10.50.0.0/24');
    for (const name of ['shop_web', 'shop_db']) await scenario.create(name, 3, 1e8, on('shop_default'));
    if (i < 2) await scenario.until(() => scenario.serving('shop_web').length === 3);
    for (const name of i < 2 ? ['shop_web', 'shop_db'] : []) await scenario.remove(name);
    if (i < 2) await scenario.removeNetwork('shop_default');
  }
  await scenario.settled(t);
  t.equal(scenario.serving('shop_db').length, 3);
});

t.test(
  'a network that a service has left is removed from every host, and those that start anew do not miss it',
  async (t) => {
    const scenario = await Scenario.begin(3, 1);
    const { cluster } = scenario;
    for (const name of ['front', 'back']) await scenario.createNetwork(name);
    await scenario.create('web', 3, 1e8, on('back'));
    await scenario.until(() => scenario.serving('web').length === 3);
    const front = { Networks: [{ Target: scenario.networkId('front') }] };
    await scenario.change('web', (spec) => ({ ...spec, TaskTemplate: { ...spec.TaskTemplate, ...front } }));
    await scenario.settled(t);
    t.equal(scenario.tasks('web').length, 6, 'those that were on the other network are kept');
    await scenario.removeNetwork('back');
    await scenario.settled(t);
    for (const host of cluster.hosts) {
      host.killDaemon();
      host.startDaemon();
    }
    await scenario.until(() => cluster.leader !== undefined);
    await scenario.change('web', (spec) => ({ ...spec, Mode: { Replicated: { Replicas: 0 } } }));
    await scenario.settled(t);
  },
);

t.test(
  'asks 12 and 13: an update that starts first never dips, whoever leads, and leaves nobody in the lurch',
  async (t) => {
    const scenario = await Scenario.begin(5, 3);
    const { cluster } = scenario;
    await scenario.createNetwork('front');
    await scenario.create('web', 4, 1e8, {
      ...on('front'),
      UpdateConfig: { Order: 'start-first', Parallelism: 2, Monitor: 1e9 },
    });
    await scenario.until(() => scenario.serving('web').length === 4);
    let least = 4;
    let led = 0;
    const isUpdated = (image: string) => () => {
      if (cluster.leader !== undefined) least = Math.min(least, scenario.serving('web').length);
      for (const host of cluster.hosts)
        for (const task of scenario.running('web')) led += Number(host.network?.leadsTo(task.id));
      return (
        cluster.service('web')?.update?.state === 'completed' &&
        scenario.serving('web').every((task) => imageOf(scenario, task) === image)
      );
    };
    for (const [i, image] of ['app:2', 'health:1', 'app:3'].entries()) {
      await scenario.change('web', (spec) => ({
        ...spec,
        TaskTemplate: { ...spec.TaskTemplate, ContainerSpec: { Image: image } },
      }));
      await cluster.run(cluster.nowMs + 300, isUpdated(image));
      if (i === 1) cluster.leader?.transferLeadership();
      await scenario.until(isUpdated(image));
    }
    t.equal(least, 4);
    t.ok(led > 0);
    await scenario.settled(t);
  },
);

t.test('ask 14: a drain that starts first never dips, and is over when the node is empty', async (t) => {
  const scenario = await Scenario.begin(4, 1);
  await scenario.createNetwork('front');
  await scenario.create('web', 6, 1e9, { ...on('front'), UpdateConfig: { Order: 'start-first' } });
  await scenario.until(() => scenario.serving('web').length === 6);
  const [host = raise('no worker')] = scenario.workers;
  let least = 6;
  await scenario.changeNode(host, { Availability: 'drain' });
  await scenario.until(() => {
    least = Math.min(least, scenario.serving('web').length);
    return host.engine.running.length === 0 && scenario.serving('web').length === 6;
  });
  t.equal(least, 6);
  t.notOk(scenario.serving('web').some(({ nodeId }) => nodeId === host.nodeId));
  await scenario.changeNode(host, { Availability: 'active' });
  await scenario.settled(t);
});

t.test(
  'ask 15: a rebalance spreads tasks to a node that is back, one at a time, and only when it is asked for',
  async (t) => {
    const scenario = await Scenario.begin(4, 1);
    const { cluster } = scenario;
    const [host = raise('no worker')] = scenario.workers;
    await scenario.changeNode(host, { Availability: 'drain' });
    await scenario.create('web', 8, 1e8, { UpdateConfig: { Order: 'start-first' } });
    await scenario.until(() => scenario.serving('web').length === 8);
    await scenario.changeNode(host, { Availability: 'active' });
    await cluster.run(cluster.nowMs + 30_000);
    const here = () => scenario.serving('web').filter(({ nodeId }) => nodeId === host.nodeId).length;
    t.equal(here(), 0);
    const { id = '' } = cluster.service('web') ?? {};
    await scenario.ask((heard) => cluster.request((view) => rebalanceService(view, { id, most: 1 }), heard));
    let most = 0;
    await scenario.until(() => {
      const live = scenario
        .tasks('web')
        .filter(({ desiredState, status }) => desiredState === 'running' && !isTerminal(status.state));
      most = Math.max(most, live.length);
      return cluster.service('web')?.rebalance === undefined;
    });
    t.equal(here(), 2);
    t.equal(most, 9, 'one more while one moves');
    await scenario.settled(t);
  },
);

t.test('ask 16: tasks for which there is no address say so, and get one as soon as it is free', async (t) => {
  const scenario = await Scenario.begin(3, 1);
  await scenario.createNetwork('tiny', '10.50.0.0/29');
  await scenario.create('web', 4, 1e8, on('tiny'));
  await scenario.until(() => scenario.serving('web').length === 4);
  await scenario.create('api', 2, 1e8, { ...on('tiny'), EndpointSpec: { Mode: 'dnsrr' } });
  const waiting = () => scenario.tasks('api').filter(({ status }) => status.state === 'pending');
  await scenario.until(() => waiting().length === 2);
  t.match(waiting()[0]?.status.err, 'no free address in subnet 10.50.0.0/29 of network tiny (all 5 are in use)');
  await scenario.change('web', (spec) => ({ ...spec, Mode: { Replicated: { Replicas: 2 } } }));
  await scenario.until(() => scenario.tasks('web').filter(({ status }) => !isTerminal(status.state)).length === 2);
  t.ok((await scenario.until(() => waiting().length === 0)) < 100);
  await scenario.settled(t);
});

t.test(
  'ask 21: a node that stands still for a moment is not down, and one that flaps runs nothing twice',
  async (t) => {
    const scenario = await Scenario.begin(5, 3);
    const { cluster } = scenario;
    await scenario.create('web', 6, 1e8);
    await scenario.until(() => scenario.serving('web').length === 6);
    const [host = raise('no worker')] = scenario.workers;
    const ids = () =>
      scenario
        .tasks('web')
        .map(({ id }) => id)
        .sort();
    const before = ids();
    host.process?.pause();
    await cluster.run(cluster.nowMs + 1_500);
    host.process?.resume();
    cluster.leader?.transferLeadership();
    await cluster.run(cluster.nowMs + 20_000);
    t.same(ids(), before, 'nothing was replaced');
    for (let i = 0; i < 6; i++) {
      scenario.cutOff(host);
      await cluster.run(cluster.nowMs + cluster.chance.between(2_000, 6_000));
      cluster.network.heal();
      await cluster.run(cluster.nowMs + cluster.chance.between(500, 3_000));
    }
    await scenario.settled(t);
    t.equal(cluster.hosts.flatMap(({ engine }) => engine.running).length, 6);
  },
);

t.test('a node that has less than it had gives up what came last, and gets it back when it is asked to', async (t) => {
  const scenario = await Scenario.begin(3, 1);
  await scenario.create('first', 3, 4e9);
  await scenario.until(() => scenario.serving('first').length === 3);
  await scenario.create('second', 3, 2e9);
  await scenario.until(() => scenario.serving('second').length === 3);
  const [host = raise('no worker')] = scenario.workers;
  host.engine.resize(5e9);
  await scenario.until(() => scenario.serving('second').every(({ nodeId }) => nodeId !== host.nodeId));
  await scenario.until(() => scenario.serving('second').length === 3);
  t.equal(scenario.serving('first').filter(({ nodeId }) => nodeId === host.nodeId).length, 1);
  const [ended] = scenario.tasks('second').filter(({ nodeId }) => nodeId === host.nodeId);
  t.match(ended, {
    status: { state: 'shutdown' },
    endReason: 'assigned node no longer has the resources that the task reserves',
  });
  await scenario.settled(t);
});

function on(network: string): Partial<ServiceSpec> {
  return { TaskTemplate: { Networks: [{ Target: network }] } };
}

function imageOf({ cluster }: Scenario, { serviceId, specVersion }: TaskRecord): string | undefined {
  return cluster.view?.spec(serviceId, specVersion).template.ContainerSpec?.Image;
}
