import { ApiaryError } from '@apiary/std';
import { DER_TAG, der, derBits, derOid, derUnsigned, readBits, readDer, readInside, sameBytes } from './der.js';

/**
 * A certificate request (PKCS #10, RFC 2986) as nodes send it: an ECDSA P-256 key, signed by itself with SHA-256.
 * The subject is empty, since a manager decides who the node is.
 */

/** ecdsa-with-SHA256, RFC 5758. */
export const ECDSA_SHA256 = der(DER_TAG.sequence, derOid('1.2.840.10045.4.3.2'));

/** id-ecPublicKey on prime256v1, RFC 5480. */
const P256 = der(DER_TAG.sequence, derOid('1.2.840.10045.2.1'), derOid('1.2.840.10045.3.1.7'));

/** A certificate is good from an hour before it was issued, for nodes whose clocks are behind. */
export const CERTIFICATE_SKEW_MS = 3600 * 1000;

/** An uncompressed point: 0x04, x, y. */
const P256_POINT_BYTES = 65;

const ATTRIBUTES_TAG = 0xa0;

/** What the node signs. @param publicKey  SubjectPublicKeyInfo, DER */
export function certificationRequestInfo(publicKey: Uint8Array): Uint8Array {
  const noSubject = der(DER_TAG.sequence);
  return der(DER_TAG.sequence, derUnsigned(Uint8Array.of(0)), noSubject, publicKey, der(ATTRIBUTES_TAG));
}

/** @param signature  of `info` by the node's key, as DER */
export function certificationRequest(info: Uint8Array, signature: Uint8Array): Uint8Array {
  return der(DER_TAG.sequence, info, ECDSA_SHA256, derBits(signature));
}

/**
 * Takes a request apart. Its signature is still to be verified over `signed` with `publicKey`.
 *
 * @throws ApiaryError `invalid-argument` when it is no request, or one of another kind of key
 */
export function readCertificationRequest(request: Uint8Array): {
  signed: Uint8Array;
  publicKey: Uint8Array;
  signature: Uint8Array;
} {
  const [info, algorithm, signature, ...rest] = readInside(request, DER_TAG.sequence);
  if (info?.tag !== DER_TAG.sequence || algorithm === undefined || rest.length > 0) throw refusal('not PKCS #10');
  const [version, subject, publicKey, attributes, ...more] = readDer(info.content);
  if (version === undefined || !sameBytes(version.whole, derUnsigned(Uint8Array.of(0)))) throw refusal('not version 1');
  if (subject?.tag !== DER_TAG.sequence || publicKey === undefined) throw refusal('not PKCS #10');
  if ((attributes !== undefined && attributes.tag !== ATTRIBUTES_TAG) || more.length > 0) throw refusal('not PKCS #10');
  if (!sameBytes(algorithm.whole, ECDSA_SHA256)) throw refusal('not signed with ECDSA and SHA-256');
  const [keyAlgorithm, point, ...others] = readInside(publicKey.whole, DER_TAG.sequence);
  const isP256 = keyAlgorithm !== undefined && sameBytes(keyAlgorithm.whole, P256) && others.length === 0;
  if (!isP256 || readBits(point).length !== P256_POINT_BYTES) throw refusal('its key is not ECDSA P-256');
  return { signed: info.whole, publicKey: publicKey.whole, signature: readBits(signature) };
}

function refusal(what: string): ApiaryError {
  return new ApiaryError('invalid-argument', `invalid certificate request: ${what}`);
}
