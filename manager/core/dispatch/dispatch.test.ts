import { type DesiredState, rankOf, TASK_STATES, type TaskState } from '@apiary/api/model';
import fc from 'fast-check';
import t from 'tap';
import type { Change } from '../store/change.js';
import type { NetworkRecord, NodeRecord, TaskRecord } from '../store/records.js';
import type { View } from '../store/view.js';
import { assignmentsFor, type Sent } from './assignments.js';
import { heartbeatPeriodMs, Liveness } from './liveness.js';
import { changesOf, type Observation } from './observation.js';
import { roleToTell } from './told-role.js';
import { isUnseen, removeUnseen } from './unseen.js';

const meta = { version: 1, createdAtMs: 0, updatedAtMs: 0 };

function task(
  id: string,
  fields: { specVersion?: number; desired?: DesiredState; state?: TaskState; nodeId?: string; networkIds?: string[] },
): TaskRecord {
  return {
    id,
    meta,
    serviceId: 's',
    specVersion: fields.specVersion ?? 1,
    slot: 1,
    nodeId: fields.nodeId ?? 'n',
    desiredState: fields.desired ?? 'running',
    status: { state: fields.state ?? 'assigned', atMs: 0, message: '' },
    restarts: { attempts: 0, failuresInARow: 0, recentMs: [] },
    ...(fields.networkIds && { networks: fields.networkIds.map((networkId) => ({ networkId, address: '10.0.0.2' })) }),
  };
}

function network(id: string): NetworkRecord {
  return { id, meta, spec: { Name: id, Driver: 'overlay' }, kind: 'overlay', vni: 4097, subnets: [] };
}

function node(id: string): NodeRecord {
  return { id, meta, role: 'worker', spec: {}, status: { state: 'unknown', message: '', addr: '' } };
}

/** Of a view, what dispatch reads. */
function viewOf(tasks: TaskRecord[], nodes: NodeRecord[] = [], networks: NetworkRecord[] = []): View {
  const view: Pick<View, 'task' | 'tasksOfNode' | 'spec' | 'node' | 'network'> = {
    task: (id) => tasks.find((each) => each.id === id),
    tasksOfNode: (nodeId) => tasks.filter((each) => each.nodeId === nodeId),
    spec: (serviceId, version) => ({ serviceId, version, serviceName: 'web', serviceLabels: {}, template: {} }),
    node: (id) => nodes.find((each) => each.id === id),
    network: (id) => networks.find((each) => each.id === id),
  };
  return view as View;
}

t.test('a session starts with all that the node has, dead tasks too, but none that waits for its node', async (t) => {
  const view = viewOf([
    task('a', {}),
    task('dead', { state: 'failed', desired: 'shutdown' }),
    task('waits', { state: 'pending' }),
    task('elsewhere', { nodeId: 'm' }),
  ]);
  const { assignments, sent } = assignmentsFor(view, 'n', undefined);
  t.equal(assignments?.complete, true);
  t.same(
    assignments?.tasks.map(({ id }) => id),
    ['a', 'dead'],
  );
  t.equal(assignments?.specs.length, 1);
  t.equal(assignmentsFor(view, 'n', sent).assignments, undefined);
  t.same(assignmentsFor(viewOf([]), 'idle', undefined).assignments, {
    complete: true,
    specs: [],
    tasks: [],
    removedTaskIds: [],
    networks: [],
  });
});

t.test('a task that has ended outlives the networks that it was on, and is told of without them', async (t) => {
  const ended = task('ended', { state: 'shutdown', desired: 'shutdown', networkIds: ['left', 'kept'] });
  const running = task('running', { state: 'running', networkIds: ['kept'] });
  const networksOf = (tasks: readonly Pick<TaskRecord, 'id' | 'networks'>[] = []) =>
    tasks.map(({ id, networks = [] }) => [id, ...networks.map(({ networkId }) => networkId)]);
  const before = assignmentsFor(viewOf([ended, running], [], [network('left'), network('kept')]), 'n', undefined);
  t.same(networksOf(before.assignments?.tasks), [
    ['ended', 'left', 'kept'],
    ['running', 'kept'],
  ]);
  const view = viewOf([ended, running], [], [network('kept')]);
  const after = assignmentsFor(view, 'n', before.sent);
  t.same(networksOf(after.assignments?.tasks), [['ended', 'kept']], 'who knew the network forgets it');
  t.equal(assignmentsFor(view, 'n', after.sent).assignments, undefined);
  const anew = assignmentsFor(view, 'n', undefined).assignments;
  t.same(networksOf(anew?.tasks), [
    ['ended', 'kept'],
    ['running', 'kept'],
  ]);
  t.match(anew?.networks, [{ id: 'kept' }]);
});

t.test('an agent that applies the deltas has what the view has, and every spec that its tasks point at', async () => {
  const states = fc.constantFrom<TaskState[]>('pending', 'assigned', 'running', 'failed');
  const desired = fc.constantFrom<DesiredState[]>('ready', 'running', 'shutdown', 'remove');
  const snapshot = fc.uniqueArray(
    fc.record({
      id: fc.constantFrom('a', 'b', 'c', 'd'),
      specVersion: fc.integer({ min: 1, max: 3 }),
      state: states,
      desired,
    }),
    { selector: ({ id }) => id },
  );
  fc.assert(
    fc.property(fc.array(snapshot, { maxLength: 8 }), (history) => {
      const agent = { tasks: new Map<string, string>(), specs: new Set<string>() };
      const specOf = new Map<string, number>();
      let sent: Sent | undefined;
      for (const each of history) {
        // A task keeps its spec version for life.
        const tasks = each.map(({ id, specVersion, state, desired }) => {
          const lasting = `${id}${specVersion}`;
          specOf.set(lasting, specVersion);
          return task(lasting, { specVersion, state, desired });
        });
        const step = assignmentsFor(viewOf(tasks), 'n', sent);
        sent = step.sent;
        for (const spec of step.assignments?.specs ?? []) {
          if (agent.specs.has(`${spec.version}`)) throw new Error('a spec was sent twice');
          agent.specs.add(`${spec.version}`);
        }
        for (const { id, desiredState } of step.assignments?.tasks ?? []) agent.tasks.set(id, desiredState);
        for (const id of step.assignments?.removedTaskIds ?? []) agent.tasks.delete(id);
        const needed = new Set([...agent.tasks.keys()].map((id) => `${specOf.get(id)}`));
        for (const spec of agent.specs) if (!needed.has(spec)) agent.specs.delete(spec);
        for (const spec of needed) if (!agent.specs.has(spec)) throw new Error('a spec is missing');
        const expected = tasks
          .filter(({ status }) => status.state !== 'pending')
          .map((each) => [each.id, each.desiredState]);
        if (JSON.stringify([...agent.tasks].sort()) !== JSON.stringify(expected.sort()))
          throw new Error('tasks differ');
      }
    }),
  );
});

t.test('a batch of observations leaves what they leave one by one', async () => {
  const states = fc.constantFrom(...TASK_STATES);
  const observation = fc.oneof(
    fc.record({
      type: fc.constant('tasks' as const),
      nodeId: fc.constantFrom('n', 'm'),
      updates: fc.array(
        fc.record({
          taskId: fc.constantFrom('a', 'b', 'gone'),
          status: fc.record(
            {
              state: states,
              atMs: fc.nat(3),
              message: fc.constantFrom('', 'x'),
              err: fc.constantFrom('away', 'full'),
            },
            { requiredKeys: ['state', 'atMs', 'message'] },
          ),
        }),
        { maxLength: 3 },
      ),
    }),
    fc.record({
      type: fc.constant('status' as const),
      nodeId: fc.constantFrom('n', 'm', 'gone'),
      status: fc.record({
        state: fc.constantFrom<('ready' | 'down')[]>('ready', 'down'),
        message: fc.constant(''),
        addr: fc.constantFrom('', '10.0.0.1'),
      }),
    }),
  );
  fc.assert(
    fc.property(states, states, fc.array(observation, { maxLength: 8 }), (a, b, observations) => {
      const start = () => ({
        tasks: [task('a', { state: a }), task('b', { state: b, nodeId: 'm' })],
        nodes: [node('n'), node('m')],
      });
      const together = start();
      apply(together, changesOf(viewOf(together.tasks, together.nodes), observations));
      const oneByOne = start();
      for (const each of observations) apply(oneByOne, changesOf(viewOf(oneByOne.tasks, oneByOne.nodes), [each]));
      if (JSON.stringify(together) !== JSON.stringify(oneByOne)) throw new Error('the batch differs');
      const [mine, theirs] = oneByOne.tasks;
      if (rankOf(mine?.status.state ?? 'new') < rankOf(a)) throw new Error('a task went back');
      const isHeard = observations.some((each: Observation) => each.type === 'tasks' && each.nodeId === 'm');
      if (!isHeard && theirs?.status.state !== b) throw new Error('a node spoke for the task of another');
    }),
  );
});

function apply(state: { tasks: TaskRecord[]; nodes: NodeRecord[] }, changes: Change[]): void {
  for (const change of changes) {
    if (change.type === 'task-status') {
      state.tasks = state.tasks.map((each) => (each.id === change.id ? { ...each, status: change.status } : each));
    }
    if (change.type === 'node-status') {
      state.nodes = state.nodes.map((each) => (each.id === change.id ? { ...each, status: change.status } : each));
    }
  }
}

t.test('what is known already changes nothing, and an ended task stays as it ended', async (t) => {
  const report = (state: TaskState, message = ''): Observation[] => [
    { type: 'tasks', nodeId: 'n', updates: [{ taskId: 'a', status: { state, atMs: 5, message } }] },
  ];
  t.same(changesOf(viewOf([task('a', { state: 'running' })]), report('running')), []);
  t.equal(changesOf(viewOf([task('a', { state: 'running' })]), report('running', 'healthy')).length, 1);
  t.same(changesOf(viewOf([task('a', { state: 'complete' })]), report('failed')), []);
  t.same(changesOf(viewOf([task('a', { state: 'running' })]), report('orphaned')), []);
});

t.test('an agent that does not know how far a task was can still say what is wrong with it', async (t) => {
  const status = { state: 'accepted' as const, atMs: 5, message: 'accepted', err: 'engine unavailable: x' };
  const report: Observation[] = [{ type: 'tasks', nodeId: 'n', updates: [{ taskId: 'a', status }] }];
  t.same(changesOf(viewOf([task('a', { state: 'running' })]), report), [
    { type: 'task-status', id: 'a', status: { state: 'running', atMs: 5, message: '', err: 'engine unavailable: x' } },
  ]);
  t.same(changesOf(viewOf([task('a', { state: 'failed' })]), report), []);
});

t.test('heartbeats stretch so that managers see at most 500 a second, and a chosen period holds', async (t) => {
  t.equal(heartbeatPeriodMs({}, 3), 1_000);
  t.equal(heartbeatPeriodMs({ Dispatcher: { HeartbeatPeriod: 5e9 } }, 500), 1_000);
  t.equal(heartbeatPeriodMs({}, 1_500), 3_000);
  t.equal(heartbeatPeriodMs({ Dispatcher: { HeartbeatPeriod: 2e9 } }, 1_500), 2_000);
  t.equal(heartbeatPeriodMs({ Dispatcher: { HeartbeatPeriod: 1 } }, 1), 100);
});

t.test('a node that is not heard of in time is overdue once', async (t) => {
  const liveness = new Liveness();
  liveness.expect('b', 300);
  liveness.expect('a', 300);
  liveness.expect('c', 400);
  t.equal(liveness.nextDueMs(), 300);
  t.same(liveness.takeOverdue(299), []);
  t.same(liveness.takeOverdue(300), ['a', 'b']);
  t.same(liveness.takeOverdue(300), []);
  liveness.expectAll(900);
  t.equal(liveness.nextDueMs(), 900);
  liveness.forget('c');
  t.equal(liveness.nextDueMs(), undefined);
});

t.test('a node hears that it is to be a manager before it is one, and that it is none once it is none', async (t) => {
  const told = (role: NodeRecord['role'], Role: NodeRecord['role']) => roleToTell({ role, spec: { Role } });
  t.equal(told('worker', 'worker'), 'worker');
  t.equal(told('worker', 'manager'), 'manager');
  t.equal(told('manager', 'manager'), 'manager');
  t.equal(told('manager', 'worker'), 'manager');
});

t.test('what joined as a manager and was never heard of goes with its membership', async (t) => {
  const joined: NodeRecord = { ...node('n'), role: 'manager', spec: { Role: 'manager' }, managerAddr: '10.0.0.9:2377' };
  const guards = [{ type: 'unchanged', kind: 'node', id: 'n', version: 1 }];
  t.same(removeUnseen(viewOf([], [joined]), 'n'), {
    guards,
    changes: [
      { type: 'node-spec', id: 'n', spec: { Role: 'worker' }, departure: { isForced: false, isRemoval: true } },
    ],
    result: true,
  });
  t.notOk(isUnseen({ ...joined, reachability: 'reachable' }), 'the managers hear from it');
  const notYetMember = { ...joined, role: 'worker' as const };
  t.match(removeUnseen(viewOf([], [notYetMember]), 'n'), { guards, changes: [{ type: 'node-delete', id: 'n' }] });
  t.same(removeUnseen(viewOf([]), 'n'), { guards: [], changes: [], result: false });
});
