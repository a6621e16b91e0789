import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createKeyAndCsr } from '@apiary/api/client';
import { issueCertificate } from '@apiary/manager/io';
import { nodeIdentityOf, readCredentials, writeCredentials } from '@apiary/worker/io';
import t, { type Test } from 'tap';
import { startManagerOf } from './manager-start.js';
import { type NodeFile, readNodeFile, writeNodeFile } from './node-file.js';
import { Place } from './place.js';
import { joinRequest, setRole, type TestHost, testHost, until } from './testing/nodes.js';

/** Nodes that become managers and cease to be, whole daemons but for their engines, in one process. */

t.setTimeout(180_000);

async function clusterOf(t: Test, roles: ('worker' | 'manager')[]): Promise<[TestHost, ...TestHost[]]> {
  const first = await testHost(t);
  await first.node.init(first.addresses);
  const others: TestHost[] = [];
  for (const role of roles) {
    const host = await testHost(t);
    await host.node.join(joinRequest(host, first, role));
    others.push(host);
  }
  return [first, ...others];
}

const idOf = ({ node }: TestHost) => node.status().nodeId;
const votersAt = ({ node }: TestHost) => node.replica().members.voters;
const isVoter = (host: TestHost, at: TestHost) => votersAt(at).includes(idOf(host));
const leads = ({ node }: TestHost) => node.replica().leadership.role === 'leader';

/** All of what a node keeps of its role says so. */
async function keeps(t: Test, host: TestHost, role: 'worker' | 'manager') {
  const file = await readNodeFile(host.dataRoot);
  t.equal(file?.role, role, 'in the node file');
  t.equal((await readCredentials(host.dataRoot))?.role, role, 'in its certificate');
  t.equal(existsSync(join(host.dataRoot, 'raft')), role === 'manager', 'on its disk');
  t.equal(host.node.status().controlAvailable, role === 'manager', 'to whoever asks');
}

async function isSettled(host: TestHost, at: TestHost, role: 'worker' | 'manager'): Promise<void> {
  await until(`${role} on record`, () => at.node.replica().view.node(idOf(host))?.role === role);
  await until(`${role} at work`, () => host.node.status().controlAvailable === (role === 'manager'));
  if (role === 'manager') {
    await until('a voter', () => isVoter(host, at));
    await until('a log that is kept', () => isVoter(host, host));
  }
  for (let certified = ''; certified !== role; ) {
    certified = (await readCredentials(host.dataRoot))?.role ?? '';
    await new Promise((resolve) => setImmediate(resolve));
  }
}

t.test('who joins with the token of managers is one when the join returns, and takes writes', async (t) => {
  const [first, second, third] = await clusterOf(t, ['manager', 'manager']);
  if (second === undefined || third === undefined) throw new Error('three were asked for');
  for (const host of [second, third]) {
    t.ok(isVoter(host, first));
    t.match(host.node.status(), { state: 'active', controlAvailable: true });
  }
  await third.node.replica().submit((view) => {
    const cluster = view.cluster();
    if (cluster === undefined) throw new Error('no cluster');
    const spec = { ...cluster.spec, Labels: { written: 'here' } };
    return { guards: [], changes: [{ type: 'cluster-spec', spec }], result: undefined };
  });
  await second.node.replica().barrier();
  t.match(second.node.replica().view.cluster()?.spec.Labels, { written: 'here' });
  for (const host of [first, second, third]) await host.stop();
  await Promise.all([first, second, third].map((host) => host.start()));
  await until('a leader', () => [first, second, third].some(leads));
  await first.node.replica().barrier();
  t.equal(votersAt(first).length, 3, 'all take up their places again');
});

t.test('who is a voter before its place is taken up is one to whoever waits for that', async (t) => {
  const host = await testHost(t);
  await host.node.init(host.addresses);
  await host.stop();
  const { options, dataRoot } = host;
  const kept = await readNodeFile(dataRoot);
  const identity = await readCredentials(dataRoot);
  if (kept === undefined || identity === undefined) throw new Error('no manager');
  // As when the leader was faster than this node's disk.
  const file: NodeFile = { ...kept, log: 'empty' };
  const manager = await startManagerOf(options, file, identity, { start: 'join' });
  const place = new Place(options, file, identity, manager);
  t.teardown(() => place.stop());
  await place.voting();
  t.ok(manager.replica.members.voters.includes(file.nodeId));
});

t.test('a worker is promoted and demoted while it runs, again and again', async (t) => {
  const [first, host] = await clusterOf(t, ['worker']);
  if (host === undefined) throw new Error('two were asked for');
  await keeps(t, host, 'worker');
  for (let round = 0; round < 2; round++) {
    await setRole(first.node.replica(), idOf(host), 'manager');
    await isSettled(host, first, 'manager');
    await keeps(t, host, 'manager');
    await setRole(first.node.replica(), idOf(host), 'worker');
    await isSettled(host, first, 'worker');
    await until('no log', () => !existsSync(join(host.dataRoot, 'raft')));
    await keeps(t, host, 'worker');
  }
  const id = idOf(host);
  await Promise.all([1, 2, 3, 4, 5].map((n) => setRole(first.node.replica(), id, n % 2 ? 'manager' : 'worker')));
  await isSettled(host, first, 'manager');
  t.ok(isVoter(host, first), 'however quickly they follow each other');
});

/** Leaves on a stopped host what a daemon that was killed would have left. */
async function leaves(host: TestHost, change: Partial<NodeFile>): Promise<void> {
  const file = await readNodeFile(host.dataRoot);
  if (file === undefined) throw new Error('in no cluster');
  await writeNodeFile(host.dataRoot, { ...file, ...change });
}

async function certifyAs(host: TestHost, at: TestHost, role: 'worker' | 'manager'): Promise<void> {
  const { id: clusterId = '', rootCa } = at.node.replica().view.cluster() ?? {};
  const file = await readNodeFile(host.dataRoot);
  if (rootCa === undefined || file === undefined) throw new Error('no cluster');
  const { keyPem, csrPem } = createKeyAndCsr();
  const order = { rootCa, csrPem, nodeId: file.nodeId, clusterId, role, validityMs: 3600_000, nowMs: Date.now() };
  await writeCredentials(host.dataRoot, nodeIdentityOf(issueCertificate(order), keyPem, rootCa.certificatePem));
}

t.test('a promotion that was missed, or cut short anywhere, is made good at the next start', async (t) => {
  const [first, host] = await clusterOf(t, ['worker']);
  if (host === undefined) throw new Error('two were asked for');
  const id = idOf(host);
  const stops: [string, () => Promise<void>][] = [
    ['away all the time', async () => {}],
    ['its certificate is there', () => certifyAs(host, first, 'manager')],
    [
      'its node file is there, and no log',
      async () => {
        await certifyAs(host, first, 'manager');
        await leaves(host, { role: 'manager', log: 'empty' });
      },
    ],
  ];
  for (const [name, stop] of stops) {
    await t.test(name, async (t) => {
      await host.stop();
      await setRole(first.node.replica(), id, 'manager');
      await stop();
      await host.start();
      await isSettled(host, first, 'manager');
      await keeps(t, host, 'manager');
      await setRole(first.node.replica(), id, 'worker');
      await isSettled(host, first, 'worker');
      await until('no log', () => !existsSync(join(host.dataRoot, 'raft')));
    });
  }
});

t.test('a demotion that was missed, or cut short anywhere, is made good at the next start', async (t) => {
  const [first, second, host] = await clusterOf(t, ['manager', 'manager']);
  if (second === undefined || host === undefined) throw new Error('three were asked for');
  const id = idOf(host);
  const stops: [string, () => Promise<void>][] = [
    ['away all the time', async () => {}],
    ['its node file is there', () => leaves(host, { role: 'worker', log: undefined })],
    [
      'its certificate is all that is left',
      async () => {
        await leaves(host, { role: 'worker', log: undefined });
        await certifyAs(host, first, 'manager');
      },
    ],
  ];
  for (const [name, stop] of stops) {
    await t.test(name, async (t) => {
      await host.stop();
      await setRole(first.node.replica(), id, 'worker');
      await until('two voters', () => votersAt(first).length === 2);
      await stop();
      await host.start();
      await isSettled(host, first, 'worker');
      await until('no log', () => !existsSync(join(host.dataRoot, 'raft')));
      await keeps(t, host, 'worker');
      await setRole(first.node.replica(), id, 'manager');
      await isSettled(host, first, 'manager');
    });
  }
});

t.test('who was demoted while it was away is promoted again once it knows itself a worker', async (t) => {
  const [first, second, host] = await clusterOf(t, ['manager', 'manager']);
  if (second === undefined || host === undefined) throw new Error('three were asked for');
  const id = idOf(host);
  await host.stop();
  await until('it is seen to be away', () => first.node.replica().view.node(id)?.status.state === 'down');
  await setRole(first.node.replica(), id, 'worker');
  await until('two voters', () => votersAt(first).length === 2);
  await t.rejects(setRole(first.node.replica(), id, 'manager'), {
    code: 'failed-precondition',
    message: /is away since before it became a worker: promote it once it is back/,
  });
  await host.start();
  await isSettled(host, first, 'worker');
  await until('it is back', () => first.node.replica().view.node(id)?.status.state === 'ready');
  await setRole(first.node.replica(), id, 'manager');
  await isSettled(host, first, 'manager');
  await keeps(t, host, 'manager');
});

t.test('a manager leaves by force only, and those who stay do not count on it', async (t) => {
  const [first, second, third] = await clusterOf(t, ['manager', 'manager']);
  if (second === undefined || third === undefined) throw new Error('three were asked for');
  await t.rejects(third.node.leave(false), {
    code: 'failed-precondition',
    message: /participating as a manager\. .*Use `--force` to suppress this message\.$/,
  });
  const hosts = [first, second, third];
  const leader = hosts.find(leads);
  if (leader === undefined) throw new Error('nobody leads');
  const id = idOf(leader);
  await leader.node.leave(true);
  t.same(readdirSync(leader.dataRoot), []);
  const [left, other] = hosts.filter((host) => host !== leader);
  if (left === undefined || other === undefined) throw new Error('two are left');
  await left.node.replica().barrier();
  t.same([...votersAt(left)].sort(), [idOf(left), idOf(other)].sort());
  t.equal(left.node.replica().view.node(id)?.role, 'worker');
  await other.stop();
  await left.node.leave(true);
  t.same(readdirSync(left.dataRoot), [], 'nobody has to answer for it to go');
});

t.test('a data root that is not of one making is refused, and says of what it is', async (t) => {
  const [first, host] = await clusterOf(t, ['manager']);
  if (host === undefined) throw new Error('two were asked for');
  const identity = await readCredentials(host.dataRoot);
  const [stranger] = await clusterOf(t, []);
  const foreign = await readCredentials(stranger.dataRoot);
  if (identity === undefined || foreign === undefined) throw new Error('no certificates');
  await host.stop();
  await writeCredentials(host.dataRoot, foreign);
  await t.rejects(host.start(), {
    code: 'failed-precondition',
    message: /is not of one making: its node\.json is of node .* its certificate of node/,
  });
  await writeCredentials(host.dataRoot, identity);
  await host.start();
  await until('its place', () => isVoter(host, first));
});

t.test(
  'one manager that is left makes a new cluster of itself, and those that come back become its workers',
  async (t) => {
    const [first, second, third] = await clusterOf(t, ['manager', 'manager']);
    if (second === undefined || third === undefined) throw new Error('three were asked for');
    const force = { ...first.addresses, ForceNewCluster: true };
    await t.rejects(first.node.init(force), {
      code: 'failed-precondition',
      message: /^This swarm has not lost its quorum/,
    });
    const ids = [idOf(second), idOf(third)];
    await Promise.all([second.stop(), third.stop()]);
    await until('no leader', () => {
      const { leadership } = first.node.replica();
      return leadership.role === 'follower' && leadership.leaderId === undefined;
    });
    await t.rejects(first.node.leave(false), { message: /Doing so may lose the consensus of your cluster/ });
    const { clusterId } = (await readCredentials(first.dataRoot)) ?? {};
    t.equal(await first.node.init(force), idOf(first));
    t.same(first.node.replica().members, { voters: [idOf(first)], learners: [] });
    t.equal(first.node.replica().view.cluster()?.id, clusterId);
    for (const id of ids) t.match(first.node.replica().view.node(id), { role: 'worker', spec: { Role: 'worker' } });
    // Both at once: they are a majority of the managers of before.
    await Promise.all([second.start(), third.start()]);
    for (const host of [second, third]) {
      await isSettled(host, first, 'worker');
      await until('no log', () => !existsSync(join(host.dataRoot, 'raft')));
      await keeps(t, host, 'worker');
    }
    await setRole(first.node.replica(), idOf(second), 'manager');
    await isSettled(second, first, 'manager');
    await second.node.replica().barrier();
    const [stranger] = await clusterOf(t, []);
    await t.rejects(third.node.init(force), { code: 'not-manager', message: /Worker nodes can't be used/ });
    t.equal(await stranger.node.init({ ...stranger.addresses, ForceNewCluster: true }), idOf(stranger));
    await stranger.node.leave(true);
    await t.rejects(stranger.node.init({ ...stranger.addresses, ForceNewCluster: true }), {
      message: /there is no state to make a new cluster from/,
    });
  },
);
