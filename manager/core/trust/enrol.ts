import { type JoinToken, type NodeSpec, parseHostPort, parseJoinToken } from '@apiary/api/model';
import { ApiaryError, newId, type Rng } from '@apiary/std';
import type { Change, Guard } from '../store/change.js';
import { effectiveRole } from '../store/node-role.js';
import type { ClusterRecord, JoinTokenRecord, NodeRecord } from '../store/records.js';
import type { View } from '../store/view.js';
import { type Caller, notOfCluster } from './access.js';
import { type Signer, signerOf } from './root-rotation.js';

/** Who gets a certificate, and as what. */
export interface Enrolment {
  nodeId: string;
  role: NodeRecord['role'];
  clusterId: string;
  /** How long the certificate is good for. */
  validityMs: number;
  signer: Signer;
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
 * @param request.managerAddr   where the others would reach it as a manager, `HOST:PORT`: a manager's token needs it,
 *   and with a worker's it is passed over, since whoever joins cannot tell one token from the other
 * @param request.nodeId        of a node that has its certificate already; drawn when undefined
 * @throws ApiaryError `unauthenticated` for a token that is not this cluster's; `invalid-argument` for an unknown
 *   availability, what is no token at all, or a manager's token without a usable address
 */
export function enrol(
  view: View,
  request: {
    joinToken: string;
    rootDigest: string;
    availability: string;
    managerAddr?: string | undefined;
    nodeId?: string | undefined;
  },
  nowMs: number,
  rng: Rng,
): EnrolmentDecision {
  const cluster = clusterOf(view);
  const { role, labels } = grantOf(cluster, parseJoinToken(request.joinToken), request.rootDigest, nowMs);
  const managerAddr = role === 'manager' ? managerAddrOf(request.managerAddr) : undefined;
  const spec: NodeSpec = { Labels: labels, Role: role, Availability: availabilityOf(request.availability) };
  const id = request.nodeId ?? newId(rng);
  return {
    guards: [{ type: 'unchanged', kind: 'cluster', id: cluster.id, version: cluster.meta.version }],
    changes: [
      {
        type: 'node-create',
        node: {
          id,
          spec,
          // Until the leader has made it a member of the managers' log.
          role: 'worker',
          status: { state: 'unknown', message: '', addr: '' },
          ...(managerAddr !== undefined && { managerAddr }),
        },
      },
    ],
    result: enrolmentOf(cluster, id, role),
  };
}

/**
 * What a node gets that comes back after its certificate has expired, with a token of the cluster: the same id, and the
 * role that it is to have now. That it is that node was found out by its former key.
 *
 * @param request.formerNode  who it proves to have been; asked only once the token is found good
 * @throws ApiaryError `unauthenticated` as `enrol`, and for a node of another cluster; `not-found` when the node is gone
 */
export function readmit(
  view: View,
  request: { joinToken: string; rootDigest: string; formerNode: () => { nodeId: string; clusterId: string } },
  nowMs: number,
): Enrolment {
  const cluster = clusterOf(view);
  grantOf(cluster, parseJoinToken(request.joinToken), request.rootDigest, nowMs);
  const former = request.formerNode();
  if (former.clusterId !== cluster.id) {
    throw new ApiaryError('unauthenticated', `node ${former.nodeId} is of another cluster: ${former.clusterId}`);
  }
  return renewal(view, former);
}

/**
 * What a node gets that renews its certificate: the same id, and the role that it is to have now, whatever it has been:
 * a manager's from when it is wanted as one until it is a member of the managers' log no more.
 *
 * @throws ApiaryError `not-found` when the node is gone
 */
export function renewal(view: View, caller: Pick<Caller, 'nodeId'>): Enrolment {
  const node = view.node(caller.nodeId);
  if (node === undefined) throw notOfCluster(caller.nodeId);
  return enrolmentOf(clusterOf(view), node.id, effectiveRole(node));
}

/** How long certificates are good for, by the cluster's spec (`NodeCertExpiry`, nanoseconds). */
export function certificateValidityMs(spec: ClusterRecord['spec']): number {
  const expiryNs = spec.CAConfig?.NodeCertExpiry ?? 0;
  return expiryNs > 0 ? expiryNs / 1e6 : DEFAULT_CERTIFICATE_VALIDITY_MS;
}

const SHOW_TOKENS = 'on a manager, "swarmctl join-token worker" (or "manager", to join as one) shows';

/** What a token makes of who joins with it. */
function grantOf(
  cluster: ClusterRecord,
  token: JoinToken,
  rootDigest: string,
  nowMs: number,
): Pick<JoinTokenRecord, 'role' | 'labels'> {
  if (!equalInConstantTime(token.rootDigest, rootDigest)) {
    throw new ApiaryError(
      'unauthenticated',
      'invalid join token: it belongs to another cluster, or to this one before its CA was rotated; ' +
        `${SHOW_TOKENS} the current ones`,
    );
  }
  const { joinSecrets, joinTokens = [] } = cluster;
  const tokens: Pick<JoinTokenRecord, 'role' | 'labels' | 'secret' | 'notAfterMs'>[] = [
    { role: 'worker', labels: {}, secret: joinSecrets.worker },
    { role: 'manager', labels: {}, secret: joinSecrets.manager },
    ...joinTokens,
  ];
  // All are compared whatever the first says, so that the time taken tells nothing.
  const [grant] = tokens.filter(({ secret }) => equalInConstantTime(token.secret, secret));
  if (grant?.notAfterMs !== undefined && grant.notAfterMs <= nowMs) {
    throw new ApiaryError(
      'unauthenticated',
      `invalid join token: it expired at ${new Date(grant.notAfterMs).toISOString()}`,
    );
  }
  if (grant !== undefined) return grant;
  throw new ApiaryError(
    'unauthenticated',
    `invalid join token: its secret is wrong or was rotated; ${SHOW_TOKENS} the current ones`,
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

function managerAddrOf(text: string | undefined): string {
  if (text === undefined || text === '') {
    throw new ApiaryError(
      'invalid-argument',
      'this join token is for managers, and no address came with it at which the other managers reach this one: ' +
        'join with --advertise-addr, or as a worker with the token that "swarmctl join-token worker" shows',
    );
  }
  parseHostPort(text, 'manager address');
  return text;
}

function enrolmentOf(cluster: ClusterRecord, nodeId: string, role: NodeRecord['role']): Enrolment {
  const validityMs = certificateValidityMs(cluster.spec);
  return { nodeId, role, clusterId: cluster.id, validityMs, signer: signerOf(cluster) };
}

function clusterOf(view: View): ClusterRecord {
  const cluster = view.cluster();
  if (cluster === undefined) throw new ApiaryError('unavailable', 'this manager has no cluster yet: try again');
  return cluster;
}
