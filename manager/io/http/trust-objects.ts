import { formatJoinToken, type Swarm, type TlsInfo } from '@apiary/api/model';
import type { ClusterRecord } from '../../core/store/records.js';
import { tlsInfoOf as readTlsInfo, rootDigestOfPem } from '../trust/index.js';

/** By the record, which is replaced, never changed: every answer about a node or the cluster carries it. */
const tlsInfos = new WeakMap<ClusterRecord['rootCa'], TlsInfo>();

/** The cluster's root certificate, as the Engine API shows it. */
export function tlsInfoOf({ rootCa }: ClusterRecord): TlsInfo {
  const info = tlsInfos.get(rootCa) ?? readTlsInfo(rootCa.certificatePem);
  tlsInfos.set(rootCa, info);
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
