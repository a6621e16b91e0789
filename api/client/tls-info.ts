import { X509Certificate } from 'node:crypto';
import { certificateParts, type TlsInfo } from '@apiary/api/model';

/**
 * What the Engine API says of whom somebody trusts, and who signed their certificate.
 *
 * @param trustPem   one root, or several one after the other
 * @param issuerPem  of the certificate with the issuer's subject and key
 */
export function tlsInfoOf(trustPem: string, issuerPem: string): TlsInfo {
  const { subject, publicKey } = certificateParts(new X509Certificate(issuerPem).raw);
  return {
    TrustRoot: trustPem,
    CertIssuerSubject: Buffer.from(subject).toString('base64'),
    CertIssuerPublicKey: Buffer.from(publicKey).toString('base64'),
  };
}
