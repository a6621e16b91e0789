import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import { createSecureContext } from 'node:tls';
import { createKeyAndCsr, fromRpcError } from '@apiary/api/client';
import { formatJoinToken } from '@apiary/api/model';
import { NodeCaClient, NodeCaService } from '@apiary/api/rpc';
import { gatewaySubnet } from '@apiary/overlay-net/core';
import type { ApiaryError } from '@apiary/std';
import { ChannelCredentials, makeGenericClientConstructor } from '@grpc/grpc-js';
import t from 'tap';
import { createRootCa, rootDigestOfPem } from '../trust/authority.js';
import { startRpcServer } from './server.js';
import { STRANGERS } from './stranger-limits.js';
import {
  CHANNEL,
  credentialsOf,
  DAY_MS,
  type Identity,
  identityOf,
  issue,
  MANAGER_SECRET,
  openCluster,
  serviceWithTasks,
  TestAgent,
  WORKER_SECRET,
} from './test-cluster.js';

t.test('who has no certificate of the cluster opens no session, and hears why', async (t) => {
  const { server, rootCa } = await openCluster(t);
  const rootPem = rootCa.certificatePem;
  const foreign = identityOf(createRootCa(Date.now()), 'w1', 'worker');
  const expired = identityOf(rootCa, 'w1', 'worker', { nowMs: Date.now() - 30 * DAY_MS });
  const unknown = identityOf(rootCa, 'nobody', 'worker');
  const open = async (identity: Partial<Identity>) => {
    const agent = new TestAgent(t, server, { ...identity, rootPem });
    agent.hello();
    return agent.ended;
  };
  t.match(await open({}), { code: 'unauthenticated', message: /needs a valid certificate of this cluster/ });
  t.match(await open(foreign), { code: 'unauthenticated', message: /another CA/ });
  t.match(await open(expired), { code: 'unauthenticated', message: /expired/ });
  t.match(await open(unknown), { code: 'not-found', message: /node nobody is not, or no longer/ });
});

t.test("a manager's call is refused to a worker's certificate and to none", async (t) => {
  const definition = { secret: { ...NodeCaService.getRootCertificate, path: '/apiary.v1.Test/Secret' as const } };
  const implementation = {
    secret: (_call: unknown, callback: (error: null, answer: { rootCertificatePem: string }) => void) =>
      callback(null, { rootCertificatePem: 'told' }),
  };
  const { server, rootCa } = await openCluster(t, () => [{ definition, implementation, access: 'manager' }]);
  const Client = makeGenericClientConstructor(definition, 'apiary.v1.Test');
  const call = (identity: Partial<Identity>) => {
    const client = new Client(server.addr, credentialsOf({ ...identity, rootPem: rootCa.certificatePem }), CHANNEL);
    t.teardown(() => client.close());
    return new Promise((resolve) => {
      client['secret']?.({}, (error: unknown, answer: unknown) =>
        resolve(error === null ? answer : fromRpcError(error)),
      );
    });
  };
  t.match(await call(identityOf(rootCa, 'w1', 'worker')), { code: 'permission-denied', message: /w1 is a worker/ });
  t.match(await call({}), { code: 'unauthenticated' });
  t.match(await call(identityOf(rootCa, 'w1', 'manager')), { code: 'permission-denied' }, 'the record says worker');
  t.match(await call(identityOf(rootCa, 'm1', 'manager')), { rootCertificatePem: 'told' });
});

t.test('a join with the worker token makes a node whose certificate opens a session', async (t) => {
  const { server, rootCa, replica } = await openCluster(t);
  const { keyPem, csrPem } = createKeyAndCsr();
  const rootPem = rootCa.certificatePem;
  const joinToken = formatJoinToken({ rootDigest: rootDigestOfPem(rootPem), secret: WORKER_SECRET });
  const answer = await issue(t, server, { rootPem }, { csrPem, joinToken, availability: 'pause' });
  t.match(answer, { role: 'worker', clusterId: 'c1' });
  t.match(replica.view.node(answer.nodeId), {
    role: 'worker',
    spec: { Availability: 'pause' },
    status: { state: 'unknown' },
  });
  const identity = { rootPem, keyPem, certificateChainPem: answer.certificateChainPem };
  const agent = new TestAgent(t, server, identity);
  agent.hello();
  const { gatewayIndex = -1 } = replica.view.node(answer.nodeId) ?? {};
  t.match(await agent.take('welcome'), {
    value: { nodeId: answer.nodeId, clusterId: 'c1', update: { gatewaySubnet: gatewaySubnet(gatewayIndex) } },
  });

  const renewed = await issue(t, server, identity, {});
  t.equal(renewed.nodeId, answer.nodeId, 'a renewal is for the same node');
  t.not(renewed.certificateChainPem, answer.certificateChainPem);
});

t.test('a join that is wrong in any way makes no node', async (t) => {
  const { server, rootCa, replica } = await openCluster(t);
  const rootPem = rootCa.certificatePem;
  const rootDigest = rootDigestOfPem(rootPem);
  const good = formatJoinToken({ rootDigest, secret: WORKER_SECRET });
  const attempt = (request: { csrPem?: string; joinToken?: string; availability?: string }) =>
    issue(t, server, { rootPem }, request);
  const before = replica.entries.length;
  await t.rejects(attempt({ joinToken: formatJoinToken({ rootDigest, secret: 'x'.repeat(25) }) }), {
    code: 'unauthenticated',
    message: /^invalid join token: its secret is wrong/,
  });
  await t.rejects(attempt({ joinToken: formatJoinToken({ rootDigest: '2'.repeat(50), secret: WORKER_SECRET }) }), {
    code: 'unauthenticated',
    message: /another cluster/,
  });
  await t.rejects(attempt({ joinToken: formatJoinToken({ rootDigest, secret: MANAGER_SECRET }) }), {
    code: 'invalid-argument',
    message: /for managers, and no address/,
  });
  await t.rejects(attempt({ joinToken: 'SWMTKN-1-x' }), { code: 'invalid-argument' });
  await t.rejects(attempt({}), { code: 'unauthenticated', message: /neither a join token nor/ });
  await t.rejects(attempt({ joinToken: good, availability: 'gone' }), { code: 'invalid-argument' });
  await t.rejects(attempt({ joinToken: good, csrPem: 'no request' }), {
    code: 'invalid-argument',
    message: /certificate request/,
  });
  await t.rejects(attempt({ joinToken: good, csrPem: 'x'.repeat(60_000) }), { code: 'invalid-argument' });
  await t.rejects(attempt({ joinToken: good, csrPem: 'x'.repeat(66_000) }), { code: 'resource-exhausted' });
  t.equal(replica.entries.length, before);
});

t.test('callers who are no node get only so many calls at once, and none for long', async (t) => {
  const { server, rootCa, clock } = await openCluster(t);
  const rootPem = rootCa.certificatePem;
  const definition = { issueCertificate: { ...NodeCaService.issueCertificate, requestStream: true as const } };
  // A unary call whose request never comes.
  const Client = makeGenericClientConstructor(definition, 'apiary.v1.NodeCa');
  const endings: Promise<ApiaryError>[] = [];
  for (let connection = 0; connection < 5; connection++) {
    const client = new Client(server.addr, credentialsOf({ rootPem }), CHANNEL);
    t.teardown(() => client.close());
    for (let i = 0; i < 60; i++) {
      endings.push(
        new Promise((resolve) => client['issueCertificate']?.((error: unknown) => resolve(fromRpcError(error)))),
      );
    }
  }
  t.match(await Promise.race(endings), { code: 'resource-exhausted', message: /too many nodes are joining/ });
  clock.advance(10_000);
  const codes = (await Promise.all(endings)).map(({ code }) => code);
  t.equal(codes.filter((code) => code === 'unavailable').length, 256);
  t.equal(codes.filter((code) => code === 'resource-exhausted').length, 44);
  await t.rejects(issue(t, server, { rootPem }, {}), { code: 'unauthenticated' }, 'there is room again');
});

t.test('callers who are no node get only so many calls a second, and nodes all that they like', async (t) => {
  const { server, rootCa, clock } = await openCluster(t);
  const credentials = credentialsOf({ rootPem: rootCa.certificatePem });
  const client = new NodeCaClient(server.addr, credentials, CHANNEL);
  t.teardown(() => client.close());
  const ask = () =>
    new Promise<boolean>((resolve, reject) => {
      client.getRootCertificate({}, (error) => {
        const failure = error === null ? undefined : fromRpcError(error);
        if (failure === undefined || failure.code === 'resource-exhausted') resolve(failure === undefined);
        else reject(failure);
      });
    });
  const answered = async (calls: number) => {
    let count = 0;
    for (let left = calls; left > 0; left -= 64) {
      count += (await Promise.all(Array.from({ length: Math.min(64, left) }, ask))).filter(Boolean).length;
    }
    return count;
  };
  t.equal(await answered(STRANGERS.rate.burst + 100), STRANGERS.rate.burst);
  clock.advance(500);
  t.equal(await answered(200), STRANGERS.rate.perSecond / 2);
  clock.skewMs = -3_600_000;
  t.equal(await answered(10), 0, 'a clock that is set back gives nothing');
  const agent = new TestAgent(t, server, identityOf(rootCa, 'w1', 'worker'));
  await agent.open();
});

t.test('a new certificate of the manager shows on the next connection, and disturbs no session', async (t) => {
  const { server, rootCa, replica } = await openCluster(t);
  const agent = new TestAgent(t, server, identityOf(rootCa, 'w1', 'worker'));
  await agent.open();
  const expired = identityOf(rootCa, 'm1', 'manager', { nowMs: Date.now() - 30 * DAY_MS });
  server.rotate(expired);
  const late = new TestAgent(t, server, identityOf(rootCa, 'w2', 'worker'));
  t.match(await late.ended, { code: 'unavailable' }, 'the new one is shown, which is not good any more');
  server.rotate(identityOf(rootCa, 'm1', 'manager'));
  await new TestAgent(t, server, identityOf(rootCa, 'w2', 'worker')).open();
  serviceWithTasks(replica, ['t1', 'w1']);
  t.match(await agent.take('assignments'), { value: { tasks: [{ taskId: 't1' }] } });
});

t.test('noise on the port, and older TLS, leave the server as it was', async (t) => {
  const { server, rootCa } = await openCluster(t);
  const port = Number(server.addr.split(':')[1]);
  for (const noise of ['GET / HTTP/1.1\r\n\r\n', randomBytes(10_000)]) {
    const socket = connectTcp(port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write(noise);
    await once(socket, 'close');
  }
  const rootPem = rootCa.certificatePem;
  const old = ChannelCredentials.createFromSecureContext(createSecureContext({ ca: rootPem, maxVersion: 'TLSv1.2' }));
  const client = new NodeCaClient(server.addr, old, CHANNEL);
  t.teardown(() => client.close());
  const failure = await new Promise((resolve) =>
    client.getRootCertificate({}, (error) => resolve(fromRpcError(error))),
  );
  t.match(failure, { code: 'unavailable' });
  await new TestAgent(t, server, identityOf(rootCa, 'w1', 'worker')).open();
});

t.test('an address that is taken is refused with the flag that chooses another', async (t) => {
  const { server, rootCa, replica, clock } = await openCluster(t);
  const identity = identityOf(rootCa, 'm1', 'manager');
  const start = (listenAddr: string) => startRpcServer({ listenAddr, identity, services: [], replica, clock });
  await t.rejects(start(server.addr), { code: 'failed-precondition', message: /EADDRINUSE.*--listen-addr/ });
  await t.rejects(start('not an address'), { code: 'invalid-argument', message: /listen address/ });
});
