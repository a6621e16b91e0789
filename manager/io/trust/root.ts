import { createPrivateKey, sign, X509Certificate } from 'node:crypto';
import { csrPemOf, tlsInfoOf } from '@apiary/api/client';
import { CERTIFICATE_SKEW_MS, certificateParts, certificationRequest } from '@apiary/api/model';
import { ApiaryError, messageOf } from '@apiary/std';
import type { GivenRoot } from '../../core/requests/index.js';
import type { ClusterRecord, RootRotation } from '../../core/store/records.js';
import { CA_CONSTRAINT, caRequestInfo, certificate, toBeSigned } from '../../core/trust/certificate.js';
import { createRootCa, keyIdOf, newSerial, pemOf, type RootCa } from './authority.js';
import type { SigningRequest } from './external-signer.js';

/** The least that is taken of an RSA key. */
const LEAST_RSA_BITS = 2048;
/** As SwarmKit names the policy by which a signer signs other CAs. */
const CROSS_SIGNING_PROFILE = 'CA';

/**
 * The root that takes the place of `current`, signed by that.
 *
 * @param next  as `chosenRoot` gives it
 * @throws ApiaryError `failed-precondition` when the key of the current one is not here
 */
export function nextRoot(current: ClusterRecord['rootCa'], next: GivenRoot, nowMs: number): RootRotation {
  return rotationTo(next, crossSigned(current, next.certificatePem, nowMs));
}

/** @param crossSignedPem  the new root as the current one signed it */
export function rotationTo(next: GivenRoot, crossSignedPem: string): RootRotation {
  const { CertIssuerSubject, CertIssuerPublicKey } = tlsInfoOf(next.certificatePem, next.certificatePem);
  return { ...next, crossSignedPem, issuer: { CertIssuerSubject, CertIssuerPublicKey } };
}

/** The user's own root once it is looked at, or one that is made. @throws ApiaryError `invalid-argument` */
export function chosenRoot(given: GivenRoot | undefined, nowMs: number): GivenRoot {
  return given === undefined ? createRootCa(nowMs) : checkedRoot(given, nowMs);
}

function crossSigned(current: ClusterRecord['rootCa'], nextPem: string, nowMs: number): string {
  if (current.keyPem === undefined) {
    throw new ApiaryError('failed-precondition', "the key of the cluster's root is outside of the cluster");
  }
  const signer = new X509Certificate(current.certificatePem);
  const certified = new X509Certificate(nextPem);
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
  return pemOf(certificate(signed, sign('sha256', signed, createPrivateKey(current.keyPem))));
}

/** What a signer outside is asked, to sign a root of ours that is to come. */
export function caRequestOf({ certificatePem, keyPem }: RootCa): SigningRequest {
  const { subject, publicKey } = certificateParts(new X509Certificate(certificatePem).raw);
  const info = caRequestInfo(subject, publicKey);
  const request = certificationRequest(info, sign('sha256', info, createPrivateKey(keyPem)));
  return {
    certificate_request: csrPemOf(request),
    hosts: [],
    profile: CROSS_SIGNING_PROFILE,
    extensions: [{ id: CA_CONSTRAINT.oid, critical: true, value: Buffer.from(CA_CONSTRAINT.value).toString('hex') }],
  };
}

/**
 * Looks at a root that a user gives: one certificate that may sign others, by itself, still good, and its key, ECDSA P-256.
 * Of one whose key stays outside, the key may be RSA, too.
 *
 * @returns it as everybody writes it
 * @throws ApiaryError `invalid-argument` that says what is wrong
 */
function checkedRoot({ certificatePem, keyPem }: GivenRoot, nowMs: number): GivenRoot {
  try {
    const root = new X509Certificate(certificatePem);
    const fault = faultOfRoot(root, certificatePem, nowMs) || (keyPem === undefined ? '' : faultOfKey(root, keyPem));
    if (fault !== '') throw new ApiaryError('invalid-argument', `CAConfig.SigningCACert: ${fault}`);
    if (keyPem === undefined) return { certificatePem: root.toString() };
    const key = createPrivateKey(keyPem).export({ type: 'pkcs8', format: 'pem' }).toString();
    return { certificatePem: root.toString(), keyPem: key };
  } catch (error) {
    if (error instanceof ApiaryError) throw error;
    throw new ApiaryError('invalid-argument', `CAConfig.SigningCACert: ${messageOf(error)}`, { cause: error });
  }
}

function faultOfRoot(root: X509Certificate, pem: string, nowMs: number): string {
  const { publicKey } = root;
  const bits = publicKey.asymmetricKeyDetails?.modulusLength ?? 0;
  const isKeyUsable =
    publicKey.asymmetricKeyType === 'rsa' ? bits >= LEAST_RSA_BITS : publicKey.asymmetricKeyType === 'ec';
  if (pem.split('-----BEGIN ').length > 2) return 'must contain exactly one certificate';
  if (!root.ca) return 'the certificate is not one of a CA';
  if (!root.verify(publicKey)) return 'the certificate is not signed by its own key';
  if (!isKeyUsable) return `its key is neither of an elliptic curve nor RSA of ${LEAST_RSA_BITS} bits`;
  return Date.parse(root.validTo) <= nowMs ? 'the certificate has expired' : '';
}

function faultOfKey(root: X509Certificate, keyPem: string): string {
  const key = createPrivateKey(keyPem);
  if (!root.checkPrivateKey(key)) return 'the key is not that of the certificate';
  return key.asymmetricKeyDetails?.namedCurve === 'prime256v1' ? '' : 'its key is not ECDSA P-256';
}
