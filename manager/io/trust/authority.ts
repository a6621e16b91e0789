import {
  createHash,
  createPrivateKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  verify,
  X509Certificate,
} from 'node:crypto';
import {
  CERTIFICATE_SKEW_MS,
  certificateParts,
  readBits,
  readCertificationRequest,
  readInside,
  rootDigestOf,
  type TlsInfo,
} from '@apiary/api/model';
import { ApiaryError } from '@apiary/std';
import {
  type CertificateFields,
  certificate,
  nodeSubject,
  rootSubject,
  toBeSigned,
} from '../../core/trust/certificate.js';

const HOUR_MS = 3600 * 1000;
/** As SwarmKit's root: 20 years. */
const ROOT_VALIDITY_MS = 20 * 365 * 24 * HOUR_MS;
/** A P-256 request without attributes has some 250 bytes as PEM. */
const MAX_CSR_LENGTH = 4096;
const CSR_FORM = /^\s*-----BEGIN CERTIFICATE REQUEST-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE REQUEST-----\s*$/;

/** A root certificate and its key, PEM. */
export interface RootCa {
  certificatePem: string;
  keyPem: string;
}

export interface CertificateOrder {
  rootCa: RootCa;
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
 * @returns the node's certificate, then the root, PEM
 * @throws ApiaryError `invalid-argument` when the request is malformed, of a key other than ECDSA P-256, or not
 *   signed by that key
 */
export function issueCertificate(order: CertificateOrder): string {
  const publicKey = verifiedKeyOf(order.csrPem);
  const root = new X509Certificate(order.rootCa.certificatePem);
  const rootParts = certificateParts(root.raw);
  const fields: CertificateFields = {
    serial: newSerial(),
    issuer: rootParts.subject,
    subject: nodeSubject(order),
    publicKey,
    notBeforeMs: order.nowMs - CERTIFICATE_SKEW_MS,
    notAfterMs: order.nowMs + order.validityMs,
    subjectKeyId: keyIdOf(publicKey),
    issuerKeyId: keyIdOf(rootParts.publicKey),
    dnsNames: [order.nodeId, `swarm-${order.role}`],
  };
  const signed = toBeSigned(fields);
  const signature = sign('sha256', signed, createPrivateKey(order.rootCa.keyPem));
  return pemOf(certificate(signed, signature)) + root.toString();
}

/** The root's part of a cluster's join tokens. The same for any PEM text of the same certificate. */
export function rootDigestOfPem(rootPem: string): string {
  return rootDigestOf(createHash('sha256').update(new X509Certificate(rootPem).toString()).digest());
}

/** What the Engine API says of a cluster's root. */
export function tlsInfoOf(rootPem: string): TlsInfo {
  const root = new X509Certificate(rootPem);
  const { subject, publicKey } = certificateParts(root.raw);
  return {
    TrustRoot: root.toString(),
    CertIssuerSubject: Buffer.from(subject).toString('base64'),
    CertIssuerPublicKey: Buffer.from(publicKey).toString('base64'),
  };
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
