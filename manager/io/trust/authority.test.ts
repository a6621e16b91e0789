import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tlsInfoOf } from '@apiary/api/client';
import { ApiaryError } from '@apiary/std';
import fc from 'fast-check';
import t from 'tap';
import { createRootCa, issueCertificate, rootDigestOfPem, verifiedKeyOf } from './authority.js';

const DAY_MS = 24 * 3600 * 1000;
const NOW_MS = Math.floor(Date.now() / 1000) * 1000;
const folder = mkdtempSync(join(tmpdir(), 'apiary-authority-'));
t.teardown(() => rmSync(folder, { recursive: true }));

function openssl(...args: string[]): string {
  return execFileSync('openssl', args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** A request made by somebody else's hand. */
function csrOf(...args: string[]): string {
  return openssl('req', '-new', '-nodes', '-keyout', '/dev/null', '-subj', '/CN=mallory/OU=swarm-manager', ...args);
}

const P256 = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-sha256'];
const rootCa = createRootCa(NOW_MS);

function order(csrPem: string) {
  return {
    rootCa,
    csrPem,
    nodeId: 'n1',
    role: 'worker' as const,
    clusterId: 'c1',
    validityMs: 90 * DAY_MS,
    nowMs: NOW_MS,
  };
}

t.test(
  'a certificate says who the node is by the order, whatever the request says, and OpenSSL verifies it',
  async (t) => {
    const chain = issueCertificate(order(csrOf(...P256)));
    const certificate = new X509Certificate(chain);
    t.equal(certificate.subject, 'O=c1\nOU=swarm-worker\nCN=n1');
    t.equal(certificate.subjectAltName, 'DNS:n1, DNS:swarm-worker');
    t.notOk(certificate.ca);
    t.notOk(certificate.checkHost('swarm-manager'));
    t.equal(Date.parse(certificate.validFrom), NOW_MS - 3600 * 1000);
    t.equal(Date.parse(certificate.validTo), NOW_MS + 90 * DAY_MS);
    t.ok(certificate.verify(new X509Certificate(rootCa.certificatePem).publicKey));
    writeFileSync(join(folder, 'root.pem'), rootCa.certificatePem);
    writeFileSync(join(folder, 'node.pem'), chain);
    for (const purpose of ['sslserver', 'sslclient']) {
      t.match(
        openssl('verify', '-x509_strict', '-purpose', purpose, '-CAfile', 'root.pem', 'node.pem'),
        /node.pem: OK/,
      );
    }
    const text = openssl('x509', '-in', 'node.pem', '-noout', '-text');
    t.match(text, /ASN1 OID: prime256v1/);
    t.match(text, /Key Usage: critical\s+Digital Signature\n/);
    t.match(text, /TLS Web Server Authentication, TLS Web Client Authentication/);
    t.match(openssl('x509', '-in', 'root.pem', '-noout', '-text'), /CA:TRUE[\s\S]*Certificate Sign, CRL Sign/);
  },
);

t.test('a certificate that lasts beyond 2049 has its date in the other form', async (t) => {
  const certificate = new X509Certificate(issueCertificate({ ...order(csrOf(...P256)), validityMs: 10_000 * DAY_MS }));
  t.equal(Date.parse(certificate.validTo), NOW_MS + 10_000 * DAY_MS);
  t.ok(new Date(certificate.validTo).getUTCFullYear() >= 2050);
});

t.test('a request of another kind of key, or not signed by its own, is refused', async (t) => {
  t.throws(() => issueCertificate(order(csrOf('-newkey', 'rsa:2048'))), { code: 'invalid-argument', message: /ECDSA/ });
  t.throws(() => issueCertificate(order(csrOf('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-384', '-sha256'))), {
    code: 'invalid-argument',
    message: /P-256/,
  });
  t.throws(() => issueCertificate(order(csrOf('-newkey', 'ed25519'))), { code: 'invalid-argument' });
  const der = Buffer.from(csrOf(...P256).replaceAll(/-----.*-----/g, ''), 'base64');
  const renamed = Buffer.from(der);
  renamed.write('M', der.indexOf('mallory'));
  t.throws(() => issueCertificate(order(pemOf(renamed))), { message: /not signed by its own key/ });
  t.throws(() => issueCertificate(order(`${pemOf(der)}${pemOf(der)}`)), { code: 'invalid-argument' });
});

t.test('no damaged request is signed, and none does more than be refused', async () => {
  const der = Buffer.from(csrOf(...P256).replaceAll(/-----.*-----/g, ''), 'base64');
  const bitFlips = fc.array(fc.nat(der.length * 8 - 1), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(bitFlips, fc.nat(der.length), fc.uint8Array({ maxLength: 8 }), (flips, cutAt, tail) => {
      const damaged = Buffer.concat([der.subarray(0, cutAt > 8 ? der.length : cutAt), tail]);
      for (const bit of flips) {
        const byte = bit >> 3;
        if (byte < damaged.length) damaged.writeUInt8(damaged.readUInt8(byte) ^ (1 << (bit & 7)), byte);
      }
      if (damaged.equals(der)) return;
      try {
        verifiedKeyOf(pemOf(damaged));
      } catch (error) {
        if (error instanceof ApiaryError && error.code === 'invalid-argument') return;
        throw error;
      }
      throw new Error(`accepted: ${damaged.toString('hex')}`);
    }),
    { numRuns: 2_000 },
  );
});

t.test('the digest of a root is that of its certificate, not of the text around it', async (t) => {
  const digest = rootDigestOfPem(rootCa.certificatePem);
  t.match(digest, /^[0-9a-z]{50}$/);
  t.equal(rootDigestOfPem(`\n${rootCa.certificatePem.replaceAll('\n', '\r\n')}\n\n`), digest);
  t.not(rootDigestOfPem(createRootCa(NOW_MS).certificatePem), digest);
});

t.test('what is said of the root is what Docker says', async (t) => {
  const info = tlsInfoOf(rootCa.certificatePem, rootCa.certificatePem);
  t.equal(info.TrustRoot, rootCa.certificatePem);
  // The subject of the root that dockerd 20.10 makes.
  t.equal(info.CertIssuerSubject, 'MBMxETAPBgNVBAMTCHN3YXJtLWNh');
  const publicKey = new X509Certificate(rootCa.certificatePem).publicKey.export({ type: 'spki', format: 'der' });
  t.equal(info.CertIssuerPublicKey, publicKey.toString('base64'));
});

function pemOf(request: Buffer): string {
  return `-----BEGIN CERTIFICATE REQUEST-----\n${request.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
}
