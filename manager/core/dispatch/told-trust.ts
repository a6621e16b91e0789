import type { ClusterRecord } from '../store/records.js';
import { signerOf } from '../trust/root-rotation.js';

/** The roots that nodes are to trust, and the one whose certificates they are to have, PEM. */
export function trustToTell(cluster: ClusterRecord | undefined): { trustPem: string; issuerPem: string } {
  if (cluster === undefined) return { trustPem: '', issuerPem: '' };
  const { trustPem, rootCa } = signerOf(cluster);
  return { trustPem, issuerPem: rootCa.certificatePem };
}
