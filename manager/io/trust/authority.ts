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
import {
  CERTIFICATE_SKEW_MS,
  certificateParts,
  readBits,
  readCertificationRequest,
  readInside,
  rootDigestOf,
} from '@apiary/api/model';
import { ApiaryError } from '@apiary/std';
import type { ClusterRecord } from '../../core/store/records.js';
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

/** A root certificate and its key, PEM, that certificates are signed by here. */
export interface RootCa {
  certificatePem: string;
  keyPem: string;
}

export interface CertificateOrder {
  rootCa: ClusterRecord['rootCa'];
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
 *   signed by that key; `failed-precondition` when the root's key is not here
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
  rootCa: ClusterRecord['rootCa'];
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
  rootCa: ClusterRecord['rootCa'];
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

const NO_KEY =
  "the key of the cluster's root is outside of the cluster, and no external CA is known that signs by it: name one with " +
  '"swarmctl update --external-ca protocol=cfssl,url=URL"';

function signedChain(
  { rootCa, crossSignedPem }: Pick<CertificateOrder, 'rootCa' | 'crossSignedPem'>,
  order: Pick<CertificateFields, 'publicKey' | 'subject' | 'notAfterMs' | 'use'> & { nowMs: number },
): string {
  const { nowMs, publicKey, ...rest } = order;
  if (rootCa.keyPem === undefined) throw new ApiaryError('failed-precondition', NO_KEY);
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
export function keyIdOf(publicKey: Uint8Array): Uint8Array {
  const [, point] = readInside(publicKey, 0x30);
  return createHash('sha1').update(readBits(point)).digest();
}

export function newSerial(): Uint8Array {
  const serial = randomBytes(16);
  // Not negative, and of one length.
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  return serial;
}

export function pemOf(certificateDer: Uint8Array): string {
  return new X509Certificate(certificateDer).toString();
}
