import type { ClusterSpec } from '@apiary/api/model';

/**
 * Signers outside of the cluster (`CAConfig.ExternalCAs`). Each signs for one root: that of `CACert` or, when it says none,
 * the cluster's. Source of the rule: SwarmKit (ca/server.go).
 */

/** Whether two texts have the same certificates in them, whatever their line ends. */
export function isSameCertificate(pem: string, other: string): boolean {
  return bodyOf(pem) === bodyOf(other);
}

/**
 * Where certificates of a root are signed outside of the cluster, as URLs in the order of the spec.
 *
 * @param rootPem      the root
 * @param clusterRootPem  the cluster's own: while it is being changed, the one before
 */
export function externalUrlsFor({ CAConfig }: ClusterSpec, rootPem: string, clusterRootPem: string): string[] {
  return (CAConfig?.ExternalCAs ?? [])
    .filter(({ CACert = '' }) => isSameCertificate(CACert === '' ? clusterRootPem : CACert, rootPem))
    .map(({ URL = '' }) => URL);
}

/** The spec with the root of each signer said, as Docker does: it stays that one when the cluster's root is another. */
export function withRootsSaid(spec: ClusterSpec, clusterRootPem: string): ClusterSpec {
  const { ExternalCAs } = spec.CAConfig ?? {};
  if (ExternalCAs === undefined || ExternalCAs.length === 0) return spec;
  const said = ExternalCAs.map((each) => ((each.CACert ?? '') === '' ? { ...each, CACert: clusterRootPem } : each));
  return { ...spec, CAConfig: { ...spec.CAConfig, ExternalCAs: said } };
}

function bodyOf(pem: string): string {
  return pem.replaceAll(/-----(?:BEGIN|END) [A-Z ]+-----|\s/g, '');
}
