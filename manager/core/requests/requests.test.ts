import { type ClusterSpec, ClusterSpecSchema, type NodeSpec, read } from '@apiary/api/model';
import { SeededRng } from '@apiary/std';
import t from 'tap';
import { type Change, Store } from '../store/index.js';
import {
  type ClusterInit,
  type Decision,
  defaultClusterSpec,
  initCluster,
  leaveAsManager,
  raftSettingsOf,
  removeNode,
  setManagerAddr,
  updateCluster,
  updateNode,
} from './index.js';
import { Cluster, NOW_MS } from './requests.fixture.js';

const INIT: ClusterInit = {
  nodeId: 'm',
  rootCa: { certificatePem: 'C', keyPem: 'K' },
  availability: 'active',
  addr: '10.0.0.1',
  managerAddr: '10.0.0.1:2377',
};

function withNodes(): Cluster {
  const cluster = new Cluster();
  cluster.commit(initCluster(cluster.store, INIT, cluster.rng));
  const status = { state: 'ready' as const, message: '', addr: '10.0.0.2' };
  cluster.apply({
    type: 'node-create',
    node: { id: 'w', spec: { Role: 'worker', Availability: 'active' }, role: 'worker', status },
  });
  return cluster;
}

t.test('a cluster begins with one manager, two secrets and the spec of `docker swarm init`', async (t) => {
  const cluster = withNodes();
  const record = cluster.store.cluster();
  t.same(record?.spec, defaultClusterSpec());
  t.match(record?.joinSecrets, { worker: /^[0-9a-z]{25}$/, manager: /^[0-9a-z]{25}$/ });
  t.not(record?.joinSecrets.worker, record?.joinSecrets.manager);
  t.match(cluster.store.node('m'), { role: 'manager', spec: { Role: 'manager', Availability: 'active' } });
  t.throws(() => initCluster(cluster.store, INIT, cluster.rng), { code: 'failed-precondition' });
});

t.test('node updates and removals are refused in the words of Docker', async (t) => {
  const cluster = withNodes();
  const update = (id: string, spec: NodeSpec, version = cluster.versionOf(id)) =>
    cluster.commit(updateNode(cluster.store, { id, version, spec }));
  const remove = (id: string, force: boolean) => cluster.commit(removeNode(cluster.store, { id, force }));
  update('w', { Role: 'worker', Availability: 'drain', Labels: { dc: 'a' } });
  t.same(cluster.store.node('w')?.spec.Labels, { dc: 'a' });
  t.throws(() => update('w', { Availability: 'active' }), { code: 'invalid-argument', message: 'invalid Role: ""' });
  t.throws(() => update('w', { Role: 'worker' }), { code: 'invalid-argument', message: 'invalid Availability: ""' });
  t.throws(() => update('w', { Role: 'worker', Availability: 'active' }, 1), { code: 'out-of-sequence' });
  const last = { code: 'failed-precondition', message: 'attempting to demote the last manager of the swarm' };
  t.throws(() => update('m', { Role: 'worker', Availability: 'active' }), last);
  const stays = { code: 'failed-precondition', message: /^node m is a cluster manager and is a member/ };
  t.throws(() => remove('m', true), stays, 'the last manager is not removed by force either');
  t.throws(() => remove('x', true), { code: 'not-found', message: 'node x not found' });
  t.throws(() => remove('m', false), stays);
  t.throws(() => remove('w', false), {
    code: 'failed-precondition',
    message: "node w is not down and can't be removed",
  });
  remove('w', true);
  t.equal(cluster.store.node('w'), undefined);
});

/** Beside manager `m`: others by id, reachable unless they are named so. */
function withManagers(...ids: string[]): Cluster {
  const cluster = withNodes();
  for (const id of ids) {
    const status = { state: 'down' as const, message: '', addr: '10.0.0.3' };
    const spec: NodeSpec = { Role: 'manager', Availability: 'active' };
    const reachability = id.startsWith('lost') ? ('unreachable' as const) : ('reachable' as const);
    cluster.apply({ type: 'node-create', node: { id, spec, role: 'manager', status, reachability } });
  }
  return cluster;
}

const AS_WORKER: NodeSpec = { Role: 'worker', Availability: 'active' };

t.test('a manager is demoted and removed in two steps, or by force in one', async (t) => {
  const cluster = withManagers('b', 'c', 'd');
  const demote = (id: string, force = false) =>
    cluster.commit(updateNode(cluster.store, { id, version: cluster.versionOf(id), spec: AS_WORKER, force }));
  const remove = (id: string, force = false) => cluster.commit(removeNode(cluster.store, { id, force }));
  const leaves = (id: string) => {
    const changes: Change[] = [{ type: 'node-role', id, role: 'worker' }];
    cluster.commit({ guards: [], changes, result: undefined });
  };
  cluster.commit(
    updateNode(cluster.store, {
      id: 'w',
      version: cluster.versionOf('w'),
      spec: { Role: 'manager', Availability: 'active' },
    }),
  );
  t.match(cluster.store.node('w'), { role: 'worker', spec: { Role: 'manager' } }, 'a promotion is a wish');
  demote('b');
  t.match(cluster.store.node('b'), { role: 'manager', spec: { Role: 'worker' }, departure: undefined });
  remove('b');
  t.match(cluster.store.node('b'), { role: 'manager', departure: { isForced: false, isRemoval: true } });
  leaves('b');
  t.equal(cluster.store.node('b'), undefined);
  demote('c', true);
  t.match(cluster.store.node('c'), { departure: { isForced: true, isRemoval: false } });
  leaves('c');
  t.match(cluster.store.node('c'), { role: 'worker', departure: undefined });
  remove('d', true);
  t.match(cluster.store.node('d'), { spec: AS_WORKER, departure: { isForced: true, isRemoval: true } });
  cluster.commit(
    updateNode(cluster.store, { id: 'd', version: cluster.versionOf('d'), spec: { ...AS_WORKER, Role: 'manager' } }),
  );
  leaves('d');
  t.match(cluster.store.node('d'), { role: 'worker', departure: undefined }, 'promoted again in time, it stays');
  t.same(Object.keys(cluster.store.cluster()?.excluded ?? {}), ['b', 'c']);
});

t.test('a former manager that is away is not promoted before it has heard that it is a worker', async (t) => {
  const cluster = withManagers('b', 'c');
  const asManager = (id: string) => {
    const spec = { ...AS_WORKER, Role: 'manager' as const };
    return cluster.commit(updateNode(cluster.store, { id, version: cluster.versionOf(id), spec }));
  };
  cluster.commit(updateNode(cluster.store, { id: 'c', version: cluster.versionOf('c'), spec: AS_WORKER }));
  asManager('c');
  cluster.commit(updateNode(cluster.store, { id: 'c', version: cluster.versionOf('c'), spec: AS_WORKER }));
  const changes: Change[] = [{ type: 'node-role', id: 'c', role: 'worker' }];
  cluster.commit({ guards: [], changes, result: undefined });
  t.throws(() => asManager('c'), { code: 'failed-precondition', message: /^node c was a manager and is away/ });
  cluster.apply({ type: 'node-status', id: 'c', status: { state: 'ready', message: '', addr: '10.0.0.3' } });
  asManager('c');
  t.match(cluster.store.node('c'), { role: 'worker', spec: { Role: 'manager' } });
});

t.test('a demotion that would lose the quorum says what it costs, and is done by force', async (t) => {
  const cluster = withManagers('b', 'lost');
  const demote = (id: string, force = false) =>
    updateNode(cluster.store, { id, version: cluster.versionOf(id), spec: AS_WORKER, force });
  t.throws(() => demote('b'), {
    code: 'failed-precondition',
    message:
      "can't remove member from the raft: this would result in a loss of quorum: of the 2 managers left, " +
      '1 would be reachable where 2 must be, and nothing in the cluster could be changed. ' +
      'Bring back lost or remove what is lost first; with force it is done all the same',
  });
  t.match(demote('b', true).changes, [{ type: 'node-spec', departure: { isForced: true, isRemoval: false } }]);
  cluster.commit(demote('lost'));
  cluster.commit(demote('b'));
  t.throws(() => demote('m', true), { message: /last manager/ }, 'those on their way out do not count');
});

t.test('of managers that are demoted, removed and leave at once, one stays', async (t) => {
  const { store } = withManagers('b', 'c');
  const decisions: Decision<unknown>[] = [
    updateNode(store, { id: 'm', version: store.node('m')?.meta.version ?? 0, spec: AS_WORKER, force: true }),
    removeNode(store, { id: 'b', force: true }),
    leaveAsManager(store, { id: 'c', force: true }),
  ];
  const outcomes = decisions.map(({ guards, changes }) => {
    const { result } = store.apply(store.appliedIndex + 1, { atMs: NOW_MS, guards, changes });
    return result.ok;
  });
  t.same(outcomes, [true, false, false], 'the others are decided anew');
});

t.test('a manager leaves in the words of Docker', async (t) => {
  const cluster = withManagers('b', 'lost');
  const leave = (id: string, force: boolean) => leaveAsManager(cluster.store, { id, force });
  const words = (losing: string) =>
    'You are attempting to leave the swarm on a node that is participating as a manager. ' +
    `${losing}The only way to restore a swarm that has lost consensus is to reinitialize it with ` +
    '`--force-new-cluster`. Use `--force` to suppress this message.';
  t.throws(() => leave('b', false), {
    code: 'failed-precondition',
    message: words(
      'Removing this node leaves 1 managers out of 3. Without a Raft quorum your swarm will be inaccessible. ',
    ),
  });
  t.throws(() => leave('lost', false), { message: words('') });
  for (const id of ['b', 'lost']) t.equal(cluster.commit(leave(id, true)).isLast, false);
  t.match(cluster.store.node('b'), { role: 'manager', spec: { Role: 'worker' }, departure: { isForced: true } });
  t.throws(() => leave('m', false), { message: /^You are .* Removing the last manager erases all .* this message\.$/ });
  t.same(leave('m', true), { guards: [], changes: [], result: { isLast: true } });
  t.same(leave('w', false).changes, [], 'a worker has nothing to ask for');
});

t.test('the address of a manager is written when it is news', async (t) => {
  const { store } = withNodes();
  const managerAddr = '10.0.0.9:2377';
  t.same(setManagerAddr(store, { id: 'm', managerAddr }).changes, [
    { type: 'node-manager-addr', id: 'm', managerAddr },
  ]);
  t.same(setManagerAddr(store, { id: 'm', managerAddr: '10.0.0.1:2377' }).changes, []);
  t.throws(() => setManagerAddr(store, { id: 'x', managerAddr }), { code: 'not-found' });
});

/** What stands for the making of a root. */
const newRoot = (rootCa: { certificatePem: string }, given?: { certificatePem: string; keyPem?: string }) => ({
  certificatePem: 'new',
  ...given,
  crossSignedPem: `by ${rootCa.certificatePem}`,
  issuer: { CertIssuerSubject: 's', CertIssuerPublicKey: 'p' },
});

t.test('a cluster update rotates the tokens that it is asked to, and refuses what is not honoured', async (t) => {
  const cluster = withNodes();
  const update = (spec: unknown, rotate = {}, version = cluster.versionOf('')) => {
    const request = {
      version,
      spec: read(ClusterSpecSchema, spec, 'spec'),
      rotateWorkerToken: false,
      rotateManagerToken: false,
      rotateUnlockKey: false,
      newRoot,
    };
    cluster.commit(updateCluster(cluster.store, { ...request, ...rotate }, cluster.rng));
    return cluster.store.cluster();
  };
  const before = cluster.store.cluster()?.joinSecrets;
  const changed: ClusterSpec = {
    ...defaultClusterSpec(),
    Labels: { a: 'b' },
    Orchestration: { TaskHistoryRetentionLimit: 3 },
    Dispatcher: { HeartbeatPeriod: 9e9 },
    CAConfig: { NodeCertExpiry: 2_592e12 },
    Raft: { ...defaultClusterSpec().Raft, SnapshotInterval: 5000, KeepOldSnapshots: 2, LogEntriesForSlowFollowers: 9 },
  };
  t.same(update(changed)?.spec, changed);
  t.same(raftSettingsOf(changed), { snapshotEntries: 5000, oldSnapshots: 2, trailingEntries: 9 });
  t.same(raftSettingsOf({}), { snapshotEntries: 10_000, oldSnapshots: 0, trailingEntries: 500 });
  t.same(cluster.store.cluster()?.joinSecrets, before);
  const after = update(changed, { rotateWorkerToken: true })?.joinSecrets;
  t.not(after?.worker, before?.worker);
  t.equal(after?.manager, before?.manager);
  t.throws(() => update({ Name: 'default' }, {}, 1), { code: 'out-of-sequence', message: 'update out of sequence' });
  t.throws(() => update({ Name: 'x' }), { code: 'invalid-argument', message: 'swarm spec must be named "default"' });
  const expiry = { code: 'invalid-argument', message: 'minimum certificate expiry time is: 1h0m0s' };
  t.throws(() => update({ CAConfig: { NodeCertExpiry: 60e9 } }), expiry);
  const heartbeat = { code: 'invalid-argument', message: 'heartbeat time period cannot be a negative duration' };
  t.throws(() => update({ Dispatcher: { HeartbeatPeriod: -5 } }), heartbeat);
  const unhonoured: [ClusterSpec, RegExp][] = [
    [{ Raft: { ElectionTick: 5 } }, /^Raft.ElectionTick 5 .*leave it at 10/],
    [{ Raft: { HeartbeatTick: 2 } }, /^Raft.HeartbeatTick 2 .*leave it at 1/],
    [{ TaskDefaults: { LogDriver: { Name: 'x' } } }, /^TaskDefaults.LogDriver/],
  ];
  for (const [spec, message] of unhonoured) t.throws(() => update(spec), { code: 'unimplemented', message });
});

t.test('the unlock key comes and goes with autolock, and is changed when that is asked for', async (t) => {
  const cluster = withNodes();
  const keyAfter = (isOn: boolean, rotateUnlockKey = false) => {
    const request = {
      version: cluster.versionOf(''),
      spec: { ...defaultClusterSpec(), EncryptionConfig: { AutoLockManagers: isOn } },
      rotateWorkerToken: false,
      rotateManagerToken: false,
      rotateUnlockKey,
      newRoot,
    };
    cluster.commit(updateCluster(cluster.store, request, cluster.rng));
    return cluster.store.cluster()?.unlockKey;
  };
  t.equal(keyAfter(false, true), undefined, 'there is none to change');
  const first = keyAfter(true);
  t.match(first, /^SWMKEY-1-[A-Za-z0-9+/]{43}$/);
  t.equal(keyAfter(true), first);
  const second = keyAfter(true, true);
  t.match(second, /^SWMKEY-1-/);
  t.not(second, first);
  t.equal(keyAfter(false), undefined);
  const spec = { EncryptionConfig: { AutoLockManagers: true } };
  const { changes } = initCluster(new Store(), { ...INIT, spec }, new SeededRng(1));
  t.match(changes[0], { type: 'cluster-create', cluster: { unlockKey: /^SWMKEY-1-/ } });
});

t.test("a new cluster takes the numbers that docker swarm init leaves at 0 as Docker's defaults", async (t) => {
  const spec: ClusterSpec = {
    Labels: {},
    Orchestration: {},
    Raft: { SnapshotInterval: 10_000, KeepOldSnapshots: 0, ElectionTick: 0, HeartbeatTick: 0 },
    Dispatcher: { HeartbeatPeriod: 0 },
    CAConfig: { NodeCertExpiry: 0 },
    EncryptionConfig: { AutoLockManagers: false },
  };
  const { guards, changes } = initCluster(new Store(), { ...INIT, spec }, new SeededRng(1));
  t.same(guards, [{ type: 'no-cluster' }]);
  t.match(changes[0], { type: 'cluster-create', cluster: { spec: defaultClusterSpec() } });
});
