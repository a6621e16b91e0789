import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { createKeyAndCsr } from '@apiary/api/client';
import { formatJoinToken } from '@apiary/api/model';
import { DispatcherClient, type ManagerMessage, type NodeCaServer, NodeCaService } from '@apiary/api/rpc';
import { createRootCa, issueCertificate, rootDigestOfPem } from '@apiary/manager/io';
import { ApiaryError, type Clock, SeededRng, VirtualClock } from '@apiary/std';
import { SystemClock } from '@apiary/std/io';
import {
  CertificateRenewal,
  enrol,
  lifeOf,
  managerCredentials,
  type NodeIdentity,
  nodeIdentityOf,
  readCredentials,
  renewAtAny,
  renewIdentity,
  writeCredentials,
} from '@apiary/worker/io';
import { Server, ServerCredentials, status, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { DAY_MS, folderOf, identityOf, SECRET, startCluster } from './cluster.js';

const systemClock = new SystemClock();

/** A gRPC server that is somebody else's, with the certificate of `identity`. */
async function startStranger(
  t: Test,
  identity: NodeIdentity,
  service: UntypedServiceImplementation | undefined,
): Promise<string> {
  const server = new Server();
  if (service !== undefined) server.addService(NodeCaService, service);
  const pair = { private_key: Buffer.from(identity.keyPem), cert_chain: Buffer.from(identity.certificateChainPem) };
  const credentials = ServerCredentials.createSsl(null, [pair]);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', credentials, (error, port) => (error === null ? resolve(port) : reject(error)));
  });
  t.teardown(() => server.forceShutdown());
  return `127.0.0.1:${port}`;
}

/** A certificate service that shows `rootPem` and keeps the tokens that it is sent. */
function tokenThief(rootPem: string): { service: NodeCaServer; stolen: string[] } {
  const stolen: string[] = [];
  const service: NodeCaServer = {
    getRootCertificate: (_call, callback) => callback(null, { rootCertificatePem: rootPem }),
    issueCertificate: (call, callback) => {
      stolen.push(call.request.joinToken);
      callback(null, { nodeId: '', clusterId: '', role: '', certificateChainPem: '', trustPem: '' });
    },
  };
  return { service, stolen };
}

const anyToken = formatJoinToken({ rootDigest: '1'.repeat(50), secret: SECRET });

t.test('a node that joins has an identity that opens a session, and that it finds again on its disk', async (t) => {
  const { addr, joinToken, replica, rootCa } = await startCluster(t);
  const identity = await enrol({ remoteAddr: addr, joinToken, availability: 'drain' });
  t.match(identity, { role: 'worker', clusterId: 'c1', rootPem: rootCa.certificatePem });
  t.match(replica.view.node(identity.nodeId), { role: 'worker', spec: { Availability: 'drain' } });
  const { notAfterMs } = lifeOf(identity);
  t.ok(Math.abs(notAfterMs - Date.now() - 90 * DAY_MS) < 60_000);

  const dataRoot = folderOf(t);
  t.equal(await readCredentials(dataRoot), undefined);
  await writeCredentials(dataRoot, identity);
  const path = join(dataRoot, 'certificates', 'node.pem');
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.equal(statSync(join(dataRoot, 'certificates')).mode & 0o777, 0o700);
  const found = await readCredentials(dataRoot);
  t.same(found, identity);

  const session = await openSession(t, addr, found ?? identity);
  session.cancel();
  t.match(replica.view.node(identity.nodeId)?.status, { state: 'ready', addr: '127.0.0.1' });

  const renewed = await renewIdentity({ remoteAddr: addr, identity });
  t.equal(renewed.nodeId, identity.nodeId);
  t.not(renewed.keyPem, identity.keyPem);
  await writeCredentials(dataRoot, renewed);
  t.same(await readCredentials(dataRoot), renewed);
  await replica.submit(() => ({
    guards: [],
    changes: [{ type: 'node-delete', id: identity.nodeId }],
    result: undefined,
  }));
  await t.rejects(renewIdentity({ remoteAddr: addr, identity: renewed }), { code: 'not-found', message: /no longer/ });
});

/** The renewal of `identity`, and what it logs. */
function startRenewal(
  t: Test,
  virtual: Clock,
  identity: NodeIdentity,
  managers: () => string[],
  renew: (current: NodeIdentity, signal: AbortSignal) => Promise<NodeIdentity> = (current, signal) =>
    renewAtAny(managers(), { identity: current, signal, rng: new SeededRng(1) }),
) {
  const dataRoot = folderOf(t);
  const logged: { msg: string; waitMs?: number }[] = [];
  let wake = () => {};
  const logger = pino(
    { base: null },
    {
      write: (line) => {
        logged.push(JSON.parse(line) as { msg: string });
        wake();
      },
    },
  );
  const renewal = new CertificateRenewal({
    identity,
    dataRoot,
    renew,
    clock: virtual,
    rng: new SeededRng(1),
    logger,
  });
  t.teardown(() => renewal.stop());
  /** The next thing logged: each attempt ends with one. */
  const next = async () => {
    while (logged.length === 0) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return logged.shift();
  };
  return { dataRoot, renewal, next };
}

/** Opens a session, and resolves with it once the manager has welcomed the node. */
async function openSession(t: Test, addr: string, identity: NodeIdentity) {
  const { credentials, options } = managerCredentials(identity);
  const client = new DispatcherClient(addr, credentials, options);
  const session = client.session();
  session.on('error', () => undefined);
  t.teardown(() => {
    session.cancel();
    client.close();
  });
  session.write({
    body: {
      $case: 'hello',
      value: {
        contentKey: Buffer.alloc(0),
        description: { descriptionJson: '', advertiseAddr: '', engineError: '', managerAddr: '', wireguardKey: '' },
      },
    },
  });
  const [welcome] = (await once(session, 'data')) as [ManagerMessage];
  t.match(welcome, { body: { $case: 'welcome', value: { nodeId: identity.nodeId, clusterId: 'c1' } } });
  return session;
}

t.test('a wrong token is refused, and the message says what is wrong with it', async (t) => {
  const { addr, rootCa } = await startCluster(t);
  const rootDigest = rootDigestOfPem(rootCa.certificatePem);
  await t.rejects(enrol({ remoteAddr: addr, joinToken: formatJoinToken({ rootDigest, secret: 'x'.repeat(25) }) }), {
    code: 'unauthenticated',
    message: /^invalid join token: its secret is wrong or was rotated/,
  });
  await t.rejects(enrol({ remoteAddr: addr, joinToken: formatJoinToken({ rootDigest, secret: 'm'.repeat(25) }) }), {
    code: 'invalid-argument',
    message: /^this join token is for managers, and no address came with it/,
  });
  await t.rejects(enrol({ remoteAddr: addr, joinToken: anyToken }), {
    code: 'unauthenticated',
    message: /^remote CA does not match fingerprint/,
  });
  await t.rejects(enrol({ remoteAddr: addr, joinToken: 'SWMTKN-1-short' }), { code: 'invalid-argument' });
  await t.rejects(enrol({ remoteAddr: 'a b', joinToken: anyToken }), {
    code: 'invalid-argument',
    message: /remote address/,
  });
});

t.test('the secret is sent to nobody but a manager of the cluster that the token is for', async (t) => {
  const rootCa = createRootCa(Date.now());
  const joinToken = formatJoinToken({ rootDigest: rootDigestOfPem(rootCa.certificatePem), secret: SECRET });
  const otherCa = createRootCa(Date.now());

  const other = tokenThief(otherCa.certificatePem);
  const otherAddr = await startStranger(t, identityOf(otherCa, 'manager', 'm1'), other.service);
  await t.rejects(enrol({ remoteAddr: otherAddr, joinToken }), { message: /does not match fingerprint/ });

  const shown = tokenThief(rootCa.certificatePem);
  const middleAddr = await startStranger(t, identityOf(otherCa, 'manager', 'm1'), shown.service);
  await t.rejects(enrol({ remoteAddr: middleAddr, joinToken }), { code: 'unavailable', message: /does not prove/ });
  const workerAddr = await startStranger(t, identityOf(rootCa, 'worker', 'w1'), shown.service);
  await t.rejects(enrol({ remoteAddr: workerAddr, joinToken }), { code: 'unavailable', message: /does not prove/ });

  t.same([...other.stolen, ...shown.stolen], []);
});

t.test('a node that a crowded manager turns away asks again while it has time', async (t) => {
  const rootCa = createRootCa(Date.now());
  const rootDigest = rootDigestOfPem(rootCa.certificatePem);
  const joinToken = formatJoinToken({ rootDigest, secret: SECRET });
  const { service, stolen } = tokenThief(rootCa.certificatePem);
  const crowded = { code: status.RESOURCE_EXHAUSTED, details: 'too many nodes are joining at once: try again' };
  let asked = 0;
  const turnedAway: NodeCaServer = {
    ...service,
    getRootCertificate: (call, callback) => {
      if (asked++ === 0) callback(crowded);
      else service.getRootCertificate(call, callback);
    },
  };
  const addr = await startStranger(t, identityOf(rootCa, 'manager', 'm1'), turnedAway);
  await t.rejects(enrol({ remoteAddr: addr, joinToken }), { code: 'failed-precondition' }, 'what it is sent is no use');
  t.same([asked, stolen], [2, [joinToken]]);
  asked = 0;
  await t.rejects(enrol({ remoteAddr: addr, joinToken, timeoutMs: 400 }), { code: 'resource-exhausted' });
});

t.test('each kind of host that is no manager is told apart', async (t) => {
  const join = (remoteAddr: string) => enrol({ remoteAddr, joinToken: anyToken, timeoutMs: 300 });
  const listen = async (server: ReturnType<typeof createServer>): Promise<string> => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.teardown(() => server.close());
    return `127.0.0.1:${(server.address() as AddressInfo).port}`;
  };
  const free = createServer();
  const freeAddr = await listen(free);
  free.close();
  await once(free, 'close');
  await t.rejects(join(freeAddr), { code: 'unavailable', message: /^nothing listens at/ });

  const plainAddr = await listen(createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')));
  await t.rejects(join(plainAddr), { code: 'unavailable', message: /no manager.*does not speak TLS/ });

  const closing = await listen(createServer((socket) => socket.end()));
  await t.rejects(join(closing), { code: 'unavailable', message: /no manager/ });

  const stranger = identityOf(createRootCa(Date.now()), 'manager', 'm1');
  const web = createHttpsServer({ key: stranger.keyPem, cert: stranger.certificateChainPem });
  await t.rejects(join(await listen(web)), { code: 'unavailable', message: /no manager/ });

  await t.rejects(join(await startStranger(t, stranger, undefined)), {
    message: /speaks gRPC, but issues no certificates/,
  });

  const sockets: { destroy(): void }[] = [];
  const mute = await listen(createServer((socket) => void sockets.push(socket)));
  await t.rejects(join(mute), { code: 'unavailable', message: /accepts connections, but did not answer within 0.3 s/ });
  for (const socket of sockets) socket.destroy();
});

t.test('a host that does not answer is given up in time', async (t) => {
  // A process that listens and then stands still: once its queue is full, connecting to it gets no answer.
  const script = `
    const server = require('node:net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
      process.stdout.write(String(server.address().port), () => process.kill(process.pid, 'SIGSTOP'));
    });`;
  const host = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => host.kill('SIGKILL'));
  const [port] = (await once(host.stdout, 'data')) as [Buffer];
  const fillers = Array.from({ length: 4 }, () => connect(Number(port), '127.0.0.1').on('error', () => undefined));
  t.teardown(() => {
    for (const filler of fillers) filler.destroy();
  });
  await once(fillers[0] ?? host, 'connect');
  await once(fillers[1] ?? host, 'connect');
  await t.rejects(enrol({ remoteAddr: `127.0.0.1:${port}`, joinToken: anyToken, timeoutMs: 300 }), {
    code: 'unavailable',
    message: /^cannot reach .* no answer within 0.3 s/,
  });
});

t.test('a certificate is renewed in time, and the session that is open goes on', async (t) => {
  // So far back that TLS, which knows only the machine's time, takes the old certificate and the new one for good.
  const virtual = new VirtualClock(Date.now() - 73 * DAY_MS);
  const clusterClock: Clock = { now: () => virtual.now(), after: (ms, callback) => systemClock.after(ms, callback) };
  const { addr, joinToken, replica } = await startCluster(t, clusterClock);
  const identity = await enrol({ remoteAddr: addr, joinToken });
  const session = await openSession(t, addr, identity);
  const { dataRoot, renewal, next } = startRenewal(t, virtual, identity, () => [addr]);
  await replica.submit(() => ({
    guards: [],
    changes: [{ type: 'cluster-spec', spec: { CAConfig: { NodeCertExpiry: 30 * DAY_MS * 1e6 } } }],
    result: undefined,
  }));

  virtual.advance(45 * DAY_MS - 60_000);
  t.equal(renewal.identity, identity, 'not before half of its life');
  virtual.advance(27 * DAY_MS + 60_000);
  t.match(await next(), { msg: 'certificate renewed' });
  t.equal(renewal.identity.nodeId, identity.nodeId);
  t.not(renewal.identity.keyPem, identity.keyPem);
  t.same(await readCredentials(dataRoot), renewal.identity);
  const { issuedMs, notAfterMs } = lifeOf(renewal.identity);
  t.equal(notAfterMs - issuedMs, 30 * DAY_MS, 'as long as the cluster says by now');

  session.write({ body: { $case: 'statusReport', value: { sequence: 7, updates: [] } } });
  const acknowledged = new Promise<number>((resolve) => {
    session.on('data', ({ body }: ManagerMessage) => body?.$case === 'statusAck' && resolve(body.value.sequence));
  });
  t.equal(await acknowledged, 7);
  await openSession(t, addr, renewal.identity);
});

t.test('a node whose clock is an hour off renews in time for all others, over and over', async (t) => {
  const HOUR_MS = 3600_000;
  const rootCa = createRootCa(Date.now());
  const cases: [skewMs: number, lifeMs: number][] = [
    [-HOUR_MS, HOUR_MS],
    [0, HOUR_MS],
    [-HOUR_MS, 90 * DAY_MS],
    // With an hour alone, such a node takes every certificate for one that is over.
    [HOUR_MS, 6 * HOUR_MS],
    [HOUR_MS, 90 * DAY_MS],
  ];
  for (const [skewMs, validityMs] of cases) {
    const others = new VirtualClock(Date.now());
    const own: Clock = { now: () => others.now() + skewMs, after: (ms, callback) => others.after(ms, callback) };
    const askedAtMs: number[] = [];
    const renew = async () => {
      askedAtMs.push(others.now());
      const { keyPem, csrPem } = createKeyAndCsr();
      const who = { nodeId: 'w1', role: 'worker' as const, clusterId: 'c1' };
      const chain = issueCertificate({ rootCa, csrPem, ...who, validityMs, nowMs: others.now() });
      return nodeIdentityOf(chain, keyPem, rootCa.certificatePem);
    };
    const { renewal, next } = startRenewal(t, own, await renew(), () => [], renew);
    const what = `${skewMs / HOUR_MS} h off, certificates of ${validityMs / HOUR_MS} h`;
    for (let round = 1; round <= 3; round++) {
      const { issuedMs, notAfterMs } = lifeOf(renewal.identity);
      while (askedAtMs.length === round && others.now() < notAfterMs) {
        others.advance(validityMs / 100);
        await new Promise((resolve) => setImmediate(resolve));
      }
      t.match(await next(), { msg: 'certificate renewed' }, what);
      const at = ((askedAtMs.at(-1) ?? 0) - issuedMs) / validityMs;
      t.ok(at <= 0.82 && at >= (skewMs > 0 ? 0.5 - skewMs / validityMs : 0.5), `${what}: at ${at} of its life`);
    }
    await renewal.stop();
  }
});

t.test('a renewal that fails is tried again until a manager answers', async (t) => {
  const virtual = new VirtualClock(Date.now());
  const { addr, rootCa, replica } = await startCluster(t);
  const status = { state: 'unknown' as const, message: '', addr: '' };
  await replica.submit(() => ({
    guards: [],
    changes: [{ type: 'node-create', node: { id: 'w1', role: 'worker', spec: {}, status } }],
    result: undefined,
  }));
  const stranger = identityOf(createRootCa(Date.now()), 'manager', 'm1');
  const strangerAddr = await startStranger(t, stranger, tokenThief(stranger.rootPem).service);
  const identity = identityOf(rootCa, 'worker', 'w1');
  const managers = [strangerAddr];
  const { renewal, next } = startRenewal(t, virtual, identity, () => managers);
  virtual.advance(0.8 * DAY_MS);
  for (const failures of [1, 2, 3]) {
    const failed = await next();
    t.match(failed, { failures, msg: /not renewed yet: check that this host reaches a manager/ });
    const waitMs = failed?.waitMs ?? 0;
    t.ok(waitMs >= 500 * 2 ** (failures - 1) && waitMs <= 1_000 * 2 ** (failures - 1), `${waitMs} ms`);
    t.equal(renewal.identity, identity);
    if (failures === 3) managers.push(addr);
    virtual.advance(waitMs);
  }
  t.match(await next(), { msg: 'certificate renewed' });
  t.equal(renewal.error, '');
});

t.test('a node whose role has changed renews at once, also while another renewal is under way', async (t) => {
  const virtual = new VirtualClock(Date.now());
  const { addr, joinToken, replica } = await startCluster(t);
  const identity = await enrol({ remoteAddr: addr, joinToken });
  const { renewal } = startRenewal(t, virtual, identity, () => [addr]);
  const { nodeId } = identity;
  const underWay = renewal.renewNow();
  const spec = { Role: 'manager', Availability: 'active' } as const;
  await replica.submit(() => ({ guards: [], changes: [{ type: 'node-spec', id: nodeId, spec }], result: undefined }));
  const promoted = await renewal.renewNow();
  await underWay;
  t.equal(promoted.role, 'manager');
  t.equal(renewal.identity, promoted);
  const late = renewal.renewNow();
  const failed = t.rejects(late, { code: 'unavailable', message: /stopping, or leaves/ });
  await renewal.stop();
  await failed;
  await t.rejects(renewal.renewNow(), { code: 'unavailable' });
});

t.test('who waits for a certificate in vain has the one that the node gets otherwise', async (t) => {
  const virtual = new VirtualClock(Date.now());
  const rootCa = createRootCa(Date.now());
  const refuse = () => Promise.reject(new ApiaryError('unavailable', 'no manager'));
  const { renewal, next } = startRenewal(t, virtual, identityOf(rootCa, 'worker', 'w1'), () => [], refuse);
  const waiting = renewal.renewNow();
  t.match(await next(), { failures: 1 });
  const rejoined = identityOf(rootCa, 'worker', 'w1');
  await renewal.adopt(rejoined);
  t.equal(await waiting, rejoined);
});

t.test('a node that was off for too long says so, what to do, and goes on trying', async (t) => {
  const { addr, rootCa } = await startCluster(t);
  const virtual = new VirtualClock(Date.now() + 2 * DAY_MS);
  const { renewal, next, dataRoot } = startRenewal(t, virtual, identityOf(rootCa, 'worker', 'gone'), () => [addr]);
  const whatToDo = /certificate of this node expired at .* join again with a token/;
  t.match(renewal.error, whatToDo);
  t.match(await next(), { msg: whatToDo });
  virtual.advance(0);
  t.match(await next(), { msg: whatToDo, failures: 1 });
  t.equal(await readCredentials(dataRoot), undefined);
});

t.test('a renewal that waits for an answer ends with the node, and writes nothing more', async (t) => {
  const virtual = new VirtualClock(Date.now() + 0.8 * DAY_MS);
  const mute = createServer();
  mute.listen(0, '127.0.0.1');
  await once(mute, 'listening');
  const identity = identityOf(createRootCa(Date.now()), 'worker', 'w1');
  const addr = `127.0.0.1:${(mute.address() as AddressInfo).port}`;
  const { renewal, dataRoot } = startRenewal(t, virtual, identity, () => [addr, addr]);
  const asked = once(mute, 'connection') as Promise<[Socket]>;
  virtual.advance(0);
  const [socket] = await asked;
  await renewal.stop();
  virtual.advance(DAY_MS);
  t.equal(await readCredentials(dataRoot), undefined);
  socket.destroy();
  mute.close();
});

t.test('a new certificate that cannot be written is shown all the same, and asked for again', async (t) => {
  const { addr, joinToken } = await startCluster(t);
  const identity = await enrol({ remoteAddr: addr, joinToken });
  const virtual = new VirtualClock(Date.now());
  const { renewal, dataRoot, next } = startRenewal(t, virtual, identity, () => [addr]);
  // A file where the folder is to be.
  const inTheWay = join(dataRoot, 'certificates');
  writeFileSync(inTheWay, '');
  virtual.advance(72 * DAY_MS);
  const failed = await next();
  t.match(failed, { failures: 1, err: { message: /cannot write the node's certificate/ } });
  t.not(renewal.identity.keyPem, identity.keyPem);
  rmSync(inTheWay);
  virtual.advance(failed?.waitMs ?? 0);
  await next();
  t.same(await readCredentials(dataRoot), renewal.identity);
});

t.test('credentials that are damaged are named, and a crash while they are written leaves the old ones', async (t) => {
  const dataRoot = folderOf(t);
  const path = join(dataRoot, 'certificates', 'node.pem');
  const rootCa = createRootCa(Date.now());
  const identity = identityOf(rootCa, 'worker', 'w1');
  await writeCredentials(dataRoot, identity);
  writeFileSync(`${path}.new`, 'half of');
  t.same(await readCredentials(dataRoot), identity);
  const next = identityOf(rootCa, 'worker', 'w1');
  await writeCredentials(dataRoot, next);
  t.same(await readCredentials(dataRoot), next);

  const text = readFileSync(path, 'utf8');
  const damaged = { code: 'failed-precondition', message: new RegExp(`damaged node certificate ${path}`) };
  writeFileSync(path, text.slice(0, 300));
  await t.rejects(readCredentials(dataRoot), damaged);
  writeFileSync(
    path,
    identity.keyPem + text.replace(/-----BEGIN PRIVATE KEY-----[^-]+-----END PRIVATE KEY-----\n/, ''),
  );
  await t.rejects(readCredentials(dataRoot), { ...damaged, message: /its key is not that of the certificate/ });
  writeFileSync(path, next.keyPem + next.certificateChainPem + createRootCa(Date.now()).certificatePem);
  await t.rejects(readCredentials(dataRoot), { message: /not signed by the root/ });
});
