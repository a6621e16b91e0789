import { isTerminal, type ServiceSpec } from '@apiary/api/model';
import type { Endpoint, NamedService, NetworkNode, PublishedPort } from '@apiary/overlay-net/core';
import { invariant, SeededRng } from '@apiary/std';
import t, { type Test } from 'tap';
import { HollowCluster } from '../plan/hollow-cluster.test.js';
import { createNetwork, firstNetworks } from '../requests/network-requests.js';
import type { Touched } from '../store/change.js';
import type { Store } from '../store/store.js';
import { assignmentsFor, type Sent } from './assignments.js';
import { Ledger } from './ledger.js';
import { assignedNetwork, attachmentsOf, NetworkBook } from './network-book.js';
import { NetworkFeed, type NetworkUpdate } from './network-feed.js';

/** A node's agent, which remembers what it was told and nothing else. */
class Agent {
  readonly networks = new Map<
    string,
    { version: number; endpoints: Map<string, Endpoint>; services: Map<string, NamedService> }
  >();
  nodes = new Map<string, NetworkNode>();
  ports = new Map<string, PublishedPort>();
  #feed = new NetworkFeed();
  #sent: Sent | undefined;
  isBehind = true;
  updates = 0;

  constructor(readonly nodeId: string) {}

  reconnect(): void {
    this.#feed = new NetworkFeed();
    this.#sent = undefined;
    this.isBehind = true;
  }

  concerns(news: ReturnType<NetworkBook['update']>): boolean {
    return this.#feed.concerns(news);
  }

  flush(store: Store, book: NetworkBook): void {
    this.isBehind = false;
    const { sent } = assignmentsFor(store, this.nodeId, this.#sent);
    this.#sent = sent;
    const overlays = new Set([...sent.networks].filter((id) => store.network(id)?.kind === 'overlay'));
    for (const update of this.#feed.take(book, overlays)) this.#hear(update);
    for (const id of this.networks.keys()) if (!overlays.has(id)) this.networks.delete(id);
  }

  #hear(update: NetworkUpdate): void {
    this.updates++;
    if (update.type === 'nodes') {
      if (update.complete) this.nodes = new Map();
      for (const node of update.nodes) this.nodes.set(node.nodeId, node);
      for (const id of update.removedNodeIds) this.nodes.delete(id);
    } else if (update.type === 'ports') {
      if (update.complete) this.ports = new Map();
      for (const port of update.ports) this.ports.set(`${port.protocol}/${port.publishedPort}`, port);
      for (const { protocol, publishedPort } of update.removed) this.ports.delete(`${protocol}/${publishedPort}`);
    } else {
      const before = this.networks.get(update.networkId);
      invariant(update.complete || before?.version === update.version - 1, 'no version is left out');
      const endpoints = new Map(update.complete ? [] : before?.endpoints);
      for (const endpoint of update.endpoints) endpoints.set(endpoint.taskId, endpoint);
      for (const id of update.removedTaskIds) endpoints.delete(id);
      const services = new Map(update.complete ? [] : before?.services);
      for (const service of update.services) services.set(service.serviceId, service);
      for (const id of update.removedServiceIds) services.delete(id);
      this.networks.set(update.networkId, { version: update.version, endpoints, services });
    }
  }
}

/** What the agent of a node should know, looked up in the state, every time anew. */
function shouldKnow(store: Store, nodeId: string) {
  const isLive = (task: ReturnType<Store['tasks']>[number]) =>
    task.status.state === 'running' && ['ready', 'running'].includes(task.desiredState);
  const assigned = store.tasksOfNode(nodeId).filter(({ status }) => !['new', 'pending'].includes(status.state));
  const ids = new Set(assigned.flatMap(({ networks = [] }) => networks.map(({ networkId }) => networkId)));
  const networks = new Map(
    [...ids]
      .filter((id) => store.network(id)?.kind === 'overlay')
      .map((id) => {
        const endpoints = store
          .tasks()
          .filter(({ status, networks = [] }) => !isTerminal(status.state) && networks.some((n) => n.networkId === id))
          .map((task) => ({
            taskId: task.id,
            nodeId: task.nodeId,
            address: task.networks?.find(({ networkId }) => networkId === id)?.address,
            live: isLive(task),
          }));
        const services = store
          .services()
          .filter(({ spec }) => spec.TaskTemplate.Networks?.some(({ Target }) => Target === id))
          .map(({ id: serviceId, spec, endpoint }) => ({
            serviceId,
            name: spec.Name,
            vip: endpoint?.vips.find(({ networkId }) => networkId === id)?.address ?? '',
          }));
        return [id, { endpoints, services }] as const;
      }),
  );
  const ports = store.services().flatMap(({ id: serviceId, endpoint }) =>
    (endpoint?.ports ?? []).map((port) => ({
      serviceId,
      publishedPort: port.PublishedPort,
      backends: store
        .tasksOfService(serviceId)
        .filter((task) => isLive(task) && task.status.gatewayAddress !== undefined)
        .map(({ id, nodeId, status }) => ({
          taskId: id,
          nodeId,
          gatewayAddress: status.gatewayAddress,
          gatewayIpv6Address: status.gatewayIpv6Address ?? '',
        })),
    })),
  );
  const nodes = networks.size > 0 || ports.length > 0 ? store.nodes().map(({ id }) => id) : undefined;
  return { networks, ports, nodes };
}

function check(t: Test, store: Store, agent: Agent, what: string): void {
  const wanted = shouldKnow(store, agent.nodeId);
  t.same([...agent.networks.keys()].sort(), [...wanted.networks.keys()].sort(), `${what}: networks`);
  for (const [id, { endpoints, services }] of wanted.networks) {
    const known = agent.networks.get(id);
    const byTask = [...(known?.endpoints.values() ?? [])].sort((a, b) => (a.taskId < b.taskId ? -1 : 1));
    t.same(
      byTask.map(({ taskId, nodeId, address, live }) => ({ taskId, nodeId, address, live })),
      endpoints,
      `${what}: endpoints`,
    );
    const byService = [...(known?.services.values() ?? [])].sort((a, b) => (a.serviceId < b.serviceId ? -1 : 1));
    t.same(
      byService.map(({ serviceId, name, vip }) => ({ serviceId, name, vip })),
      services,
      `${what}: services`,
    );
  }
  const byPort = <T extends { publishedPort: number | undefined }>(ports: T[]) =>
    ports.sort((a, b) => (a.publishedPort ?? 0) - (b.publishedPort ?? 0));
  t.same(
    byPort([...agent.ports.values()]).map(({ serviceId, publishedPort, backends }) => ({
      serviceId,
      publishedPort,
      backends,
    })),
    byPort(wanted.ports),
    `${what}: ports`,
  );
  if (wanted.nodes !== undefined) t.same([...agent.nodes.keys()].sort(), wanted.nodes, `${what}: nodes`);
}

function networked(seed: number) {
  const cluster = new HollowCluster(seed);
  for (const id of ['h1', 'h2', 'h3']) cluster.addNode(id);
  cluster.commit(...firstNetworks(undefined, cluster.rng));
  for (const Name of ['a', 'b']) cluster.commit(...createNetwork(cluster.store, { Name }, cluster.rng).changes);
  const idOf = (name: string) => cluster.store.networks().find(({ spec }) => spec.Name === name)?.id ?? '';
  return { cluster, idOf };
}

/** Calls `listener` with what each entry touches, as a replica does. */
function onApplied(store: Store, listener: (touched: Touched) => void): void {
  const apply = store.apply.bind(store);
  store.apply = (index, entry) => {
    const applied = apply(index, entry);
    if (applied.result.ok) listener(applied.touched);
    return applied;
  };
}

t.test('an agent that hears what changed knows what is, however often it was away or the leader changed', async (t) => {
  for (let seed = 1; seed <= 8; seed++) {
    const rng = new SeededRng(seed);
    const { cluster, idOf } = networked(seed);
    cluster.slowness = rng.below(70);
    const { store } = cluster;
    let book = new NetworkBook(store);
    const agents = ['h1', 'h2', 'h3'].map((id) => new Agent(id));
    onApplied(store, (touched) => {
      const news = book.update(store, touched);
      for (const agent of agents) {
        if (agent.concerns(news) || touched.assignments.has(agent.nodeId)) agent.isBehind = true;
      }
    });
    const pick = <T>(items: readonly T[]): T => items[rng.below(items.length)] as T;
    const spec = (): ServiceSpec => ({
      TaskTemplate: {
        ContainerSpec: { Image: pick(['app:1', 'app:2']) },
        Networks: ['a', 'b', 'host']
          .filter(() => rng.below(2) === 0)
          .map((name) => ({ Target: idOf(name), Aliases: [`${name}-alias`] })),
      },
      EndpointSpec: { Ports: rng.below(2) === 0 ? [{ TargetPort: 80 }] : [] },
    });
    for (let step = 0; step < 50; step++) {
      const id = pick(['s1', 's2', 's3']);
      const node = pick(['h1', 'h2', 'h3']);
      if (store.service(id) === undefined) cluster.createService(id, { replicas: rng.below(5), ...spec() });
      else if (rng.below(5) === 0) cluster.commit({ type: 'service-delete', id });
      else if (rng.below(2) === 0) cluster.scale(id, rng.below(6));
      else cluster.updateService(id, (before) => ({ ...before, ...spec() }));
      if (rng.below(5) === 0) (cluster.isLinked(node) ? cluster.unlink : cluster.link).call(cluster, node);
      cluster.run(rng.below(3_000));
      for (const task of store.tasks()) {
        if (task.status.state !== 'running' || task.status.gatewayAddress !== undefined) continue;
        const [address, hasIpv6] = [rng.below(250), rng.below(2) === 1];
        const ipv6 = hasIpv6 ? { gatewayIpv6Address: `fd00::${address}` } : {};
        const status = { ...task.status, gatewayAddress: `10.224.0.${address}`, ...ipv6 };
        cluster.commit({ type: 'task-status', id: task.id, status });
      }
      if (rng.below(6) === 0) {
        book = new NetworkBook(store);
        for (const agent of agents) agent.reconnect();
      }
      for (const agent of agents) {
        if (rng.below(8) === 0) agent.reconnect();
        // One whose connection is slow is told later, and then of all that came meanwhile.
        if (!agent.isBehind || rng.below(3) === 0) continue;
        agent.flush(store, book);
        check(t, store, agent, `seed ${seed}, step ${step}, ${agent.nodeId}`);
      }
    }
  }
});

t.test('a task leaves the endpoints that take connections in the entry that has it stop', async (t) => {
  const { cluster, idOf } = networked(1);
  const TaskTemplate = { Networks: [{ Target: idOf('a') }] };
  cluster.createService('web', { replicas: 2, TaskTemplate, EndpointSpec: { Ports: [{ TargetPort: 80 }] } });
  cluster.run(2_000);
  for (const { id, status } of cluster.running('web')) {
    cluster.commit({ type: 'task-status', id, status: { ...status, gatewayAddress: '10.224.0.2' } });
  }
  const book = new NetworkBook(cluster.store);
  const [task] = cluster.running('web');
  invariant(task !== undefined, 'one runs');
  const endpoint = () => book.set(idOf('a')).endpoints.get(task.id);
  const backends = () => book.ports.get('tcp/30000')?.backends.map(({ taskId }) => taskId) ?? [];
  t.equal(endpoint()?.live, true);
  t.ok(backends().includes(task.id));
  let touched: Touched | undefined;
  onApplied(cluster.store, (now) => {
    touched = now;
  });
  cluster.commit({ type: 'task-desired', id: task.id, desiredState: 'shutdown' });
  invariant(touched !== undefined, 'it was applied');
  t.same(book.update(cluster.store, touched), { networkIds: new Set([idOf('a')]), nodes: false, ports: true });
  t.equal(endpoint()?.live, false, 'it is reached by its address while it ends what it has begun');
  t.notOk(backends().includes(task.id));
});

t.test('a node is told of a network once a task of it is on it, and of nobody else while none is', async (t) => {
  const { cluster, idOf } = networked(1);
  const place = (Constraints: string[]) => ({
    Placement: { Constraints },
    Networks: [{ Target: idOf('a'), Aliases: ['x'] }],
  });
  const book = new NetworkBook(cluster.store);
  const [h1, h2] = [new Agent('h1'), new Agent('h2')];
  h1.flush(cluster.store, book);
  t.same([h1.updates, h1.nodes.size], [2, 0], 'that there are no ports, and that no node concerns it');
  onApplied(cluster.store, (touched) => void book.update(cluster.store, touched));
  cluster.createService('web', { replicas: 1, TaskTemplate: place(['node.id==h1']) });
  cluster.run(2_000);
  for (const agent of [h1, h2]) agent.flush(cluster.store, book);
  t.same([...h1.networks.keys()], [idOf('a')]);
  t.equal(h1.nodes.size, 3);
  t.same([h2.networks.size, h2.nodes.size], [0, 0]);
  const [task] = cluster.running('web');
  invariant(task !== undefined, 'one runs');
  t.match(h1.networks.get(idOf('a'))?.endpoints.get(task.id), {
    taskName: `web.1.${task.id}`,
    aliases: ['x'],
    serviceId: 'web',
    live: true,
  });
  const { assignments } = assignmentsFor(cluster.store, 'h1', undefined);
  t.match(assignments?.networks.map(assignedNetwork), [
    { name: 'a', subnet: '10.0.16.0/20', gateway: '10.0.16.1', mtu: 0 },
  ]);
  t.same(attachmentsOf(task, cluster.store.spec('web', 1)), [
    { networkId: idOf('a'), address: task.networks?.[0]?.address, aliases: ['x'], ipv6Address: '' },
  ]);
  const { updates } = h1;
  cluster.createService('other', { replicas: 3 });
  cluster.run(2_000);
  h1.flush(cluster.store, book);
  t.equal(h1.updates, updates, 'what is on no network is told to nobody');
});

t.test('who was away for long hears everything, who was not hears what changed', async (t) => {
  const ledger = new Ledger<number>();
  for (let i = 0; i < 10; i++) ledger.put(`k${i}`, 0);
  const moment = ledger.now;
  t.equal(ledger.put('k1', 0), false, 'as it was');
  ledger.put('k1', 1);
  ledger.put('k1', 2);
  ledger.delete('k2');
  t.same(ledger.since(moment), { complete: false, changed: [2], removedIds: ['k2'] });
  t.same(ledger.since(ledger.now), { complete: false, changed: [], removedIds: [] });
  t.equal(ledger.since(undefined).changed.length, 9);
  for (let i = 0; i < 5_000; i++) ledger.put('k1', i + 10);
  t.match(ledger.since(moment), { complete: true, removedIds: [] });
  t.same(ledger.since(ledger.now - 3), { complete: false, changed: [5_009], removedIds: [] });
});
