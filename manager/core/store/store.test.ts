import type { ServiceSpec } from '@apiary/api/model';
import t from 'tap';
import type { Change } from './change.js';
import { decodeEntry } from './entry-codec.js';
import { sameForTasks } from './spec-comparison.js';
import { Store } from './store.js';

const WEB: ServiceSpec = { Name: 'web', TaskTemplate: { ContainerSpec: { Image: 'a' } } };
const image = (Image: string, more: Partial<ServiceSpec> = {}): ServiceSpec => ({
  ...WEB,
  TaskTemplate: { ContainerSpec: { Image } },
  ...more,
});

function applied(store: Store, ...changes: Change[]) {
  return store.apply(store.appliedIndex + 1, { atMs: 1000 + store.appliedIndex, guards: [], changes });
}

t.test('a spec version is made only when tasks are concerned, and a rollback finds the number it had', async (t) => {
  const store = new Store();
  const put = (spec: ServiceSpec, previous: 'keep-as-previous' | 'drop' = 'keep-as-previous') => {
    applied(store, { type: 'service-spec', id: 's', spec, previous });
    return store.service('s')?.specVersion;
  };
  applied(store, { type: 'service-create', id: 's', spec: WEB });
  t.equal(put({ ...WEB, Mode: { Replicated: { Replicas: 5 } }, Labels: { a: 'b' } }), 1);
  t.same(store.spec('s', 1).serviceLabels, {}, 'a version never changes');
  t.equal(put(image('b')), 2);
  t.equal(put(image('a')), 1, 'as the previous one');
  t.equal(put(image('b', { EndpointSpec: { Ports: [{ TargetPort: 80, PublishMode: 'host' }] } })), 3);
  t.throws(() => store.spec('s', 2), { name: 'InvariantError' });
  t.equal(put(image('c'), 'drop'), 4);
  t.equal(store.service('s')?.previous, undefined);
  t.equal(put(image('a')), 5, 'a number is never given twice');
  t.equal(put(image('c'), 'drop'), 4, 'back, with nothing to go back to');
  const other = new Store();
  other.restore(store.appliedIndex, store.snapshot());
  applied(other, { type: 'service-spec', id: 's', spec: image('d'), previous: 'drop' });
  t.equal(other.service('s')?.specVersion, 6, 'not by a restored replica either');
});

t.test('what was planned on one spec of a service does not touch the next', async (t) => {
  const store = new Store();
  applied(store, { type: 'service-create', id: 's', spec: WEB });
  const ifVersion = store.service('s')?.meta.version ?? 0;
  const paused = { state: 'paused' as const, startedAtMs: 1, message: 'update paused' };
  const rollBack = { type: 'service-spec' as const, id: 's', spec: WEB, previous: 'drop' as const, ifVersion };
  applied(store, { type: 'service-spec', id: 's', spec: image('b'), previous: 'keep-as-previous' });
  applied(store, { type: 'service-update', id: 's', update: paused, ifVersion }, rollBack);
  t.match(store.service('s'), { spec: image('b'), specVersion: 2, update: undefined });
  const now = store.service('s')?.meta.version ?? 0;
  const pause = { type: 'service-update' as const, id: 's', update: paused, ifVersion: now };
  applied(store, { ...rollBack, ifVersion: now }, pause);
  t.match(store.service('s'), { spec: WEB, update: paused }, 'both changes of one entry count');
});

t.test('a spec that a client reads and sends back asks for the same tasks', async (t) => {
  const written: ServiceSpec = {
    Name: 'web',
    TaskTemplate: { ContainerSpec: { Image: 'a', Env: [], Labels: { e: '' } } },
  };
  const readBack: ServiceSpec = {
    Name: 'web',
    Labels: {},
    TaskTemplate: {
      ContainerSpec: {
        Image: 'a',
        Labels: { e: '' },
        Isolation: 'default',
        StopGracePeriod: 10_000_000_000,
        DNSConfig: {},
      },
      Resources: { Limits: {} },
      RestartPolicy: { Condition: 'any', Delay: 5_000_000_000, MaxAttempts: 0 },
      Placement: {},
      ForceUpdate: 0,
      Runtime: 'container',
    },
    EndpointSpec: { Mode: 'vip' },
    Mode: { Replicated: { Replicas: 1 } },
  };
  t.ok(sameForTasks(written, readBack));
  const changed: [string, ServiceSpec['TaskTemplate']][] = [
    ['forced', { ...readBack.TaskTemplate, ForceUpdate: 1 }],
    ['no delay', { ...readBack.TaskTemplate, RestartPolicy: { Delay: 0 } }],
    ['init off', { ContainerSpec: { ...readBack.TaskTemplate.ContainerSpec, Init: false } }],
    ['no grace', { ContainerSpec: { ...readBack.TaskTemplate.ContainerSpec, StopGracePeriod: 0 } }],
    ['label gone', { ContainerSpec: { ...readBack.TaskTemplate.ContainerSpec, Labels: {} } }],
    ['env', { ContainerSpec: { ...readBack.TaskTemplate.ContainerSpec, Env: [''] } }],
  ];
  for (const [what, TaskTemplate] of changed) t.notOk(sameForTasks(written, { ...readBack, TaskTemplate }), what);
});

const TASK = {
  id: 't',
  serviceId: 's',
  specVersion: 1,
  slot: 1,
  desiredState: 'ready' as const,
  status: { state: 'new' as const, atMs: 1, message: 'created' },
  startAtMs: 5000,
  restarts: { attempts: 0, failuresInARow: 0, recentMs: [] },
};

t.test('an entry says what it touched, and a task of a service that is gone is not made', async (t) => {
  const store = new Store();
  applied(store, { type: 'service-create', id: 's', spec: WEB });
  const { touched } = applied(
    store,
    { type: 'task-create', task: TASK },
    { type: 'task-assign', id: 't', nodeId: 'n', status: { state: 'assigned', atMs: 2, message: '' } },
    { type: 'task-desired', id: 't', desiredState: 'running' },
    { type: 'task-status', id: 'gone', status: TASK.status },
  );
  t.same(
    { ...touched, events: touched.events.length },
    {
      cluster: false,
      services: new Set(),
      nodes: new Set(),
      secrets: new Set(),
      configs: new Set(),
      tasks: new Set(['t']),
      taskServices: new Set(['s']),
      assignments: new Set(['n']),
      networks: new Set(),
      attachments: new Set(),
      events: 3,
    },
  );
  t.equal(store.task('t')?.startAtMs, undefined);
  applied(store, { type: 'service-delete', id: 's' });
  t.equal(store.spec('s', 1).template.ContainerSpec?.Image, 'a', 'kept for the task that is left');
  t.equal(applied(store, { type: 'task-create', task: { ...TASK, id: 't2' } }).touched.tasks.size, 0);
  const gone = applied(store, { type: 'task-delete', id: 't' });
  t.same([gone.touched.taskServices, gone.touched.assignments], [new Set(['s']), new Set(['n'])]);
  t.throws(() => store.spec('s', 1), { name: 'InvariantError' });
});

t.test('a list and a snapshot that were given out stay as they were', async (t) => {
  const store = new Store();
  applied(store, { type: 'service-create', id: 's', spec: WEB }, { type: 'task-create', task: TASK });
  const tasks = store.tasks();
  const snapshot = store.snapshot();
  applied(store, { type: 'task-delete', id: 't' }, { type: 'service-delete', id: 's' });
  t.equal(tasks.length, 1);
  t.equal(store.tasks().length, 0);
  const other = new Store();
  other.restore(1, snapshot);
  t.equal(other.tasks().length, 1);
});

t.test('a node has a gateway subnet to itself from its first record to its last', async (t) => {
  const store = new Store();
  const join = (id: string) => {
    const node = {
      id,
      spec: {},
      role: 'worker' as const,
      status: { state: 'unknown' as const, message: '', addr: '' },
    };
    applied(store, { type: 'node-create', node });
  };
  for (const id of ['c', 'b', 'a']) join(id);
  t.same(
    ['c', 'b', 'a'].map((id) => store.node(id)?.gatewayIndex),
    [0, 1, 2],
    'in the order of joining',
  );
  applied(store, { type: 'node-delete', id: 'b' }, { type: 'node-spec', id: 'a', spec: { Availability: 'drain' } });
  join('d');
  join('e');
  t.same(
    ['c', 'd', 'a', 'e'].map((id) => store.node(id)?.gatewayIndex),
    [0, 1, 2, 3],
    'freed with its record',
  );
});

t.test('what another version wrote, or nobody did, is refused', async (t) => {
  t.throws(() => decodeEntry('{"v":2,"atMs":1}'), { code: 'failed-precondition', message: /format 2.*format 1 only/ });
  t.throws(() => decodeEntry('{"v":1'), { code: 'failed-precondition', message: /damaged/ });
  t.throws(() => decodeEntry('[]'), { code: 'failed-precondition', message: /damaged/ });
  const store = new Store();
  applied(store, { type: 'service-create', id: 's', spec: WEB });
  const refuse = (text: string, message: RegExp) =>
    t.throws(() => store.restore(9, [text]), { code: 'failed-precondition', message });
  refuse('{"format":2}\n', /format 2.*format 1 only/);
  refuse('', /empty/);
  refuse('{"node":{}}\n', /damaged/);
  refuse('{"format":1}\n{"task"', /cut off/);
  refuse('{"format":1}\n{"bee":1}\n', /unexpected/);
  t.equal(store.services().length, 1, 'nothing was replaced');
  t.equal(store.appliedIndex, 1);
});

t.test('100,000 tasks: lists stay cheap after each change, and a snapshot comes in pieces', async (t) => {
  const store = new Store();
  applied(store, { type: 'service-create', id: 's', spec: WEB });
  const changes = Array.from({ length: 100_000 }, (_, i): Change => {
    return { type: 'task-create', task: { ...TASK, id: `t${(i * 7919) % 100_000}`, nodeId: `n${i % 100}` } };
  });
  applied(store, ...changes);
  t.equal(store.tasks().length, 100_000);
  const startedAt = performance.now();
  for (let i = 0; i < 50; i++) {
    applied(store, { type: 'task-desired', id: `t${i}`, desiredState: 'running' });
    store.tasks();
    store.tasksOfNode('n1');
  }
  const elapsedMs = performance.now() - startedAt;
  t.comment(`${(elapsedMs / 50).toFixed(2)} ms for a change and the lists after it`);
  const pieces = [...store.snapshot()];
  t.ok(pieces.every((piece) => piece.length <= 1024 * 1024));
  const other = new Store();
  other.restore(store.appliedIndex, pieces);
  t.equal(other.tasksOfNode('n1').length, 1000);
});
