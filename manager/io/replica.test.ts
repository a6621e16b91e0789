import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Leadership, Log, MembershipChange, StateMachine } from '@apiary/raft/core';
import { noPeers, ReplicatedLog, type SnapshotSettings } from '@apiary/raft/io';
import { ApiaryError, InvariantError, SeededRng, VirtualClock } from '@apiary/std';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import type { Dirty, Plan } from '../core/plan/index.js';
import { createService, type Decision, initCluster, updateService } from '../core/requests/index.js';
import type { Change, Touched, View } from '../core/store/index.js';
import { LeaderLoop } from './leader-loop.js';
import { StoreReplica } from './replica.js';

/** A log without a disk: commits in the next microtask, or when a test lets it, and fails when a test says so. */
class MemoryLog implements Log {
  leadership: Leadership = { role: 'leader', term: 1 };
  readonly entries: string[] = [];
  /** What proposals fail with, while it is set. */
  failure: ApiaryError | undefined;
  /** Called when a barrier is asked for: what others committed arrives. */
  beforeBarrier: () => void = () => {};
  readonly #listeners = new Set<(leadership: Leadership) => void>();
  #held: (() => void)[] | undefined;
  #machine: StateMachine | undefined;

  async open(machine: StateMachine): Promise<void> {
    this.#machine = machine;
  }

  async propose(entry: Uint8Array): Promise<number> {
    if (this.failure !== undefined) throw this.failure;
    if (this.#held !== undefined) await new Promise<void>((resolve) => this.#held?.push(resolve));
    return this.commit(entry);
  }

  commit(entry: Uint8Array): number {
    this.entries.push(Buffer.from(entry).toString());
    this.#machine?.apply(this.entries.length, entry);
    return this.entries.length;
  }

  async barrier(): Promise<void> {
    this.beforeBarrier();
  }

  hold(): void {
    this.#held = [];
  }

  release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const resolve of held) resolve();
  }

  lead(leadership: Leadership): void {
    this.leadership = leadership;
    for (const listener of this.#listeners) listener(leadership);
  }

  onLeadership(listener: (leadership: Leadership) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  readonly members = { voters: ['m'], learners: [] };
  readonly peers = [];

  onMembers(): () => void {
    return () => {};
  }

  readonly steps: MembershipChange[] = [];

  async changeMembers(change: MembershipChange, entry: Uint8Array): Promise<number> {
    this.steps.push(change);
    return this.propose(entry);
  }

  snapshot(): Iterable<Uint8Array> {
    return this.#machine?.snapshot() ?? [];
  }

  restore(index: number, pieces: Iterable<Uint8Array>): void {
    this.#machine?.restore(index, pieces);
  }

  async transferLeadership(): Promise<void> {}

  async close(): Promise<void> {}
}

/** The log of a cluster's only manager. */
function logOn(directory: string, snapshots: Partial<SnapshotSettings> = {}): ReplicatedLog {
  return new ReplicatedLog({
    directory,
    identity: { clusterId: 'c1', memberId: 'm1' },
    start: 'bootstrap',
    transport: noPeers(),
    clock: new VirtualClock(),
    rng: new SeededRng(1),
    snapshots,
  });
}

const rng = new SeededRng(1);
const logger = pino({ enabled: false });
/** All that is due in this turn of the event loop has been done. */
const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

async function replicaOn(log: Log, clock = new VirtualClock(1000)): Promise<StoreReplica> {
  const replica = new StoreReplica({ log, clock, rng, onFatal: (error) => t.fail(String(error)) });
  await replica.open();
  return replica;
}

const spec = (name: string, replicas = 0) => ({
  Name: name,
  TaskTemplate: { ContainerSpec: { Image: 'busybox' } },
  Mode: { Replicated: { Replicas: replicas } },
});
const create = (name: string, replicas?: number) => (view: View) => createService(view, spec(name, replicas), rng);
const change =
  (...changes: Change[]) =>
  (): Decision<void> => ({ guards: [], changes, result: undefined });
const entryOf = (...changes: Change[]) => Buffer.from(JSON.stringify({ v: 1, atMs: 1, guards: [], changes }));

t.test('what is submitted is in the view, with the time of the proposer, and listeners hear of it', async (t) => {
  const replica = await replicaOn(new MemoryLog());
  const heard: Touched[] = [];
  const unsubscribe = replica.subscribe((touched) => heard.push(touched));
  const id = await replica.submit(create('web'));
  t.match(replica.view.service(id), { spec: { Name: 'web' }, meta: { version: 1, createdAtMs: 1000 } });
  t.same(
    heard.map(({ services }) => [...services]),
    [[id]],
  );
  unsubscribe();
  await replica.submit(create('db'));
  t.equal(heard.length, 1);
});

t.test('of two creates of one name under way at once one happens, and the other hears why not', async (t) => {
  const log = new MemoryLog();
  const replica = await replicaOn(log);
  log.hold();
  const first = replica.submit(create('web'));
  const second = replica.submit(create('web'));
  await settled();
  log.release();
  t.equal(typeof (await first), 'string');
  await t.rejects(second, { code: 'already-exists', message: /service web already exists/ });
  t.equal(replica.view.services().length, 1);
});

t.test('a decision that others always get ahead of is given up', async (t) => {
  const replica = await replicaOn(new MemoryLog());
  let tries = 0;
  const hopeless = (): Decision<void> => {
    tries++;
    return {
      guards: [{ type: 'unchanged', kind: 'node', id: 'gone' }],
      changes: [{ type: 'node-delete', id: 'x' }],
      result: undefined,
    };
  };
  await t.rejects(replica.submit(hopeless), { code: 'unavailable', message: /changed 20 times meanwhile: try again/ });
  t.equal(tries, 20);
});

t.test('who does not lead hands over what is submitted: who commits it is for the log', async (t) => {
  const log = new MemoryLog();
  const replica = await replicaOn(log);
  log.leadership = { role: 'follower', term: 2, leaderId: 'm2' };
  const id = await replica.submit(create('web'));
  t.match(replica.view.service(id), { spec: { Name: 'web' } });
  log.failure = new ApiaryError('unavailable', 'The swarm does not have a leader.');
  await t.rejects(replica.submit(create('db')), log.failure);
});

t.test('a step of membership carries what changes with it, in one entry', async (t) => {
  const log = new MemoryLog();
  const replica = await replicaOn(log);
  const id = await replica.submit(create('web'));
  await replica.changeMembers({ type: 'add-learner', member: 'm2' }, [{ type: 'service-delete', id }]);
  t.equal(log.entries.length, 2);
  t.same(log.steps, [{ type: 'add-learner', member: 'm2' }]);
  t.equal(replica.view.service(id), undefined);
});

t.test('when the whole state is replaced, listeners hear that all was touched that was there or is', async (t) => {
  const sourceLog = new MemoryLog();
  const newer = await (await replicaOn(sourceLog)).submit(create('newer'));
  const log = new MemoryLog();
  const replica = await replicaOn(log);
  const older = await replica.submit(create('older'));
  const heard: Touched[] = [];
  replica.subscribe((touched) => heard.push(touched));
  log.restore(7, sourceLog.snapshot());
  t.same(
    replica.view.services().map(({ id }) => id),
    [newer],
  );
  t.equal(replica.view.appliedIndex, 7);
  t.same(
    heard.map(({ cluster, services }) => ({ cluster, services: [...services].sort() })),
    [{ cluster: true, services: [newer, older].sort() }],
  );
});

t.test('a refusal is made on all that was committed', async (t) => {
  const log = new MemoryLog();
  const replica = await replicaOn(log);
  log.beforeBarrier = () => {
    if (log.entries.length === 0) log.commit(entryOf({ type: 'service-create', id: 's', spec: spec('web') }));
  };
  const update = (view: View) => updateService(view, { id: 's', version: 1, spec: spec('web', 2), rollback: false }, 1);
  t.equal(await replica.submit(update), 's');
  await t.rejects(replica.submit(update), { code: 'out-of-sequence' });
});

t.test('an entry of a later version is refused, and a bug that shows in applying is fatal', async (t) => {
  const log = new MemoryLog();
  const fatal: unknown[] = [];
  const replica = new StoreReplica({ log, clock: new VirtualClock(), rng, onFatal: (error) => fatal.push(error) });
  await replica.open();
  t.throws(() => log.commit(Buffer.from('{"v":2}')), { code: 'failed-precondition' });
  t.same(fatal, []);
  const bug = new InvariantError('a bug');
  replica.subscribe(() => {
    throw bug;
  });
  await t.rejects(replica.submit(create('web')), bug);
  t.same(fatal, [bug]);
});

async function temporaryDirectory(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'apiary-replica-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

t.test('on disk: a replica that is opened again has what the one before had, snapshots or not', async (t) => {
  const directory = await temporaryDirectory(t);
  const open = async () => {
    const log = logOn(directory, { everyEntries: 5 });
    return { log, replica: await replicaOn(log) };
  };
  let { log, replica } = await open();
  for (let i = 0; i < 13; i++) {
    const id = await replica.submit(create(`web-${i}`));
    if (i % 3 === 0)
      await replica.submit(
        change({ type: 'service-spec', id, spec: spec(`web-${i}`, 3), previous: 'keep-as-previous' }),
      );
    if (i % 4 === 3) {
      const services = replica.view.services();
      const index = replica.view.appliedIndex;
      await log.close();
      ({ log, replica } = await open());
      t.same(replica.view.services(), services);
      t.equal(replica.view.appliedIndex, index);
    }
  }
  await log.close();
  await t.rejects(replica.submit(create('late')), { code: 'unavailable' });
});

/** A loop whose planner is the test's, with what it was asked. */
async function loopOn(t: Test, answer: (call: number, dirty: Dirty) => Partial<Plan> = () => ({})) {
  const log = new MemoryLog();
  const clock = new VirtualClock(1000);
  const replica = await replicaOn(log, clock);
  await replica.submit(create('web'));
  const [service] = replica.view.services();
  const asked: { all: boolean; services: string[]; nodes: string[] }[] = [];
  const fatal: unknown[] = [];
  const plan = (_: View, dirty: Dirty): Plan => {
    asked.push({ all: dirty.all, services: [...dirty.services], nodes: [...dirty.nodes].sort() });
    return { changes: [], wakes: [], nodeWakes: [], ...answer(asked.length, dirty) };
  };
  const loop = new LeaderLoop({ replica, clock, rng, logger, plan, onFatal: (error) => fatal.push(error) });
  t.teardown(() => loop.close());
  await settled();
  return { log, clock, replica, loop, asked, fatal, serviceId: service?.id ?? '' };
}

const ALL = { all: true, services: [], nodes: [] };
const NODE_CHANGE: Change = { type: 'node-status', id: 'n1', status: { state: 'ready', message: '', addr: '' } };
const NODE: Change = {
  type: 'node-create',
  node: { id: 'n1', spec: {}, role: 'worker', status: { state: 'unknown', message: '', addr: '' } },
};

t.test('a new leader looks at everything, later at what was touched', async (t) => {
  const { replica, asked, serviceId } = await loopOn(t);
  t.same(asked, [ALL]);
  await replica.submit(change(NODE));
  await settled();
  const status = { state: 'assigned' as const, atMs: 1, message: '' };
  const restarts = { attempts: 0, failuresInARow: 0, recentMs: [] };
  const task = {
    id: 't',
    serviceId,
    specVersion: 1,
    slot: 1,
    nodeId: 'n1',
    desiredState: 'running' as const,
    status,
    restarts,
  };
  await replica.submit(change({ type: 'task-create', task }));
  await settled();
  await replica.submit(change({ type: 'task-delete', id: 't' }));
  await settled();
  // A task concerns its own service, not all that run on its node.
  const service = { all: false, services: [serviceId], nodes: [] };
  t.same(asked.slice(1), [{ all: false, services: [], nodes: ['n1'] }, service, service]);
  await replica.submit((view) =>
    initCluster(
      view,
      { nodeId: 'm', rootCa: { certificatePem: '', keyPem: '' }, availability: 'active', addr: '', managerAddr: '' },
      rng,
    ),
  );
  await settled();
  t.same(asked.at(-1), { all: true, services: [], nodes: ['m'] });
});

t.test('one plan is under way at a time, and what is touched meanwhile is in the next', async (t) => {
  const { log, asked } = await loopOn(t, (call) => (call === 2 ? { changes: [NODE_CHANGE] } : {}));
  log.hold();
  log.commit(entryOf(NODE));
  await settled();
  t.equal(asked.length, 2);
  for (const id of ['n2', 'n3']) log.commit(entryOf({ ...NODE, node: { ...NODE.node, id } }));
  await settled();
  t.equal(asked.length, 2);
  log.release();
  await settled();
  t.same(
    asked.slice(2).map(({ nodes }) => nodes),
    [['n1', 'n2', 'n3']],
  );
});

t.test('a plan that cannot be committed is made anew, later and later, and nothing is forgotten', async (t) => {
  const { log, clock, replica, asked, fatal } = await loopOn(t, (call) =>
    call >= 2 && call <= 6 ? { changes: [NODE_CHANGE] } : {},
  );
  log.failure = new ApiaryError('resource-exhausted', 'disk full');
  log.commit(entryOf(NODE));
  await settled();
  t.equal(asked.length, 2);
  log.commit(entryOf({ ...NODE, node: { ...NODE.node, id: 'n2' } }));
  for (const [delayMs, nodes] of [
    [100, ['n1', 'n2']],
    [200, ['n1', 'n2']],
    [400, ['n1', 'n2']],
  ] as const) {
    const before = asked.length;
    clock.advance(delayMs - 1);
    await settled();
    t.equal(asked.length, before, `not before ${delayMs} ms`);
    clock.advance(1);
    await settled();
    t.equal(asked.length, before + 1);
    t.same(asked.at(-1)?.nodes, nodes);
  }
  log.failure = undefined;
  clock.advance(800);
  await settled();
  t.equal(replica.view.node('n1')?.status.state, 'ready');
  t.same(asked.at(-1)?.nodes, ['n1'], 'its own changes are looked at once more');
  t.same(fatal, []);
});

t.test(
  'a service is looked at again when the plan asked for it, the last plan being the one that counts',
  async (t) => {
    const { clock, replica, asked, serviceId } = await loopOn(t, (call, dirty) => {
      if (call === 1) return { wakes: [{ serviceId: 's', atMs: 1500 }] };
      return dirty.nodes.size > 0 ? { wakes: [{ serviceId: 's', atMs: 2500 }] } : {};
    });
    t.ok(serviceId);
    await replica.submit(change(NODE));
    await settled();
    clock.advance(1499);
    await settled();
    t.equal(asked.length, 2, 'the first wake was replaced');
    clock.advance(1);
    await settled();
    t.same(asked.slice(2), [{ all: false, services: ['s'], nodes: [] }]);
  },
);

t.test('a node is looked at again when the plan asked for it', async (t) => {
  const { clock, asked } = await loopOn(t, (call) => (call === 1 ? { nodeWakes: [{ nodeId: 'n1', atMs: 1500 }] } : {}));
  clock.advance(500);
  await settled();
  t.same(asked, [ALL, { all: false, services: [], nodes: ['n1'] }]);
});

t.test('who leads no more plans no more, wakes and retries included, and begins anew with everything', async (t) => {
  const { log, clock, asked } = await loopOn(t, (call) =>
    call === 1 ? { wakes: [{ serviceId: 's', atMs: 1100 }] } : { changes: call === 2 ? [NODE_CHANGE] : [] },
  );
  log.failure = new ApiaryError('unavailable', 'leadership lost');
  log.commit(entryOf(NODE));
  await settled();
  log.lead({ role: 'follower', term: 2 });
  log.commit(entryOf({ ...NODE, node: { ...NODE.node, id: 'n2' } }));
  clock.advance(60_000);
  await settled();
  t.equal(asked.length, 2);
  log.failure = undefined;
  log.lead({ role: 'leader', term: 3 });
  await settled();
  t.same(asked.slice(2), [ALL]);
});

t.test('a bug in a plan is fatal and ends the loop', async (t) => {
  const bug = new InvariantError('a bug');
  const { replica, asked, fatal } = await loopOn(t, () => {
    throw bug;
  });
  t.same(fatal, [bug]);
  await replica.submit(change(NODE));
  await settled();
  t.equal(asked.length, 1);
});

t.test('a plan is one entry, unless it is larger than about 1 MiB', async (t) => {
  const message = 'x'.repeat(300_000);
  const status = { state: 'down' as const, message, addr: '' };
  const large = Array.from({ length: 10 }, (_, i): Change => ({ type: 'node-status', id: `n${i}`, status }));
  const small = Array.from({ length: 100 }, (): Change => NODE_CHANGE);
  const { log, replica } = await loopOn(t, (call) => ({ changes: call === 1 ? small : call === 2 ? large : [] }));
  t.equal(log.entries.length, 2);
  await replica.submit(change(NODE));
  await settled();
  t.equal(log.entries.length, 3 + 4);
  t.ok(log.entries.every((entry) => entry.length < 1.1 * 1024 * 1024));
});

t.test(
  'with the planner and a log on disk: a service gets its tasks, and a node that comes later takes those that wait',
  async (t) => {
    const directory = await temporaryDirectory(t);
    const log = logOn(directory);
    const clock = new VirtualClock(1000);
    const replica = await replicaOn(log, clock);
    const loop = new LeaderLoop({ replica, clock, rng, logger, onFatal: (error) => t.fail(String(error)) });
    t.teardown(async () => {
      await loop.close();
      await log.close();
    });
    const seen = (count: number, state: string) =>
      new Promise<void>((resolve) => {
        const look = () => {
          if (replica.view.tasks().filter(({ status }) => status.state === state).length < count) return;
          unsubscribe();
          resolve();
        };
        const unsubscribe = replica.subscribe(look);
        look();
      });
    await replica.submit(create('web', 3));
    await seen(3, 'pending');
    const description = {
      Hostname: 'h1',
      Platform: { Architecture: 'x86_64', OS: 'linux' },
      Resources: { NanoCPUs: 2e9, MemoryBytes: 4e9 },
      Engine: { EngineVersion: '20.10', Plugins: [] },
    };
    const node = { ...NODE.node, spec: { Availability: 'active' as const }, description };
    await replica.submit(
      change({ type: 'node-create', node: { ...node, status: { state: 'ready', message: '', addr: '' } } }),
    );
    await seen(3, 'assigned');
    t.same(
      replica.view
        .tasksOfNode('n1')
        .map(({ slot }) => slot)
        .sort(),
      [1, 2, 3],
    );
    t.same(replica.view.pendingTasks(), []);
  },
);
