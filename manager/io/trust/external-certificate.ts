import { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { certificateParts, sameBytes } from '@apiary/api/model';

/** What a signer outside of the cluster was asked for. */
export interface Expected {
  /** SubjectPublicKeyInfo, DER. */
  publicKey: Uint8Array;
  subject: { commonName: string; unit: string; organization: string };
  dnsNames: string[];
  ipAddresses: string[];
  isServer: boolean;
  isClient: boolean;
  rootPem: string;
  nowMs: number;
  /** How long it is to be good at least, from now on; undefined: an hour. */
  shortestMs?: number;
  /** At most; undefined: as long as the signer likes. */
  longestMs?: number;
}

const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';
const HOUR_MS = 3600_000;
/** Signers have certificates begin some minutes earlier, and count from there. */
const SLACK_MS = 10 * 60_000;

/**
 * Looks whether a signed certificate is the one that was asked for: of that key, for that subject under those names and no
 * others, signed by the root itself, no CA, and good from now on, for an hour at least and no longer than allowed.
 *
 * @returns the certificate alone, PEM
 * @throws Error that says what is wrong with it
 */
export function verifiedCertificate(certificatePem: string, expected: Expected): string {
  const certificate = read(certificatePem);
  const faults = [
    faultOfKey(certificate, expected.publicKey),
    faultOfIssuer(certificate, new X509Certificate(expected.rootPem)),
    certificate.ca ? 'is one of a CA' : '',
    faultOfName(certificate, expected),
    faultOfUse(certificate, expected),
    faultOfLife(certificate, expected),
  ];
  const fault = faults.find((each) => each !== '');
  if (fault !== undefined) throw new Error(`the certificate that it signs ${fault}`);
  return certificate.toString();
}

/**
 * Looks whether a new root is signed as it must be for whoever trusts but the current one: with its own key, as a CA, and
 * under the very bytes of its subject, since those are what certificates name it by.
 *
 * @returns and throws as `verifiedCertificate`
 */
export function verifiedCrossSigned(
  certificatePem: string,
  { rootPem, nextPem, nowMs }: { rootPem: string; nextPem: string; nowMs: number },
): string {
  const certificate = read(certificatePem);
  const next = certificateParts(new X509Certificate(nextPem).raw);
  const isSubject = sameBytes(certificateParts(certificate.raw).subject, next.subject);
  const faults = [
    faultOfKey(certificate, next.publicKey),
    faultOfIssuer(certificate, new X509Certificate(rootPem)),
    isSubject ? '' : 'has another subject than the new root',
    certificate.ca ? '' : 'is none of a CA: it needs a profile "CA" with "ca_constraint": {"is_ca": true}',
    faultOfLife(certificate, { nowMs }),
  ];
  const fault = faults.find((each) => each !== '');
  if (fault !== undefined) throw new Error(`the new root that it signs ${fault}`);
  return certificate.toString();
}

function read(certificatePem: string): X509Certificate {
  try {
    return new X509Certificate(certificatePem);
  } catch (cause) {
    throw new Error('what it signs is no certificate', { cause });
  }
}

function faultOfKey(certificate: X509Certificate, publicKey: Uint8Array): string {
  return sameBytes(certificateParts(certificate.raw).publicKey, publicKey) ? '' : 'is of another key';
}

function faultOfIssuer(certificate: X509Certificate, root: X509Certificate): string {
  return certificate.checkIssued(root) && certificate.verify(root.publicKey)
    ? ''
    : "is not signed by the cluster's root itself: it is the CA certificate that was given, or it is not this signer's";
}

function faultOfName(certificate: X509Certificate, { subject, dnsNames, ipAddresses }: Expected): string {
  const { CN, OU, O } = certificate.toLegacyObject().subject;
  if (CN !== subject.commonName || OU !== subject.unit || O !== subject.organization) return 'is for another subject';
  const wanted = [
    ...dnsNames.map((name) => `DNS:${name}`),
    ...ipAddresses.map((address) => `IP:${canonical(address)}`),
  ];
  const has = (certificate.subjectAltName ?? '').split(', ').map(nameOf);
  const isSame = has.length === wanted.length && wanted.every((name) => has.includes(name));
  return isSame ? '' : `is for other names: ${has.join(', ')}`;
}

function nameOf(text: string): string {
  const [, address] = /^IP Address:(.+)$/.exec(text) ?? [];
  return address === undefined ? text : `IP:${canonical(address)}`;
}

/** One text for each address. */
function canonical(address: string): string {
  return isIP(address) === 6 ? new URL(`http://[${address}]`).hostname : address;
}

function faultOfUse({ keyUsage }: X509Certificate, { isServer, isClient }: Expected): string {
  if (keyUsage === undefined) return '';
  if (isServer && !keyUsage.includes(SERVER_AUTH)) return 'is for no server: its profile needs the usage "server auth"';
  if (isClient && !keyUsage.includes(CLIENT_AUTH)) return 'is for no client: its profile needs the usage "client auth"';
  return '';
}

function faultOfLife(
  { validFrom, validTo }: X509Certificate,
  {
    nowMs,
    shortestMs = HOUR_MS,
    longestMs = Number.POSITIVE_INFINITY,
  }: Pick<Expected, 'nowMs' | 'shortestMs' | 'longestMs'>,
): string {
  const [fromMs, toMs] = [Date.parse(validFrom), Date.parse(validTo)];
  const iso = (ms: number) => new Date(ms).toISOString();
  if (fromMs > nowMs) return `is good only from ${iso(fromMs)} on: set the clocks of both hosts right`;
  if (toMs < nowMs + shortestMs - SLACK_MS) {
    return `is good only until ${iso(toMs)}, and not until ${iso(nowMs + shortestMs)}: set a longer "expiry" in its profile`;
  }
  if (toMs <= nowMs + longestMs + SLACK_MS) return '';
  return (
    `is good until ${iso(toMs)}, which is longer than certificates of this cluster are: set a shorter "expiry" in its ` +
    'profile, or "swarmctl update --cert-expiry"'
  );
}
