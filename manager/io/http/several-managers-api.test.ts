import { mkdtemp, rm } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ApiError, createClient } from '@apiary/api/client';
import { ApiaryError, VirtualClock } from '@apiary/std';
import t, { type Test } from 'tap';
import { createService, initCluster } from '../../core/requests/index.js';
import type { NodeRecord } from '../../core/store/records.js';
import type { LocalNode, LocalNodeStatus, Logs } from '../ports.js';
import { ListReplica } from '../rpc/list-replica.js';
import { createRootCa, Issuer } from '../trust/index.js';
import { Endings } from './http-api.fixture.js';
import { createHttpApi } from './index.js';

const NO_LEADER =
  "The swarm does not have a leader. It's possible that too few managers are online. " +
  'Make sure more than half of the managers are online.';
const WORKER = 'This node is not a swarm manager.';
const rootCa = createRootCa(Date.now());

/** The API of manager `m1`, over the copy of the state that it has. */
async function serve(t: Test, { isJoining = false } = {}) {
  const directory = await mkdtemp(join(tmpdir(), 'apiary-http-'));
  const replica = new ListReplica(new VirtualClock(1_700_000_000_000));
  const status: LocalNodeStatus = {
    nodeId: 'm1',
    nodeAddr: '10.0.0.1',
    state: 'active',
    controlAvailable: true,
    error: '',
    remoteManagers: [{ nodeId: 'm2', addr: '10.0.0.2:2377' }],
  };
  if (!isJoining) {
    const init = {
      nodeId: 'm1',
      rootCa,
      availability: 'active',
      addr: '10.0.0.1',
      managerAddr: '10.0.0.1:2377',
    } as const;
    await replica.submit((view, { rng }) => initCluster(view, init, rng));
    replica.apply([{ type: 'node-create', node: manager('m2') }]);
  }
  let isManager = true;
  const logs: Logs = { read: async function* () {} };
  const refuse = () => Promise.reject(new ApiaryError('unimplemented', 'not here'));
  const node: LocalNode = {
    status: () => ({ ...status, controlAvailable: isManager }),
    replica() {
      if (!isManager) throw new ApiaryError('not-manager', WORKER);
      return replica;
    },
    issuer: () => new Issuer({ identity: () => undefined, clock: new VirtualClock() }),
    rotateLogKey: async () => '',
    unlock: async () => {},
    logs: () => logs,
    init: refuse,
    join: refuse,
    leave: refuse,
  };
  const logger = { info: () => {}, error: (_fields: object, message: string) => t.fail(message) };
  const endings = new Endings();
  const api = await createHttpApi({
    audit: endings,
    node,
    clock: new VirtualClock(),
    engineSocketPath: join(directory, 'none.sock'),
    logger,
    version: '0.1.0',
  });
  const socketPath = join(directory, 'swarmd.sock');
  await api.listen({ socketPath });
  t.teardown(async () => {
    await api.close();
    await rm(directory, { recursive: true });
  });
  const demote = () => {
    isManager = false;
  };
  return { replica, client: createClient(`unix://${socketPath}`), socketPath, demote, endings, logs };
}

function manager(id: string): Omit<NodeRecord, 'meta'> {
  const status = { state: 'down' as const, message: '', addr: '' };
  return { id, role: 'manager', spec: { Role: 'manager', Availability: 'active' }, status, managerAddr: `${id}:2377` };
}

const spec = (name: string) => ({
  Name: name,
  TaskTemplate: { ContainerSpec: { Image: 'busybox:test' } },
  Mode: { Replicated: { Replicas: 0 } },
});

/** How a request fails: status, code and words. */
async function refusal(run: Promise<unknown>): Promise<string> {
  return run.then(
    () => 'no refusal',
    (error: unknown) => (error instanceof ApiError ? `${error.status} ${error.code}: ${error.message}` : String(error)),
  );
}

t.test("without a leader every read and write says so, in Docker's words and form", async (t) => {
  const { replica, client } = await serve(t);
  await client.createService(spec('web'));
  replica.become({ role: 'follower', term: 2 });
  replica.refusal = new ApiaryError('unavailable', NO_LEADER);
  replica.barrierFailure = replica.refusal;
  const words = `503 unavailable: rpc error: code = Unknown desc = ${NO_LEADER}`;
  for (const path of ['/nodes', '/nodes/self', '/services', '/services/web', '/tasks', '/swarm']) {
    t.equal(await refusal(client.request('GET', path)), words, path);
  }
  t.equal(await refusal(client.createService(spec('db'))), words);
  t.equal(await refusal(client.removeService('web')), words);
  t.equal(await refusal(client.request('DELETE', '/nodes/m2?force=1')), words);
  t.match((await client.info()).Swarm, {
    LocalNodeState: 'active',
    ControlAvailable: true,
    Error: `rpc error: code = Unknown desc = ${NO_LEADER}`,
    Cluster: { Spec: { Name: 'default' } },
    Nodes: undefined,
    Managers: undefined,
  });
});

t.test('a manager that follows answers as the leader does, and says who that is', async (t) => {
  const { replica, client } = await serve(t);
  replica.become({ role: 'follower', term: 2, leaderId: 'm2' });
  // What was committed elsewhere arrives before the answer.
  const committed = new Set<string>();
  replica.beforeBarrier = () => {
    if (committed.has('web')) return;
    committed.add('web');
    void replica.submit((view, { rng }) => createService(view, spec('web'), rng));
  };
  t.match(await client.service('web'), { Spec: { Name: 'web' } });
  const nodes = await client.request<{ ID: string; ManagerStatus?: object }[]>('GET', '/nodes');
  t.match(
    nodes.map(({ ID, ManagerStatus }) => ({ ID, ManagerStatus })),
    [
      { ID: 'm1', ManagerStatus: { Reachability: 'reachable', Addr: '10.0.0.1:2377' } },
      { ID: 'm2', ManagerStatus: { Leader: true, Reachability: 'reachable' } },
    ],
  );
  t.match((await client.info()).Swarm, {
    Error: '',
    Nodes: 2,
    Managers: 2,
    RemoteManagers: [
      { NodeID: 'm1', Addr: '10.0.0.1:2377' },
      { NodeID: 'm2', Addr: 'm2:2377' },
    ],
  });
});

t.test('a node that is still becoming a manager says so', async (t) => {
  const { client } = await serve(t, { isJoining: true });
  const words =
    '503 not-manager: This node is not a swarm manager. ' +
    'Manager is being prepared or has trouble connecting to the cluster.';
  t.equal(await refusal(client.request('GET', '/nodes')), words);
  t.equal(await refusal(client.createService(spec('web'))), words);
  t.match((await client.info()).Swarm, { ControlAvailable: false, RemoteManagers: [{ NodeID: 'm2' }] });
});

t.test('a manager is demoted at the price of the quorum only by force, and its removal is waited for', async (t) => {
  const { replica, client } = await serve(t);
  replica.apply([
    { type: 'node-reachability', id: 'm2', reachability: 'reachable' },
    { type: 'node-create', node: manager('m3') },
    { type: 'node-reachability', id: 'm3', reachability: 'unreachable' },
  ]);
  const demote = (force: string) => {
    const version = replica.view.node('m2')?.meta.version;
    const body = { Role: 'worker', Availability: 'active' };
    return client.request('POST', `/nodes/m2/update?version=${version}${force}`, { body });
  };
  t.match(await refusal(demote('')), /^400 failed-precondition: rpc error: code = FailedPrecondition .*loss of quorum/);
  t.match(await refusal(demote('&force=perhaps')), /^400 .*force: perhaps/);
  await demote('&force=1');
  t.match(replica.view.node('m2'), { spec: { Role: 'worker' }, departure: { isForced: true } });

  t.match(await refusal(client.request('DELETE', '/nodes/m3')), /is a cluster manager and is a member of the raft/);
  const stop = replica.subscribe(() => {
    if (replica.view.node('m3')?.departure?.isRemoval !== true) return;
    stop();
    setImmediate(() => replica.apply([{ type: 'node-role', id: 'm3', role: 'worker' }]));
  });
  await client.request('DELETE', '/nodes/m3?force=1');
  t.equal(replica.view.node('m3'), undefined);
});

t.test('who goes away while its answer is looked up is watched for and read for no more', async (t) => {
  const { replica, client, socketPath, endings, logs } = await serve(t);
  await client.createService(spec('web'));
  const read: AbortSignal[] = [];
  const noLines = logs.read;
  logs.read = (request, signal) => {
    read.push(signal);
    return noLines(request, signal);
  };
  const { barrier } = replica;
  for (const path of ['/apiary/v1/watch?service=web', '/services/web/logs?stdout=1&follow=1']) {
    let release = () => {};
    const isAsked = new Promise<void>((resolve) => {
      replica.barrier = () => {
        resolve();
        return new Promise((done) => {
          release = done;
        });
      };
    });
    const request = httpRequest({ socketPath, path, agent: false });
    request.on('error', () => {});
    request.end();
    await isAsked;
    const isGone = endings.next();
    request.destroy();
    await isGone;
    replica.barrier = barrier;
    release();
    await client.services();
  }
  t.notOk(replica.isHeard, 'nobody listens for the watcher');
  t.same(
    read.map(({ aborted }) => aborted),
    [true],
  );
});

t.test('a watch goes on whoever leads, and ends when the node is a manager no more', async (t) => {
  const { replica, client, socketPath, demote } = await serve(t);
  const { ID } = await client.createService(spec('web'));
  const path = '/apiary/v1/watch?service=web';
  const response = await new Promise<NodeJS.ReadableStream>((resolve) => {
    httpRequest({ socketPath, path, agent: false }, resolve).end();
  });
  const lines = createInterface(response)[Symbol.asyncIterator]();
  const next = async () => {
    const { done, value } = await lines.next();
    return done === true ? 'the end' : JSON.parse(value).service.Spec.Name;
  };
  t.equal(await next(), 'web');
  replica.become({ role: 'follower', term: 2 });
  replica.become({ role: 'follower', term: 3, leaderId: 'm2' });
  replica.apply([{ type: 'service-spec', id: ID, spec: spec('renamed'), previous: 'drop' }]);
  t.equal(await next(), 'renamed');
  demote();
  t.equal(await next(), 'the end');
});
