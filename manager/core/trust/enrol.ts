import { type JoinToken, type NodeSpec, parseJoinToken } from '@apiary/api/model';
import { ApiaryError, newId, type Rng } from '@apiary/std';
import type { Change, Guard } from '../store/change.js';
import type { ClusterRecord, NodeRecord } from '../store/records.js';
import type { View } from '../store/view.js';
import { type Caller, notOfCluster } from './access.js';

/** Who gets a certificate, and as what. */
export interface Enrolment {
  nodeId: string;
  role: NodeRecord['role'];
  clusterId: string;
  /** How long the certificate is good for. */
  validityMs: number;
  rootCa: ClusterRecord['rootCa'];
}

interface EnrolmentDecision {
  guards: Guard[];
  changes: Change[];
  result: Enrolment;
}

const DEFAULT_CERTIFICATE_VALIDITY_MS = 90 * 24 * 3600 * 1000;

/**
 * Makes a node for whoever shows a join token. The guard holds the token to the cluster as it is where the entry
 * lands: one that was rotated meanwhile makes no node. Every call makes a new node; one whose caller was cut short
 * before it could keep the certificate is removed by the leader (`FIRST_SESSION_WITHIN_MS`).
 *
 * @param request.rootDigest    of the cluster's root certificate, as in its join tokens
 * @param request.availability  empty for `active`
 * @throws ApiaryError `unauthenticated` for a token that is not this cluster's, `unimplemented` for a manager's,
 *   `invalid-argument` for an unknown availability or what is no token at all
 */
export function enrol(
  view: View,
  request: { joinToken: string; rootDigest: string; availability: string },
  rng: Rng,
): EnrolmentDecision {
  const cluster = clusterOf(view);
  const role = roleOfToken(cluster, parseJoinToken(request.joinToken), request.rootDigest);
  if (role === 'manager') {
    throw new ApiaryError(
      'unimplemented',
      'this version runs a single manager: join with the worker token ("swarmctl join-token worker" shows it)',
    );
  }
  const spec: NodeSpec = { Labels: {}, Role: role, Availability: availabilityOf(request.availability) };
  const id = newId(rng);
  return {
    guards: [{ type: 'unchanged', kind: 'cluster', id: cluster.id, version: cluster.meta.version }],
    changes: [{ type: 'node-create', node: { id, spec, role, status: { state: 'unknown', message: '', addr: '' } } }],
    result: enrolmentOf(cluster, id, role),
  };
}

/**
 * What a node gets that renews its certificate: the same id, and the role of its record.
 *
 * @throws ApiaryError `not-found` when the node is gone
 */
export function renewal(view: View, caller: Pick<Caller, 'nodeId'>): Enrolment {
  const node = view.node(caller.nodeId);
  if (node === undefined) throw notOfCluster(caller.nodeId);
  return enrolmentOf(clusterOf(view), node.id, node.role);
}

/** How long certificates are good for, by the cluster's spec (`NodeCertExpiry`, nanoseconds). */
export function certificateValidityMs(spec: ClusterRecord['spec']): number {
  const expiryNs = spec.CAConfig?.NodeCertExpiry ?? 0;
  return expiryNs > 0 ? expiryNs / 1e6 : DEFAULT_CERTIFICATE_VALIDITY_MS;
}

function roleOfToken(cluster: ClusterRecord, token: JoinToken, rootDigest: string): NodeRecord['role'] {
  if (!equalInConstantTime(token.rootDigest, rootDigest)) {
    throw new ApiaryError(
      'unauthenticated',
      'invalid join token: it belongs to another cluster, or to this one before its CA was rotated; ' +
        '"swarmctl join-token worker" on a manager shows the current one',
    );
  }
  // Both are compared whatever the first says, so that the time taken tells nothing.
  const isWorker = equalInConstantTime(token.secret, cluster.joinSecrets.worker);
  const isManager = equalInConstantTime(token.secret, cluster.joinSecrets.manager);
  if (isManager) return 'manager';
  if (isWorker) return 'worker';
  throw new ApiaryError(
    'unauthenticated',
    'invalid join token: its secret is wrong or was rotated; ' +
      '"swarmctl join-token worker" on a manager shows the current one',
  );
}

function equalInConstantTime(given: string, expected: string): boolean {
  let difference = given.length ^ expected.length;
  for (let i = 0; i < expected.length; i++) difference |= given.charCodeAt(i) ^ expected.charCodeAt(i);
  return difference === 0;
}

function availabilityOf(text: string): 'active' | 'pause' | 'drain' {
  if (text === '' || text === 'active') return 'active';
  if (text === 'pause' || text === 'drain') return text;
  throw new ApiaryError(
    'invalid-argument',
    `invalid availability ${JSON.stringify(text)}: expected active, pause or drain`,
  );
}

function enrolmentOf(cluster: ClusterRecord, nodeId: string, role: NodeRecord['role']): Enrolment {
  const validityMs = certificateValidityMs(cluster.spec);
  return { nodeId, role, clusterId: cluster.id, validityMs, rootCa: cluster.rootCa };
}

function clusterOf(view: View): ClusterRecord {
  const cluster = view.cluster();
  if (cluster === undefined) throw new ApiaryError('unavailable', 'this manager has no cluster yet: try again');
  return cluster;
}
