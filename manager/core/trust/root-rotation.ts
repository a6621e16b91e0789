import type { ClusterRecord, NodeRecord, RootRotation } from '../store/records.js';
import type { View } from '../store/view.js';
import { externalUrlsFor } from './external-ca.js';

/**
 * A change of the cluster's root in which nobody stops trusting anybody. While it is under way, certificates are signed by
 * the new root's key, and with each goes the new root as signed by the old one, so that who knows but the old root
 * accepts it; who renews its certificate trusts both roots from then on. Once every node has a certificate of the new
 * root and trusts it, the old one is forgotten.
 */

/** What signs certificates now: the root that is to come, while the cluster's root is being changed. */
export interface Signer {
  rootCa: ClusterRecord['rootCa'];
  /** Where they are signed outside of the cluster, in the order in which to ask. Empty: here. */
  externalUrls: string[];
  /** The new root as the old one signed it, PEM: to be shown behind every certificate. */
  crossSignedPem?: string;
  /** All roots that are to be trusted, PEM. */
  trustPem: string;
}

export function signerOf({
  rootCa,
  rootRotation,
  spec,
}: Pick<ClusterRecord, 'rootCa' | 'rootRotation' | 'spec'>): Signer {
  const { certificatePem, keyPem } = rootRotation ?? rootCa;
  return {
    rootCa: { certificatePem, ...(keyPem !== undefined && { keyPem }) },
    externalUrls: externalUrlsFor(spec, certificatePem, rootCa.certificatePem),
    ...(rootRotation !== undefined && { crossSignedPem: rootRotation.crossSignedPem }),
    trustPem: rootRotation === undefined ? rootCa.certificatePem : rootCa.certificatePem + certificatePem,
  };
}

/** Whether a node says that it has a certificate of the new root and trusts it. */
export function isRotated({ description }: Pick<NodeRecord, 'description'>, rotation: RootRotation): boolean {
  const { TrustRoot = '', CertIssuerPublicKey } = description?.TLSInfo ?? {};
  return CertIssuerPublicKey === rotation.issuer.CertIssuerPublicKey && TrustRoot.includes(rotation.certificatePem);
}

/** Nodes that do not say so yet. Down ones are among them. */
export function notRotated(view: View, rotation: RootRotation): string[] {
  return view
    .nodes()
    .filter((node) => !isRotated(node, rotation))
    .map(({ id }) => id);
}
