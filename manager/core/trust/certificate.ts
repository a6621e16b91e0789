import { ascii, DER_TAG, der, derBits, derOid, derUnsigned, ECDSA_SHA256 } from '@apiary/api/model';

/**
 * Certificates as they are signed (RFC 5280): version 3, ECDSA P-256 with SHA-256. Names are those of SwarmKit
 * (ca/certificates.go): the node's id as common name, its role as organizational unit, its cluster as organization.
 */

export interface CertificateFields {
  /** Random, at most 20 bytes. */
  serial: Uint8Array;
  /** DER of the issuer's subject. */
  issuer: Uint8Array;
  /** DER of the subject: `nodeSubject` or `rootSubject`. */
  subject: Uint8Array;
  /** SubjectPublicKeyInfo, DER. */
  publicKey: Uint8Array;
  notBeforeMs: number;
  notAfterMs: number;
  /** SHA-1 of the public key's bits, of the subject and of the issuer: what chains are found by. */
  subjectKeyId: Uint8Array;
  issuerKeyId: Uint8Array;
  /** What the certificate is for; undefined for a root. */
  use?: CertificateUse;
}

export interface CertificateUse {
  /** The names and addresses (4 or 16 bytes each) that a server may be called by. */
  dnsNames: string[];
  ipAddresses?: Uint8Array[];
  isServer: boolean;
  isClient: boolean;
}

const OID = {
  organization: '2.5.4.10',
  organizationalUnit: '2.5.4.11',
  commonName: '2.5.4.3',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAlternativeName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  extensionRequest: '1.2.840.113549.1.9.14',
} as const;

const TRUE = der(DER_TAG.boolean, Uint8Array.of(0xff));

/** That a certificate is one of a CA. */
export const CA_CONSTRAINT = { oid: OID.basicConstraints, value: der(DER_TAG.sequence, TRUE) };
const ATTRIBUTES_TAG = 0xa0;

export function nodeSubject(node: { nodeId: string; role: 'worker' | 'manager'; clusterId: string }): Uint8Array {
  return name([
    [OID.organization, node.clusterId],
    [OID.organizationalUnit, `swarm-${node.role}`],
    [OID.commonName, node.nodeId],
  ]);
}

/** The organizational unit by which clients are told from nodes. */
export const CLIENT_UNIT = 'swarm-client';

export function rootSubject(): Uint8Array {
  return name([[OID.commonName, 'swarm-ca']]);
}

/** What the issuer signs. */
export function toBeSigned(fields: CertificateFields): Uint8Array {
  return der(
    DER_TAG.sequence,
    der(0xa0, derUnsigned(Uint8Array.of(2))),
    derUnsigned(fields.serial),
    ECDSA_SHA256,
    fields.issuer,
    der(DER_TAG.sequence, time(fields.notBeforeMs), time(fields.notAfterMs)),
    fields.subject,
    fields.publicKey,
    der(0xa3, der(DER_TAG.sequence, ...extensions(fields))),
  );
}

/** @param signature  of `signed` by the issuer's key, as DER */
export function certificate(signed: Uint8Array, signature: Uint8Array): Uint8Array {
  return der(DER_TAG.sequence, signed, ECDSA_SHA256, derBits(signature));
}

/**
 * What a CA signs to ask for a certificate as a CA by another one (RFC 2986, 4.1; the attribute with extensions is that of
 * RFC 2985, 5.4.2).
 *
 * @param subject    DER
 * @param publicKey  SubjectPublicKeyInfo, DER
 */
export function caRequestInfo(subject: Uint8Array, publicKey: Uint8Array): Uint8Array {
  const extensions = der(DER_TAG.sequence, extension(CA_CONSTRAINT.oid, true, CA_CONSTRAINT.value));
  const attribute = der(DER_TAG.sequence, derOid(OID.extensionRequest), der(DER_TAG.set, extensions));
  return der(DER_TAG.sequence, derUnsigned(Uint8Array.of(0)), subject, publicKey, der(ATTRIBUTES_TAG, attribute));
}

/** Of a client of the HTTP API, which is no node: its id as common name. */
export function clientSubject(client: { clientId: string; clusterId: string }): Uint8Array {
  return name([
    [OID.organization, client.clusterId],
    [OID.organizationalUnit, CLIENT_UNIT],
    [OID.commonName, client.clientId],
  ]);
}

/** Of a manager's HTTP API: no node's, so that nobody takes its holder for one. */
export function apiSubject(api: { nodeId: string; clusterId: string }): Uint8Array {
  return name([
    [OID.organization, api.clusterId],
    [OID.organizationalUnit, 'swarm-api'],
    [OID.commonName, api.nodeId],
  ]);
}

function extensions({ subjectKeyId, issuerKeyId, use }: CertificateFields): Uint8Array[] {
  const keyIds = [
    extension(OID.subjectKeyIdentifier, false, der(DER_TAG.octetString, subjectKeyId)),
    extension(OID.authorityKeyIdentifier, false, der(DER_TAG.sequence, der(0x80, issuerKeyId))),
  ];
  if (use === undefined) {
    return [
      extension(CA_CONSTRAINT.oid, true, CA_CONSTRAINT.value),
      // keyCertSign and cRLSign: bits 5 and 6
      extension(OID.keyUsage, true, der(DER_TAG.bitString, Uint8Array.of(1, 0b0000_0110))),
      ...keyIds,
    ];
  }
  return [
    extension(OID.basicConstraints, true, der(DER_TAG.sequence)),
    // digitalSignature: bit 0
    extension(OID.keyUsage, true, der(DER_TAG.bitString, Uint8Array.of(7, 0b1000_0000))),
    extension(OID.extendedKeyUsage, false, der(DER_TAG.sequence, ...purposesOf(use))),
    ...alternativeNames(use),
    ...keyIds,
  ];
}

function purposesOf({ isServer, isClient }: CertificateUse): Uint8Array[] {
  return [...(isServer ? [derOid(OID.serverAuth)] : []), ...(isClient ? [derOid(OID.clientAuth)] : [])];
}

/** RFC 5280, 4.2.1.6: dNSName and iPAddress. */
function alternativeNames({ dnsNames, ipAddresses = [] }: CertificateUse): Uint8Array[] {
  const names = [
    ...dnsNames.map((dnsName) => der(0x82, ascii(dnsName))),
    ...ipAddresses.map((address) => der(0x87, address)),
  ];
  return names.length === 0 ? [] : [extension(OID.subjectAlternativeName, false, der(DER_TAG.sequence, ...names))];
}

function extension(oid: string, critical: boolean, value: Uint8Array): Uint8Array {
  return der(DER_TAG.sequence, derOid(oid), ...(critical ? [TRUE] : []), der(DER_TAG.octetString, value));
}

function name(attributes: [oid: string, value: string][]): Uint8Array {
  const sets = attributes.map(([oid, value]) =>
    der(DER_TAG.set, der(DER_TAG.sequence, derOid(oid), der(DER_TAG.printableString, ascii(value)))),
  );
  return der(DER_TAG.sequence, ...sets);
}

/** RFC 5280, 4.1.2.5: UTCTime until 2049, GeneralizedTime from 2050 on, both to the second. */
function time(atMs: number): Uint8Array {
  const digits = new Date(atMs).toISOString().replaceAll(/[-:T]/g, '').slice(0, 14);
  return digits < '2050'
    ? der(DER_TAG.utcTime, ascii(`${digits.slice(2)}Z`))
    : der(DER_TAG.generalizedTime, ascii(`${digits}Z`));
}
