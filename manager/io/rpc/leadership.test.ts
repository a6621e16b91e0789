import { createKeyAndCsr } from '@apiary/api/client';
import { formatJoinToken } from '@apiary/api/model';
import { ApiaryError } from '@apiary/std';
import t, { type Test } from 'tap';
import { rootDigestOfPem } from '../trust/authority.js';
import type { ListReplica } from './list-replica.js';
import {
  identityOf,
  issue,
  MANAGER_SECRET,
  openCluster,
  roundTrip,
  serviceWithTasks,
  TestAgent,
  until,
} from './test-cluster.js';

const settled = () => new Promise<void>((resolve) => setImmediate(resolve));
const manager = { spec: { Role: 'manager' }, status: { state: 'unknown', message: '', addr: '' } } as const;

/** A manager that follows; `m2` is another, at 192.0.2.2. */
async function openFollower(t: Test) {
  const cluster = await openCluster(t);
  const { replica } = cluster;
  replica.apply([
    { type: 'node-create', node: { id: 'm2', role: 'manager', managerAddr: '192.0.2.2:2377', ...manager } },
  ]);
  replica.become({ role: 'follower', term: 2 });
  return cluster;
}

function agentOf(t: Test, { server, rootCa }: Awaited<ReturnType<typeof openCluster>>, nodeId = 'w1'): TestAgent {
  return new TestAgent(t, server, identityOf(rootCa, nodeId, 'worker'));
}

t.test('a manager that follows sends an agent to the leader, by the address on record', async (t) => {
  const cluster = await openFollower(t);
  cluster.replica.become({ role: 'follower', term: 2, leaderId: 'm2' });
  const agent = agentOf(t, cluster);
  t.match(await agent.ended, { code: 'unavailable', leaderAddr: '192.0.2.2:2377' });
  cluster.replica.apply([{ type: 'node-manager-addr', id: 'm2', managerAddr: '192.0.2.3:2377' }]);
  t.match(await agentOf(t, cluster).ended, { leaderAddr: '192.0.2.3:2377' });
});

t.test('without a leader an agent is kept waiting, and sent on as soon as there is one', async (t) => {
  const cluster = await openFollower(t);
  const agent = agentOf(t, cluster);
  agent.hello();
  await roundTrip(agent);
  cluster.clock.advance(1_999);
  cluster.replica.become({ role: 'follower', term: 3, leaderId: 'm2' });
  t.match(await agent.ended, { code: 'unavailable', leaderAddr: '192.0.2.2:2377' });
});

t.test('an agent that was kept waiting is welcome as soon as this manager leads', async (t) => {
  const cluster = await openFollower(t);
  const agent = agentOf(t, cluster);
  agent.hello();
  await roundTrip(agent);
  cluster.clock.advance(1_999);
  t.equal(agent.heard.length, 0);
  cluster.replica.become({ role: 'leader', term: 3 });
  await agent.take('welcome');
  t.equal(cluster.replica.view.node('w1')?.status.state, 'ready');
  cluster.clock.advance(2_000);
  agent.report(1, {});
  await agent.take('statusAck');
});

t.test('an agent is not kept waiting for long: it asks elsewhere', async (t) => {
  const cluster = await openFollower(t);
  const agent = agentOf(t, cluster);
  agent.hello();
  await roundTrip(agent);
  cluster.clock.advance(2_000);
  t.match(await agent.ended, { code: 'unavailable', message: /no leader now/, leaderAddr: '' });
});

t.test('a deposed leader sends its agents to the next, and records nothing more', async (t) => {
  const cluster = await openCluster(t);
  const { replica, clock } = cluster;
  serviceWithTasks(replica, ['t1', 'w1']);
  replica.apply([
    { type: 'node-create', node: { id: 'm2', role: 'manager', managerAddr: '192.0.2.2:2377', ...manager } },
  ]);
  const agent = agentOf(t, cluster);
  await agent.open();
  const release = hold(replica);
  agent.report(1, { t1: { state: 'running' } });
  await roundTrip(agent);
  replica.become({ role: 'follower', term: 2, leaderId: 'm2' });
  release();
  t.match(await agent.ended, { code: 'unavailable', leaderAddr: '192.0.2.2:2377' });
  await settled();
  t.equal(replica.view.task('t1')?.status.state, 'assigned');
  clock.advance(60_000);
  await settled();
  t.equal(replica.view.node('w1')?.status.state, 'ready', 'whether it is down, the leader says');
});

t.test('a leader that cannot find out what was committed tries again, and agents wait', async (t) => {
  const cluster = await openFollower(t);
  const { replica, clock } = cluster;
  const agent = agentOf(t, cluster);
  agent.hello();
  await roundTrip(agent);
  replica.barrierFailure = new ApiaryError('unavailable', 'leadership is not confirmed');
  replica.become({ role: 'leader', term: 3 });
  await settled();
  clock.advance(200);
  await settled();
  t.equal(agent.heard.length, 0);
  replica.barrierFailure = undefined;
  clock.advance(200);
  await agent.take('welcome');
});

t.test('a session is told what its node is to be, at its start and when that changes', async (t) => {
  const cluster = await openCluster(t);
  const { replica } = cluster;
  const agent = agentOf(t, cluster);
  const other = agentOf(t, cluster, 'w2');
  agent.hello();
  t.match(await agent.take('welcome'), { value: { update: { role: 'worker' } } });
  await other.open();
  replica.apply([{ type: 'node-spec', id: 'w1', spec: { Role: 'manager', Availability: 'active' } }]);
  t.match(await agent.take('update'), { value: { role: 'manager', managers: [{ nodeId: 'm1' }] } });
  const description = {
    descriptionJson: '',
    advertiseAddr: '',
    engineError: '',
    wireguardKey: '',
    managerAddr: '192.0.2.1:2377',
  };
  agent.say({ $case: 'description', value: description });
  await until(replica, () => replica.view.node('w1')?.managerAddr === '192.0.2.1:2377');
  replica.apply([{ type: 'node-role', id: 'w1', role: 'manager' }]);
  t.match(await agent.take('update'), { value: { role: 'manager', managers: [{ nodeId: 'm1' }, { nodeId: 'w1' }] } });
  t.match(await other.take('update'), { value: { role: 'worker', managers: [{ nodeId: 'm1' }, { nodeId: 'w1' }] } });
  replica.apply([
    { type: 'node-spec', id: 'w1', spec: { Role: 'worker', Availability: 'active' } },
    { type: 'node-role', id: 'w1', role: 'worker' },
  ]);
  t.match(await agent.take('update'), { value: { role: 'worker', managers: [{ nodeId: 'm1' }] } });
  agent.say({ $case: 'description', value: { ...description, managerAddr: '192.0.2.9:2377' } });
  agent.report(1, {});
  await agent.take('statusAck');
  t.equal(replica.view.node('w1')?.managerAddr, '192.0.2.1:2377', "a worker's word on it does not count");
  other.say({ $case: 'description', value: { ...description, managerAddr: 'no address' } });
  t.match(await other.ended, { code: 'invalid-argument', message: /manager address "no address"/ });
});

t.test('a join with the manager token makes a node that is to be a manager, and is none yet', async (t) => {
  const cluster = await openFollower(t);
  const { server, rootCa, replica } = cluster;
  const rootPem = rootCa.certificatePem;
  const joinToken = formatJoinToken({ rootDigest: rootDigestOfPem(rootPem), secret: MANAGER_SECRET });
  const { csrPem } = createKeyAndCsr();
  const joined = await issue(t, server, { rootPem }, { csrPem, joinToken, managerAddr: '192.0.2.7:2377' });
  t.equal(joined.role, 'manager');
  t.match(replica.view.node(joined.nodeId), {
    role: 'worker',
    spec: { Role: 'manager' },
    managerAddr: '192.0.2.7:2377',
  });
  const renewed = await issue(t, server, identityOf(rootCa, 'w1', 'worker'), {});
  t.equal(renewed.role, 'worker');
  replica.apply([{ type: 'node-spec', id: 'w1', spec: { Role: 'manager', Availability: 'active' } }]);
  const promoted = await issue(t, server, identityOf(rootCa, 'w1', 'worker'), {});
  t.equal(promoted.role, 'manager', 'as it is to be, not as it was');
});

t.test('a manager that is behind turns nobody away that the others know', async (t) => {
  const cluster = await openFollower(t);
  const { server, rootCa, replica } = cluster;
  replica.become({ role: 'leader', term: 3 });
  const status = { state: 'unknown' as const, message: '', addr: '' };
  const late = { id: 'w9', role: 'worker', spec: {}, status } as const;
  replica.beforeBarrier = () => replica.apply([{ type: 'node-create', node: late }]);
  t.equal((await issue(t, server, identityOf(rootCa, 'w9', 'worker'), {})).nodeId, 'w9');
  replica.apply([{ type: 'node-delete', id: 'w9' }]);
  await agentOf(t, cluster, 'w9').open();
  replica.beforeBarrier = undefined;
  replica.apply([{ type: 'node-delete', id: 'w9' }]);
  replica.barrierFailure = new ApiaryError('unavailable', 'no leader');
  await t.rejects(issue(t, server, identityOf(rootCa, 'w9', 'worker'), {}), { code: 'unavailable' });
  t.match(await agentOf(t, cluster, 'w9').ended, { code: 'unavailable' }, 'others may know it');
  replica.barrierFailure = undefined;
  await t.rejects(issue(t, server, identityOf(rootCa, 'w9', 'worker'), {}), { code: 'not-found' });
  t.match(await agentOf(t, cluster, 'w9').ended, { code: 'not-found' });
});

/** Entries wait until the returned function is called. */
function hold(replica: ListReplica): () => void {
  let release = () => {};
  replica.gate = new Promise((resolve) => {
    release = () => {
      replica.gate = undefined;
      resolve();
    };
  });
  return () => release();
}
