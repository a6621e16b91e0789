import { type DesiredState, isTerminal, rankOf, type TaskStatus } from '@apiary/api/model';
import { SeededRng } from '@apiary/std';
import fc from 'fast-check';
import t from 'tap';
import { AssignmentSet, type AssignmentsMessage } from './assignments.js';
import { backOffMs } from './back-off.js';
import type { EngineContainer } from './container.js';
import { isUrgent, StatusOutbox } from './status-outbox.js';
import { initialFacts, nextStep, observeContainer, type TaskFacts, withTrouble } from './task-life.js';

const CREATED: EngineContainer = {
  id: 'c1',
  taskId: 't1',
  nodeId: 'n1',
  state: 'created',
  pid: 0,
  exitCode: 0,
  oomKilled: false,
  error: '',
  ports: [],
};
const RUNNING: EngineContainer = { ...CREATED, state: 'running', pid: 7 };
const exited = (exitCode: number, rest: Partial<EngineContainer> = {}): EngineContainer => ({
  ...CREATED,
  state: 'exited',
  exitCode,
  ...rest,
});

/** Takes a step, keeps its status, and answers both in short. */
function step(facts: TaskFacts): string {
  const { status, action } = nextStep(facts, 5);
  facts.status = status;
  return [status.state, action, status.err].filter((part) => part !== undefined).join(' ');
}

function running(): TaskFacts {
  const facts = initialFacts('running', 'assigned', 0);
  observeContainer(facts, RUNNING);
  step(facts);
  return facts;
}

t.test('a task goes from its image to running, and ends as its process does', async (t) => {
  const facts = initialFacts('running', 'assigned', 0);
  t.equal(step(facts), 'preparing pull');
  facts.imageReady = true;
  t.equal(step(facts), 'preparing create');
  observeContainer(facts, CREATED);
  t.equal(step(facts), 'starting start');
  observeContainer(facts, { ...RUNNING, ports: [{ protocol: 'tcp', targetPort: 80, publishedPort: 8080 }] });
  t.equal(step(facts), 'running none');
  t.same(facts.status, {
    state: 'running',
    atMs: 5,
    message: 'started',
    container: { id: 'c1', pid: 7, exitCode: 0 },
    ports: [{ protocol: 'tcp', targetPort: 80, publishedPort: 8080 }],
  });
  const before = facts.status;
  t.equal(step(facts), 'running none');
  t.equal(facts.status, before, 'no news, no new status');
  observeContainer(facts, exited(0));
  t.equal(step(facts), 'complete none');
  t.same(facts.status, {
    state: 'complete',
    atMs: 5,
    message: 'finished',
    container: { id: 'c1', pid: 0, exitCode: 0 },
  });
});

t.test('a task’s address on the gateway network is told for as long as it has it', async (t) => {
  const facts = running();
  t.notOk('gatewayAddress' in facts.status, 'one on the engine’s own network has none');
  const adopted = initialFacts('running', 'running', 0);
  observeContainer(adopted, { ...RUNNING, gatewayAddress: '10.224.0.2' });
  t.equal(step(adopted), 'running none');
  t.equal(adopted.status.gatewayAddress, '10.224.0.2');
  t.equal(withTrouble(adopted, 6).gatewayAddress, '10.224.0.2');
  observeContainer(adopted, exited(0, { gatewayAddress: '10.224.0.2' }));
  t.equal(step(adopted), 'complete none');
  t.notOk('gatewayAddress' in adopted.status);
});

t.test('a process that fails fails the task, in the words of Docker', async (t) => {
  const ends = [
    [exited(3), 'failed none task: non-zero exit (3)'],
    [exited(137, { oomKilled: true }), 'failed none task: non-zero exit (137): out of memory'],
    [exited(1, { error: 'why' }), 'failed none task: non-zero exit (1): why'],
    [undefined, 'failed none No such container: c1'],
  ] as const;
  for (const [container, result] of ends) {
    const facts = running();
    observeContainer(facts, container);
    t.equal(step(facts), result);
    t.equal(facts.status.message, 'started', 'the message says how far it came');
  }
});

t.test(
  'a process that was over before it was seen has started all the same, unless health was waited for',
  async (t) => {
    const facts = initialFacts('running', 'assigned', 0);
    observeContainer(facts, CREATED);
    t.equal(step(facts), 'starting start');
    observeContainer(facts, exited(3));
    t.equal(step(facts), 'failed none task: non-zero exit (3)');
    t.equal(facts.status.message, 'started');
    const checked = initialFacts('running', 'assigned', 0);
    observeContainer(checked, { ...RUNNING, health: 'starting' });
    t.equal(step(checked), 'starting none');
    observeContainer(checked, exited(3));
    t.equal(step(checked), 'failed none task: non-zero exit (3)');
    t.equal(checked.status.message, 'starting');
  },
);

t.test('what the engine refuses before the start rejects the task, at the start fails it', async (t) => {
  const facts = initialFacts('running', 'assigned', 0);
  step(facts);
  facts.failure = 'No such image: x';
  t.equal(step(facts), 'rejected none No such image: x');
  t.equal(facts.status.message, 'preparing');
  t.same(facts.status.container, { id: '', pid: 0, exitCode: 0 }, 'as Docker says of a task that had no container');
  const started = initialFacts('running', 'assigned', 0);
  observeContainer(started, CREATED);
  t.equal(step(started), 'starting start');
  started.failure = 'starting container failed: no';
  observeContainer(started, { ...CREATED, exitCode: 127 });
  t.equal(step(started), 'failed none starting container failed: no');
  t.same(started.status.container, { id: 'c1', pid: 0, exitCode: 127 });
});

t.test('with a health check a task runs once it is healthy, and is stopped and fails when it is not', async (t) => {
  const facts = initialFacts('running', 'assigned', 0);
  observeContainer(facts, { ...RUNNING, health: 'starting' });
  t.equal(step(facts), 'starting none');
  observeContainer(facts, { ...RUNNING, health: 'healthy' });
  t.equal(step(facts), 'running none');
  observeContainer(facts, { ...RUNNING, health: 'unhealthy' });
  t.equal(step(facts), 'running stop');
  observeContainer(facts, exited(137));
  t.equal(step(facts), 'failed none task: non-zero exit (137): dockerexec: unhealthy container');
  const graceful = initialFacts('running', 'assigned', 0);
  observeContainer(graceful, { ...RUNNING, health: 'unhealthy' });
  t.equal(step(graceful), 'starting stop');
  observeContainer(graceful, exited(0));
  t.equal(step(graceful), 'failed none dockerexec: unhealthy container');
});

t.test('a task that is only to be ready waits with its container created', async (t) => {
  const facts = initialFacts('ready', 'assigned', 0);
  facts.imageReady = true;
  t.equal(step(facts), 'preparing create');
  observeContainer(facts, CREATED);
  t.equal(step(facts), 'ready none');
  facts.desiredState = 'running';
  t.equal(step(facts), 'starting start');
});

t.test('an agent that was restarted goes on from what the managers know', async (t) => {
  const found = initialFacts('running', 'running', 0);
  observeContainer(found, RUNNING);
  t.equal(step(found), 'running none');
  for (const state of ['starting', 'running'] as const) {
    const gone = initialFacts('running', state, 0);
    t.equal(step(gone), 'failed none No such container: it was removed while no agent ran', 'it is not made again');
  }
  t.equal(step(initialFacts('running', 'preparing', 0)), 'preparing pull', 'none was started yet');
  t.equal(step(initialFacts('ready', 'ready', 0)), 'preparing pull');
  for (const state of ['complete', 'failed', 'rejected', 'shutdown'] as const) {
    const ended = initialFacts('running', state, 0);
    t.equal(step(ended), `${state} none`, 'what has ended is not run again, with its container or without');
    observeContainer(ended, CREATED);
    t.equal(step(ended), `${state} none`);
    observeContainer(ended, RUNNING);
    t.equal(step(ended), `${state} stop`);
  }
});

t.test('shutdown stops what runs, and leaves alone what has ended', async (t) => {
  const facts = running();
  facts.desiredState = 'shutdown';
  t.equal(step(facts), 'running stop');
  observeContainer(facts, exited(143));
  t.equal(step(facts), 'shutdown none');
  t.equal(facts.status.message, 'shutdown');
  facts.desiredState = 'remove';
  t.equal(step(facts), 'shutdown remove');
  observeContainer(facts, undefined);
  t.equal(step(facts), 'shutdown forget');
  const failed = running();
  observeContainer(failed, exited(3));
  step(failed);
  failed.desiredState = 'shutdown';
  t.equal(step(failed), 'failed none task: non-zero exit (3)');
  const early = initialFacts('shutdown', 'assigned', 0);
  t.equal(step(early), 'shutdown none', 'nothing is made for a task that is to be shut down');
});

t.test('what stands in the way is told with the state that the task is in, and ends with it', async (t) => {
  const facts = running();
  facts.trouble = 'engine unavailable: x';
  facts.status = withTrouble(facts, 9);
  t.match(facts.status, { state: 'running', err: 'engine unavailable: x', atMs: 9 });
  facts.trouble = undefined;
  t.equal(step(facts), 'running none');
  observeContainer(facts, exited(0));
  step(facts);
  facts.trouble = 'engine unavailable: x';
  t.match(withTrouble(facts, 9), { state: 'complete', err: undefined });
});

t.test('whatever the engine does, a task moves on, ends where it is wanted and never has two containers', async () => {
  const wanted = fc.constantFrom<DesiredState>('ready', 'running', 'complete', 'shutdown', 'remove');
  const turn = fc.oneof(
    fc.record({ is: fc.constant('step' as const), fails: fc.boolean() }),
    fc.record({ is: fc.constant('want' as const), state: wanted }),
    fc.record({ is: fc.constant('die' as const), code: fc.constantFrom(0, 3) }),
    fc.record({ is: fc.constant('vanish' as const) }),
  );
  fc.assert(
    fc.property(fc.array(turn, { maxLength: 30 }), (turns) => {
      const facts = initialFacts('running', 'assigned', 0);
      let container: EngineContainer | undefined;
      const take = (fails: boolean): boolean => {
        const before = facts.status;
        const { status, action } = nextStep(facts, 1);
        facts.status = status;
        if (rankOf(status.state) < rankOf(before.state)) throw new Error(`${before.state} back to ${status.state}`);
        if (isTerminal(before.state) && status.state !== before.state)
          throw new Error(`${before.state} was not the end`);
        if (action === 'none' || action === 'forget') return false;
        if (action === 'create' && container !== undefined) throw new Error('a second container');
        if (fails && (action === 'pull' || action === 'create' || action === 'start')) facts.failure = 'no';
        else if (action === 'pull') facts.imageReady = true;
        else if (action === 'create') container = CREATED;
        else if (action === 'start') container = RUNNING;
        else if (action === 'stop') container = exited(137);
        else if (action === 'remove') container = undefined;
        observeContainer(facts, container);
        return true;
      };
      for (const now of turns) {
        if (now.is === 'step') take(now.fails);
        else if (now.is === 'want') facts.desiredState = now.state;
        else if (now.is === 'die' && container?.state === 'running') container = exited(now.code);
        else if (now.is === 'vanish') container = undefined;
        observeContainer(facts, container);
      }
      facts.desiredState = 'remove';
      for (let steps = 0; take(false); steps++) if (steps > 5) throw new Error('never done');
      return container === undefined;
    }),
  );
});

function message(part: Partial<AssignmentsMessage>): AssignmentsMessage {
  const nothing = { specs: [], tasks: [], removedTaskIds: [], networks: [], contents: [], removedContentIds: [] };
  return { complete: false, ...nothing, ...part };
}

function spec(specVersion: number): AssignmentsMessage['specs'][number] {
  const taskTemplateJson = JSON.stringify({ ContainerSpec: { Image: `i:${specVersion}` } });
  const names = { serviceName: 'web', serviceLabels: {}, contentIds: {} };
  return { serviceId: 's', specVersion, ...names, taskTemplateJson, endpointSpecJson: '' };
}

function assigned(taskId: string, specVersion: number, desiredState = 'running') {
  const task = { taskId, serviceId: 's', specVersion, slot: 1, desiredState, observedState: 'assigned' };
  return { ...task, genericResourcesJson: '', networks: [] };
}

t.test('assignments: contents may come before all the rest, and stay until they are taken back', async (t) => {
  const set = new AssignmentSet();
  const content = (contentId: string) => ({ contentId, sealed: new Uint8Array([1]), isTemplate: false });
  const held = () => ['a', 'b', 'c'].filter((id) => set.content(id) !== undefined).join('');
  t.same(set.apply(message({ contents: [content('a')] })), { changed: [], removed: [] });
  t.equal(set.isComplete, false, 'nothing that is found may be taken for too much yet');
  set.apply(message({ contents: [content('b')] }));
  set.apply(message({ complete: true, specs: [spec(1)], tasks: [assigned('t', 1)] }));
  t.same([held(), set.isComplete], ['ab', true]);
  set.apply(message({ contents: [content('c')] }));
  set.apply(message({ removedContentIds: ['a'] }));
  t.equal(held(), 'bc');
  set.sessionBegan();
  set.apply(message({ contents: [content('c')] }));
  t.equal(held(), 'bc', 'what runs may still need them');
  set.apply(message({ complete: true, specs: [spec(1)], tasks: [assigned('t', 1)] }));
  t.equal(held(), 'c', 'what the new session did not name is gone');
});

t.test('assignments: deltas add up, a complete message replaces, specs go with their last task', async (t) => {
  const set = new AssignmentSet();
  const first = set.apply(message({ complete: true, specs: [spec(1)], tasks: [assigned('a', 1), assigned('b', 1)] }));
  t.same(
    first.changed.map(({ id }) => id),
    ['a', 'b'],
  );
  t.equal(set.get('a')?.template.ContainerSpec?.Image, 'i:1');
  const second = set.apply(
    message({ specs: [spec(2)], tasks: [assigned('c', 2), assigned('b', 1, 'shutdown')], removedTaskIds: ['a'] }),
  );
  t.same(second, { changed: [set.get('c'), set.get('b')], removed: ['a'] });
  t.equal(set.specCount, 2);
  t.same(set.apply(message({ removedTaskIds: ['b'] })).removed, ['b']);
  t.equal(set.specCount, 1);
  const third = set.apply(message({ complete: true, specs: [spec(2)], tasks: [assigned('c', 2)] }));
  t.same(third, { changed: [], removed: [] }, 'a new session that says the same changes nothing');
  t.same(set.apply(message({ complete: true })).removed, ['c']);
});

t.test('assignments that do not add up are refused whole', async (t) => {
  const set = new AssignmentSet();
  set.apply(message({ complete: true, specs: [spec(1)], tasks: [assigned('a', 1)] }));
  t.throws(() => set.apply(message({ tasks: [assigned('b', 9)] })), {
    code: 'internal',
    message: /version 9.*never sent/,
  });
  t.throws(() => set.apply(message({ tasks: [assigned('b', 1, 'odd')] })), { message: /unknown desired state "odd"/ });
  const broken = { ...spec(3), taskTemplateJson: '{' };
  t.throws(() => set.apply(message({ specs: [broken] })), { message: /spec of service web/ });
  t.same(set.taskIds, ['a']);
});

t.test('statuses: one report at a time, the latest of each task, urgent ones at once', async (t) => {
  const status = (state: TaskStatus['state'], err?: string): TaskStatus => ({
    state,
    atMs: 0,
    message: '',
    ...(err && { err }),
  });
  t.equal(isUrgent(status('preparing'), 'running'), false);
  t.equal(isUrgent(status('ready'), 'running'), false);
  t.equal(isUrgent(status('ready'), 'ready'), true);
  t.equal(isUrgent(status('running'), 'running'), true);
  t.equal(isUrgent(status('rejected'), 'running'), true);
  t.equal(isUrgent(status('preparing', 'engine unavailable'), 'running'), true);
  const outbox = new StatusOutbox();
  t.equal(outbox.due, 'nothing');
  outbox.put('a', status('preparing'), false);
  t.equal(outbox.due, 'lazy');
  outbox.put('b', status('running'), true);
  t.equal(outbox.due, 'urgent');
  t.same(outbox.nextReport(), {
    sequence: 1,
    updates: [
      { taskId: 'a', status: status('preparing') },
      { taskId: 'b', status: status('running') },
    ],
  });
  outbox.put('a', status('running'), true);
  t.equal(outbox.due, 'nothing', 'a report is under way');
  t.equal(outbox.nextReport(), undefined);
  outbox.acknowledge(1);
  t.same(outbox.nextReport()?.updates, [{ taskId: 'a', status: status('running') }]);
});

t.test('statuses: however sessions break, the managers end up with the latest of each task', async () => {
  const turn = fc.oneof(
    fc.record({ is: fc.constant('put' as const), task: fc.integer({ min: 0, max: 3 }), urgent: fc.boolean() }),
    fc.record({ is: fc.constant('forget' as const), task: fc.integer({ min: 0, max: 3 }) }),
    fc.constant({ is: 'send' as const }),
    fc.constant({ is: 'receive' as const }),
    fc.constant({ is: 'acknowledge' as const }),
    fc.constant({ is: 'break' as const }),
  );
  fc.assert(
    fc.property(fc.array(turn, { maxLength: 60 }), (turns) => {
      const outbox = new StatusOutbox();
      const latest = new Map<string, number>();
      const managers = new Map<string, number>();
      let under: ReturnType<StatusOutbox['nextReport']>;
      let received = false;
      let clock = 0;
      const receive = () => {
        received = under !== undefined;
        for (const { taskId, status } of under?.updates ?? []) managers.set(taskId, status.atMs);
      };
      const acknowledge = () => {
        if (under !== undefined && received) outbox.acknowledge(under.sequence);
        if (received) under = undefined;
        received = false;
      };
      for (const now of turns) {
        if (now.is === 'put') {
          latest.set(`${now.task}`, ++clock);
          outbox.put(`${now.task}`, { state: 'running', atMs: clock, message: '' }, now.urgent);
        } else if (now.is === 'forget') {
          latest.delete(`${now.task}`);
          outbox.forget(`${now.task}`);
        } else if (now.is === 'send') under = outbox.nextReport() ?? under;
        else if (now.is === 'receive') receive();
        else if (now.is === 'acknowledge') acknowledge();
        else {
          outbox.sessionEnded();
          under = undefined;
          received = false;
        }
      }
      for (let rounds = 0; rounds < 3; rounds++) {
        under = outbox.nextReport() ?? under;
        receive();
        acknowledge();
      }
      return [...latest].every(([task, at]) => managers.get(task) === at) && outbox.due === 'nothing';
    }),
  );
});

t.test('back-off doubles up to its cap, and varies by half', async (t) => {
  const rng = new SeededRng(1);
  for (const [failures, most] of [
    [1, 100],
    [2, 200],
    [3, 400],
    [6, 2000],
    [2000, 2000],
  ] as const) {
    for (let i = 0; i < 50; i++) {
      const ms = backOffMs(failures, { firstMs: 100, capMs: 2000 }, rng);
      t.ok(ms >= most / 2 && ms <= most, `${ms} of ${most}`);
    }
  }
});
