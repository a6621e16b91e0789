import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient, createKeyAndCsr } from '@apiary/api/client';
import type { ClusterSpec } from '@apiary/api/model';
import { createHttpApi } from '@apiary/manager/http';
import { SystemClock } from '@apiary/std/io';
import { readCredentials } from '@apiary/worker/io';
import t, { type Test } from 'tap';
import { cfssl, withoutCfssl } from './testing/cfssl.js';
import { freePort, joinRequest, type TestHost, testHost, until } from './testing/nodes.js';

t.setTimeout(240_000);

type Client = ReturnType<typeof createClient>;
type CaConfig = NonNullable<ClusterSpec['CAConfig']>;

const skip = withoutCfssl;
const logger = { info: () => {}, error: () => {} };
const DAY_NS = 24 * 3600 * 1e9;
const external = (url: string, CACert?: string) => [
  { Protocol: 'cfssl', URL: url, ...(CACert !== undefined && { CACert }) },
];

/** The host's HTTP API: who calls it over the socket, and where it is for who shows a client's certificate. */
async function apiOf(t: Test, { node }: TestHost): Promise<{ client: Client; tls: string }> {
  const directory = mkdtempSync(join(tmpdir(), 'signer-api-'));
  const clock = new SystemClock();
  const names = ['127.0.0.1'];
  const api = await createHttpApi({ node, engineSocketPath: '/nowhere', logger, version: '0', clock, names });
  const [socketPath, port] = [join(directory, 'swarmd.sock'), await freePort()];
  await api.listen({ socketPath, tls: { host: '127.0.0.1', port } });
  t.teardown(async () => {
    await api.close();
    rmSync(directory, { recursive: true });
  });
  return { client: createClient(`unix://${socketPath}`), tls: `tcp://127.0.0.1:${port}` };
}

async function update(client: Client, change: (ca: CaConfig) => CaConfig): Promise<void> {
  const { Version, Spec } = await client.swarmInspect();
  await client.swarmUpdate(Version.Index, { ...Spec, CAConfig: change(Spec.CAConfig ?? {}) });
}

function clusterOf({ node }: TestHost) {
  const cluster = node.replica().view.cluster();
  if (cluster === undefined) throw new Error('no cluster');
  return cluster;
}

const idOf = ({ node }: TestHost) => node.status().nodeId;
const isReady = (host: TestHost, at: TestHost) => at.node.replica().view.node(idOf(host))?.status.state === 'ready';
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Until all that a host shows and trusts is of this root alone. */
async function isOf(host: TestHost, rootPem: string): Promise<X509Certificate> {
  for (;;) {
    const identity = await readCredentials(host.dataRoot);
    if (identity?.rootPem.trim() === rootPem.trim()) {
      const leaf = new X509Certificate(identity.certificateChainPem);
      if (leaf.verify(new X509Certificate(rootPem).publicKey)) return leaf;
    }
    await turn();
  }
}

/** What states nodes were in while `work` went on. */
async function statesDuring({ node }: TestHost, work: () => Promise<void>): Promise<string[]> {
  const states = new Set<string>();
  const stop = node.replica().subscribe(() => {
    for (const { status } of node.replica().view.nodes()) states.add(status.state);
  });
  await work();
  stop();
  return [...states];
}

t.test(
  'a running cluster goes to the root of a CFSSL that asks who calls, and back to one of its own',
  { skip },
  async (t) => {
    const hosts = [await testHost(t), await testHost(t), await testHost(t)] as const;
    const [first, second, third] = hosts;
    await first.node.init(first.addresses);
    await second.node.join(joinRequest(second, first, 'manager'));
    await third.node.join(joinRequest(third, first, 'worker'));
    for (const host of hosts) await until('ready', () => isReady(host, first));
    const { client, tls } = await apiOf(t, first);
    const own = clusterOf(first).rootCa.certificatePem;
    const signer = await cfssl(t, { clientRootPem: own });
    const there = await statesDuring(first, async () => {
      const ExternalCAs = external(signer.url, signer.rootPem);
      await update(client, (ca) => ({ ...ca, SigningCACert: signer.rootPem, SigningCAKey: '', ExternalCAs }));
      await until('the end of it', () => clusterOf(first).rootCa.certificatePem.trim() === signer.rootPem.trim());
      for (const host of hosts) await isOf(host, signer.rootPem);
    });
    t.same(there, ['ready'], 'nobody was down for a moment');
    t.equal(clusterOf(first).rootCa.keyPem, undefined, 'nobody in the cluster has the key');
    t.equal(clusterOf(first).rootRotation, undefined);
    const shown = (await client.swarmInspect()).Spec.CAConfig;
    t.match(shown, { ExternalCAs: external(signer.url, signer.rootPem) });
    t.notOk(
      shown && 'SigningCACert' in shown && shown.SigningCACert,
      'as Docker, which does not say what would be sent back',
    );

    const late = await testHost(t);
    await late.node.join(joinRequest(late, first, 'worker'));
    await until('ready', () => isReady(late, first));
    const leaf = await isOf(late, signer.rootPem);
    t.match(leaf.subject, /OU=swarm-worker/);
    const { keyPem, csrPem } = createKeyAndCsr();
    const asked = { Name: 'ann', Role: 'admin', Stack: '', ValidityNs: DAY_NS, CsrPem: csrPem };
    const { CertificatePem, RootPem } = await client.createClientCertificate(asked);
    const ann = createClient(tls, { ca: RootPem, cert: CertificatePem, key: keyPem });
    t.equal((await ann.nodes()).length, 4, 'certificates of clients, and of the API, are of that CA, too');
    const tooLong = { ...asked, Name: 'bob', ValidityNs: 100 * DAY_NS };
    await t.rejects(client.createClientCertificate(tooLong), { message: /good only until/ });
    t.ok((await client.clientCertificates()).every(({ Name, RevokedAt }) => Name !== 'bob' || RevokedAt !== ''));

    const back = await statesDuring(first, async () => {
      await update(client, (ca) => ({ ...ca, ForceRotate: (ca.ForceRotate ?? 0) + 1 }));
      await until('a root of its own', () => clusterOf(first).rootCa.keyPem !== undefined);
    });
    t.same(back, ['ready']);
    const last = clusterOf(first).rootCa.certificatePem;
    t.not(last, own);
    for (const host of [...hosts, late]) await isOf(host, last);
    await signer.stop();
    const later = await testHost(t);
    await later.node.join(joinRequest(later, first, 'worker'));
    await until('ready, with nobody asked', () => isReady(later, first));
  },
);

t.test(
  'a cluster begins with the root of its signer, RSA as well, and its nodes wait for one that is away',
  { skip },
  async (t) => {
    const [first, second] = [await testHost(t), await testHost(t)];
    const signer = await cfssl(t, { algorithm: { algo: 'rsa', size: 2048 } });
    const Spec = { CAConfig: { ExternalCAs: external(signer.url, signer.rootPem) } };
    await first.node.init({ ...first.addresses, Spec });
    t.same(clusterOf(first).rootCa, { certificatePem: new X509Certificate(signer.rootPem).toString() });
    await until('ready', () => isReady(first, first));
    await signer.stop();
    const request = { ...joinRequest(second, first, 'worker') };
    await t.rejects(second.node.join(request), {
      code: 'unavailable',
      message: /no external CA signs: .*ECONNREFUSED/,
    });
    t.equal(first.node.replica().view.nodes().length, 1, 'no node is made for a certificate that nobody signs');
    const { client } = await apiOf(t, first);
    const gone = update(client, (ca) => ({ ...ca, ExternalCAs: [] }));
    await t.rejects(gone, { code: 'invalid-argument', message: /corresponding to the current CA certificate/ });
    const unreachable = external('https://127.0.0.1:1/sign', signer.rootPem);
    const moved = update(client, (ca) => ({ ...ca, ExternalCAs: unreachable }));
    await t.rejects(moved, { code: 'invalid-argument', message: /reachable external CA .*current.*ECONNREFUSED/ });
    const unusable = update(client, (ca) => ({ ...ca, ExternalCAs: external('http://127.0.0.1:1/') }));
    await t.rejects(unusable, { code: 'invalid-argument', message: /invalid URL/ });
    await update(client, (ca) => ({ ...ca, NodeCertExpiry: 85 * DAY_NS }));
    await signer.start();
    await second.node.join(request);
    await until('ready', () => isReady(second, first));
    for (const host of [second, first]) await host.stop();
    for (const host of [first, second]) await host.start();
    for (const host of [first, second]) await until('ready again', () => isReady(host, first));

    const { client: anew } = await apiOf(t, first);
    await update(anew, (ca) => ({ ...ca, ForceRotate: 1, ExternalCAs: external(signer.url) }));
    await until('a root of its own', () => clusterOf(first).rootCa.keyPem !== undefined);
    const [said] = clusterOf(first).spec.CAConfig?.ExternalCAs ?? [];
    t.equal(
      said?.CACert?.trim(),
      signer.rootPem.trim(),
      'the signer is one of the root before, and is not asked any more',
    );
    const other = await cfssl(t);
    await update(anew, (ca) => ({
      ...ca,
      SigningCACert: other.rootPem,
      ExternalCAs: external(other.url, other.rootPem),
    }));
    await until('the other root', () => clusterOf(first).rootCa.certificatePem.trim() === other.rootPem.trim());
    const third = { SigningCACert: signer.rootPem, ExternalCAs: external(signer.url, signer.rootPem) };
    const across = update(anew, (ca) => ({ ...ca, ...third }));
    await t.rejects(across, { message: /from one external CA to a different external CA is not supported/ });
  },
);

t.test('a cluster is not made with a signer that cannot sign for it', { skip }, async (t) => {
  const host = await testHost(t);
  const signer = await cfssl(t);
  const other = await cfssl(t);
  const init = (CAConfig: CaConfig) => host.node.init({ ...host.addresses, Spec: { CAConfig } });
  const wrong: [CaConfig, string, RegExp][] = [
    [{ ExternalCAs: external(signer.url) }, 'invalid-argument', /cacert=FILE/],
    [{ ExternalCAs: external(signer.url, other.rootPem) }, 'unavailable', /unable to verify|self-signed/],
    [{ ExternalCAs: external('http://x/', signer.rootPem) }, 'invalid-argument', /invalid URL "http/],
    [{ ExternalCAs: [{ Protocol: 'x', URL: signer.url }] }, 'invalid-argument', /invalid protocol: "x"/],
    [{ ExternalCAs: [{ ...external(signer.url)[0], Options: { a: 'b' } }] }, 'unimplemented', /option "a"/],
    [{ SigningCACert: signer.rootPem }, 'invalid-argument', /corresponding to the desired CA certificate/],
    [
      { ExternalCAs: [...external(signer.url, signer.rootPem), ...external(other.url, other.rootPem)] },
      'invalid-argument',
      /one root/,
    ],
    [
      { NodeCertExpiry: 79 * DAY_NS, ExternalCAs: external(signer.url, signer.rootPem) },
      'unavailable',
      /--cert-expiry/,
    ],
  ];
  for (const [CAConfig, code, message] of wrong) await t.rejects(init(CAConfig), { code, message });
  t.equal(host.node.status().state, 'inactive');
});
