import {
  createHash,
  createPrivateKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  verify,
  X509Certificate,
} from 'node:crypto';
import { isIP } from 'node:net';
import { tlsInfoOf } from '@apiary/api/client';
import {
  CERTIFICATE_SKEW_MS,
  certificateParts,
  readBits,
  readCertificationRequest,
  readInside,
  rootDigestOf,
} from '@apiary/api/model';
import { ApiaryError, messageOf } from '@apiary/std';
import type { RootRotation } from '../../core/store/records.js';
import {
  apiSubject,
  type CertificateFields,
  certificate,
  clientSubject,
  nodeSubject,
  rootSubject,
  toBeSigned,
} from '../../core/trust/certificate.js';

const HOUR_MS = 3600 * 1000;
/** As SwarmKit's root: 20 years. */
const ROOT_VALIDITY_MS = 20 * 365 * 24 * HOUR_MS;
/** A P-256 request without attributes has some 250 bytes as PEM. */
const MAX_CSR_LENGTH = 4096;
const NODE_UNITS = ['swarm-worker', 'swarm-manager'];
const CSR_FORM = /^\s*-----BEGIN CERTIFICATE REQUEST-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE REQUEST-----\s*$/;

/** A root certificate and its key, PEM. */
export interface RootCa {
  certificatePem: string;
  keyPem: string;
}

export interface CertificateOrder {
  rootCa: RootCa;
  /** As `Signer` has it. */
  crossSignedPem?: string | undefined;
  csrPem: string;
  nodeId: string;
  role: 'worker' | 'manager';
  clusterId: string;
  validityMs: number;
  nowMs: number;
}

/** Makes a cluster's root: ECDSA P-256, signed by itself. */
export function createRootCa(nowMs: number): RootCa {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const publicKeyDer = publicKey.export({ type: 'spki', format: 'der' });
  const keyId = keyIdOf(publicKeyDer);
  const signed = toBeSigned({
    serial: newSerial(),
    issuer: rootSubject(),
    subject: rootSubject(),
    publicKey: publicKeyDer,
    notBeforeMs: nowMs - CERTIFICATE_SKEW_MS,
    notAfterMs: nowMs + ROOT_VALIDITY_MS,
    subjectKeyId: keyId,
    issuerKeyId: keyId,
  });
  const keyPem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  return { certificatePem: pemOf(certificate(signed, sign('sha256', signed, privateKey))), keyPem };
}

/**
 * Signs a node's key. Who the node is comes from the order alone: the request's own subject is not looked at.
 *
 * @returns the node's certificate, then the root, as its predecessor signed it while that is still trusted; PEM
 * @throws ApiaryError `invalid-argument` when the request is malformed, of a key other than ECDSA P-256, or not
 *   signed by that key
 */
export function issueCertificate(order: CertificateOrder): string {
  const { csrPem, nodeId, role, nowMs, validityMs } = order;
  return signedChain(order, {
    publicKey: verifiedKeyOf(csrPem),
    subject: nodeSubject(order),
    nowMs,
    notAfterMs: nowMs + validityMs,
    use: { dnsNames: [nodeId, `swarm-${role}`], isServer: true, isClient: true },
  });
}

/**
 * Signs the key of somebody who calls the HTTP API.
 *
 * @returns and throws as `issueCertificate`
 */
export function issueClientCertificate(order: {
  rootCa: RootCa;
  crossSignedPem?: string | undefined;
  csrPem: string;
  clientId: string;
  clusterId: string;
  notAfterMs: number;
  nowMs: number;
}): string {
  const { csrPem, notAfterMs, nowMs } = order;
  return signedChain(order, {
    publicKey: verifiedKeyOf(csrPem),
    subject: clientSubject(order),
    nowMs,
    notAfterMs,
    use: { dnsNames: [], isServer: false, isClient: true },
  });
}

/**
 * Makes a key and a certificate for a manager's HTTP API.
 *
 * @param order.names  host names and IP addresses that clients may call it by
 */
export function issueApiCertificate(order: {
  rootCa: RootCa;
  crossSignedPem?: string | undefined;
  nodeId: string;
  clusterId: string;
  names: string[];
  validityMs: number;
  nowMs: number;
}): { keyPem: string; certificateChainPem: string } {
  const { names, validityMs, nowMs } = order;
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const certificateChainPem = signedChain(order, {
    publicKey: publicKey.export({ type: 'spki', format: 'der' }),
    subject: apiSubject(order),
    nowMs,
    notAfterMs: nowMs + validityMs,
    use: {
      dnsNames: names.filter((each) => isIP(each) === 0),
      ipAddresses: names.flatMap((each) => addressBytes(each) ?? []),
      isServer: true,
      isClient: false,
    },
  });
  return { keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), certificateChainPem };
}

function signedChain(
  { rootCa, crossSignedPem }: Pick<CertificateOrder, 'rootCa' | 'crossSignedPem'>,
  order: Pick<CertificateFields, 'publicKey' | 'subject' | 'notAfterMs' | 'use'> & { nowMs: number },
): string {
  const { nowMs, publicKey, ...rest } = order;
  const root = new X509Certificate(rootCa.certificatePem);
  const rootParts = certificateParts(root.raw);
  const signed = toBeSigned({
    ...rest,
    publicKey,
    serial: newSerial(),
    issuer: rootParts.subject,
    notBeforeMs: nowMs - CERTIFICATE_SKEW_MS,
    subjectKeyId: keyIdOf(publicKey),
    issuerKeyId: keyIdOf(rootParts.publicKey),
  });
  const signature = sign('sha256', signed, createPrivateKey(rootCa.keyPem));
  return pemOf(certificate(signed, signature)) + (crossSignedPem ?? root.toString());
}

/** The bytes of an IP address; undefined for what is none. */
function addressBytes(text: string): Uint8Array | undefined {
  if (isIP(text) === 4) return Uint8Array.from(text.split('.').map(Number));
  if (isIP(text) !== 6) return undefined;
  const [head = '', tail] = text.split('::');
  const groups = (part: string) => (part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16)));
  const before = groups(head);
  const after = tail === undefined ? [] : groups(tail);
  const middle = new Array<number>(8 - before.length - after.length).fill(0);
  return Uint8Array.from([...before, ...middle, ...after].flatMap((group) => [group >> 8, group & 0xff]));
}

/**
 * Whose certificate this was, expired or not, when the request is signed by its key too.
 *
 * @throws ApiaryError `unauthenticated` when the root did not sign it, or its key not the request
 */
export function formerNodeOf(proof: {
  certificatePem: string;
  /** Of the request's text by the certificate's key: ECDSA with SHA-256, DER. */
  signature: Uint8Array;
  csrPem: string;
  rootPem: string;
}): { nodeId: string; clusterId: string } {
  const refused = (what: string) => new ApiaryError('unauthenticated', `the former certificate of the node ${what}`);
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(proof.certificatePem);
  } catch {
    throw refused('is none');
  }
  if (!certificate.verify(new X509Certificate(proof.rootPem).publicKey)) throw refused('is not of this cluster');
  if (!verify('sha256', Buffer.from(proof.csrPem), certificate.publicKey, proof.signature)) {
    throw refused('is not its own: the request is not signed by its key');
  }
  const { CN: nodeId, O: clusterId, OU: unit } = certificate.toLegacyObject().subject;
  if (typeof nodeId !== 'string' || typeof clusterId !== 'string' || !NODE_UNITS.includes(String(unit))) {
    throw refused("is not a node's");
  }
  return { nodeId, clusterId };
}

/** The root's part of a cluster's join tokens. The same for any PEM text of the same certificate. */
export function rootDigestOfPem(rootPem: string): string {
  return rootDigestOf(createHash('sha256').update(new X509Certificate(rootPem).toString()).digest());
}

/**
 * The root that takes the place of `current`: made anew, or the user's own.
 *
 * @param given  a certificate that may sign others, by itself, and its ECDSA P-256 key, PEM
 * @throws ApiaryError `invalid-argument` that says what is wrong with what is given
 */
export function nextRoot(current: RootCa, given: RootCa | undefined, nowMs: number): RootRotation {
  const next = given === undefined ? createRootCa(nowMs) : checkedRoot(given, nowMs);
  const signer = new X509Certificate(current.certificatePem);
  const certified = new X509Certificate(next.certificatePem);
  const { subject, publicKey } = certificateParts(certified.raw);
  const issuer = certificateParts(signer.raw);
  const signed = toBeSigned({
    serial: newSerial(),
    issuer: issuer.subject,
    subject,
    publicKey,
    notBeforeMs: nowMs - CERTIFICATE_SKEW_MS,
    notAfterMs: Math.min(Date.parse(signer.validTo), Date.parse(certified.validTo)),
    subjectKeyId: keyIdOf(publicKey),
    issuerKeyId: keyIdOf(issuer.publicKey),
  });
  const signature = sign('sha256', signed, createPrivateKey(current.keyPem));
  const { CertIssuerSubject, CertIssuerPublicKey } = tlsInfoOf(next.certificatePem, next.certificatePem);
  return {
    ...next,
    crossSignedPem: pemOf(certificate(signed, signature)),
    issuer: { CertIssuerSubject, CertIssuerPublicKey },
  };
}

function checkedRoot({ certificatePem, keyPem }: RootCa, nowMs: number): RootCa {
  try {
    const root = new X509Certificate(certificatePem);
    const key = createPrivateKey(keyPem);
    const fault = !root.ca
      ? 'the certificate is not one of a CA'
      : !root.verify(root.publicKey)
        ? 'the certificate is not signed by its own key'
        : !root.checkPrivateKey(key)
          ? 'the key is not that of the certificate'
          : key.asymmetricKeyDetails?.namedCurve !== 'prime256v1'
            ? 'its key is not ECDSA P-256'
            : Date.parse(root.validTo) <= nowMs
              ? 'the certificate has expired'
              : '';
    if (fault !== '') throw new ApiaryError('invalid-argument', `CAConfig.SigningCACert: ${fault}`);
    return { certificatePem: root.toString(), keyPem: key.export({ type: 'pkcs8', format: 'pem' }).toString() };
  } catch (error) {
    if (error instanceof ApiaryError) throw error;
    throw new ApiaryError('invalid-argument', `CAConfig.SigningCACert: ${messageOf(error)}`, { cause: error });
  }
}

/**
 * The public key (SubjectPublicKeyInfo, DER) of a request that could be signed.
 *
 * @throws ApiaryError `invalid-argument` as `issueCertificate` does
 */
export function verifiedKeyOf(csrPem: string): Uint8Array {
  const [, base64] = (csrPem.length <= MAX_CSR_LENGTH && CSR_FORM.exec(csrPem)) || [];
  if (base64 === undefined) {
    throw new ApiaryError('invalid-argument', 'invalid certificate request: expected one as PEM, of at most 4 KiB');
  }
  const { signed, publicKey, signature } = readCertificationRequest(Buffer.from(base64, 'base64'));
  if (!isSignedBy(publicKey, signed, signature)) {
    throw new ApiaryError('invalid-argument', 'invalid certificate request: it is not signed by its own key');
  }
  return publicKey;
}

function isSignedBy(publicKey: Uint8Array, signed: Uint8Array, signature: Uint8Array): boolean {
  try {
    return verify('sha256', signed, { key: Buffer.from(publicKey), format: 'der', type: 'spki' }, signature);
  } catch {
    // A point that is not on the curve is no key.
    return false;
  }
}

/** RFC 5280, 4.2.1.2, method 1. */
function keyIdOf(publicKey: Uint8Array): Uint8Array {
  const [, point] = readInside(publicKey, 0x30);
  return createHash('sha1').update(readBits(point)).digest();
}

function newSerial(): Uint8Array {
  const serial = randomBytes(16);
  // Not negative, and of one length.
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  return serial;
}

function pemOf(certificateDer: Uint8Array): string {
  return new X509Certificate(certificateDer).toString();
}
