import assert from 'node:assert/strict';
import { isTerminal, type NodeDescription, rankOf, TASK_STATES, type TaskState } from '@apiary/api/model';
import fc from 'fast-check';
import t from 'tap';
import { isEarlier } from '../events/cluster-event.js';
import type { Change, Entry, Guard } from './change.js';
import { decodeEntry, encodeEntry } from './entry-codec.js';
import { byId, CONTENT_KINDS, NaiveStore, sameName } from './naive-store.fixture.js';
import { demandOf } from './node-usage.js';
import { Store } from './store.js';

/** Asks the store everything that a `View` can be asked, and the oracle the same. */
function check(store: Store, naive: NaiveStore): void {
  const { tasks } = naive;
  assert.deepEqual(store.cluster(), naive.cluster, 'cluster');
  assert.deepEqual(store.nodes(), byId(naive.nodes), 'nodes');
  assert.deepEqual(store.services(), byId(naive.services), 'services');
  assert.deepEqual(store.rebalancing(), byId(naive.services.filter(({ rebalance }) => rebalance)), 'rebalancing');
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
  const events = store.events();
  assert.deepEqual(
    events.map(({ type, action, id }) => `${type} ${action} ${id}`),
    naive.events,
    'events',
  );
  for (const [i, event] of events.entries()) {
    const earlier = events[i - 1];
    assert.ok(earlier === undefined || isEarlier(earlier, event), 'each event has its own time');
  }
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
  fc.record({ type: type('leader'), nodeId }),
  fc.record({ type: type('join-secrets'), joinSecrets: fc.constant({ worker: 'w2', manager: 'm2' }) }),
  { weight: 9, arbitrary: nodeChange },
  {
    weight: 3,
    arbitrary: fc.record(
      { type: type('service-create'), id: serviceId, spec, registryAuth: fc.constant('A') },
      { requiredKeys: ['type', 'id', 'spec'] },
    ),
  },
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
        registryAuth: fc.constantFrom('', 'A', 'B'),
        ifVersion: fc.integer({ min: 1, max: 6 }),
      },
      { requiredKeys: ['type', 'id', 'spec', 'previous'] },
    ),
  },
  fc.record(
    { type: type('service-update'), id: serviceId, update, ifVersion: fc.integer({ min: 1, max: 6 }) },
    { requiredKeys: ['type', 'id', 'update'] },
  ),
  fc.record(
    {
      type: type('service-rebalance'),
      id: serviceId,
      rebalance: fc.record({ most: fc.nat(2), isOfCluster: fc.boolean() }),
      ifVersion: fc.integer({ min: 1, max: 6 }),
    },
    { requiredKeys: ['type', 'id'] },
  ),
  fc.record({ type: type('service-delete'), id: serviceId }),
  { weight: 6, arbitrary: fc.record({ type: type('task-create'), task }) },
  {
    weight: 2,
    arbitrary: fc.record(
      { type: type('task-desired'), id: taskId, desiredState, endReason: fc.constant('shrunk') },
      { requiredKeys: ['type', 'id', 'desiredState'] },
    ),
  },
  { weight: 2, arbitrary: fc.record({ type: type('task-assign'), id: taskId, nodeId, status }) },
  { weight: 4, arbitrary: fc.record({ type: type('task-status'), id: taskId, status }) },
  fc.record({ type: type('task-restarts'), id: taskId, restarts }),
  fc.record({ type: type('task-move'), id: taskId }),
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
