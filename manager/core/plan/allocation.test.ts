import { isTerminal, type ServiceSpec } from '@apiary/api/model';
import { networkContains, parseIp, parseIpNetwork } from '@apiary/overlay-net/core';
import { invariant, SeededRng } from '@apiary/std';
import t from 'tap';
import { networkUsage } from '../engine-api/network.js';
import { createNetwork, firstNetworks } from '../requests/network-requests.js';
import { Store } from '../store/store.js';
import { HollowCluster } from './hollow-cluster.test.js';
import { plan } from './plan.js';

const ALL = { all: true, services: new Set<string>(), nodes: new Set<string>() };

/** A cluster with the networks that every one has, and some of its own: their ids, by name. */
function networked(nodes: number, subnets: Record<string, string | string[] | undefined>, seed = 1) {
  const cluster = new HollowCluster(seed);
  for (let i = 1; i <= nodes; i++) cluster.addNode(`h${i}`);
  cluster.commit(...firstNetworks(undefined, cluster.rng));
  for (const [Name, asked] of Object.entries(subnets)) {
    const Config = [asked ?? []].flat().map((Subnet) => ({ Subnet }));
    const EnableIPv6 = Config.some(({ Subnet }) => Subnet.includes(':'));
    cluster.commit(...createNetwork(cluster.store, { Name, EnableIPv6, IPAM: { Config } }, cluster.rng).changes);
  }
  const ids = new Map(cluster.store.networks().map(({ id, spec }) => [spec.Name, id]));
  const idOf = (name: string): string => ids.get(name) ?? name;
  const on = (...names: string[]): Pick<ServiceSpec, 'TaskTemplate'> => ({
    TaskTemplate: { ContainerSpec: { Image: 'app:1' }, Networks: names.map((name) => ({ Target: idOf(name) })) },
  });
  return { cluster, idOf, on };
}

/** Everybody who has an address, and on which network: nobody has that of another, and nobody one from elsewhere. */
function checkAddresses({ store }: HollowCluster): void {
  const holders = new Map<string, string>();
  const claims = [
    ...store.services().flatMap(({ id, endpoint }) => (endpoint?.vips ?? []).map((vip) => ({ id, ...vip }))),
    ...store
      .tasks()
      .filter(({ status }) => !isTerminal(status.state))
      .flatMap(({ id, networks = [] }) => networks.map((address) => ({ id, ...address }))),
  ];
  const counts = new Map<string, number>();
  for (const { id, networkId, address, ipv6Address } of claims) {
    const network = store.network(networkId);
    invariant(network !== undefined, `${id} is on a network that is gone`);
    const ip = parseIp(address);
    const isIn = ({ subnet }: { subnet: string }) => ip !== undefined && networkContains(parseIpNetwork(subnet), ip);
    const [subnet = network.subnets[0]] = network.subnets.filter(isIn);
    const ipv6Subnet = network.subnets.find((each) => each.subnet.includes(':'));
    if (subnet === undefined) {
      invariant(address === '', `${id} has ${address} of the engine's network ${network.spec.Name}`);
      continue;
    }
    invariant(isIn(subnet), `${id}: ${address} is elsewhere`);
    invariant(address !== subnet.gateway, `${id} has the gateway's address`);
    const other = holders.get(`${networkId} ${address}`);
    invariant(other === undefined, `${address} is that of ${id} and of ${other}`);
    holders.set(`${networkId} ${address}`, id);
    counts.set(networkId, (counts.get(networkId) ?? 0) + 1);
    invariant((ipv6Address === undefined) === (ipv6Subnet === undefined), `${id} has not an address of each family`);
    if (ipv6Subnet === undefined || ipv6Address === undefined) continue;
    const ipv6 = parseIp(ipv6Address);
    const isWithin = ipv6 !== undefined && networkContains(parseIpNetwork(ipv6Subnet.subnet), ipv6);
    invariant(isWithin && ipv6Address !== ipv6Subnet.gateway, `${id}: ${ipv6Address} is elsewhere`);
    const neighbour = holders.get(`${networkId} ${ipv6Address}`);
    invariant(neighbour === undefined, `${ipv6Address} is that of ${id} and of ${neighbour}`);
    holders.set(`${networkId} ${ipv6Address}`, id);
  }
  for (const { id, spec } of store.networks()) {
    const { count, ipv6 } = store.addresses(id);
    invariant(count === (counts.get(id) ?? 0), `an address of network ${spec.Name} is lost`);
    invariant(ipv6.count === (spec.EnableIPv6 ? count : 0), `an IPv6 address of network ${spec.Name} is lost`);
  }
}

t.test('addresses', async (t) => {
  t.test('come with the task, in the entry that gives it its node; the service has one of its own', async (t) => {
    const { cluster, idOf, on } = networked(2, { front: '10.1.0.0/24', back: '10.2.0.0/24' });
    const before = cluster.entries;
    cluster.createService('web', { replicas: 3, ...on('front', 'back') });
    cluster.settle();
    t.equal(cluster.entries - before, 1);
    const networks = cluster.tasks('web').map((task) => task.networks ?? []);
    t.same(
      networks.map(([front, back]) => [front?.networkId, back?.networkId]),
      Array.from({ length: 3 }, () => [idOf('front'), idOf('back')]),
    );
    t.same(networks.map(([front]) => front?.address).sort(), ['10.1.0.3', '10.1.0.4', '10.1.0.5']);
    t.same(cluster.service('web').endpoint?.vips, [
      { networkId: idOf('front'), address: '10.1.0.2' },
      { networkId: idOf('back'), address: '10.2.0.2' },
    ]);
    t.equal(cluster.service('web').meta.version, cluster.service('web').meta.version);
    checkAddresses(cluster);
  });

  t.test('that are all in use have tasks wait, saying so, until one is given back', async (t) => {
    const { cluster, on } = networked(1, { tiny: '10.1.0.0/29' });
    // Of eight: the network, the gateway and the broadcast address, and that of the service.
    cluster.createService('web', { replicas: 6, ...on('tiny') });
    cluster.run(1_000);
    t.equal(cluster.running('web').length, 4);
    const waiting = cluster.tasks('web').filter(({ status }) => status.state === 'pending');
    t.same(
      waiting.map(({ status, networks }) => [status.err, networks]),
      Array.from({ length: 2 }, () => [
        'no free address in subnet 10.1.0.0/29 of network tiny (all 5 are in use)',
        undefined,
      ]),
    );
    t.same(plan(cluster.store, ALL, cluster.nowMs, cluster.rng).changes, [], 'and that is said once');
    cluster.exit(cluster.running('web')[0]?.id ?? '', 1);
    cluster.run(1_000);
    t.equal(cluster.running('web').length, 4, 'who waits longest is next');
    checkAddresses(cluster);
    cluster.scale('web', 4);
    cluster.run(20_000);
    t.equal(cluster.running('web').length, 4);
    t.equal(cluster.tasks('web').filter(({ status }) => status.state === 'pending').length, 0);
  });

  t.test('are of a network’s next subnet when one has none left, and of the first again when it has', async (t) => {
    const { cluster, idOf, on } = networked(1, { wide: ['10.1.0.0/29', '10.2.0.0/29'] });
    cluster.createService('web', { replicas: 11, ...on('wide') });
    cluster.run(1_000);
    const used = () => cluster.running('web').map(({ networks }) => networks?.[0]?.address ?? '');
    const first = ['10.1.0.3', '10.1.0.4', '10.1.0.5', '10.1.0.6'];
    t.same(used().sort(), [...first, '10.2.0.2', '10.2.0.3', '10.2.0.4', '10.2.0.5', '10.2.0.6']);
    t.equal(
      cluster.tasks('web').find(({ status }) => status.state === 'pending')?.status.err,
      'no free address in subnet 10.1.0.0/29 of network wide (all 5 are in use); ' +
        'no free address in subnet 10.2.0.0/29 of network wide (all 5 are in use)',
    );
    const record = cluster.store.network(idOf('wide'));
    t.match(record && networkUsage(cluster.store, record), [
      { Subnet: '10.1.0.0/29', IPsInUse: 5, DynamicIPsAvailable: 0 },
      { Subnet: '10.2.0.0/29', IPsInUse: 5, DynamicIPsAvailable: 0 },
    ]);
    checkAddresses(cluster);
    const leaving = cluster.running('web').find(({ networks }) => networks?.[0]?.address === '10.1.0.4');
    cluster.exit(leaving?.id ?? '', 1);
    cluster.run(1_000);
    t.equal(used().filter((address) => first.includes(address)).length, 4);
    checkAddresses(cluster);
  });

  t.test('are of both families on a network of IPv6; when either has none left tasks wait', async (t) => {
    const { cluster, idOf, on } = networked(1, { dual: ['10.1.0.0/24', 'fd00:5::/125'] });
    // Of eight: that of routers, the gateway, and that of the service.
    cluster.createService('web', { replicas: 6, ...on('dual') });
    cluster.run(1_000);
    t.same(cluster.service('web').endpoint?.vips, [
      { networkId: idOf('dual'), address: '10.1.0.2', ipv6Address: 'fd00:5::2' },
    ]);
    t.same(
      cluster
        .running('web')
        .map(({ networks }) => networks?.[0]?.ipv6Address)
        .sort(),
      ['fd00:5::3', 'fd00:5::4', 'fd00:5::5', 'fd00:5::6', 'fd00:5::7'],
    );
    t.match(
      cluster.tasks('web').filter(({ status }) => status.state === 'pending'),
      [{ status: { err: 'no free address in subnet fd00:5::/125 of network dual (all 6 are in use)' } }],
    );
    cluster.scale('web', 2);
    cluster.run(20_000);
    cluster.createService('db', { replicas: 2, ...on('dual') });
    cluster.run(1_000);
    t.equal(cluster.running('db').length, 2, 'what was given back is another’s');
    checkAddresses(cluster);
  });

  t.test('are kept while nobody knows whether the container still runs', async (t) => {
    const { cluster, on } = networked(2, { net: '10.1.0.0/24' });
    cluster.createService('web', { replicas: 2, ...on('net') });
    cluster.run(1_000);
    cluster.unlink('h1');
    cluster.run(10_000);
    const addresses = cluster.tasks('web').flatMap(({ networks = [] }) => networks.map(({ address }) => address));
    t.equal(new Set(addresses).size, 3, 'that of the task on the lost node is not given to its successor');
    checkAddresses(cluster);
    cluster.link('h1');
    cluster.run(10_000);
    checkAddresses(cluster);
  });

  t.test('are those that the leader before gave: a new one finds nothing to do', async (t) => {
    const { cluster, on } = networked(2, { net: '10.1.0.0/24' });
    cluster.createService('web', { replicas: 4, ...on('net'), EndpointSpec: { Ports: [{ TargetPort: 80 }] } });
    cluster.settle();
    const replica = new Store();
    replica.restore(cluster.store.appliedIndex, [...cluster.store.snapshot()]);
    // It died once the entry was committed, before any agent had heard of the tasks.
    t.same(plan(replica, ALL, cluster.nowMs, new SeededRng(9)).changes, []);
    // Another that is to give more gives none that is given.
    replica.apply(cluster.store.appliedIndex + 1, {
      atMs: cluster.nowMs,
      guards: [],
      changes: [{ type: 'service-create', id: 'db', spec: { Name: 'db', ...on('net') } }],
    });
    const { changes } = plan(replica, ALL, cluster.nowMs, new SeededRng(9));
    replica.apply(cluster.store.appliedIndex + 2, { atMs: cluster.nowMs, guards: [], changes });
    t.equal(replica.tasksOfService('db')[0]?.networks?.length, 1);
    const all = replica.tasks().flatMap(({ networks = [] }) => networks.map(({ address }) => address));
    t.equal(new Set(all).size, 5);
  });

  t.test('that somebody else has are not given, whatever an entry says', async (t) => {
    const { cluster, on } = networked(1, { net: '10.1.0.0/24' });
    cluster.createService('web', { replicas: 1, ...on('net') });
    cluster.settle();
    const [task] = cluster.tasks('web');
    invariant(task !== undefined, 'there is a task');
    const { meta: _, ...copy } = task;
    cluster.commit({ type: 'task-create', task: { ...copy, id: 'double', slot: 9 } });
    t.equal(cluster.store.task('double'), undefined);
    const endpoint = { vips: copy.networks ?? [], ports: [] };
    const before = cluster.service('web').endpoint;
    cluster.commit({ type: 'service-endpoint', id: 'web', endpoint });
    t.same(cluster.service('web').endpoint, before);
  });

  t.test('of a network that nobody sized come from its beginning, and from the rest when that gets full', async (t) => {
    const { cluster, idOf, on } = networked(1, { net: undefined });
    cluster.createService('web', { replicas: 150, ...on('net') });
    cluster.settle();
    const use = cluster.store.addresses(idOf('net'));
    const [subnet] = cluster.store.network(idOf('net'))?.subnets ?? [];
    const { first } = parseIpNetwork(subnet?.subnet ?? '');
    t.equal(subnet?.subnet, '10.0.16.0/20');
    t.ok((use.highest() ?? 0) < Number(first) + 256);
    cluster.scale('web', 600);
    cluster.settle();
    t.equal(use.count, 601);
    t.ok((use.highest() ?? 0) > Number(first) + 256);
    checkAddresses(cluster);
  });
});

t.test('an engine has networks of its own, of which tasks have no address of ours', async (t) => {
  const { cluster, idOf, on } = networked(1, {});
  cluster.createService('web', { replicas: 1, ...on('host') });
  cluster.run(1_000);
  t.same(cluster.running('web')[0]?.networks, [{ networkId: idOf('host'), address: '' }]);
  t.same(cluster.service('web').endpoint?.vips, [{ networkId: idOf('host'), address: '' }]);
});

t.test('published ports', async (t) => {
  t.test('without a number get one that is free for their protocol, and keep it', async (t) => {
    const { cluster, idOf } = networked(1, {});
    const Ports = [{ TargetPort: 80 }, { TargetPort: 53, Protocol: 'udp' }, { TargetPort: 81, PublishedPort: 30_001 }];
    cluster.createService('a', { replicas: 0, EndpointSpec: { Ports } });
    cluster.settle();
    const published = (id: string) => cluster.service(id).endpoint?.ports.map(({ PublishedPort }) => PublishedPort);
    t.same(published('a'), [30_000, 30_000, 30_001]);
    t.match(cluster.service('a').endpoint?.vips, [{ networkId: idOf('ingress'), address: '10.0.0.2' }]);
    cluster.createService('b', { replicas: 0, EndpointSpec: { Ports: [{ TargetPort: 80 }, { TargetPort: 80 }] } });
    cluster.settle();
    t.same(published('b'), [30_002, 30_003]);
    cluster.updateService('a', (spec) => ({
      ...spec,
      EndpointSpec: { Ports: [{ TargetPort: 99 }, ...Ports.slice(0, 1)] },
    }));
    cluster.settle();
    t.same(published('a'), [30_004, 30_000], 'what is published already stays where it is');
  });

  t.test('of single hosts, and those of a service that is found by its tasks alone, cost no address', async (t) => {
    const { cluster, on } = networked(1, { net: '10.1.0.0/24' });
    const Ports = [{ TargetPort: 80, PublishMode: 'host' }];
    cluster.createService('a', { replicas: 0, EndpointSpec: { Ports } });
    cluster.createService('b', { replicas: 0, ...on('net'), EndpointSpec: { Mode: 'dnsrr' } });
    cluster.settle();
    t.same(cluster.service('a').endpoint, { vips: [], ports: Ports });
    t.equal(cluster.service('b').endpoint, undefined);
    cluster.updateService('b', ({ EndpointSpec: _, ...spec }) => spec);
    cluster.settle();
    t.equal(cluster.service('b').endpoint?.vips.length, 1);
    cluster.updateService('b', (spec) => ({ ...spec, EndpointSpec: { Mode: 'dnsrr' } }));
    cluster.settle();
    t.same(cluster.service('b').endpoint, { vips: [], ports: [] });
  });
});

t.test('whatever happens, no address is given twice and none is lost; in the end all who ask have one', async (t) => {
  for (let seed = 1; seed <= 6; seed++) {
    const rng = new SeededRng(seed);
    const { cluster, idOf, on } = networked(
      3,
      { a: '10.1.0.0/28', b: ['10.2.0.0/24', 'fd00:5::/123'], c: undefined },
      seed,
    );
    cluster.check = () => checkAddresses(cluster);
    cluster.slowness = rng.below(60);
    cluster.images.set('crash', { exits: { afterMs: rng.below(8_000), code: 1 } });
    const pick = <T>(items: readonly T[]): T => items[rng.below(items.length)] as T;
    const names = ['a', 'b', 'c', 'host'];
    const spec = (): ServiceSpec => {
      const networks = names.filter(() => rng.below(2) === 0);
      const { TaskTemplate } = on(...networks);
      const Mode = pick(['vip', 'dnsrr']);
      const Ports = Mode === 'vip' && rng.below(2) === 0 ? [{ TargetPort: 80 }] : [];
      return {
        TaskTemplate: { ...TaskTemplate, ContainerSpec: { Image: pick(['app:1', 'app:2', 'crash']) } },
        EndpointSpec: { Mode, Ports },
        UpdateConfig: { Order: pick(['start-first', 'stop-first']) },
      };
    };
    const services = ['s1', 's2', 's3'];
    for (let step = 0; step < 40; step++) {
      const id = pick(services);
      const node = pick(['h1', 'h2', 'h3']);
      if (cluster.store.service(id) === undefined) cluster.createService(id, { replicas: rng.below(9), ...spec() });
      else if (rng.below(4) === 0) cluster.commit({ type: 'service-delete', id });
      else if (rng.below(2) === 0) cluster.scale(id, rng.below(9));
      else cluster.updateService(id, (before) => ({ ...before, ...spec() }));
      if (rng.below(4) === 0) (cluster.isLinked(node) ? cluster.unlink : cluster.link).call(cluster, node);
      if (rng.below(5) === 0) cluster.forget();
      cluster.run(rng.below(6_000));
    }
    for (const node of ['h1', 'h2', 'h3']) if (!cluster.isLinked(node)) cluster.link(node);
    for (const { id } of cluster.store.services()) {
      cluster.updateService(id, (before) => ({ ...before, ...spec() }));
      cluster.setImage(id, 'app:3');
      cluster.scale(id, 3);
    }
    cluster.run(4 * 60_000);
    for (const { id, spec } of cluster.store.services()) {
      t.equal(cluster.running(id).length, 3, `seed ${seed}: ${id}`);
      const wanted = (spec.TaskTemplate.Networks ?? []).map(({ Target }) => Target);
      for (const task of cluster.running(id))
        t.same(
          (task.networks ?? []).map(({ networkId }) => networkId),
          wanted,
        );
    }
    t.ok(idOf('a') !== 'a');
  }
});

t.test('a container that is no task gives its address back when its node has been down for a day', async (t) => {
  const { cluster, idOf } = networked(2, { front: '10.1.0.0/24' });
  const place = { networkId: idOf('front'), containerId: '', containerName: '', aliases: [] };
  for (const [id, nodeId, address] of [
    ['a', 'h1', '10.1.0.2'],
    ['b', 'h2', '10.1.0.3'],
  ] as const) {
    cluster.commit({ type: 'attachment-put', attachment: { ...place, id, nodeId, address } });
  }
  const there = () => cluster.store.attachments().map(({ id }) => id);
  cluster.run(1_000);
  cluster.unlink('h1');
  cluster.run(10_000);
  cluster.nowMs += 23 * 3_600_000;
  cluster.run(1_000);
  t.same(there(), ['a', 'b']);
  cluster.nowMs += 3_600_000;
  cluster.run(1_000);
  t.same(there(), ['b'], 'though nothing else has happened');
});
