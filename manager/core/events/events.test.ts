import type { ServiceSpec } from '@apiary/api/model';
import t from 'tap';
import { eventLine } from '../engine-api/event.js';
import type { Change } from '../store/change.js';
import { Store } from '../store/store.js';
import { isAskedFor } from './event-filter.js';
import { EventRing } from './event-ring.js';

const SPEC: ServiceSpec = {
  Name: 'web',
  TaskTemplate: { ContainerSpec: { Image: 'a:1' } },
  Mode: { Replicated: { Replicas: 1 } },
};
const NODE = {
  id: 'n1',
  spec: { Role: 'manager' as const },
  role: 'manager' as const,
  status: { state: 'unknown' as const, message: '', addr: '' },
};
const TASK = {
  id: 't1',
  serviceId: 's1',
  specVersion: 1,
  slot: 1,
  desiredState: 'ready' as const,
  status: { state: 'new' as const, atMs: 1, message: 'created' },
  restarts: { attempts: 0, failuresInARow: 0, recentMs: [] },
};

/** What each change has to tell, in short. */
function told(store: Store, ...changes: Change[]): string[] {
  const { touched } = store.apply(store.appliedIndex + 1, { atMs: 1_700_000_000_000, guards: [], changes });
  return touched.events.map(
    ({ type, action, id, attributes }) => `${type} ${action} ${id} ${JSON.stringify(attributes)}`,
  );
}

t.test('a service tells what changed of it, in the words of Docker', async (t) => {
  const store = new Store();
  t.same(told(store, { type: 'service-create', id: 's1', spec: SPEC }), ['service create s1 {"name":"web"}']);
  const spec: ServiceSpec = {
    ...SPEC,
    TaskTemplate: { ContainerSpec: { Image: 'a:2' } },
    Mode: { Replicated: { Replicas: 3 } },
  };
  const update = { state: 'updating' as const, startedAtMs: 1, message: '' };
  t.same(told(store, { type: 'service-spec', id: 's1', spec, previous: 'keep-as-previous', update }), [
    'service update s1 {"name":"web","image.old":"a:1","image.new":"a:2","replicas.old":"1","replicas.new":"3","updatestate.new":"updating"}',
  ]);
  t.same(told(store, { type: 'service-update', id: 's1', update: { ...update, state: 'completed' } }), [
    'service update s1 {"name":"web","updatestate.old":"updating","updatestate.new":"completed"}',
  ]);
  t.same(told(store, { type: 'service-delete', id: 's1' }), ['service remove s1 {"name":"web"}']);
  t.same(told(store, { type: 'service-delete', id: 's1' }), [], 'what is gone tells nothing');
});

t.test('a node tells of its state, its availability, its role, and who leads', async (t) => {
  const store = new Store();
  told(store, {
    type: 'cluster-create',
    cluster: {
      id: 'c',
      spec: {},
      joinSecrets: { worker: '', manager: '' },
      rootCa: { certificatePem: '', keyPem: '' },
    },
  });
  t.same(told(store, { type: 'node-create', node: NODE }, { type: 'node-create', node: { ...NODE, id: 'n2' } }), [
    'node create n1 {"name":""}',
    'node create n2 {"name":""}',
  ]);
  const description = {
    Hostname: 'h1',
    Platform: { Architecture: 'x86_64', OS: 'linux' },
    Resources: { NanoCPUs: 1, MemoryBytes: 1 },
    Engine: { EngineVersion: '20.10', Plugins: [] },
  };
  t.same(told(store, { type: 'node-description', id: 'n1', description }), ['node update n1 {"name":"h1"}']);
  const status = { state: 'ready' as const, message: '', addr: '' };
  t.same(
    told(
      store,
      { type: 'node-status', id: 'n1', status },
      { type: 'node-spec', id: 'n1', spec: { Role: 'manager', Availability: 'drain' } },
      { type: 'node-reachability', id: 'n1', reachability: 'reachable' },
    ),
    [
      'node update n1 {"name":"h1","state.old":"unknown","state.new":"ready"}',
      'node update n1 {"name":"h1","availability.old":"active","availability.new":"drain"}',
      'node update n1 {"name":"h1","reachability.old":"unknown","reachability.new":"reachable"}',
    ],
  );
  t.same(told(store, { type: 'leader', nodeId: 'n1' }), [
    'node update n1 {"name":"h1","leader.old":"false","leader.new":"true"}',
  ]);
  t.same(told(store, { type: 'leader', nodeId: 'n2' }, { type: 'leader', nodeId: 'n2' }), [
    'node update n1 {"name":"h1","leader.old":"true","leader.new":"false"}',
    'node update n2 {"name":"","leader.old":"false","leader.new":"true"}',
  ]);
  t.same(told(store, { type: 'node-role', id: 'n1', role: 'worker' }), [
    'node update n1 {"name":"h1","role.old":"manager","role.new":"worker"}',
  ]);
  t.same(told(store, { type: 'node-delete', id: 'n1' }), ['node remove n1 {"name":"h1"}']);
});

t.test('a task tells of its states, its node and its end, also when its service went before it', async (t) => {
  const store = new Store();
  told(store, { type: 'service-create', id: 's1', spec: SPEC });
  const identity = '"name":"web.1.t1","service.id":"s1","service.name":"web","slot":"1"';
  t.same(told(store, { type: 'task-create', task: TASK }), [`task create t1 {${identity}}`]);
  t.same(
    told(store, { type: 'task-assign', id: 't1', nodeId: 'n1', status: { state: 'assigned', atMs: 1, message: '' } }),
    [`task update t1 {${identity},"node.id":"n1","state.old":"new","state.new":"assigned"}`],
  );
  const again = { state: 'assigned' as const, atMs: 2, message: 'another message' };
  t.same(told(store, { type: 'task-status', id: 't1', status: again }), [], 'no event of a message alone');
  const failed = {
    state: 'failed' as const,
    atMs: 3,
    message: 'started',
    err: 'task: non-zero exit (3)',
    container: { id: 'c', pid: 0, exitCode: 3 },
  };
  t.same(told(store, { type: 'task-status', id: 't1', status: failed }, { type: 'service-delete', id: 's1' }), [
    `task update t1 {${identity},"node.id":"n1","state.old":"assigned","state.new":"failed","error":"task: non-zero exit (3)","exitcode":"3"}`,
    'service remove s1 {"name":"web"}',
  ]);
  t.same(told(store, { type: 'task-delete', id: 't1' }), [`task remove t1 {${identity},"node.id":"n1"}`]);
});

t.test('a secret tells of its versions, a network of its beginning and its end', async (t) => {
  const store = new Store();
  const content = (id: string) => ({ id, spec: { Name: 'key', Data: 'YQ==' }, hash: id, salt: '' });
  t.same(told(store, { type: 'content-create', kind: 'secret', content: content('v1') }), [
    'secret create v1 {"name":"key"}',
  ]);
  t.same(told(store, { type: 'content-version', kind: 'secret', content: content('v2') }), [
    'secret update v2 {"name":"key","version.old":"v1","version.new":"v2"}',
  ]);
  t.same(told(store, { type: 'content-labels', kind: 'secret', id: 'v2', labels: {} }), [
    'secret update v2 {"name":"key"}',
  ]);
  t.same(told(store, { type: 'content-delete', kind: 'secret', name: 'KEY' }), ['secret remove v2 {"name":"key"}']);
  const network = { id: 'o1', spec: { Name: 'back' }, kind: 'overlay' as const, vni: 4096, subnets: [] };
  t.same(told(store, { type: 'network-create', network }, { type: 'network-delete', id: 'o1' }), [
    'network create o1 {"name":"back"}',
    'network update o1 {"name":"back"}',
    'network remove o1 {"name":"back"}',
  ]);
});

t.test(
  'each event has a later time than the one before, whatever the clocks say, and is written as Docker does',
  async (t) => {
    const ring = new EventRing();
    const draft = { type: 'service' as const, action: 'create' as const, id: 's', attributes: { name: 'web', a: 'b' } };
    const events = [5_000, 5_000, 4_000, 6_000].map((atMs) => ring.add(draft, atMs));
    t.same(
      events.map(({ atMs, nanos }) => [atMs, nanos]),
      [
        [5_000, 0],
        [5_000, 1],
        [5_000, 2],
        [6_000, 0],
      ],
    );
    const [, second] = events;
    t.equal(
      second && eventLine(second),
      '{"Type":"service","Action":"create","Actor":{"ID":"s","Attributes":{"a":"b","name":"web"}},"scope":"swarm","time":5,"timeNano":5000000001}',
    );
  },
);

t.test('the last of each kind are kept: many of tasks do not push out those of services', async (t) => {
  const ring = new EventRing();
  const draft = { action: 'create' as const, id: 's', attributes: {} };
  ring.add({ ...draft, type: 'service' }, 1);
  for (let i = 0; i < 20_000; i++) ring.add({ ...draft, type: 'task', id: `t${i}` }, 2);
  const kept = ring.list();
  t.equal(kept[0]?.type, 'service');
  t.equal(kept.length, 1 + 4096);
  t.equal(kept.at(-1)?.id, 't19999');
  const other = new EventRing();
  for (const event of kept) other.put(event);
  t.same(other.list(), kept, 'a ring that was written down and read is the same');
  t.same(other.add({ ...draft, type: 'node' }, 1), ring.add({ ...draft, type: 'node' }, 1), 'and goes on the same');
});

t.test('filters are those of Docker', async (t) => {
  const event = {
    type: 'service',
    action: 'update',
    scope: 'swarm',
    id: 'abc',
    attributes: { name: 'web', 'replicas.new': '3' },
  };
  const task = {
    ...event,
    type: 'task',
    id: 'xyz',
    attributes: { name: 'web.1.xyz', 'service.id': 'abc', 'node.id': 'n1' },
  };
  const cases: [Record<string, string[]>, boolean, boolean][] = [
    [{}, true, true],
    [{ type: ['node', 'service'] }, true, false],
    [{ type: ['service'], event: ['create'] }, false, false],
    [{ event: ['create', 'update'] }, true, true],
    [{ scope: ['local'] }, false, false],
    [{ service: ['we'] }, true, true],
    [{ service: ['abc'] }, true, true],
    [{ node: ['n1'] }, false, true],
    [{ task: ['xy'] }, false, true],
    [{ service: ['db'] }, false, false],
    [{ container: ['web'] }, true, true],
    [{ image: ['busybox'] }, false, false],
    [{ label: ['replicas.new=3'] }, true, false],
    [{ label: ['replicas.new', 'name=db'] }, false, false],
    [{ nonsense: ['x'] }, true, true],
  ];
  for (const [filters, ofService, ofTask] of cases) {
    const map = new Map(Object.entries(filters));
    t.equal(isAskedFor(event, map), ofService, `service: ${JSON.stringify(filters)}`);
    t.equal(isAskedFor(task, map), ofTask, `task: ${JSON.stringify(filters)}`);
  }
});
