import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { promisify } from 'node:util';
import { socketPeer } from '@apiary/agent-native';
import { createClient, createKeyAndCsr, type TlsFiles } from '@apiary/api/client';
import type { ServiceSpec } from '@apiary/api/model';
import { AuditLog, createHttpApi } from '@apiary/manager/http';
import { VirtualClock } from '@apiary/std';
import t, { type Test } from 'tap';
import { freePort, type TestHost, testHost, until } from './testing/nodes.js';

t.setTimeout(180_000);

const DAY_NS = 24 * 3600 * 1e9;
const logger = { info: () => {}, error: () => {} };
const spec = (name: string, stack = ''): ServiceSpec => ({
  Name: name,
  ...(stack !== '' && { Labels: { 'com.docker.stack.namespace': stack } }),
  TaskTemplate: { ContainerSpec: { Image: 'busybox' } },
  Mode: { Replicated: { Replicas: 0 } },
});

/** A manager whose API listens on a unix socket and, for clients with certificates, on TCP, before an engine that answers all. */
async function doors(t: Test, host?: TestHost) {
  const directory = mkdtempSync(join(tmpdir(), 'doors-'));
  const engine = createServer((request, response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'api-version': '1.41' });
    response.end(request.url?.endsWith('/_ping') ? 'OK' : '[]');
  });
  const engineSocketPath = join(directory, 'engine.sock');
  await new Promise<void>((resolve) => engine.listen(engineSocketPath, resolve));
  const own = host ?? (await testHost(t));
  if (host === undefined) await own.node.init(own.addresses);
  const clock = new VirtualClock(Date.now());
  const auditPath = join(directory, 'audit.log');
  const audit = new AuditLog({ path: auditPath, clock, logger });
  const names = ['localhost', '127.0.0.1', '::1'];
  const api = await createHttpApi({
    node: own.node,
    engineSocketPath,
    logger,
    version: '0',
    clock,
    names,
    audit,
    peerOf: socketPeer,
  });
  const port = await freePort();
  const socketPath = join(directory, 'swarmd.sock');
  await api.listen({ socketPath, tls: { host: '127.0.0.1', port } });
  t.teardown(async () => {
    await api.close();
    await new Promise((resolve) => engine.close(resolve));
    rmSync(directory, { recursive: true });
  });
  const local = createClient(`unix://${socketPath}`);
  const address = `tcp://127.0.0.1:${port}`;
  const certified = async (Name: string, Role: string, Stack = '') => {
    const { keyPem, csrPem } = createKeyAndCsr();
    const asked = { Name, Role, Stack, ValidityNs: DAY_NS, CsrPem: csrPem };
    const { ID, CertificatePem, RootPem } = await local.createClientCertificate(asked);
    const tls: TlsFiles = { ca: RootPem, cert: CertificatePem, key: keyPem };
    return { id: ID, tls, client: createClient(address, tls) };
  };
  const noted = () =>
    readFileSync(auditPath, 'utf8')
      .trim()
      .split('\n')
      .map((line): Record<string, unknown> => JSON.parse(line));
  return { host: own, local, address, port, directory, certified, clock, noted, auditPath };
}

const denied = { code: 'permission-denied', status: 403 };

t.test('a role says what a certificate opens', async (t) => {
  const { local, certified } = await doors(t);
  const admin = (await certified('ann', 'admin')).client;
  const operator = (await certified('otto', 'operator')).client;
  const viewer = (await certified('vera', 'viewer')).client;
  const { ID: id } = await operator.createService(spec('web'));
  t.equal((await viewer.services()).length, 1);
  t.equal((await viewer.nodes()).length, 1);
  t.match((await viewer.info()).Swarm, { LocalNodeState: 'active' });
  await t.rejects(viewer.createService(spec('db')), {
    ...denied,
    message: 'vera is viewer: POST /services/create is not for that role',
  });
  await t.rejects(viewer.removeService(id), denied);
  for (const client of [operator, viewer]) {
    await t.rejects(client.swarmInspect(), denied, 'it has the join tokens');
    await t.rejects(client.swarmUnlockKey(), denied);
    await t.rejects(client.clientCertificates(), denied);
    await t.rejects(client.request('GET', '/containers/json'), denied, 'what is on a host is not of the cluster');
    await t.rejects(client.request('GET', '/apiary/v1/backup'), denied);
    await t.rejects(client.rotateLogKey(), denied);
    await t.rejects(client.swarmLeave(true), denied);
  }
  const [node] = await operator.nodes();
  await t.rejects(operator.updateNode(node?.ID ?? '', 1, { Role: 'worker', Availability: 'drain' }), denied);
  t.match(await admin.swarmInspect(), { JoinTokens: { Worker: /^SWMTKN-1-/ } });
  t.same(await admin.request('GET', '/containers/json'), []);
  await operator.removeService(id);
  t.equal((await local.services()).length, 0);
});

t.test('a certificate that asks for too much is told to wait, and no other', async (t) => {
  const { certified, clock } = await doors(t);
  const [eager, other] = [await certified('eva', 'viewer'), await certified('otto', 'viewer')];
  const ask = () =>
    eager.client.nodes().then(
      () => 'answered',
      ({ status }) => status,
    );
  const seen = new Set<unknown>();
  for (let asked = 0; asked < 2_100 && !seen.has(429); asked += 50) {
    for (const answer of await Promise.all(Array.from({ length: 50 }, ask))) seen.add(answer);
  }
  t.same([...seen], ['answered', 429]);
  t.equal((await other.client.nodes()).length, 1);
  clock.advance(1_000);
  t.equal(await ask(), 'answered');
});

t.test('who shows no good certificate of a client is not let in', async (t) => {
  const { certified, local, address, port, clock, host } = await doors(t);
  const { client, tls, id } = await certified('ann', 'admin');
  const [, rootPem = ''] = [tls.cert, tls.ca];
  const unanswered = { code: 'unavailable' };
  await t.rejects(createClient(address).info(), unanswered, 'in clear');
  const pem = readFileSync(join(host.dataRoot, 'certificates', 'node.pem'), 'utf8');
  const key = /-----BEGIN PRIVATE KEY-----[^-]+-----END PRIVATE KEY-----\n/.exec(pem)?.[0] ?? '';
  const node = { ca: rootPem, cert: pem.replace(key, ''), key };
  await t.rejects(createClient(address, node).info(), unanswered, 'with the certificate of a manager');
  const other = await doors(t);
  const foreign = { ...(await other.certified('ann', 'admin')).tls, ca: rootPem };
  await t.rejects(createClient(address, foreign).info(), unanswered, 'with one of another cluster');
  await new Promise<void>((resolve) => {
    const socket = connectTls({ host: '127.0.0.1', port, ca: rootPem });
    socket.on('error', () => {});
    socket.once('close', () => resolve());
  });
  t.pass('without one, the connection is over once that is known');
  await client.info();
  await t.rejects(certified('ann', 'viewer'), { code: 'already-exists' });
  await local.revokeClientCertificate('ann');
  await t.rejects(client.info(), {
    code: 'unauthenticated',
    status: 401,
    message: `client certificate ann (${id}) was revoked`,
  });
  await t.rejects(local.revokeClientCertificate('nobody'), { code: 'not-found' });
  const brief = (await certified('ben', 'viewer')).client;
  await brief.info();
  clock.advance(2 * 24 * 3600_000);
  await t.rejects(brief.info(), { code: 'unauthenticated', message: /has expired/ });
  t.match(await local.clientCertificates(), [
    { Name: 'ann', Role: 'admin', RevokedAt: /Z$/ },
    { Name: 'ben', Role: 'viewer', RevokedAt: '' },
  ]);
});

t.test('what an order for a certificate says wrong is named', async (t) => {
  const { local } = await doors(t);
  const { csrPem } = createKeyAndCsr();
  const good = { Name: 'ann', Role: 'viewer', ValidityNs: DAY_NS, CsrPem: csrPem };
  const wrong: [object, RegExp][] = [
    [{ Name: '' }, /invalid name ""/],
    [{ Name: 'a b' }, /invalid name "a b"/],
    [{ Role: 'root' }, /invalid role "root": expected admin, operator, viewer/],
    [{ Role: 'admin', Stack: 'shop' }, /an admin is not bound to a stack/],
    [{ ValidityNs: 1 }, /invalid validity/],
    [{ CsrPem: 'x' }, /invalid certificate request/],
  ];
  for (const [change, message] of wrong) {
    await t.rejects(local.createClientCertificate({ ...good, ...change }), { code: 'invalid-argument', message });
  }
  t.same(await local.clientCertificates(), [], 'none of them is on record');
});

t.test('a certificate that is bound to a stack shows and changes that stack alone', async (t) => {
  const { local, certified } = await doors(t);
  const { client } = await certified('ci', 'operator', 'shop');
  const { ID: foreign } = await local.createService(spec('other_web', 'other'));
  await local.createService(spec('plain'));
  await t.rejects(client.createService(spec('stray')), {
    ...denied,
    message: /label com.docker.stack.namespace must say so/,
  });
  await t.rejects(client.createService(spec('stray', 'other')), denied);
  const { ID: own } = await client.createService(spec('shop_web', 'shop'));
  t.same(
    (await client.services()).map(({ Spec }) => Spec.Name),
    ['shop_web'],
  );
  const absent = { code: 'not-found', status: 404, message: /^service .* not found$/ };
  await t.rejects(client.service(foreign), absent);
  await t.rejects(client.service('other_web'), absent);
  await t.rejects(client.removeService(foreign), absent);
  const watched = `/apiary/v1/watch?service=${own}&service=${foreign}`;
  await t.rejects(client.request('GET', watched), absent, 'which of two it is that is asked for');
  const escapes = ['/services/%63reate', `/services/${own}/%75pdate?version=1`, `/services/${own}/updat%65?version=1`];
  for (const path of escapes) await t.rejects(client.request('POST', path, { body: spec('shop_web') }), denied, path);
  const { Version: version } = await client.service(own);
  await t.rejects(client.updateService(own, version.Index, spec('shop_web')), denied, 'it would leave the stack');
  const { ID: secret } = await local.request<{ ID: string }>('POST', '/secrets/create', {
    body: { Name: 'other_key', Data: 'eA==', Labels: { 'com.docker.stack.namespace': 'other' } },
  });
  await local.request('POST', '/networks/create', { body: { Name: 'other_net', Driver: 'overlay' } });
  const reaching: [object, string, RegExp][] = [
    [
      { Mounts: [{ Type: 'bind', Source: '/', Target: '/host' }] },
      'permission-denied',
      /a folder of a host may not be mounted/,
    ],
    [
      {
        Mounts: [
          { Type: 'volume', Source: 'shop_v', Target: '/v', VolumeOptions: { DriverConfig: { Name: 'local' } } },
        ],
      },
      'permission-denied',
      /a volume with a driver may not/,
    ],
    [
      { Mounts: [{ Type: 'volume', Source: 'other_data', Target: '/v' }] },
      'permission-denied',
      /volume other_data may not/,
    ],
    [{ Secrets: [{ SecretID: secret, SecretName: 'other_key', File: { Name: 'k' } }] }, 'not-found', /secret/],
    [{ Secrets: [{ SecretID: 'follow', SecretName: 'other_key', File: { Name: 'k' } }] }, 'not-found', /secret/],
  ];
  for (const [container, code, message] of reaching) {
    const spying = spec('shop_spy', 'shop');
    spying.TaskTemplate.ContainerSpec = { Image: 'x', ...container };
    await t.rejects(client.createService(spying), { code, message });
  }
  for (const key of ['Networks', 'TaskTemplate.Networks']) {
    const spying = spec('shop_spy', 'shop');
    (key === 'Networks' ? spying : spying.TaskTemplate).Networks = [{ Target: 'other_net' }];
    await t.rejects(client.createService(spying), { code: 'not-found', message: 'network other_net not found' });
  }
  await t.rejects(client.nodes(), denied);
  await client.updateService(own, version.Index, spec('shop_web', 'shop'));
  await client.removeService(own);
  t.equal((await local.services()).length, 2);
});

t.test('every call that may change something is noted, and nothing that was sent', async (t) => {
  const { local, certified, noted, auditPath } = await doors(t);
  const { id, client } = await certified('vera', 'viewer');
  const given = spec('web');
  given.TaskTemplate.ContainerSpec = { Image: 'busybox', Env: ['PASSWORD=correct-horse'] };
  await local.createService(given);
  await t.rejects(client.createService(given));
  await client.services();
  await local.request('POST', '/images/create?fromImage=battery-staple');
  const { username, uid } = userInfo();
  const here = { who: `${username} (uid ${uid})`, from: `unix, process ${process.pid}` };
  await until('four lines', () => noted().length === 4);
  t.match(noted(), [
    { ...here, what: 'POST /apiary/v1/client-certificates', status: 201, time: /Z$/ },
    { ...here, what: 'POST /services/create', status: 201 },
    {
      who: `vera (${id})`,
      from: /^127\.0\.0\.1:\d+$/,
      what: 'POST /services/create',
      status: 403,
      error: 'permission-denied',
    },
    { ...here, what: 'POST /images/create', status: 200 },
  ]);
  t.notMatch(readFileSync(auditPath, 'utf8'), /correct-horse|battery-staple/);
});

t.test('a node that is no manager lets nobody in', async (t) => {
  const { address, certified } = await doors(t);
  const { tls } = await certified('ann', 'admin');
  const idle = await doors(t, await testHost(t));
  await t.rejects(createClient(idle.address, tls).info(), { code: 'unavailable' });
  t.not(idle.address, address);
});

t.test('the stock command line comes in with the files that a certificate consists of', async (t) => {
  const { certified, directory, address } = await doors(t);
  const { tls, client } = await certified('otto', 'operator');
  for (const [name, text] of Object.entries(tls)) writeFileSync(join(directory, `${name}.pem`), text);
  await client.createService(spec('web'));
  const env = { ...process.env, DOCKER_HOST: address, DOCKER_TLS_VERIFY: '1', DOCKER_CERT_PATH: directory };
  const docker = await promisify(execFile)('docker', ['service', 'ls', '--format', '{{.Name}}'], { env });
  t.equal(docker.stdout, 'web\n');
  const refused = promisify(execFile)('docker', ['ps'], { env });
  await t.rejects(
    refused,
    /otto is operator: GET \/v[\d.]+\/containers\/json|otto is operator: GET \/containers\/json/,
  );
});
