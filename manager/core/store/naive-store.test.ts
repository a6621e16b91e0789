import assert from 'node:assert/strict';
import {
  type ContentKind,
  contentReferences,
  isTerminal,
  type NodeDescription,
  rankOf,
  type ServiceSpec,
  TASK_STATES,
  type TaskState,
} from '@apiary/api/model';
import fc from 'fast-check';
import t from 'tap';
import type { Change, Entry, Guard } from './change.js';
import { decodeEntry, encodeEntry } from './entry-codec.js';
import { demandOf } from './node-usage.js';
import type { ClusterRecord, ContentRecord, NodeRecord, ServiceRecord, SpecVersion, TaskRecord } from './records.js';
import { sameForTasks } from './spec-comparison.js';
import { Store } from './store.js';

/**
 * The same rules with lists of records and nothing that has to be kept in step: each question is a scan, and a spec
 * version lives while somebody is found who points at it.
 */
class NaiveStore {
  cluster: ClusterRecord | undefined;
  nodes: NodeRecord[] = [];
  services: ServiceRecord[] = [];
  tasks: TaskRecord[] = [];
  specs: SpecVersion[] = [];
  versionsMade: { serviceId: string; version: number }[] = [];
  excluded: { id: string; sinceMs: number }[] = [];
  contents: Record<ContentKind, ContentRecord[]> = { secret: [], config: [] };

  apply(index: number, { atMs, guards, changes }: Entry): Guard | undefined {
    const failed = guards.find((guard) => !this.holds(guard));
    if (failed !== undefined) return failed;
    for (const change of changes) {
      const before = [...this.nodes];
      this.change(change, { version: index, createdAtMs: atMs, updatedAtMs: atMs });
      this.specs = this.specs.filter(({ serviceId, version }) => this.isNeeded(serviceId, version));
      for (const kind of CONTENT_KINDS) {
        const isNeeded = ({ id }: ContentRecord) => this.specs.some((spec) => idsIn(spec, kind).includes(id));
        this.contents[kind] = this.contents[kind].filter((each) => each.supersededAtMs === undefined || isNeeded(each));
      }
      this.exclude(before, atMs);
    }
    return undefined;
  }

  /** Who was a manager, or was to be one, before and is not now may be one no more; and the other way round. */
  exclude(before: NodeRecord[], atMs: number): void {
    if (this.cluster === undefined) return;
    const isManager = ({ spec, role }: NodeRecord) => [spec.Role, role].includes('manager');
    const ids = (nodes: NodeRecord[]) => nodes.filter(isManager).map(({ id }) => id);
    const [then, now] = [ids(before), ids(this.nodes)];
    const gone = then.filter((id) => !now.includes(id));
    const isBack = now.some((id) => !then.includes(id) && this.excluded.some((each) => each.id === id));
    if (gone.length === 0 && !isBack) return;
    this.excluded = this.excluded
      .filter(({ id, sinceMs }) => !now.includes(id) && !gone.includes(id) && sinceMs > atMs - 90 * 24 * 3600e3)
      .concat(gone.map((id) => ({ id, sinceMs: atMs })));
    const excluded = Object.fromEntries(this.excluded.map(({ id, sinceMs }) => [id, sinceMs]));
    const { excluded: _, ...rest } = this.cluster;
    this.cluster = this.excluded.length === 0 ? rest : { ...rest, excluded };
  }

  holds(guard: Guard): boolean {
    if (guard.type === 'no-cluster') return this.cluster === undefined;
    if (guard.type === 'service-name-free') {
      return !this.services.some(({ id, spec }) => id !== guard.exceptId && sameName(spec.Name, guard.name));
    }
    if (guard.type === 'content-name-free') return this.currentOf(guard.kind, guard.name) === undefined;
    if (guard.type === 'content-unused') {
      return !this.services.some(({ spec }) =>
        contentReferences(spec.TaskTemplate.ContainerSpec ?? {}).some(
          ({ kind, name }) => kind === guard.kind && sameName(name, guard.name),
        ),
      );
    }
    // Networks have a model of their own: network-store.test.ts.
    if (guard.type !== 'unchanged' || guard.kind === 'network') return true;
    const all = {
      ...this.contents,
      cluster: this.cluster === undefined ? [] : [this.cluster],
      node: this.nodes,
      service: this.services,
    };
    const records: { id: string; meta: TaskRecord['meta'] }[] = all[guard.kind];
    const record = records.find(({ id }) => id === guard.id);
    return record !== undefined && (guard.version ?? record.meta.version) === record.meta.version;
  }

  isNeeded(serviceId: string, version: number): boolean {
    return (
      this.tasks.some((task) => task.serviceId === serviceId && task.specVersion === version) ||
      this.services.some(
        ({ id, specVersion, previous }) =>
          id === serviceId && (specVersion === version || previous?.specVersion === version),
      )
    );
  }

  change(change: Change, created: { version: number; createdAtMs: number; updatedAtMs: number }): void {
    const put = <T extends { id: string; meta: TaskRecord['meta'] }>(list: T[], id: string, fields: Partial<T>): T[] =>
      list.map((r) => (r.id === id ? { ...r, ...fields, meta: { ...created, createdAtMs: r.meta.createdAtMs } } : r));
    const has = (list: { id: string }[], id: string) => list.some((record) => record.id === id);
    const [cluster] = this.cluster === undefined ? [] : [this.cluster];
    switch (change.type) {
      case 'cluster-create':
        this.cluster ??= { ...change.cluster, meta: created };
        return;
      case 'cluster-spec':
        if (cluster !== undefined) [this.cluster] = put([cluster], cluster.id, { spec: change.spec });
        return;
      case 'join-secrets':
        if (cluster !== undefined) [this.cluster] = put([cluster], cluster.id, { joinSecrets: change.joinSecrets });
        return;
      case 'node-create':
        if (!has(this.nodes, change.node.id)) {
          let gatewayIndex = 0;
          while (this.nodes.some((node) => node.gatewayIndex === gatewayIndex)) gatewayIndex++;
          this.nodes.push({ ...change.node, meta: created, gatewayIndex });
        }
        return;
      case 'node-spec': {
        const { id, spec, departure } = change;
        this.nodes = put(this.nodes, id, departure === undefined ? { spec } : { spec, departure });
        break;
      }
      case 'node-status':
        this.nodes = put(this.nodes, change.id, { status: change.status });
        for (const node of this.nodes.filter(({ id }) => id === change.id)) {
          if (change.status.state === 'down') node.downSinceMs ??= created.updatedAtMs;
        }
        break;
      case 'node-description': {
        const { description, managerAddr } = change;
        this.nodes = put(this.nodes, change.id, managerAddr ? { description, managerAddr } : { description });
        return;
      }
      case 'node-role': {
        const { id, role, managerAddr } = change;
        const node = this.nodes.find((each) => each.id === id);
        if (role === 'worker' && node?.departure?.isRemoval) {
          this.nodes = this.nodes.filter((each) => each !== node);
          return;
        }
        const since: Partial<NodeRecord> = node?.role === role ? {} : { reachabilityAtMs: created.updatedAtMs };
        this.nodes = put(this.nodes, id, { role, ...since, ...(managerAddr && { managerAddr }) });
        break;
      }
      case 'node-reachability': {
        const { id, reachability } = change;
        this.nodes = put(this.nodes, id, { reachability, reachabilityAtMs: created.updatedAtMs });
        break;
      }
      case 'node-manager-addr':
        this.nodes = put(this.nodes, change.id, { managerAddr: change.managerAddr });
        return;
      case 'node-delete':
        this.nodes = this.nodes.filter(({ id, role }) => id !== change.id || role === 'manager');
        return;
      case 'service-create': {
        if (this.specs.some((s) => s.serviceId === change.id) || this.isTaken(change.spec, change.id)) return;
        this.services.push({ id: change.id, meta: created, spec: change.spec, specVersion: 1 });
        this.makeVersion(change.id, 1, change.spec);
        return;
      }
      case 'service-spec': {
        const service = this.services.find(({ id }) => id === change.id);
        if (service === undefined || this.isTaken(change.spec, change.id)) return;
        const { id, meta, spec, specVersion } = service;
        let next = change.specVersion ?? specVersion;
        const isKnown = this.specs.some((known) => known.serviceId === id && known.version === change.specVersion);
        if (!isKnown) {
          next = sameForTasks(spec, change.spec) ? specVersion : this.otherVersion(service, change.spec);
        }
        const record: ServiceRecord = { id, meta, spec: change.spec, specVersion: next };
        if (change.previous === 'keep-as-previous') record.previous = { spec, specVersion };
        if (change.update !== undefined) record.update = change.update;
        this.services = put(this.services.filter((s) => s.id !== id).concat(record), id, {});
        return;
      }
      case 'content-create':
      case 'content-version': {
        const { kind, content, type } = change;
        const all = this.contents[kind];
        const holder = this.currentOf(kind, content.spec.Name ?? '');
        if (type === 'content-create') {
          if (holder === undefined && !has(all, content.id)) all.push({ ...content, meta: created });
          return;
        }
        if (holder === undefined || holder.id === content.id) return;
        const known = all.find(({ id }) => id === content.id);
        const meta = { ...created, createdAtMs: known?.meta.createdAtMs ?? created.createdAtMs };
        this.contents[kind] = [
          ...all.filter((each) => each !== holder && each !== known),
          {
            ...holder,
            meta: { ...created, createdAtMs: holder.meta.createdAtMs },
            supersededAtMs: created.updatedAtMs,
          },
          { ...content, meta },
        ];
        this.renew(kind, content.spec.Name ?? '', created);
        return;
      }
      case 'content-labels': {
        const { kind, id, labels } = change;
        const record = this.contents[kind].find((each) => each.id === id);
        if (record !== undefined) {
          this.contents[kind] = put(this.contents[kind], id, { spec: { ...record.spec, Labels: labels } });
        }
        return;
      }
      case 'content-delete':
        this.contents[change.kind] = this.contents[change.kind].filter(({ spec }) => !sameName(spec.Name, change.name));
        return;
      case 'service-update':
        this.services = put(this.services, change.id, { update: change.update });
        return;
      case 'service-delete':
        this.services = this.services.filter(({ id }) => id !== change.id);
        this.versionsMade = this.versionsMade.filter(({ serviceId }) => serviceId !== change.id);
        return;
      case 'task-create': {
        const { task } = change;
        const isKnown = this.specs.some((s) => s.serviceId === task.serviceId && s.version === task.specVersion);
        if (has(this.tasks, task.id) || !has(this.services, task.serviceId) || !isKnown) return;
        this.tasks.push({ ...task, meta: created });
        return;
      }
      case 'task-desired': {
        const task = this.tasks.find(({ id }) => id === change.id);
        if (task === undefined || rankOf(change.desiredState) < rankOf(task.desiredState)) return;
        if (change.desiredState === task.desiredState && task.startAtMs === undefined) return;
        delete task.startAtMs;
        this.tasks = put(this.tasks, change.id, { desiredState: change.desiredState });
        return;
      }
      case 'task-assign': {
        const task = this.tasks.find(({ id }) => id === change.id);
        if (task === undefined || rankOf(task.status.state) >= rankOf('assigned')) return;
        if (task.nodeId !== undefined && task.nodeId !== change.nodeId) return;
        this.tasks = put(this.tasks, change.id, { nodeId: change.nodeId, status: change.status });
        return;
      }
      case 'task-status': {
        const task = this.tasks.find(({ id }) => id === change.id);
        const { status } = change;
        if (task === undefined || rankOf(status.state) < rankOf(task.status.state)) return;
        const fields: Partial<TaskRecord> = { status };
        if (status.state === 'running') fields.runningAtMs = task.runningAtMs ?? created.updatedAtMs;
        if (isTerminal(status.state)) fields.endedAtMs = task.endedAtMs ?? created.updatedAtMs;
        this.tasks = put(this.tasks, change.id, fields);
        return;
      }
      case 'task-restarts':
        this.tasks = put(this.tasks, change.id, { restarts: change.restarts });
        return;
      case 'task-delete':
        this.tasks = this.tasks.filter(({ id }) => id !== change.id);
        return;
    }
    this.dropWhatIsOver();
  }

  /** A worker is neither reachable nor leaves the managers; a manager that is wanted does not; who is ready is not down. */
  dropWhatIsOver(): void {
    for (const node of this.nodes) {
      if (node.status.state === 'ready') delete node.downSinceMs;
      if (node.role === 'worker') {
        delete node.reachability;
        delete node.reachabilityAtMs;
      }
      if (node.role === 'worker' || node.spec.Role !== 'worker') delete node.departure;
    }
  }

  currentOf(kind: ContentKind, name: string): ContentRecord | undefined {
    return this.contents[kind].find(
      ({ spec, supersededAtMs }) => supersededAtMs === undefined && sameName(spec.Name, name),
    );
  }

  /** What each followed name has now. */
  newestOf(spec: ServiceSpec): Record<string, string> {
    const ids: Record<string, string> = {};
    for (const { kind, id, name } of contentReferences(spec.TaskTemplate.ContainerSpec ?? {})) {
      const current = this.currentOf(kind, name);
      if (id === undefined && current !== undefined) ids[`${kind}/${name.toLowerCase()}`] = current.id;
    }
    return ids;
  }

  /** The version before, when it is what making `spec` now would give; else a new one. */
  otherVersion({ id, previous }: ServiceRecord, spec: ServiceSpec): number {
    const before = this.specs.find((each) => each.serviceId === id && each.version === previous?.specVersion);
    if (previous !== undefined && before !== undefined && sameForTasks(previous.spec, spec)) {
      if (JSON.stringify(before.contentIds ?? {}) === JSON.stringify(this.newestOf(spec))) return before.version;
    }
    const made = this.versionsMade.filter(({ serviceId }) => serviceId === id).map(({ version }) => version);
    this.makeVersion(id, Math.max(...made) + 1, spec);
    return Math.max(...made) + 1;
  }

  renew(kind: ContentKind, name: string, landing: ServiceRecord['meta']): void {
    for (const service of byId(this.services)) {
      const { id, meta, spec, specVersion } = service;
      const references = contentReferences(spec.TaskTemplate.ContainerSpec ?? {});
      const isFollower = references.some(
        (each) => each.kind === kind && each.id === undefined && sameName(each.name, name),
      );
      if (!isFollower) continue;
      this.services = this.services.filter((each) => each !== service);
      this.services.push({
        id,
        meta: { ...landing, createdAtMs: meta.createdAtMs },
        spec,
        specVersion: this.otherVersion(service, spec),
        previous: { spec, specVersion },
      });
    }
  }

  isTaken(spec: ServiceSpec, exceptId: string): boolean {
    return this.services.some((other) => other.id !== exceptId && sameName(other.spec.Name, spec.Name));
  }

  makeVersion(serviceId: string, version: number, spec: ServiceSpec): void {
    this.versionsMade.push({ serviceId, version });
    const { Name = '', Labels = {}, TaskTemplate, EndpointSpec } = spec;
    const made: SpecVersion = {
      serviceId,
      version,
      serviceName: Name,
      serviceLabels: Labels,
      template: TaskTemplate,
    };
    if (EndpointSpec !== undefined) made.endpoint = EndpointSpec;
    const contentIds = this.newestOf(spec);
    if (Object.keys(contentIds).length > 0) made.contentIds = contentIds;
    this.specs.push(made);
  }
}

function sameName(a: string | undefined, b: string | undefined): boolean {
  return a !== undefined && b !== undefined && a.toLowerCase() === b.toLowerCase();
}

/** The versions of secrets or of configs that tasks of a spec version have. */
function idsIn({ template, contentIds = {} }: SpecVersion, kind: ContentKind): string[] {
  return contentReferences(template.ContainerSpec ?? {})
    .filter((reference) => reference.kind === kind)
    .flatMap(({ id, name }) => id ?? contentIds[`${kind}/${name.toLowerCase()}`] ?? []);
}

const byId = <T extends { id: string }>(records: T[]): T[] => [...records].sort((a, b) => (a.id < b.id ? -1 : 1));

/** Asks the store everything that a `View` can be asked, and the oracle the same. */
function check(store: Store, naive: NaiveStore): void {
  const { tasks } = naive;
  assert.deepEqual(store.cluster(), naive.cluster, 'cluster');
  assert.deepEqual(store.nodes(), byId(naive.nodes), 'nodes');
  assert.deepEqual(store.services(), byId(naive.services), 'services');
  assert.deepEqual(store.tasks(), byId(tasks), 'tasks');
  for (const id of SERVICE_IDS) {
    assert.deepEqual(store.tasksOfService(id), byId(tasks.filter((task) => task.serviceId === id)), 'tasks of service');
    assert.deepEqual(
      store.service(id),
      naive.services.find((service) => service.id === id),
    );
    for (const name of NAMES) {
      assert.deepEqual(
        store.serviceByName(name),
        naive.services.find(({ spec }) => sameName(spec.Name, name)),
        'service by name',
      );
    }
    for (let version = 1; version <= 6; version++) {
      const spec = naive.specs.find((s) => s.serviceId === id && s.version === version);
      if (spec === undefined) assert.throws(() => store.spec(id, version), { name: 'InvariantError' });
      else assert.deepEqual(store.spec(id, version), spec, 'spec version');
    }
  }
  for (const id of NODE_IDS) {
    checkUsage(store, naive, id);
    assert.deepEqual(store.tasksOfNode(id), byId(tasks.filter((task) => task.nodeId === id)), 'tasks of node');
  }
  for (const kind of CONTENT_KINDS) {
    const all = naive.contents[kind];
    const current = all.filter(({ supersededAtMs }) => supersededAtMs === undefined);
    assert.deepEqual(store.contents(kind), byId(current), kind);
    for (const id of CONTENT_IDS) {
      assert.deepEqual(
        store.content(kind, id),
        all.find((each) => each.id === id),
        `${kind} by id`,
      );
    }
    for (const name of CONTENT_NAMES) {
      assert.deepEqual(store.contentByName(kind, name), naive.currentOf(kind, name), `${kind} by name`);
      const versions = byId(all.filter(({ spec }) => sameName(spec.Name, name)));
      assert.deepEqual(byId(store.contentVersions(kind, name)), versions, `versions of ${kind}`);
    }
  }
  const pending = tasks.filter(
    ({ status, desiredState }) =>
      ['new', 'pending'].includes(status.state) && ['ready', 'running', 'complete'].includes(desiredState),
  );
  assert.deepEqual(store.pendingTasks(), byId(pending), 'pending tasks');
}

function checkUsage(store: Store, naive: NaiveStore, nodeId: string): void {
  const holding = naive.tasks.filter(
    ({ nodeId: on, status }) =>
      on === nodeId && rankOf(status.state) >= rankOf('assigned') && !isTerminal(status.state),
  );
  const meant = holding.filter(({ desiredState }) => rankOf(desiredState) <= rankOf('running'));
  const demands = holding.map((task) => {
    const made = naive.specs.find((s) => s.serviceId === task.serviceId && s.version === task.specVersion);
    assert.ok(made);
    assert.deepEqual(store.demand(made.serviceId, made.version), demandOf(made));
    return demandOf(made);
  });
  const sum = (numbers: number[]): number => numbers.reduce((total, one) => total + one, 0);
  const usage = store.usageOfNode(nodeId);
  assert.equal(usage.nanoCpus, sum(demands.map(({ nanoCpus }) => nanoCpus)), 'CPUs taken');
  assert.equal(usage.memoryBytes, sum(demands.map(({ memoryBytes }) => memoryBytes)), 'memory taken');
  assert.equal(usage.tasks, meant.length, 'tasks meant to run');
  for (const port of ['80/tcp', '80/udp', '81/tcp']) {
    const holders = demands.filter(({ hostPorts }) => hostPorts.includes(port)).length;
    assert.equal(usage.holdersOf(port), holders, `holders of ${port}`);
  }
  for (const id of SERVICE_IDS) {
    assert.equal(usage.tasksOf(id), meant.filter((task) => task.serviceId === id).length, 'tasks of service on node');
  }
}

const SERVICE_IDS = ['s2', 's1', 's3'];
const NODE_IDS = ['n2', 'n1'];
const TASK_IDS = ['t5', 't1', 't4', 't2', 't3'];
const NAMES = ['web', 'Web', 'db'];
const CONTENT_KINDS = ['secret', 'config'] as const;
const CONTENT_IDS = ['c2', 'c1', 'c4', 'c3'];
const CONTENT_NAMES = ['key', 'Key', 'conf'];

const serviceId = fc.constantFrom(...SERVICE_IDS);
const nodeId = fc.constantFrom(...NODE_IDS);
const taskId = fc.constantFrom(...TASK_IDS);
const desiredState = fc.constantFrom('ready' as const, 'running' as const, 'shutdown' as const, 'remove' as const);
const status = fc.constantFrom(...TASK_STATES).map((state: TaskState) => ({ state, atMs: 1, message: state }));
const restarts = fc.record({ attempts: fc.nat(3), failuresInARow: fc.nat(2), recentMs: fc.constant<number[]>([]) });
const spec = fc.record({
  Name: fc.constantFrom(...NAMES),
  Labels: fc.constantFrom<Record<string, string>[]>({}, { tier: 'front' }),
  TaskTemplate: fc.record({
    ContainerSpec: fc.record(
      {
        Image: fc.constantFrom('a', 'b'),
        Secrets: fc.array(
          fc.record({
            SecretID: fc.constantFrom('c1', 'c2', 'follow'),
            SecretName: fc.constantFrom(...CONTENT_NAMES),
          }),
          { maxLength: 2 },
        ),
        Configs: fc.array(
          fc.record({ ConfigID: fc.constantFrom('c3', 'follow'), ConfigName: fc.constantFrom(...CONTENT_NAMES) }),
          { maxLength: 1 },
        ),
      },
      { requiredKeys: ['Image'] },
    ),
    ForceUpdate: fc.constantFrom(0, 1),
    Resources: fc.record({ Reservations: fc.record({ NanoCPUs: fc.nat(3), MemoryBytes: fc.nat(3) }) }),
  }),
  EndpointSpec: fc.record({
    Ports: fc.array(
      fc.record({
        TargetPort: fc.constant(80),
        PublishedPort: fc.constantFrom(80, 81),
        Protocol: fc.constantFrom('tcp' as const, 'udp' as const),
        PublishMode: fc.constantFrom('host' as const, 'ingress' as const),
      }),
      { maxLength: 1 },
    ),
  }),
  Mode: fc.record({ Replicated: fc.record({ Replicas: fc.nat(3) }) }),
});
const task = fc.record(
  {
    id: taskId,
    serviceId,
    specVersion: fc.integer({ min: 1, max: 3 }),
    slot: fc.nat(3),
    nodeId,
    desiredState,
    status,
    startAtMs: fc.nat(9),
    restarts,
  },
  { requiredKeys: ['id', 'serviceId', 'specVersion', 'slot', 'desiredState', 'status', 'restarts'] },
);
const nodeStatus = fc.record({
  state: fc.constantFrom('ready' as const, 'down' as const, 'unknown' as const),
  message: fc.constant(''),
  addr: fc.constant('10.0.0.1'),
});
const update = fc.record({
  state: fc.constantFrom('updating' as const, 'completed' as const),
  startedAtMs: fc.nat(9),
  message: fc.constant(''),
});
const nodeRole = fc.constantFrom('worker' as const, 'manager' as const);
const nodeSpec = fc.record({ Role: nodeRole, Availability: fc.constant('drain' as const) }, { requiredKeys: [] });
const node = fc.record({ id: nodeId, spec: nodeSpec, role: nodeRole, status: nodeStatus });
const description = fc.constant({
  Hostname: 'h',
  Platform: { Architecture: 'x86_64', OS: 'linux' },
  Resources: { NanoCPUs: 1, MemoryBytes: 1 },
  Engine: { EngineVersion: '20.10', Plugins: [] },
} satisfies NodeDescription as NodeDescription);
const CLUSTER = {
  id: 'c',
  spec: {},
  joinSecrets: { worker: 'w', manager: 'm' },
  rootCa: { certificatePem: 'C', keyPem: 'K' },
};
const cluster = fc.constant(CLUSTER);
const type = <T extends string>(name: T) => fc.constant(name);
const nodeChange: fc.Arbitrary<Change> = fc.oneof(
  fc.record({ type: type('node-create'), node }),
  fc.record(
    {
      type: type('node-spec'),
      id: nodeId,
      spec: nodeSpec,
      departure: fc.record({ isForced: fc.boolean(), isRemoval: fc.boolean() }),
    },
    { requiredKeys: ['type', 'id', 'spec'] },
  ),
  fc.record(
    { type: type('node-role'), id: nodeId, role: nodeRole, managerAddr: fc.constant('h:2') },
    { requiredKeys: ['type', 'id', 'role'] },
  ),
  fc.record({
    type: type('node-reachability'),
    id: nodeId,
    reachability: fc.constantFrom('reachable' as const, 'unreachable' as const),
  }),
  fc.record({ type: type('node-manager-addr'), id: nodeId, managerAddr: fc.constant('h:3') }),
  fc.record({ type: type('node-status'), id: nodeId, status: nodeStatus }),
  fc.record(
    { type: type('node-description'), id: nodeId, description, managerAddr: fc.constant('h:1') },
    { requiredKeys: ['type', 'id', 'description'] },
  ),
  fc.record({ type: type('node-delete'), id: nodeId }),
);
const kind = fc.constantFrom(...CONTENT_KINDS);
const content = fc.record({
  id: fc.constantFrom(...CONTENT_IDS),
  spec: fc.record({ Name: fc.constantFrom(...CONTENT_NAMES), Data: fc.constant('YQ==') }),
  hash: fc.constant('h'),
  salt: fc.constant('s'),
});
const contentChange: fc.Arbitrary<Change> = fc.oneof(
  fc.record({ type: type('content-create'), kind, content }),
  { weight: 2, arbitrary: fc.record({ type: type('content-version'), kind, content }) },
  fc.record({
    type: type('content-labels'),
    kind,
    id: fc.constantFrom(...CONTENT_IDS),
    labels: fc.constant({ a: 'b' }),
  }),
  fc.record({ type: type('content-delete'), kind, name: fc.constantFrom(...CONTENT_NAMES) }),
);
const change: fc.Arbitrary<Change> = fc.oneof(
  { weight: 6, arbitrary: contentChange },
  fc.record({ type: type('cluster-create'), cluster }),
  fc.record({ type: type('cluster-spec'), spec: fc.constantFrom({}, { Name: 'default' }) }),
  fc.record({ type: type('join-secrets'), joinSecrets: fc.constant({ worker: 'w2', manager: 'm2' }) }),
  { weight: 9, arbitrary: nodeChange },
  { weight: 3, arbitrary: fc.record({ type: type('service-create'), id: serviceId, spec }) },
  {
    weight: 4,
    arbitrary: fc.record(
      {
        type: type('service-spec'),
        id: serviceId,
        spec,
        previous: fc.constantFrom('keep-as-previous' as const, 'drop' as const),
        update,
        specVersion: fc.integer({ min: 1, max: 3 }),
      },
      { requiredKeys: ['type', 'id', 'spec', 'previous'] },
    ),
  },
  fc.record({ type: type('service-update'), id: serviceId, update }),
  fc.record({ type: type('service-delete'), id: serviceId }),
  { weight: 6, arbitrary: fc.record({ type: type('task-create'), task }) },
  { weight: 2, arbitrary: fc.record({ type: type('task-desired'), id: taskId, desiredState }) },
  { weight: 2, arbitrary: fc.record({ type: type('task-assign'), id: taskId, nodeId, status }) },
  { weight: 4, arbitrary: fc.record({ type: type('task-status'), id: taskId, status }) },
  fc.record({ type: type('task-restarts'), id: taskId, restarts }),
  { weight: 2, arbitrary: fc.record({ type: type('task-delete'), id: taskId }) },
);
const guard: fc.Arbitrary<Guard> = fc.oneof(
  fc.record({ type: type('no-cluster') }),
  fc.record({
    type: fc.constantFrom('content-name-free' as const, 'content-unused' as const),
    kind,
    name: fc.constantFrom(...CONTENT_NAMES),
  }),
  fc.record(
    { type: type('service-name-free'), name: fc.constantFrom(...NAMES), exceptId: serviceId },
    { requiredKeys: ['type', 'name'] },
  ),
  fc.record(
    {
      type: type('unchanged'),
      kind: fc.constantFrom('service' as const, 'node' as const, 'cluster' as const, ...CONTENT_KINDS),
      id: fc.constantFrom('s1', 'n1', 'c', 'c1'),
      version: fc.integer({ min: 1, max: 8 }),
    },
    { requiredKeys: ['type', 'kind', 'id'] },
  ),
);
const guards = fc.oneof({ weight: 4, arbitrary: fc.constant<Guard[]>([]) }, fc.array(guard, { maxLength: 2 }));

function checkAgainstNaive(log: fc.Arbitrary<Entry[]>, numRuns: number): void {
  fc.assert(
    fc.property(log, fc.nat(40), fc.integer({ min: 1, max: 200 }), (log, restoreAt, pieceLength) => {
      let store = new Store();
      const naive = new NaiveStore();
      for (const [i, entry] of log.entries()) {
        if (i === restoreAt) store = restored(store, pieceLength);
        const { result } = store.apply(i + 1, decodeEntry(encodeEntry(entry)));
        const failed = naive.apply(i + 1, decodeEntry(encodeEntry(entry)));
        assert.deepEqual(result, failed === undefined ? { ok: true, index: i + 1 } : { ok: false, failed });
        if (i % 7 === 3) check(store, naive);
      }
      check(store, naive);
    }),
    { numRuns },
  );
}

t.test('a store answers as a naive one does, and goes on so when restored from a snapshot', async () => {
  const entry = fc.record({ atMs: fc.nat(1000), guards, changes: fc.array(change, { maxLength: 5 }) });
  checkAgainstNaive(fc.array(entry, { maxLength: 40 }), 150);
});

t.test('so it does when nodes become managers and workers for months', async () => {
  const day = 24 * 3600e3;
  const create: Entry = { atMs: 0, guards: [], changes: [{ type: 'cluster-create', cluster: CLUSTER }] };
  const entry = fc.record({
    atMs: fc.nat(300).map((n) => n * day),
    guards,
    changes: fc.array(nodeChange, { maxLength: 5 }),
  });
  const log = fc.array(entry, { minLength: 5, maxLength: 40, size: 'max' });
  checkAgainstNaive(
    log.map((entries) => [create, ...entries]),
    300,
  );
});

t.test('a snapshot that is drawn later is of the state at the call, whatever was applied meanwhile', async () => {
  const entry = fc.record({ atMs: fc.nat(1000), guards, changes: fc.array(change, { maxLength: 5 }) });
  fc.assert(
    fc.property(
      fc.array(entry, { minLength: 2, maxLength: 40 }),
      fc.nat(40),
      fc.nat(40),
      (log, takenAt, drawnAfter) => {
        const store = new Store();
        const then = new NaiveStore();
        let pieces: Iterable<string> = [];
        let text: string | undefined;
        let index = 0;
        for (const [i, entry] of log.entries()) {
          if (i === takenAt) {
            pieces = store.snapshot();
            index = i;
          }
          if (i === takenAt + drawnAfter) text = [...pieces].join('');
          store.apply(i + 1, decodeEntry(encodeEntry(entry)));
          if (i < takenAt) then.apply(i + 1, decodeEntry(encodeEntry(entry)));
        }
        if (takenAt >= log.length) return;
        const other = new Store();
        other.restore(index, [text ?? [...pieces].join('')]);
        check(other, then);
      },
    ),
    { numRuns: 150 },
  );
});

/** Another store with what a snapshot of `store` holds, its text cut anew. */
function restored(store: Store, pieceLength: number): Store {
  const text = [...store.snapshot()].join('');
  const other = new Store();
  const pieces = Array.from({ length: Math.ceil(text.length / pieceLength) }, (_, i) =>
    text.slice(i * pieceLength, (i + 1) * pieceLength),
  );
  other.restore(store.appliedIndex, pieces);
  assert.equal(other.appliedIndex, store.appliedIndex);
  return other;
}
