import { createPrivateKey, sign, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:https';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { createKeyAndCsr } from '@apiary/api/client';
import { certificateParts, issuedMsOf } from '@apiary/api/model';
import { VirtualClock } from '@apiary/std';
import t, { type Test } from 'tap';
import { certificate, clientSubject, nodeSubject, toBeSigned } from '../../core/trust/certificate.js';
import { createRootCa, issueApiCertificate, issueCertificate, keyIdOf, pemOf, verifiedKeyOf } from './authority.js';
import type { SigningRequest } from './external-signer.js';
import { Issuer } from './issuer.js';

const HOUR_MS = 3600_000;
const DAY_MS = 24 * HOUR_MS;
const NOW_MS = Math.floor(Date.now() / 1000) * 1000;
const root = createRootCa(NOW_MS);
const other = createRootCa(NOW_MS);

interface Answer {
  status?: number;
  text?: string;
  /** It breaks off in the middle. */
  isCut?: boolean;
}
type Answering = (asked: SigningRequest, caller: unknown) => Answer | undefined;

/** A signer whose answers a test makes up; undefined: none at all. @param shows  the root of its own certificate */
async function signer(t: Test, answering: Answering, shows = root): Promise<string> {
  const { keyPem: key, certificateChainPem: cert } = issueApiCertificate({
    rootCa: shows,
    nodeId: 'signer',
    clusterId: 'corp',
    names: ['127.0.0.1'],
    validityMs: DAY_MS,
    nowMs: NOW_MS,
  });
  const callers = new Map<unknown, unknown>();
  const server = createServer({ key, cert, ca: root.certificatePem, requestCert: true, rejectUnauthorized: false });
  server.on('secureConnection', (socket) => callers.set(socket, socket.getPeerCertificate().subject?.CN));
  server.on('request', async (request, response) => {
    let body = '';
    for await (const piece of request) body += piece;
    const answer = answering(JSON.parse(body), callers.get(request.socket));
    if (answer?.isCut) response.writeHead(200, { 'content-length': 100 }).write('{', () => response.destroy());
    else if (answer !== undefined) response.writeHead(answer.status ?? 200).end(answer.text);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return `https://127.0.0.1:${portOf(server)}/api/v1/cfssl/sign`;
}

function portOf(server: { address(): AddressInfo | string | null }): number {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

interface Made {
  publicKey: Uint8Array;
  subject: Uint8Array;
  dnsNames: string[];
  notBeforeMs: number;
  notAfterMs: number;
  by: typeof root;
  isServer: boolean;
  isCa: boolean;
}

/** Signs what was asked for, but for what a test has changed, in CFSSL's form. */
function signed(asked: SigningRequest, change: Partial<Made> = {}): Answer {
  const [name] = asked.subject?.names ?? [];
  const [nodeId, clusterId] = [asked.subject?.CN ?? '', name?.O ?? ''];
  const made: Made = {
    publicKey: verifiedKeyOf(asked.certificate_request),
    subject:
      name?.OU === 'swarm-client'
        ? clientSubject({ clientId: nodeId, clusterId })
        : nodeSubject({ nodeId, clusterId, role: name?.OU === 'swarm-manager' ? 'manager' : 'worker' }),
    dnsNames: asked.hosts,
    // As CFSSL does.
    notBeforeMs: NOW_MS - 5 * 60_000,
    notAfterMs: NOW_MS - 5 * 60_000 + 30 * DAY_MS,
    by: root,
    isServer: true,
    isCa: false,
    ...change,
  };
  const issuer = certificateParts(new X509Certificate(made.by.certificatePem).raw);
  const use = { dnsNames: made.dnsNames, isServer: made.isServer, isClient: true };
  const tbs = toBeSigned({
    ...made,
    serial: Uint8Array.of(7),
    issuer: issuer.subject,
    subjectKeyId: keyIdOf(made.publicKey),
    issuerKeyId: keyIdOf(issuer.publicKey),
    ...(!made.isCa && { use }),
  });
  const pem = pemOf(certificate(tbs, sign('sha256', tbs, createPrivateKey(made.by.keyPem))));
  return { text: JSON.stringify({ success: true, result: { certificate: pem }, errors: [], messages: [] }) };
}

function issuer(clock = new VirtualClock(NOW_MS)): Issuer {
  const { keyPem, csrPem } = createKeyAndCsr();
  const order = { rootCa: root, csrPem, nodeId: 'm1', role: 'manager' as const, clusterId: 'c1', validityMs: DAY_MS };
  const certificateChainPem = issueCertificate({ ...order, nowMs: NOW_MS });
  return new Issuer({ identity: () => ({ certificateChainPem, keyPem, rootPem: root.certificatePem }), clock });
}

const orderAt = (...externalUrls: string[]) => ({
  signer: { rootCa: { certificatePem: root.certificatePem }, externalUrls },
  csrPem: createKeyAndCsr().csrPem,
  nodeId: 'n1',
  role: 'worker' as const,
  clusterId: 'c1',
  validityMs: 90 * DAY_MS,
});

t.test('a signer outside is told by the manager who a certificate is for, and knows the manager', async (t) => {
  const seen: unknown[] = [];
  const url = await signer(t, (asked, caller) => {
    const { certificate_request: _, ...rest } = asked;
    seen.push(rest, caller);
    return signed(asked);
  });
  const chain = await issuer().node(orderAt(url));
  const [leaf] = chain.split(/(?<=-----END CERTIFICATE-----\n)/);
  t.equal(chain, `${leaf}${root.certificatePem}`, 'with the root behind it');
  const { subject, subjectAltName, validFrom } = new X509Certificate(chain);
  t.equal(subject, 'O=c1\nOU=swarm-worker\nCN=n1');
  const mark = `issued-${NOW_MS}`;
  const asked = {
    hosts: ['n1', 'swarm-worker', mark],
    subject: { CN: 'n1', names: [{ O: 'c1', OU: 'swarm-worker' }] },
  };
  t.same(seen, [asked, 'm1']);
  t.equal(issuedMsOf({ validFrom, alternativeNames: subjectAltName }), NOW_MS, 'however early it begins');
  const client = await issuer().client({ ...orderAt(url), clientId: 'k1', notAfterMs: NOW_MS + DAY_MS });
  t.equal(new X509Certificate(client).subject, 'O=c1\nOU=swarm-client\nCN=k1');
  t.equal(new X509Certificate(client).subjectAltName, `DNS:${mark}`, 'and it has no name of a manager');
});

const WRONG: [string, Partial<Made>, RegExp][] = [
  ['another key', { publicKey: verifiedKeyOf(createKeyAndCsr().csrPem) }, /is of another key/],
  ['another root', { by: other }, /is not signed by the cluster's root itself/],
  ['another node', { subject: nodeSubject({ nodeId: 'n2', role: 'worker', clusterId: 'c1' }) }, /for another subject/],
  ['another role', { subject: nodeSubject({ nodeId: 'n1', role: 'manager', clusterId: 'c1' }) }, /for another subject/],
  ['another cluster', { subject: nodeSubject({ nodeId: 'n1', role: 'worker', clusterId: 'c2' }) }, /another subject/],
  ['names of a manager', { dnsNames: ['n1', 'swarm-worker', 'swarm-manager'] }, /is for other names/],
  ['no names', { dnsNames: [] }, /is for other names/],
  ['a CA', { isCa: true }, /is one of a CA/],
  ['no server', { isServer: false }, /"server auth"/],
  ['too short a life', { notAfterMs: NOW_MS + 40 * 60_000 }, /good only until/],
  ['too long a life', { notAfterMs: NOW_MS + 91 * DAY_MS }, /longer than certificates of this cluster are/],
  ['a life to come', { notBeforeMs: NOW_MS + 60_000 }, /set the clocks/],
];

t.test('a certificate that is not what was asked for is given to nobody', async (t) => {
  for (const [what, change, message] of WRONG) {
    const url = await signer(t, (asked) => signed(asked, change));
    await t.rejects(issuer().node(orderAt(url)), { code: 'unavailable', message }, what);
  }
  const short = await signer(t, (asked) => signed(asked, { notAfterMs: NOW_MS + DAY_MS }));
  const asked = { ...orderAt(short), clientId: 'k1', notAfterMs: NOW_MS + 2 * DAY_MS };
  await t.rejects(issuer().client(asked), { message: /good only until/ }, 'of a client, for as long as was asked');
});

t.test('a signer that answers nonsense, too much, or with an error is told by it', async (t) => {
  const answers: [Answer, RegExp][] = [
    [{ text: 'hello' }, /does not sign \(status 200\): hello/],
    [{ text: '' }, /it says nothing/],
    [{ text: JSON.stringify({ success: true, result: { certificate: 'x' } }) }, /is no certificate/],
    [{ text: JSON.stringify({ success: true, result: null }) }, /does not sign/],
    [
      { text: JSON.stringify({ success: false, errors: [{ code: 5100, message: 'no such policy' }] }) },
      /no such policy/,
    ],
    [{ status: 302, text: '' }, /status 302/],
    [{ status: 500, text: 'x'.repeat(2000) }, /status 500\): x{300}$/],
    [{ text: 'x'.repeat(100_000) }, /longer than 65536 bytes/],
    [{ isCut: true }, /sign: it ended the connection in the middle of its answer/],
  ];
  for (const [answer, message] of answers) {
    await t.rejects(issuer().node(orderAt(await signer(t, () => answer))), { code: 'unavailable', message });
  }
});

t.test('one signer after the other is asked, and each by its own name when none signs', async (t) => {
  const bad = await signer(t, () => ({ status: 503, text: 'busy' }));
  const good = await signer(t, (asked) => signed(asked));
  t.match(await issuer().node(orderAt(bad, good)), /BEGIN CERTIFICATE/);
  const closed = createTcpServer().listen(0, '127.0.0.1');
  await once(closed, 'listening');
  const nobody = `https://127.0.0.1:${portOf(closed)}/sign`;
  await new Promise((resolve) => closed.close(resolve));
  const stranger = await signer(t, (asked) => signed(asked), other);
  const failed = issuer().node(orderAt(bad, nobody, stranger));
  await t.rejects(failed, {
    code: 'unavailable',
    message: /:\d+\/api\/v1\/cfssl\/sign: .*busy; .*ECONNREFUSED.*; .*self-signed/,
  });
  await t.rejects(issuer().reach({ urls: [stranger], rootPem: root.certificatePem }), { code: 'unavailable' });
  await issuer().reach({ urls: [nobody, good], rootPem: root.certificatePem });
  const none = { ...orderAt(), nodeId: 'n2' };
  await t.rejects(issuer().node(none), { code: 'failed-precondition', message: /key .* is outside of the cluster/ });
});

t.test('a signer that is silent is given five seconds, and all of them eight', async (t) => {
  const clock = new VirtualClock(NOW_MS);
  let arrived = () => {};
  const silent = await signer(t, () => {
    arrived();
    return undefined;
  });
  const next = () =>
    new Promise<void>((resolve) => {
      arrived = resolve;
    });
  let first = next();
  const failed = t.rejects(issuer(clock).node(orderAt(silent, silent, silent)), {
    code: 'unavailable',
    message: /no answer within 5 s; .*no answer within 3 s$/,
  });
  await first;
  first = next();
  clock.advance(5_000);
  await first;
  clock.advance(3_000);
  await failed;
});
