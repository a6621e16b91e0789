import { createPrivateKey, X509Certificate } from 'node:crypto';
import { issuedMsOf } from '@apiary/api/model';
import { ApiaryError, messageOf } from '@apiary/std';
import type { CertificateLife } from '../../core/index.js';
import type { NodeIdentity } from './channel.js';

/**
 * Puts a node's identity together: who it is stands in its certificate.
 *
 * @param certificateChainPem  the node's certificate first
 * @throws ApiaryError `failed-precondition` when key, certificate and root do not belong together, or the certificate
 *   is not one of a node
 */
export function nodeIdentityOf(certificateChainPem: string, keyPem: string, rootPem: string): NodeIdentity {
  try {
    const certificate = new X509Certificate(certificateChainPem);
    const [, behind] = certificatesIn(certificateChainPem);
    const roots = certificatesIn(rootPem);
    if (!certificate.checkPrivateKey(createPrivateKey(keyPem)))
      throw mismatch('its key is not that of the certificate');
    if (!isOfRoots(certificate, behind, roots)) throw mismatch('the certificate is not signed by the root');
    const { CN: nodeId, O: clusterId, OU: unit } = certificate.toLegacyObject().subject;
    const role = unit === 'swarm-manager' ? 'manager' : unit === 'swarm-worker' ? 'worker' : undefined;
    if (role === undefined || typeof nodeId !== 'string' || typeof clusterId !== 'string') {
      throw mismatch('the certificate does not say node, role and cluster');
    }
    return { nodeId, clusterId, role, certificateChainPem, keyPem, rootPem: roots.map(String).join('') };
  } catch (error) {
    if (error instanceof ApiaryError) throw error;
    throw new ApiaryError('failed-precondition', `unusable node certificate: ${messageOf(error)}`, { cause: error });
  }
}

/** The certificates of a text, in its order. @throws Error of Node's for one that is damaged */
export function certificatesIn(pem: string): X509Certificate[] {
  return (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?/g) ?? []).map(
    (each) => new X509Certificate(each),
  );
}

export function isRoot(certificate: X509Certificate): boolean {
  return certificate.verify(certificate.publicKey);
}

/** Who signed the node's certificate: the root, or the new root as the one before has signed it. */
export function issuerOf({ certificateChainPem, rootPem }: NodeIdentity): X509Certificate | undefined {
  const [certificate, behind] = certificatesIn(certificateChainPem);
  const candidates = [...(behind === undefined ? [] : [behind]), ...certificatesIn(rootPem)];
  return candidates.find(({ publicKey }) => certificate?.verify(publicKey));
}

function isOfRoots(
  certificate: X509Certificate,
  behind: X509Certificate | undefined,
  roots: X509Certificate[],
): boolean {
  const isSigned = (by: X509Certificate) => certificate.verify(by.publicKey);
  if (roots.some(isSigned)) return true;
  return behind !== undefined && isSigned(behind) && roots.some((root) => behind.verify(root.publicKey));
}

/** When a node's certificate was issued, and until when it is good. */
export function lifeOf(identity: NodeIdentity): CertificateLife {
  const { validFrom, validTo, subjectAltName } = new X509Certificate(identity.certificateChainPem);
  return {
    issuedMs: issuedMsOf({ validFrom, alternativeNames: subjectAltName }),
    notAfterMs: Date.parse(validTo),
  };
}

function mismatch(what: string): ApiaryError {
  return new ApiaryError('failed-precondition', `unusable node certificate: ${what}`);
}
