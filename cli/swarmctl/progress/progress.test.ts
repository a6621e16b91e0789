import type { Service, Task } from '@apiary/api/model';
import t from 'tap';
import { Convergence, ProgressDisplay, type ProgressLine, type Snapshot } from './index.js';

const META = { Version: { Index: 1 }, CreatedAt: '', UpdatedAt: '' };

function serviceOf(more: Partial<Service> = {}, spec: Partial<Service['Spec']> = {}): Service {
  const Spec = { Name: 'web', TaskTemplate: {}, Mode: { Replicated: { Replicas: 2 } }, ...spec };
  return { ...META, ID: 's1', Endpoint: {}, Spec, ...more };
}

function taskOf(
  slot: number,
  state: Task['Status']['State'],
  more: { Err?: string; Reasons?: string[]; old?: boolean; desired?: Task['DesiredState']; node?: string } = {},
) {
  const { Err, Reasons, old = false, desired = 'running', node } = more;
  const status = { Timestamp: '', State: state, PortStatus: {}, ...(Err && { Err }), ...(Reasons && { Reasons }) };
  const place = node === undefined ? { Slot: slot } : { NodeID: node };
  const task: Task = {
    ...META,
    ...place,
    ID: `t${slot}${old}`,
    Labels: {},
    Spec: {},
    Status: status,
    DesiredState: desired,
  };
  return { task, old };
}

function snapshot(service: Service, ...tasks: ReturnType<typeof taskOf>[]): Snapshot {
  const old = new Set(tasks.filter((entry) => entry.old).map(({ task }) => task));
  return { service, tasks: tasks.map(({ task }) => task), isCurrent: (task) => !old.has(task) };
}

function convergence(more: { timeoutMs?: number; rollbackAsked?: boolean } = {}): Convergence {
  return new Convergence({ name: 'web', timeoutMs: 60_000, rollbackAsked: false, nowMs: 0, ...more });
}

const texts = (lines: ProgressLine[]) => lines.map(({ id, text }) => `${id}: ${text.trimEnd()}`);

t.test('a service converges when all its tasks have run for the monitoring period', async (t) => {
  const watched = convergence();
  const service = serviceOf();
  t.same(texts(watched.observe(snapshot(service), 0).lines), [
    'overall progress: 0 out of 2 tasks',
    '1/2: ',
    '2/2: ',
    'overall progress: 0 out of 2 tasks',
  ]);
  const half = watched.observe(snapshot(service, taskOf(1, 'running'), taskOf(2, 'preparing')), 100);
  t.same(texts(half.lines), ['1/2: running', '2/2: preparing', 'overall progress: 1 out of 2 tasks']);
  t.same(half.lines[1]?.bar, { current: 6, total: 9 });
  t.equal(half.outcome, undefined);

  const all = snapshot(service, taskOf(1, 'running'), taskOf(2, 'running'));
  const step = watched.observe(all, 1000);
  t.match(texts(step.lines), [
    '1/2: running',
    '2/2: running',
    'overall progress: 2 out of 2 tasks',
    /Waiting 5 seconds/,
  ]);
  t.equal(step.againAtMs, 2000);
  t.match(texts(watched.observe(undefined, 2000).lines), [/Waiting 4 seconds/]);
  const last = watched.observe(undefined, 6000);
  t.same(texts(last.lines), ['verify: Service web converged']);
  t.same(last.outcome, { kind: 'converged' });
});

t.test('a task that fails while it is watched starts the monitoring again', async (t) => {
  const watched = convergence();
  const service = serviceOf({}, { UpdateConfig: { Monitor: 2_000_000_000 } });
  const running = snapshot(service, taskOf(1, 'running'), taskOf(2, 'running'));
  watched.observe(running, 0);
  const failed = watched.observe(
    snapshot(service, taskOf(1, 'running'), taskOf(2, 'failed', { Err: 'exit\n1', desired: 'shutdown' })),
    1500,
  );
  t.same(texts(failed.lines), [
    '1/2: running',
    '2/2: exit 1',
    'overall progress: 1 out of 2 tasks',
    'verify: Detected task failure',
  ]);
  t.equal(watched.observe(running, 1600).outcome, undefined);
  t.equal(watched.observe(undefined, 3599).outcome, undefined);
  t.same(watched.observe(undefined, 3600).outcome, { kind: 'converged' });
});

t.test('the deadline counts from the last step forward, and not from one that was taken before', async (t) => {
  const watched = convergence({ timeoutMs: 10_000 });
  const service = serviceOf();
  watched.observe(snapshot(service, taskOf(1, 'pending')), 0);
  t.equal(watched.observe(snapshot(service, taskOf(1, 'preparing')), 9000).againAtMs, 19_000);
  t.equal(watched.observe(snapshot(service, taskOf(1, 'running')), 18_000).againAtMs, 28_000);
  // It crashes and starts again: no task is further than one was before.
  t.equal(
    watched.observe(
      snapshot(service, taskOf(1, 'failed', { Err: 'task: non-zero exit (1)', desired: 'shutdown' })),
      20_000,
    ).againAtMs,
    28_000,
  );
  t.equal(watched.observe(snapshot(service, taskOf(1, 'running')), 27_000).outcome, undefined);
  t.same(watched.observe(undefined, 28_000).outcome, { kind: 'timed-out' });
  t.equal(convergence({ timeoutMs: 0 }).observe(snapshot(service), 1e12).outcome, undefined, '0 is for ever');
});

t.test("a task that waits for a node is drawn with what each node says, not with Docker's words", async (t) => {
  const waiting = {
    Err: 'no suitable node (scheduling constraints not satisfied on 2 nodes)',
    Reasons: ['2 nodes: x'],
  };
  const { lines } = convergence().observe(snapshot(serviceOf(), taskOf(1, 'pending', waiting)), 0);
  t.ok(texts(lines).includes('1/2: no suitable node (2 nodes: x)'));
});

t.test('what an update waits by its own configuration is no standstill', async (t) => {
  const watched = convergence({ timeoutMs: 10_000 });
  const config = { Delay: 60_000_000_000, Monitor: 5_000_000_000 };
  const service = serviceOf({ UpdateStatus: { State: 'updating', Message: '' } }, { UpdateConfig: config });
  t.equal(
    watched.observe(snapshot(service, taskOf(1, 'running'), taskOf(2, 'running', { old: true })), 0).againAtMs,
    75_000,
  );
});

t.test('it says why: each error with how many tasks have it, and what the others are doing', async (t) => {
  const watched = convergence();
  t.same(watched.reasons(), ['nothing was heard of it']);
  watched.observe(snapshot(serviceOf()), 0);
  t.same(watched.reasons(), ['it has no task yet']);
  watched.observe(snapshot(serviceOf(), taskOf(1, 'complete', { desired: 'shutdown' })), 0);
  t.same(watched.reasons(), ['1 task: ended by itself, with exit code 0']);
  watched.observe(
    snapshot(
      serviceOf(),
      taskOf(1, 'rejected', { Err: 'No such image: x', desired: 'shutdown' }),
      taskOf(2, 'rejected', { Err: 'No such image: x', desired: 'shutdown' }),
      taskOf(3, 'pending', { Err: 'no suitable node' }),
      taskOf(4, 'preparing'),
      taskOf(5, 'failed', { Err: 'of an earlier spec', old: true }),
      taskOf(6, 'running'),
    ),
    0,
  );
  t.same(watched.reasons(), [
    '2 tasks: No such image: x',
    '1 task: no suitable node',
    '1 task: preparing, without an error so far',
  ]);
});

t.test('of two tasks in a slot the one counts that is wanted, and those of an earlier spec do not', async (t) => {
  const watched = convergence();
  const service = serviceOf({}, { Mode: { Replicated: { Replicas: 1 } } });
  const both = snapshot(
    service,
    taskOf(1, 'failed', { Err: 'old', desired: 'shutdown' }),
    taskOf(1, 'starting'),
    taskOf(1, 'running', { old: true }),
  );
  const { lines } = watched.observe(both, 0);
  t.same(texts(lines).slice(2), ['1/1: starting', 'overall progress: 0 out of 1 tasks']);
});

t.test('a global service has a line for each node that it fits, once its tasks are made', async (t) => {
  const watched = convergence();
  const service = serviceOf({}, { Mode: { Global: {} } });
  t.same(texts(watched.observe(snapshot(service), 0).lines), ['overall progress: waiting for new tasks']);
  const { lines } = watched.observe(
    snapshot(
      service,
      taskOf(0, 'running', { node: 'bbbbbbbbbbbbbbbbb' }),
      taskOf(0, 'starting', { node: 'aaaaaaaaaaaaaaaaa' }),
    ),
    0,
  );
  t.same(texts(lines), [
    'overall progress: 0 out of 2 tasks',
    'aaaaaaaaaaaa: starting',
    'bbbbbbbbbbbb: running',
    'overall progress: 1 out of 2 tasks',
  ]);
});

t.test('an update that stops, or goes back by itself, has failed; a rollback that was asked for has not', async (t) => {
  const paused = serviceOf({ UpdateStatus: { State: 'paused', Message: 'too many failures' } });
  t.same(convergence().observe(snapshot(paused), 0).outcome, {
    kind: 'failed',
    message: 'service update paused: too many failures',
  });

  const finish = (rollbackAsked: boolean) => {
    const watched = convergence({ rollbackAsked });
    const tasks = [taskOf(1, 'running'), taskOf(2, 'running')];
    const started = serviceOf({ UpdateStatus: { State: 'rollback_started', Message: 'task failed' } });
    const lines = texts(watched.observe(snapshot(started), 0).lines);
    t.same(lines.slice(0, 2), ['rollback: task failed', 'overall progress: rolling back update: 0 out of 2 tasks']);
    const done = serviceOf({ UpdateStatus: { State: 'rollback_completed', Message: 'rollback completed' } });
    watched.observe(snapshot(done, ...tasks), 0);
    return watched.observe(undefined, 5000).outcome;
  };
  t.same(finish(false), { kind: 'failed', message: 'service update rolled back: rollback completed' });
  t.same(finish(true), { kind: 'converged' });
});

t.test('with many tasks only their number is shown, and none of a service scaled to nothing', async (t) => {
  const many = serviceOf({}, { Mode: { Replicated: { Replicas: 21 } } });
  const lines = convergence().observe(snapshot(many, taskOf(1, 'running')), 0).lines;
  t.same(texts(lines), ['overall progress: 0 out of 21 tasks', 'overall progress: 1 out of 21 tasks']);
  const none = serviceOf({}, { Mode: { Replicated: { Replicas: 0 } } });
  t.match(texts(convergence().observe(snapshot(none), 0).lines).at(-1), /Waiting 5 seconds/);
});

t.test('without a terminal a line is written when it says something new, and bars never', async (t) => {
  const display = new ProgressDisplay(false, 80);
  t.equal(display.render({ id: 'a', text: 'one' }), 'a: one\n');
  t.equal(display.render({ id: 'a', text: 'one' }), '');
  t.equal(display.render({ id: 'a', text: 'running', bar: { current: 9, total: 9 } }), '');
  t.equal(display.render({ id: 'a', text: 'two' }), 'a: two\n');
});

t.test('on a terminal a line is redrawn where it stands, and none is longer than the terminal is wide', async (t) => {
  const display = new ProgressDisplay(true, 120);
  t.equal(display.render({ id: 'a', text: 'one' }), 'a: one\n');
  t.equal(
    display.render({ id: 'b', text: 'x', bar: { current: 1, total: 2 } }),
    `b: x [${'='.repeat(25)}>${' '.repeat(25)}]\n`,
  );
  t.equal(display.render({ id: 'a', text: 'two' }), '\x1b[2A\r\x1b[2Ka: two\x1b[2B\r');
  const narrow = new ProgressDisplay(true, 10);
  t.equal(narrow.render({ id: 'a', text: '0123456789', bar: { current: 1, total: 2 } }), 'a: 012345\n');
});

t.test('a job', async (t) => {
  const JobStatus = { JobIteration: { Index: 1 } };
  const job = (MaxConcurrent: number, TotalCompletions: number) =>
    serviceOf({ JobStatus }, { Mode: { ReplicatedJob: { MaxConcurrent, TotalCompletions } } });
  const inRun = (slot: number, state: Task['Status']['State'], more: Parameters<typeof taskOf>[2] = {}) => {
    const entry = taskOf(slot, state, { desired: 'complete', ...more });
    return { ...entry, task: { ...entry.task, JobIteration: { Index: 1 } } };
  };

  t.test('is through when each slot has ended well in this run', async (t) => {
    const watched = convergence();
    const service = job(2, 3);
    const before = taskOf(2, 'complete', { desired: 'complete' });
    const half = watched.observe(snapshot(service, before, inRun(0, 'complete'), inRun(1, 'running')), 0);
    t.same(texts(half.lines), ['job progress: 1 out of 3 complete', 'active tasks: 1 out of 2 tasks']);
    t.equal(half.outcome, undefined);
    const all = [inRun(0, 'complete'), inRun(1, 'complete'), inRun(2, 'complete')];
    const end = watched.observe(snapshot(service, before, ...all), 1_000);
    t.same(texts(end.lines), ['job progress: 3 out of 3 complete', 'active tasks: 0 out of 0 tasks', 'job: complete']);
    t.same(end.outcome, { kind: 'converged' });
  });

  t.test('has failed when a slot is given up, and says why; what runs for long is no reason', async (t) => {
    const watched = convergence({ timeoutMs: 1_000 });
    const service = job(1, 1);
    watched.observe(snapshot(service, inRun(0, 'running')), 0);
    t.equal(watched.observe(undefined, 600_000).outcome, undefined);
    const failed = inRun(0, 'failed', { desired: 'shutdown', Err: 'task: non-zero exit (1)' });
    const message = 'job failed: 1 of 1 tasks did not complete: 1 task: task: non-zero exit (1)';
    t.same(watched.observe(snapshot(service, failed), 600_100).outcome, { kind: 'failed', message });
  });

  t.test('that is global has as many tasks as nodes take it', async (t) => {
    const watched = convergence();
    const service = serviceOf({ JobStatus }, { Mode: { GlobalJob: {} } });
    t.same(texts(watched.observe(snapshot(service), 0).lines), ['job progress: waiting for new tasks']);
    const tasks = [inRun(0, 'complete', { node: 'n1' }), inRun(0, 'preparing', { node: 'n2' })];
    t.same(texts(watched.observe(snapshot(service, ...tasks), 1).lines), [
      'job progress: 1 out of 2 complete',
      'active tasks: 1 out of 1 tasks',
    ]);
  });
});
