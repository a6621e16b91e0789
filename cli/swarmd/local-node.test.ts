import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { createKeyAndCsr } from '@apiary/api/client';
import { formatJoinToken } from '@apiary/api/model';
import { createRootCa, issueCertificate, rootDigestOfPem } from '@apiary/manager/io';
import { SystemClock, SystemRng } from '@apiary/std/io';
import { dockerEngine, type Engine, nodeIdentityOf, readCredentials, writeCredentials } from '@apiary/worker/io';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { SwarmNode } from './local-node.js';
import { markLeaving, writeNodeFile } from './node-file.js';
import { type Containers, engineWith } from './testing/nodes.js';

function setUp(t: Test, engine?: Engine) {
  const dataRoot = mkdtempSync(join(tmpdir(), 'swarm-node-'));
  const clock = new SystemClock();
  const nodes: SwarmNode[] = [];
  const none = dockerEngine({ socketPath: join(dataRoot, 'no-engine.sock'), clock });
  t.teardown(async () => {
    for (const node of nodes) await node.stop();
    none.close();
    rmSync(dataRoot, { recursive: true });
  });
  const start = () => {
    const options = {
      dataRoot,
      engine: engine ?? none,
      clock,
      rng: new SystemRng(),
      logger: pino({ level: 'silent' }),
    };
    const node = new SwarmNode({ ...options, onFatal: (error) => t.error(error) });
    nodes.push(node);
    return node;
  };
  return { dataRoot, start };
}

const INIT = { AdvertiseAddr: '127.0.0.1', ListenAddr: '127.0.0.1:23771' };

async function inactive(node: SwarmNode): Promise<void> {
  while (node.status().state !== 'inactive') await new Promise((resolve) => setImmediate(resolve));
}

t.test('a manager takes up its place again, leaves only by force, and leaves nothing behind', async (t) => {
  const { dataRoot, start } = setUp(t);
  const first = start();
  const nodeId = await first.init(INIT);
  t.match(first.status(), { nodeId, state: 'active', controlAvailable: true });
  await t.rejects(first.init(INIT), { code: 'not-manager', message: /already part of a swarm/ });
  await t.rejects(first.join({}), { code: 'not-manager', message: /already part of a swarm/ });
  await first.stop();
  const second = start();
  await second.resume();
  t.match(second.status(), { nodeId, state: 'active' });
  await t.rejects(second.leave(false), { code: 'failed-precondition', message: /last manager/ });
  await second.leave(true);
  t.equal(second.status().state, 'inactive');
  t.same(readdirSync(dataRoot), []);
  t.not(await second.init(INIT), nodeId);
});

t.test('the key of a manager’s log is changed while it runs, and the one before is not kept', async (t) => {
  const { dataRoot, start } = setUp(t);
  const first = start();
  await t.rejects(first.rotateLogKey(), { code: 'not-manager' });
  const nodeId = await first.init(INIT);
  const keys = () => readFileSync(join(dataRoot, 'raft', 'keys.json'), 'utf8');
  const [before] = JSON.parse(keys()).keys;
  const id = await first.rotateLogKey();
  t.ok(keys().includes(id));
  t.notOk(keys().includes(before.id), 'nothing on the disk needs it any more');
  await first.stop();
  const second = start();
  await second.resume();
  t.match(second.status(), { nodeId, state: 'active' });
});

t.test('an init that fails leaves a node that is in no cluster and can be asked again', async (t) => {
  const { dataRoot, start } = setUp(t);
  const node = start();
  await t.rejects(node.init({ ...INIT, ListenAddr: '192.0.2.1:2377' }), { message: /cannot listen for nodes/ });
  t.equal(node.status().state, 'inactive');
  t.notOk(existsSync(join(dataRoot, 'node.json')));
  await node.init(INIT);
});

t.test('a leave that was cut short goes on at the next start, before the node joins anything else', async (t) => {
  const containers: Containers = new Map();
  const { dataRoot, start } = setUp(t, engineWith(containers));
  const first = start();
  const nodeId = await first.init(INIT);
  await first.stop();
  // Killed once it had begun to leave, with containers still there.
  await markLeaving(dataRoot);
  containers.set('own', { nodeId, state: 'running' }).set('foreign', { nodeId: 'another', state: 'running' });
  const second = start();
  await second.resume();
  await t.rejects(second.init(INIT), { code: 'unavailable', message: /a swarm leave is under way/ });
  await inactive(second);
  t.same([...containers.keys()], ['foreign']);
  t.same(readdirSync(dataRoot), []);
  await second.init(INIT);
});

t.test('a leave that cannot be written down does not happen', async (t) => {
  const { dataRoot, start } = setUp(t);
  const node = start();
  await node.init(INIT);
  // A folder in its place: the name cannot be had.
  const inTheWay = join(dataRoot, 'leaving.json', 'x');
  mkdirSync(join(dataRoot, 'leaving.json'));
  writeFileSync(inTheWay, '');
  await t.rejects(node.leave(true), { message: /^cannot leave: / });
  t.match(node.status(), { state: 'active', controlAvailable: true });
});

t.test('a daemon that stops while its node joins in stops that too', async (t) => {
  const { start } = setUp(t);
  const node = start();
  const initialised = node.init(INIT);
  await node.stop();
  await initialised;
  t.equal(node.status().state, 'inactive', 'its manager was stopped');
  const next = start();
  await next.resume();
  t.equal(next.status().state, 'active');
});

t.test('a daemon that stops while its node asks to be let in asks no more', async (t) => {
  const { dataRoot, start } = setUp(t);
  const node = start();
  const mute = createServer().listen(0, '127.0.0.1');
  await once(mute, 'listening');
  t.teardown(() => mute.close());
  const { port } = mute.address() as AddressInfo;
  const asked = once(mute, 'connection');
  const rootDigest = rootDigestOfPem(createRootCa(Date.now()).certificatePem);
  const JoinToken = formatJoinToken({ rootDigest, secret: 's'.repeat(25) });
  const joining = node.join({ ...INIT, RemoteAddrs: [`127.0.0.1:${port}`], JoinToken });
  const refused = t.rejects(joining, { code: 'unavailable', message: /^swarmd is stopping: / });
  const [socket]: Socket[] = await asked;
  await node.stop();
  await refused;
  t.same(readdirSync(dataRoot), []);
  await t.rejects(node.init(INIT), { code: 'unavailable', message: /^swarmd is stopping: / });
  socket?.destroy();
});

t.test('a leave that waits for its containers is given up by a stop, and goes on at the next start', async (t) => {
  const containers: Containers = new Map();
  const engine = engineWith(containers);
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  let askToStop = () => {};
  const isAskedToStop = new Promise<void>((resolve) => {
    askToStop = resolve;
  });
  const stop: Engine['stop'] = async (id, graceMs) => {
    askToStop();
    await opened;
    await engine.stop(id, graceMs);
  };
  const { dataRoot, start } = setUp(t, { ...engine, stop });
  const first = start();
  const nodeId = await first.init(INIT);
  await first.stop();
  containers.set('own', { nodeId, state: 'running' });
  const second = start();
  await second.resume();
  const leaving = second.leave(true);
  const refused = t.rejects(leaving, { code: 'unavailable', message: /^swarmd is stopping: / });
  await isAskedToStop;
  while (!existsSync(join(dataRoot, 'leaving.json'))) await new Promise((resolve) => setImmediate(resolve));
  await second.stop();
  await refused;
  open();
  while (containers.get('own')?.state !== 'exited') await new Promise((resolve) => setImmediate(resolve));
  t.ok(existsSync(join(dataRoot, 'leaving.json')), 'nobody works on it any more');
  const third = start();
  await third.resume();
  await inactive(third);
  t.equal(containers.size, 0);
  t.same(readdirSync(dataRoot), []);
});

const DAY_MS = 24 * 3600 * 1000;

/** A node's certificate that was good until yesterday. */
function expiredIdentity(node: SwarmNode, nodeId: string, role: 'worker' | 'manager') {
  const { id: clusterId, rootCa } = node.replica().view.cluster() ?? {};
  if (clusterId === undefined || rootCa === undefined) throw new Error('no cluster');
  const { keyPem, csrPem } = createKeyAndCsr();
  const order = { rootCa, csrPem, nodeId, clusterId, role, validityMs: DAY_MS, nowMs: Date.now() - 2 * DAY_MS };
  return nodeIdentityOf(issueCertificate(order), keyPem, rootCa.certificatePem);
}

t.test('a manager that was off for longer than its certificate makes itself a new one, and shows it', async (t) => {
  const { dataRoot, start } = setUp(t, engineWith(new Map()));
  const first = start();
  const nodeId = await first.init(INIT);
  const expired = expiredIdentity(first, nodeId, 'manager');
  await first.stop();
  await writeCredentials(dataRoot, expired);
  const second = start();
  await second.resume();
  const replica = second.replica();
  const isReady = () => replica.view.node(nodeId)?.status.state === 'ready';
  // Its agent gets a session once both it and the manager show the new certificate, and not before.
  await new Promise<void>((resolve) => {
    const look = () => isReady() && second.status().state === 'active' && resolve();
    replica.subscribe(look);
    look();
  });
  const written = await readCredentials(dataRoot);
  t.not(written?.certificateChainPem, expired.certificateChainPem);
  const socket = connect({
    host: '127.0.0.1',
    port: 23771,
    servername: 'swarm-manager',
    ca: expired.rootPem,
    ALPNProtocols: ['h2'],
  });
  await once(socket, 'secureConnect');
  t.equal(
    socket.getPeerX509Certificate()?.toString(),
    written?.certificateChainPem.split(/(?<=END CERTIFICATE-----\n)/)[0],
  );
  socket.destroy();
});

t.test('a worker that was off for too long says what to do, and touches no container', async (t) => {
  const manager = setUp(t, engineWith(new Map())).start();
  await manager.init(INIT);
  const clusterId = manager.replica().view.cluster()?.id ?? '';
  const containers = new Map([['own', { nodeId: 'w1', state: 'running' as const }]]);
  const { dataRoot, start } = setUp(t, engineWith(containers));
  await writeCredentials(dataRoot, expiredIdentity(manager, 'w1', 'worker'));
  const managers = [{ nodeId: '', addr: '127.0.0.1:23771' }];
  const file = {
    nodeId: 'w1',
    clusterId,
    role: 'worker' as const,
    advertise: '',
    advertiseAddr: '127.0.0.1',
    isAdvertisedLocal: true,
    advertisePort: 2377,
    listenAddr: '',
    managers,
  };
  await writeNodeFile(dataRoot, file);
  const worker = start();
  await worker.resume();
  t.match(worker.status(), {
    nodeId: 'w1',
    state: 'error',
    error: /certificate of this node expired .* join again with a token/,
  });
  await worker.stop();
  t.same([...containers], [['own', { nodeId: 'w1', state: 'running' }]]);
});
