import type { NetworkSpec, PortConfig, ServiceSpec } from '@apiary/api/model';
import { uniqueLocalPool } from '@apiary/overlay-net/core';
import { SeededRng } from '@apiary/std';
import t from 'tap';
import { portConflict } from '../store/published-ports.js';
import { Store } from '../store/store.js';
import type { Decision } from './decision.js';
import { createNetwork, firstNetworks, removeNetwork } from './network-requests.js';
import { readNetworkSettings } from './network-settings.js';
import { createService, updateService } from './service-requests.js';

/** A cluster with a node at 10.0.16.7. */
class Cluster {
  readonly store = new Store();
  readonly rng = new SeededRng(5);
  #index = 0;

  constructor(addressPools?: { pools: string[]; subnetLength: number }) {
    const status = { state: 'ready' as const, message: '', addr: '10.0.16.7' };
    this.commit({
      guards: [],
      changes: [
        { type: 'node-create', node: { id: 'n', spec: {}, role: 'manager', status } },
        ...firstNetworks(addressPools, this.rng),
      ],
      result: '',
    });
    const cluster = {
      id: 'c',
      spec: {},
      joinSecrets: { worker: '', manager: '' },
      rootCa: { certificatePem: '', keyPem: '' },
    };
    const settings = addressPools !== undefined && { addressPools };
    this.commit({
      guards: [],
      changes: [{ type: 'cluster-create', cluster: { ...cluster, ...settings } }],
      result: '',
    });
  }

  commit<R>({ guards, changes, result }: Decision<R>): R {
    const applied = this.store.apply(++this.#index, { atMs: 1, guards, changes });
    t.ok(applied.result.ok, 'nothing came between');
    return result;
  }

  create(spec: NetworkSpec): string {
    return this.commit(createNetwork(this.store, spec, this.rng));
  }

  service(name: string, spec: Partial<ServiceSpec>): void {
    const change = { type: 'service-create' as const, id: name, spec: { Name: name, TaskTemplate: {}, ...spec } };
    this.commit({ guards: [], changes: [change], result: '' });
  }

  subnetOf(id: string): string | undefined {
    return this.store.network(id)?.subnets[0]?.subnet;
  }
}

t.test('a cluster begins with the ingress network, and with what stands for the networks of its engines', async (t) => {
  const { store } = new Cluster();
  const named = new Map(store.networks().map((network) => [network.spec.Name, network]));
  t.match(named.get('ingress'), {
    kind: 'ingress',
    vni: 4096,
    subnets: [{ subnet: '10.0.0.0/24', gateway: '10.0.0.1' }],
  });
  for (const name of ['host', 'bridge', 'none']) t.match(named.get(name), { kind: name, vni: 0, subnets: [] });
});

t.test('a network gets a subnet that no other network and no host is in, and a number of its own', async (t) => {
  const cluster = new Cluster();
  const [a, b] = [cluster.create({ Name: 'a' }), cluster.create({ Name: 'b' })];
  t.same([cluster.subnetOf(a), cluster.subnetOf(b)], ['10.0.32.0/20', '10.0.48.0/20']);
  t.not(cluster.store.network(a)?.vni, cluster.store.network(b)?.vni);
  const asked = cluster.create({ Name: 'c', IPAM: { Config: [{ Subnet: '10.0.64.0/18' }] } });
  t.equal(cluster.subnetOf(asked), '10.0.64.0/18');
  t.equal(cluster.subnetOf(cluster.create({ Name: 'd' })), '10.0.128.0/20');
  cluster.commit(removeNetwork(cluster.store, a));
  t.equal(cluster.subnetOf(cluster.create({ Name: 'e' })), '10.0.32.0/20', 'what was given back is given again');
  const both = cluster.create({
    Name: 'f',
    EnableIPv6: true,
    IPAM: { Config: [{ Subnet: 'fd00:1::/64' }, { Subnet: '172.28.0.0/24' }] },
  });
  t.same(
    cluster.store.network(both)?.subnets.map(({ subnet }) => subnet),
    ['172.28.0.0/24', 'fd00:1::/64'],
  );
});

t.test('a network of IPv6 gets a /64 of the cluster’s own, unless another is asked for', async (t) => {
  const cluster = new Cluster();
  const ipv6Of = (spec: NetworkSpec) =>
    cluster.store.network(cluster.create({ EnableIPv6: true, ...spec }))?.subnets[1];
  const [a, b] = [ipv6Of({ Name: 'a' }), ipv6Of({ Name: 'b' })];
  const pool = uniqueLocalPool(cluster.store.cluster()?.id ?? '').replace('::/48', '');
  t.same(a, { subnet: `${pool}::/64`, gateway: `${pool}::1` });
  t.same(b?.subnet, `${pool}:1::/64`);
  const Config = [{ Subnet: 'fd00:7::/64', IPRange: 'fd00:7::100/120', AuxiliaryAddresses: { router: 'fd00:7::1:1' } }];
  t.same(ipv6Of({ Name: 'c', IPAM: { Config } }), {
    subnet: 'fd00:7::/64',
    gateway: 'fd00:7::100',
    ipRange: 'fd00:7::100/120',
    reserved: ['fd00:7::1:1'],
  });
  const refused: [Partial<NetworkSpec>, string][] = [
    [
      { IPAM: { Config: [{ Subnet: 'fd00:7::/56' }] } },
      'subnet fd00:7::/56 overlaps with subnet fd00:7::/64 of network c: choose another',
    ],
    [
      { Options: { 'com.docker.network.driver.mtu': '1300' } },
      'option com.docker.network.driver.mtu: expected 1330 to 65535 with IPv6, got "1300"',
    ],
    [
      { Options: { 'com.docker.network.driver.mtu': '1400', encrypted: '' } },
      'option com.docker.network.driver.mtu: expected 1410 to 65535 with IPv6, got "1400"',
    ],
  ];
  for (const [spec, message] of refused) {
    const wish = { Name: 'd', EnableIPv6: true, ...spec };
    t.throws(() => createNetwork(cluster.store, wish, cluster.rng), { code: 'invalid-argument', message });
  }
});

t.test('of two that ask for one subnet, one gets it, whichever lands first', async (t) => {
  const cluster = new Cluster();
  const wish = (Name: string): NetworkSpec => ({ Name, IPAM: { Config: [{ Subnet: '10.9.0.0/24' }] } });
  const [first, second] = [
    createNetwork(cluster.store, wish('a'), cluster.rng),
    createNetwork(cluster.store, wish('b'), cluster.rng),
  ];
  cluster.commit(first);
  const late = cluster.store.apply(99, { atMs: 1, guards: second.guards, changes: second.changes });
  t.match(late.result, { ok: false, failed: { type: 'network-free' } });
  t.throws(() => createNetwork(cluster.store, wish('b'), cluster.rng), {
    code: 'invalid-argument',
    message: 'subnet 10.9.0.0/24 overlaps with subnet 10.9.0.0/24 of network a: choose another',
  });
});

t.test(
  'what is wrong with a network is said in the words of Docker, and what is not honoured is refused',
  async (t) => {
    const cluster = new Cluster();
    cluster.create({ Name: 'a', Options: { 'com.docker.network.driver.overlay.vxlanid_list': '5000' } });
    const refused: [NetworkSpec, string, RegExp][] = [
      [{ Name: 'bad name' }, 'invalid-argument', /^name must be valid as a DNS name component$/],
      [{ Name: 'x'.repeat(64) }, 'invalid-argument', /^name must be 63 characters or fewer$/],
      [{ Name: 'a' }, 'already-exists', /^network with name a already exists$/],
      [{ Name: 'b', Scope: 'local' }, 'permission-denied', /^cannot downgrade network scope for overlay networks$/],
      [{ Name: 'none' }, 'permission-denied', /^operation is not permitted on predefined none network$/],
      [{ Name: 'default' }, 'permission-denied', /^operation is not permitted on predefined default network$/],
      [{ Name: 'b', Driver: 'bridge' }, 'unimplemented', /^Driver "bridge" with scope swarm/],
      [{ Name: 'b', IPAM: { Driver: 'foo' } }, 'invalid-argument', /^error during lookup of plugin foo$/],
      [{ Name: 'b', Ingress: true }, 'already-exists', /^ingress network \(\w+\) is already present$/],
      [{ Name: 'b', Ingress: true, Attachable: true }, 'invalid-argument', /^ingress network cannot be attachable$/],
      [{ Name: 'b', Options: { foo: 'bar' } }, 'unimplemented', /^Options\.foo is not supported/],
      [
        { Name: 'b', Options: { 'com.docker.network.driver.mtu': 'abc' } },
        'invalid-argument',
        /mtu: expected 576 to 65535/,
      ],
      [
        { Name: 'b', Options: { 'com.docker.network.driver.overlay.vxlanid_list': '5000' } },
        'invalid-argument',
        /^VXLAN id 5000 of network b is already that of network a$/,
      ],
      [
        { Name: 'b', IPAM: { Config: [{ Subnet: '10.224.7.0/24' }] } },
        'invalid-argument',
        /from which each node has its own/,
      ],
      [{ Name: 'b', IPAM: { Config: [{ Subnet: 'fd00::/64' }] } }, 'invalid-argument', /--ipv6/],
      [{ Name: 'b', EnableIPv4: false }, 'unimplemented', /^EnableIPv4 false is not supported/],
      [
        { Name: 'b', Attachable: true, IPAM: { Config: [{ Subnet: '10.8.0.0/24' }, { Subnet: '10.9.0.0/24' }] } },
        'unimplemented',
        /more than one subnet with Attachable/,
      ],
      [
        { Name: 'b', IPAM: { Config: [{ Subnet: '10.8.0.0/24' }, { Subnet: '10.8.0.0/25' }] } },
        'invalid-argument',
        /^subnet 10.8.0.0\/25 overlaps with subnet 10.8.0.0\/24 of the same network$/,
      ],
    ];
    for (const [spec, code, message] of refused) {
      t.throws(() => createNetwork(cluster.store, spec, cluster.rng), { code, message });
    }
  },
);

t.test('a network goes when nobody uses it, and says by what it is used', async (t) => {
  const cluster = new Cluster();
  const id = cluster.create({ Name: 'a' });
  cluster.service('web', { TaskTemplate: { Networks: [{ Target: id }] } });
  const inUse = { code: 'failed-precondition', message: `network ${id} is in use by service web` };
  t.throws(() => removeNetwork(cluster.store, id), inUse);
  cluster.commit({ guards: [], changes: [{ type: 'service-delete', id: 'web' }], result: '' });
  const removal = removeNetwork(cluster.store, id);
  cluster.service('old', { Networks: [{ Target: id }] });
  t.match(cluster.store.apply(50, { atMs: 1, ...removal }).result, { ok: false, failed: { type: 'network-unused' } });
  const host = cluster.store.networks().find(({ kind }) => kind === 'host')?.id ?? '';
  t.throws(() => removeNetwork(cluster.store, host), {
    message: 'host is a pre-defined network and cannot be removed',
  });
  t.throws(() => removeNetwork(cluster.store, 'gone'), { code: 'not-found' });
});

t.test('a cluster has the pools and the port that it was made with, or the defaults', async (t) => {
  t.same(readNetworkSettings({}), {});
  t.same(
    readNetworkSettings({ SubnetSize: 24, DataPathPort: 4789, DefaultAddrPool: [] }),
    {},
    'what clients always send',
  );
  t.same(
    readNetworkSettings({ SubnetSize: 26, DataPathPort: 5000, DefaultAddrPool: [' 10.20.0.0/16', '10.30.0.0/24'] }),
    {
      dataPathPort: 5000,
      addressPools: { pools: ['10.20.0.0/16', '10.30.0.0/24'], subnetLength: 26 },
    },
  );
  t.same(readNetworkSettings({ SubnetSize: 22 }), { addressPools: { pools: ['10.0.0.0/8'], subnetLength: 22 } });
  const refused: [Parameters<typeof readNetworkSettings>[0], RegExp][] = [
    [{ DataPathPort: 80 }, /^Datapath port number is not in valid range \(1024-49151\) : 80$/],
    [{ SubnetSize: 30 }, /^subnet size is out of range: 30$/],
    [{ DefaultAddrPool: ['x'] }, /^invalid base pool x: /],
    [
      { DefaultAddrPool: ['10.20.0.0/25'] },
      /^invalid CIDR: "10\.20\.0\.0\/25"\. Subnet size is too small for pool: 24$/,
    ],
    [{ DefaultAddrPool: ['10.224.0.0/16'] }, /each node has a network of its own/],
  ];
  for (const [request, message] of refused)
    t.throws(() => readNetworkSettings(request), { code: 'invalid-argument', message });

  const cluster = new Cluster({ pools: ['10.20.0.0/24', '10.30.0.0/24'], subnetLength: 26 });
  t.equal(cluster.subnetOf(cluster.store.networks().find(({ kind }) => kind === 'ingress')?.id ?? ''), '10.20.0.0/26');
  const made = ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((Name) => cluster.subnetOf(cluster.create({ Name })));
  t.same([made.at(0), made.at(2), made.at(3)], ['10.20.0.64/26', '10.20.0.192/26', '10.30.0.0/26']);
  t.throws(() => createNetwork(cluster.store, { Name: 'h' }, cluster.rng), {
    code: 'resource-exhausted',
    message: /^no subnet of \/26 is left in address pools 10\.20\.0\.0\/24, 10\.30\.0\.0\/24/,
  });
});

t.test(
  'a service names networks as its user does, and has them by id; what cannot be done for it is refused',
  async (t) => {
    const cluster = new Cluster();
    const id = cluster.create({ Name: 'net' });
    const image = { ContainerSpec: { Image: 'busybox:test' } };
    const on = (...targets: string[]): ServiceSpec => ({
      Name: 'web',
      TaskTemplate: { ...image, Networks: targets.map((Target) => ({ Target, Aliases: ['db'] })) },
    });
    const make = (spec: ServiceSpec) => createService(cluster.store, spec, cluster.rng);
    const created = make(on('net'));
    t.match(created.changes, [{ spec: { TaskTemplate: { Networks: [{ Target: id, Aliases: ['db'] }] } } }]);
    t.match(created.guards.at(-1), { type: 'unchanged', kind: 'network', id });
    const older = make({ Name: 'old', TaskTemplate: image, Networks: [{ Target: 'net' }] });
    t.match(older.changes, [{ spec: { TaskTemplate: { Networks: [{ Target: id }] } } }], 'also where it once was put');
    const twice = make({
      Name: 'twice',
      TaskTemplate: {
        ...image,
        Networks: [
          { Target: 'net', Aliases: ['a'] },
          { Target: id, Aliases: ['b', 'a'] },
        ],
      },
    });
    t.match(twice.changes, [{ spec: { TaskTemplate: { Networks: [{ Target: id, Aliases: ['a', 'b'] }] } } }]);
    for (const Target of ['host', 'none', 'bridge']) {
      t.ok(make({ Name: 'web', TaskTemplate: { ...image, Networks: [{ Target }] } }), "the engine's own, by name");
    }
    cluster.create({ Name: 'six', EnableIPv6: true });
    t.ok(make(on('six')));
    const early = {
      id: 'early',
      kind: 'overlay' as const,
      vni: 7,
      subnets: [{ subnet: '10.9.0.0/24', gateway: '10.9.0.1' }],
    };
    const change = {
      type: 'network-create' as const,
      network: { ...early, spec: { Name: 'early', EnableIPv6: true } },
    };
    cluster.commit({ guards: [], changes: [change], result: '' });
    const refused: [ServiceSpec, string, RegExp][] = [
      [on('gone'), 'not-found', /^network gone not found$/],
      [on('ingress'), 'invalid-argument', /^Service cannot be explicitly attached to the ingress network "ingress"$/],
      [on('net', 'bridge'), 'unimplemented', /network bridge beside others/],
      [
        {
          Name: 'web',
          TaskTemplate: { ...image, Networks: [{ Target: 'bridge' }] },
          EndpointSpec: { Ports: [{ TargetPort: 80 }] },
        },
        'unimplemented',
        /"ingress" with .* network bridge/,
      ],
      [on('host'), 'unimplemented', /network host with Aliases is not supported/],
      [on('early'), 'unimplemented', /network early without an IPv6 subnet is not supported.*make it anew/],
      [
        { Name: 'web', TaskTemplate: { ...image, Networks: [{ Target: 'net', DriverOpts: { a: 'b' } }] } },
        'unimplemented',
        /Networks\[0\]\.DriverOpts/,
      ],
    ];
    for (const [spec, code, message] of refused) t.throws(() => make(spec), { code, message });
    cluster.commit(created);
    const removal = { code: 'failed-precondition', message: `network ${id} is in use by service ${created.result}` };
    t.throws(() => removeNetwork(cluster.store, id), removal);
  },
);

t.test('a port that the nodes of the swarm need themselves is published by nobody', async (t) => {
  const cluster = new Cluster();
  const listening = { type: 'node-manager-addr' as const, id: 'n', managerAddr: '10.0.16.7:2378' };
  cluster.commit({ guards: [], changes: [listening], result: '' });
  const publish = (PublishedPort: number, Protocol: string, PublishMode: string): ServiceSpec => ({
    Name: 'p',
    TaskTemplate: { ContainerSpec: { Image: 'busybox:test' } },
    EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort, Protocol, PublishMode }] },
  });
  const make = (...port: Parameters<typeof publish>) => createService(cluster.store, publish(...port), cluster.rng);
  const refused = (message: RegExp, ...port: Parameters<typeof publish>) =>
    t.throws(() => make(...port), { code: 'invalid-argument', message });
  refused(/^port '2378' is already in use by the managers of the swarm: publish another$/, 2378, 'tcp', 'ingress');
  for (const mode of ['ingress', 'host']) {
    refused(/^port '4789' is already in use by the networks of the swarm/, 4789, 'udp', mode);
    refused(/^port '4790' is already in use by the networks of the swarm/, 4790, 'udp', mode);
  }
  t.ok(make(2378, 'udp', 'ingress'));
  t.ok(make(2378, 'tcp', 'host'), 'a host whose port it is refuses it itself, and others may have it');
  t.ok(make(4789, 'tcp', 'ingress'));
  const id = cluster.commit(make(2377, 'tcp', 'ingress'));
  const update = { id, version: cluster.store.service(id)?.meta.version ?? 0, rollback: false };
  const change = () => updateService(cluster.store, { ...update, spec: publish(2378, 'tcp', 'ingress') }, 1);
  t.throws(change, { code: 'invalid-argument', message: /2378/ });
});

t.test('a port that another service publishes is refused in the words of Docker, also to who was late', async (t) => {
  const cluster = new Cluster();
  const publish = (Name: string, ...Ports: PortConfig[]): ServiceSpec => ({
    Name,
    TaskTemplate: { ContainerSpec: { Image: 'busybox:test' } },
    EndpointSpec: { Ports },
  });
  const host = (PublishedPort: number, Protocol = 'tcp') => ({
    TargetPort: 80,
    PublishedPort,
    Protocol,
    PublishMode: 'host',
  });
  const make = (spec: ServiceSpec) => createService(cluster.store, spec, cluster.rng);
  const id = cluster.commit(make(publish('a', host(9000))));
  cluster.commit(make(publish('b', host(9000))));
  cluster.commit(make(publish('c', host(9000, 'udp'))));
  cluster.service('mesh', { EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 9001 }] } });
  t.throws(() => make(publish('d', host(9001))), {
    code: 'invalid-argument',
    message: "port '9001' is already in use by service 'mesh' (mesh) as an ingress port",
  });
  const [early, late] = [make(publish('e', host(9002))), make(publish('f', host(9002)))];
  t.equal(portConflict(cluster.store.services(), [{ PublishedPort: 9000 }])?.mode, 'host');
  t.equal(portConflict(cluster.store.services(), [{ PublishedPort: 9001, Protocol: 'udp' }]), undefined);
  cluster.commit(early);
  cluster.commit(late);
  const guard = { type: 'ports-free' as const, ports: [{ PublishedPort: 9002, TargetPort: 1 }] };
  t.match(cluster.store.apply(90, { atMs: 1, guards: [guard], changes: [] }).result, { ok: false });
  const update = { id, version: cluster.store.service(id)?.meta.version ?? 0, rollback: false };
  t.ok(updateService(cluster.store, { ...update, spec: publish('a', host(9000)) }, 1), 'its own port is no conflict');
});
