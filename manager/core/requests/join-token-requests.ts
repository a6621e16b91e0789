import { ApiaryError, newId, type Rng } from '@apiary/std';
import type { ClusterRecord, JoinTokenRecord } from '../store/records.js';
import type { View } from '../store/view.js';
import { newJoinSecret } from './cluster-requests.js';
import type { Decision } from './decision.js';
import { invalid, quoted } from './refusal.js';

export interface JoinTokenOrder {
  role: string;
  /** What every node that joins with it is labelled with. */
  labels: Record<string, string>;
  /** Undefined: until it is removed. */
  validityMs?: number | undefined;
}

const MOST_TOKENS = 1000;

/**
 * Makes a join token beside the two that every cluster has: with labels for whoever joins, for as long as is asked.
 *
 * @param rng  one for secrets
 * @throws ApiaryError `invalid-argument` that names the field, `resource-exhausted`
 */
export function createJoinToken(view: View, order: JoinTokenOrder, nowMs: number, rng: Rng): Decision<JoinTokenRecord> {
  const cluster = clusterOf(view);
  const { role, labels, validityMs } = order;
  if (role !== 'worker' && role !== 'manager') throw invalid(`invalid role ${quoted(role)}: expected worker, manager`);
  if (Object.keys(labels).some((key) => key === '')) throw invalid('a label must have a name');
  if (validityMs !== undefined && !(validityMs > 0)) throw invalid('invalid validity: expected a time to come');
  if ((cluster.joinTokens ?? []).length >= MOST_TOKENS) {
    throw new ApiaryError('resource-exhausted', `there are ${MOST_TOKENS} join tokens: remove some first`);
  }
  const token: JoinTokenRecord = {
    id: newId(rng),
    role,
    labels,
    secret: newJoinSecret(rng),
    createdAtMs: nowMs,
    ...(validityMs !== undefined && { notAfterMs: nowMs + validityMs }),
  };
  return {
    guards: [{ type: 'unchanged', kind: 'cluster', id: cluster.id }],
    changes: [{ type: 'join-token-create', token }],
    result: token,
  };
}

/**
 * From when this is committed, nobody joins with it; those who did stay.
 *
 * @throws ApiaryError `not-found`
 */
export function removeJoinToken(view: View, id: string): Decision<string> {
  const { joinTokens = [] } = clusterOf(view);
  if (!joinTokens.some((token) => token.id === id)) throw new ApiaryError('not-found', `join token ${id} not found`);
  return { guards: [], changes: [{ type: 'join-token-delete', id }], result: id };
}

function clusterOf(view: View): ClusterRecord {
  const cluster = view.cluster();
  if (cluster === undefined) throw new ApiaryError('unavailable', 'this manager has no cluster yet: try again');
  return cluster;
}
