import type { ClusterSpec } from '@apiary/api/model';
import { invariant, messageOf } from '@apiary/std';
import { checkClusterSpec, firstRootOf, noSigner, rootChangeOf } from '../../core/requests/index.js';
import type { ClusterRecord, RootRotation } from '../../core/store/records.js';
import { externalUrlsFor } from '../../core/trust/index.js';
import type { ExternalSigners } from './external-signer.js';
import type { Issuer } from './issuer.js';
import { chosenRoot, nextRoot, rotationTo } from './root.js';

type Trusted = Pick<ClusterRecord, 'rootCa' | 'rootRotation' | 'spec'>;

/** The root that a new cluster begins with. @throws ApiaryError `invalid-argument` */
export function firstRoot(spec: ClusterSpec, nowMs: number): ClusterRecord['rootCa'] {
  return chosenRoot(firstRootOf(spec), nowMs);
}

/**
 * Does what a change of the cluster's spec needs of others before it can be committed: asks whether the signers that it
 * names are there, and has the new root signed, here or by them.
 *
 * @returns the root that is to come, if the spec wants another
 * @throws ApiaryError as `checkClusterSpec`; `invalid-argument` as `rootChangeOf`, for an unusable root, and when no signer is reached;
 *   `unavailable` when none signs the new root
 */
export async function prepareRoot(
  cluster: Trusted,
  spec: ClusterSpec,
  { issuer, nowMs }: { issuer: Issuer; nowMs: number },
): Promise<RootRotation | undefined> {
  checkClusterSpec(spec);
  const { rootCa, rootRotation, spec: before } = cluster;
  const change = rootChangeOf(cluster, spec);
  const reach = (rootPem: string, which: string) =>
    reached(issuer, { urls: externalUrlsFor(spec, rootPem, rootCa.certificatePem), rootPem }, which);
  if (change.type === 'none') {
    const areSame = JSON.stringify(spec.CAConfig?.ExternalCAs) === JSON.stringify(before.CAConfig?.ExternalCAs);
    if (!areSame) await reach((rootRotation ?? rootCa).certificatePem, 'current');
    return undefined;
  }
  const next = chosenRoot(change.given, nowMs);
  await reach(next.certificatePem, 'desired');
  if (change.type !== 'rotate') return undefined;
  if (rootCa.keyPem !== undefined) return nextRoot(rootCa, next, nowMs);
  const { certificatePem, keyPem } = next;
  invariant(keyPem !== undefined, 'a change from one external root to another is refused');
  const urls = externalUrlsFor(spec, rootCa.certificatePem, rootCa.certificatePem);
  return rotationTo(next, await issuer.crossSign(rootCa, { certificatePem, keyPem }, urls));
}

/** Looks that a signer is there, for a root of which the spec names signers outside. */
async function reached(issuer: Issuer, signers: ExternalSigners, which: string): Promise<void> {
  if (signers.urls.length === 0) return;
  try {
    await issuer.reach(signers);
  } catch (error) {
    throw noSigner(which, `: ${messageOf(error)}`);
  }
}
