import { ApiaryError } from '@apiary/std';
import { DER_TAG, readDer, readInside } from './der.js';

/** Context tag of a certificate's version, which is absent in version 1. */
const VERSION_TAG = 0xa0;

/**
 * The parts of a certificate (RFC 5280) that are passed on as they are: DER of its subject and of its
 * SubjectPublicKeyInfo.
 *
 * @throws ApiaryError `invalid-argument` when it is no certificate
 */
export function certificateParts(certificate: Uint8Array): { subject: Uint8Array; publicKey: Uint8Array } {
  const [toBeSigned] = readInside(certificate, DER_TAG.sequence);
  const fields = readDer(toBeSigned?.content ?? new Uint8Array());
  if (fields[0]?.tag === VERSION_TAG) fields.shift();
  // serial, signature algorithm, issuer, validity, subject, public key
  const [, , , , subject, publicKey] = fields;
  if (subject?.tag !== DER_TAG.sequence || publicKey?.tag !== DER_TAG.sequence) {
    throw new ApiaryError('invalid-argument', 'malformed certificate');
  }
  return { subject: subject.whole, publicKey: publicKey.whole };
}
