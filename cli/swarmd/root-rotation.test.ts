import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ClusterSpec } from '@apiary/api/model';
import { updateCluster } from '@apiary/manager/core';
import { chosenRoot, createRootCa, nextRoot } from '@apiary/manager/io';
import { readCredentials } from '@apiary/worker/io';
import t from 'tap';
import { joinRequest, type TestHost, testHost, until } from './testing/nodes.js';

t.setTimeout(240_000);

/** What `swarmctl ca --rotate` does. */
function rotate({ node }: TestHost, ca: ClusterSpec['CAConfig'] = {}): Promise<string> {
  return node.replica().submit((view, { rng, nowMs }) => {
    const cluster = view.cluster();
    if (cluster === undefined) throw new Error('no cluster');
    const before = cluster.spec.CAConfig ?? {};
    const CAConfig = { ...before, ForceRotate: (before.ForceRotate ?? 0) + 1, ...ca };
    return updateCluster(
      view,
      {
        version: cluster.meta.version,
        spec: { ...cluster.spec, CAConfig },
        rotateWorkerToken: false,
        rotateManagerToken: false,
        rotateUnlockKey: false,
        newRoot: (rootCa, given) => nextRoot(rootCa, chosenRoot(given, nowMs), nowMs),
      },
      rng,
    );
  });
}

function clusterOf({ node }: TestHost) {
  const cluster = node.replica().view.cluster();
  if (cluster === undefined) throw new Error('no cluster');
  return cluster;
}

const isRotating = (host: TestHost) => clusterOf(host).rootRotation !== undefined;
const rootOf = (host: TestHost) => clusterOf(host).rootCa.certificatePem;
const idOf = ({ node }: TestHost) => node.status().nodeId;
const isReady = (host: TestHost, at: TestHost) => at.node.replica().view.node(idOf(host))?.status.state === 'ready';

/** Until all that a host shows and trusts is of this root alone. */
async function isOf(host: TestHost, rootPem: string): Promise<void> {
  for (;;) {
    const identity = await readCredentials(host.dataRoot);
    if (identity?.rootPem === rootPem) {
      const leaf = new X509Certificate(identity.certificateChainPem);
      if (leaf.verify(new X509Certificate(rootPem).publicKey)) return;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function threeHosts(t: Parameters<typeof testHost>[0]): Promise<[TestHost, TestHost, TestHost]> {
  const [first, second, third] = [await testHost(t), await testHost(t), await testHost(t)];
  await first.node.init(first.addresses);
  await second.node.join(joinRequest(second, first, 'manager'));
  await third.node.join(joinRequest(third, first, 'worker'));
  for (const host of [first, second, third]) await until('ready', () => isReady(host, first));
  return [first, second, third];
}

t.test('the root is changed under a running cluster, and no node is lost', async (t) => {
  const hosts = await threeHosts(t);
  const [first, second, third] = hosts;
  const before = rootOf(first);
  const oldRequest = joinRequest(await testHost(t), first, 'worker');
  const states = new Set<string>();
  const stop = first.node.replica().subscribe(() => {
    for (const { status } of first.node.replica().view.nodes()) states.add(status.state);
  });
  await rotate(second);
  await until('the end of it', () => !isRotating(first) && rootOf(first) !== before);
  const after = rootOf(first);
  for (const host of hosts) await isOf(host, after);
  stop();
  t.same([...states], ['ready'], 'nobody was down for a moment');
  const late = await testHost(t);
  await t.rejects(late.node.join({ ...oldRequest, ...late.addresses }), { code: 'unauthenticated' });
  await late.node.join(joinRequest(late, first, 'manager'));
  await isOf(late, after);
  for (const host of [third, second, first]) await host.stop();
  await Promise.all([first, second, third].map((host) => host.start()));
  for (const host of hosts) await until('ready again', () => isReady(host, first));
  await first.node.replica().barrier();
  const sealed = readFileSync(join(first.dataRoot, 'certificates', 'node.pem'), 'utf8');
  t.notOk(sealed.includes(before), 'nothing of the old root is left');
});

t.test('it waits for a node that is away, goes on once that is back, and joining works meanwhile', async (t) => {
  const [first, second, third] = await threeHosts(t);
  const before = rootOf(first);
  await third.stop();
  await rotate(first);
  await until('those that are there', () =>
    [first, second].every((host) => {
      const info = first.node.replica().view.node(idOf(host))?.description?.TLSInfo;
      return info?.CertIssuerPublicKey === clusterOf(first).rootRotation?.issuer.CertIssuerPublicKey;
    }),
  );
  t.ok(isRotating(first));
  t.equal(rootOf(first), before);
  const late = await testHost(t);
  await late.node.join(joinRequest(late, first, 'worker'));
  await until('ready', () => isReady(late, first));
  t.ok(isRotating(first), 'still');
  await third.start();
  await until('the end of it', () => !isRotating(first));
  const after = rootOf(first);
  t.not(after, before);
  for (const host of [first, second, third, late]) await isOf(host, after);
});

t.test('a change that is under way is followed by the next leader, and gives way to another', async (t) => {
  const [first, second, third] = await threeHosts(t);
  await third.stop();
  await rotate(first);
  const given = createRootCa(Date.now());
  await rotate(first, { SigningCACert: given.certificatePem, SigningCAKey: given.keyPem });
  await first.node.replica().transferLeadership();
  await until('another leads', () => second.node.replica().leadership.role === 'leader');
  await third.start();
  await until('the end of it', () => !isRotating(second));
  t.equal(rootOf(second), given.certificatePem, 'the one that was asked for last');
  t.equal(clusterOf(second).spec.CAConfig?.SigningCAKey, undefined, 'its key is not in the spec');
  for (const host of [first, second, third]) await isOf(host, given.certificatePem);
});

t.test('a root that cannot be used is refused by what is wrong with it', async (t) => {
  const host = await testHost(t);
  await host.node.init(host.addresses);
  const { certificatePem, keyPem } = createRootCa(Date.now());
  const other = createRootCa(Date.now());
  const old = createRootCa(Date.now() - 30 * 365 * 24 * 3600_000);
  const leaf = new X509Certificate(readFileSync(join(host.dataRoot, 'certificates', 'node.pem'))).toString();
  const wrong: [string, string, RegExp][] = [
    [certificatePem, other.keyPem, /the key is not that of the certificate/],
    [old.certificatePem, old.keyPem, /has expired/],
    [leaf, keyPem, /is not one of a CA/],
    ['nonsense', keyPem, /CAConfig.SigningCACert/],
    [certificatePem, '', /external CA corresponding to the desired CA certificate/],
    ['', keyPem, /the signing CA cert must also be provided/],
  ];
  for (const [SigningCACert, SigningCAKey, message] of wrong) {
    await t.rejects(rotate(host, { SigningCACert, SigningCAKey }), { code: 'invalid-argument', message });
  }
  t.notOk(isRotating(host));
});
