import { createKeyAndCsr } from '@apiary/api/client';
import { formatJoinToken } from '@apiary/api/model';
import { createJoinToken, removeJoinToken } from '@apiary/manager/core';
import { issueCertificate, rootDigestOfPem } from '@apiary/manager/io';
import { enrol, nodeIdentityOf, writeCredentials } from '@apiary/worker/io';
import t from 'tap';
import { type Containers, engineWith, joinRequest, type TestHost, testHost, until } from './testing/nodes.js';

t.setTimeout(180_000);

const DAY_MS = 24 * 3600 * 1000;

function clusterOf({ node }: TestHost) {
  const cluster = node.replica().view.cluster();
  if (cluster === undefined) throw new Error('no cluster');
  return cluster;
}

/** What `swarmctl token create` does. */
async function createToken(
  host: TestHost,
  order: { role?: string; labels?: Record<string, string>; validityMs?: number },
) {
  const token = await host.node
    .replica()
    .submit((view, { nowMs, rng }) => createJoinToken(view, { role: 'worker', labels: {}, ...order }, nowMs, rng));
  const rootDigest = rootDigestOfPem(clusterOf(host).rootCa.certificatePem);
  return { id: token.id, text: formatJoinToken({ rootDigest, secret: token.secret }) };
}

const nodeOf = (host: TestHost, at: TestHost) => at.node.replica().view.node(host.node.status().nodeId);

t.test(
  'a join token brings the labels and the role that it was made with, for as long as it was made for',
  async (t) => {
    const first = await testHost(t);
    await first.node.init(first.addresses);
    const request = (host: TestHost, JoinToken: string) => ({ ...joinRequest(host, first, 'worker'), JoinToken });
    const zone = await createToken(first, { labels: { zone: 'a', disk: 'ssd' }, validityMs: DAY_MS });
    const second = await testHost(t);
    await second.node.join(request(second, zone.text));
    t.match(nodeOf(second, first)?.spec, { Role: 'worker', Labels: { zone: 'a', disk: 'ssd' } });
    const managing = await createToken(first, { role: 'manager', labels: { rack: '7' } });
    const third = await testHost(t);
    await third.node.join(request(third, managing.text));
    t.match(nodeOf(third, first)?.spec, { Role: 'manager', Labels: { rack: '7' } });
    t.ok(first.node.replica().members.voters.includes(third.node.status().nodeId));
    const brief = await createToken(first, { validityMs: 1 });
    const late = await testHost(t);
    await until(
      'it is over',
      () => Date.now() > (clusterOf(first).joinTokens?.at(-1)?.notAfterMs ?? Number.POSITIVE_INFINITY),
    );
    await t.rejects(late.node.join(request(late, brief.text)), { code: 'unauthenticated', message: /it expired at/ });
    await first.node.replica().submit((view) => removeJoinToken(view, zone.id));
    await t.rejects(late.node.join(request(late, zone.text)), {
      code: 'unauthenticated',
      message: /its secret is wrong/,
    });
    t.equal(nodeOf(second, first)?.status.state === 'down', false, 'who joined with it stays');
    await t.rejects(createToken(first, { role: 'boss' }), { code: 'invalid-argument', message: /invalid role "boss"/ });
    await t.rejects(createToken(first, { validityMs: -1 }), { code: 'invalid-argument' });
    await t.rejects(
      first.node.replica().submit((view) => removeJoinToken(view, 'x')),
      { code: 'not-found' },
    );
  },
);

t.test('a worker whose certificate has expired comes back with a token, as the node that it was', async (t) => {
  const containers: Containers = new Map();
  const first = await testHost(t);
  await first.node.init(first.addresses);
  const host = await testHost(t, engineWith(containers));
  await host.node.join(joinRequest(host, first, 'worker'));
  const { nodeId } = host.node.status();
  await until('ready', () => nodeOf(host, first)?.status.state === 'ready');
  await host.stop();
  const { id: clusterId, rootCa } = clusterOf(first);
  const { keyPem, csrPem } = createKeyAndCsr();
  const order = { rootCa, csrPem, nodeId, clusterId, role: 'worker' as const, validityMs: DAY_MS };
  const chain = issueCertificate({ ...order, nowMs: Date.now() - 2 * DAY_MS });
  const expired = nodeIdentityOf(chain, keyPem, rootCa.certificatePem);
  await writeCredentials(host.dataRoot, expired);
  containers.set('c1', { nodeId, state: 'running' });
  const node = await host.start();
  t.match(node.status(), { nodeId, state: 'error', error: /join again with a token/ });
  const request = joinRequest(host, first, 'worker');
  const wrong = formatJoinToken({ rootDigest: rootDigestOfPem(rootCa.certificatePem), secret: 'x'.repeat(25) });
  await t.rejects(node.join({ ...request, JoinToken: wrong }), { code: 'unauthenticated' });
  // Whoever has but the certificate, which everybody is shown, cannot take the node's place.
  const thief = { ...expired, keyPem: createKeyAndCsr().keyPem };
  const [remoteAddr = ''] = request.RemoteAddrs;
  await t.rejects(enrol({ remoteAddr, joinToken: request.JoinToken, former: thief }), {
    code: 'unauthenticated',
    message: /the request is not signed by its key/,
  });
  t.match(containers.get('c1'), { state: 'running' }, 'until it is told otherwise');
  await node.join(request);
  t.match(node.status(), { nodeId, state: 'active', error: '' });
  await until('ready', () => first.node.replica().view.node(nodeId)?.status.state === 'ready');
  t.equal(first.node.replica().view.nodes().length, 2, 'no other node was made');
  await t.rejects(node.join(request), /already part of a swarm/);
});
