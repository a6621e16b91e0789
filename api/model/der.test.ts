import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, sign } from 'node:crypto';
import { ApiaryError } from '@apiary/std';
import fc from 'fast-check';
import t from 'tap';
import { certificationRequest, certificationRequestInfo, readCertificationRequest } from './certificate-request.js';
import { der, derOid, derUnsigned, readDer, sameBytes } from './der.js';
import { formatHostPort, parseHostPort } from './host-port.js';

t.test('what is written is read back, of any length', async () => {
  const content = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.integer({ min: 65_000, max: 66_000 }).map((length) => new Uint8Array(length)),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.constantFrom(0x04, 0x30, 0xa0), content), { maxLength: 4 }), (values) => {
      const written = values.map(([tag, bytes]) => der(tag, bytes));
      const read = readDer(Buffer.concat(written));
      if (read.length !== values.length) throw new Error('another number of values');
      values.forEach(([tag, bytes], i) => {
        if (read[i]?.tag !== tag || !sameBytes(read[i].content, bytes)) throw new Error('another value');
      });
    }),
  );
});

t.test('bytes that are no DER are refused, whatever they are', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      try {
        const values = readDer(bytes);
        if (!sameBytes(Buffer.concat(values.map(({ whole }) => whole)), bytes)) throw new Error('bytes got lost');
      } catch (error) {
        if (!(error instanceof ApiaryError)) throw error;
      }
    }),
    { numRuns: 2_000 },
  );
});

t.test('numbers and object identifiers are as X.690 has them', async (t) => {
  t.same([...derUnsigned(Uint8Array.of(0, 0, 0x80))], [2, 2, 0, 0x80]);
  t.same([...derUnsigned(Uint8Array.of(0))], [2, 1, 0]);
  t.same(Buffer.from(derOid('1.2.840.10045.4.3.2')).toString('hex'), '06082a8648ce3d040302');
  t.throws(() => readDer(Uint8Array.of(0x30, 0x81, 0x05, 0, 0, 0, 0, 0)), { message: /not minimal/ });
  t.throws(() => readDer(Uint8Array.of(0x30, 0x80, 0, 0)), { message: /definite/ });
});

t.test('OpenSSL takes a certificate request of ours, and it reads back', async (t) => {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const info = certificationRequestInfo(spki);
  const request = certificationRequest(info, sign('sha256', info, privateKey));
  const text = execFileSync('openssl', ['req', '-inform', 'der', '-verify', '-noout', '-text'], {
    input: request,
    stdio: ['pipe', 'pipe', 'ignore'],
  }).toString();
  t.match(text, /prime256v1/);
  t.ok(sameBytes(readCertificationRequest(request).publicKey, spki));
});

t.test('addresses of managers are read in every form, and written back', async (t) => {
  t.same(parseHostPort('10.0.0.1', 'x'), { host: '10.0.0.1', port: 2377 });
  t.same(parseHostPort('host.example:1', 'x'), { host: 'host.example', port: 1 });
  t.same(parseHostPort('[fe80::1]:9', 'x'), { host: 'fe80::1', port: 9 });
  t.equal(formatHostPort({ host: '::1', port: 9 }), '[::1]:9');
  for (const bad of ['', ':2377', 'h:65536', 'a b', '::1', 'h:1:2', 'http://h']) {
    t.throws(() => parseHostPort(bad, 'remote address'), {
      code: 'invalid-argument',
      message: /invalid remote address/,
    });
  }
});
