import { tlsInfoOf as readTlsInfo } from '@apiary/api/client';
import { formatJoinToken, type Swarm, type TlsInfo } from '@apiary/api/model';
import type { ClusterRecord } from '../../core/store/records.js';
import { rootDigestOfPem } from '../trust/index.js';

/** By the record, which is replaced, never changed: every answer about a node or the cluster carries it. */
const tlsInfos = new WeakMap<ClusterRecord, TlsInfo>();

/** The cluster's root certificate, and who signs now, as the Engine API shows it. */
export function tlsInfoOf(cluster: ClusterRecord): TlsInfo {
  const { rootCa, rootRotation } = cluster;
  const known = tlsInfos.get(cluster);
  if (known !== undefined) return known;
  const info = readTlsInfo(rootCa.certificatePem, (rootRotation ?? rootCa).certificatePem);
  tlsInfos.set(cluster, info);
  return info;
}

/** The cluster's join tokens, from their secrets. */
export function joinTokensOf({ rootCa, joinSecrets }: ClusterRecord): Swarm['JoinTokens'] {
  const rootDigest = rootDigestOfPem(rootCa.certificatePem);
  return {
    Worker: formatJoinToken({ rootDigest, secret: joinSecrets.worker }),
    Manager: formatJoinToken({ rootDigest, secret: joinSecrets.manager }),
  };
}
