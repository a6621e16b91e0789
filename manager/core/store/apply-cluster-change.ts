import { unreachable } from '@apiary/std';
import type { ChangeOf, Touched } from './change.js';
import { created, type Landing, updated } from './landing.js';
import type { ClusterRecord } from './records.js';
import type { Tables } from './tables.js';

type ClusterChange = ChangeOf<
  | 'cluster-create'
  | 'cluster-spec'
  | 'join-secrets'
  | 'join-token-create'
  | 'join-token-delete'
  | 'unlock-key'
  | 'root-rotation-start'
  | 'root-rotation-finish'
  | 'root-rotation-abort'
  | 'root-key'
  | 'leader'
>;

export function changeCluster(tables: Tables, change: ClusterChange, landing: Landing, touched: Touched): void {
  const { cluster } = tables;
  if (change.type === 'cluster-create') {
    if (cluster !== undefined) return;
    tables.cluster = { ...change.cluster, meta: created(landing) };
  } else if (change.type === 'leader') {
    if (cluster !== undefined) tables.cluster = { ...cluster, leaderId: change.nodeId };
    return;
  } else {
    const fields = cluster && fieldsOf(cluster, change);
    if (cluster === undefined || fields === undefined) return;
    tables.cluster = { ...cluster, ...fields, meta: updated(cluster.meta, landing) };
  }
  touched.cluster = true;
}

/** What the change puts into the record; undefined when it changes nothing. */
function fieldsOf(
  { rootCa, rootRotation, joinTokens = [] }: ClusterRecord,
  change: Exclude<ClusterChange, { type: 'cluster-create' | 'leader' }>,
): Partial<ClusterRecord> | undefined {
  switch (change.type) {
    case 'cluster-spec':
      return { spec: change.spec };
    case 'join-secrets':
      return { joinSecrets: change.joinSecrets };
    case 'join-token-create':
      return { joinTokens: [...joinTokens, change.token] };
    case 'join-token-delete':
      return { joinTokens: joinTokens.filter(({ id }) => id !== change.id) };
    case 'unlock-key':
      return { unlockKey: change.unlockKey };
    case 'root-rotation-start':
      return { rootRotation: change.rotation };
    case 'root-rotation-finish': {
      if (rootRotation === undefined) return undefined;
      return { rootCa: withKey(rootRotation, rootRotation.keyPem), rootRotation: undefined };
    }
    case 'root-rotation-abort':
      return { rootRotation: undefined };
    case 'root-key': {
      if (rootRotation === undefined) return { rootCa: withKey(rootCa, change.keyPem) };
      const { keyPem: _, ...rest } = rootRotation;
      return { rootRotation: { ...rest, ...withKey(rootRotation, change.keyPem) } };
    }
    default:
      return unreachable(change);
  }
}

function withKey({ certificatePem }: { certificatePem: string }, keyPem: string | undefined): ClusterRecord['rootCa'] {
  return keyPem === undefined ? { certificatePem } : { certificatePem, keyPem };
}
