import { type ClusterSpec, type NodeSpec, newUnlockKey } from '@apiary/api/model';
import { ApiaryError, newId, type Rng, unreachable } from '@apiary/std';
import type { Change, Guard } from '../store/change.js';
import type { ClusterRecord, NodeRecord, RootRotation } from '../store/records.js';
import type { View } from '../store/view.js';
import { withRootsSaid } from '../trust/external-ca.js';
import type { Decision } from './decision.js';
import { completeClusterSpec, refuseUnhonouredClusterSpec } from './honoured.js';
import { firstNetworks } from './network-requests.js';
import type { readNetworkSettings } from './network-settings.js';
import { invalid } from './refusal.js';
import { checkExternalCas, type GivenRoot, rootChangeOf } from './root-change.js';

/** What makes a cluster, with its first node: a manager. */
export interface ClusterInit {
  /** Undefined to have one made up. */
  clusterId?: string;
  nodeId: string;
  /** What it leaves open is as Docker's `swarm init` makes it. */
  spec?: ClusterSpec;
  rootCa: ClusterRecord['rootCa'];
  availability: NonNullable<NodeSpec['Availability']>;
  /** The node's address, and where the others reach the manager: `HOST:PORT`. */
  addr: string;
  managerAddr: string;
  description?: NodeRecord['description'];
  /** What it leaves open is as Docker has it, but for the size of subnets. */
  networks?: ReturnType<typeof readNetworkSettings>;
}

/**
 * Makes the cluster and its first node.
 *
 * @param rng  draws the secrets of the join tokens, and the unlock key: it must be one for secrets
 * @returns the id of the cluster
 * @throws ApiaryError `failed-precondition` when there is one already, `invalid-argument`, `unimplemented`
 */
export function initCluster(view: View, init: ClusterInit, rng: Rng): Decision<string> {
  if (view.cluster() !== undefined) {
    throw new ApiaryError(
      'failed-precondition',
      'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.',
    );
  }
  checkClusterSpec(init.spec ?? {});
  const { nodeId, rootCa, availability, addr, managerAddr, description } = init;
  const spec = withRootsSaid(withoutSigning(completeClusterSpec(init.spec ?? {})), rootCa.certificatePem);
  const id = init.clusterId ?? newId(rng);
  const joinSecrets = { worker: newJoinSecret(rng), manager: newJoinSecret(rng) };
  const lock = isAutolocked(spec) && { unlockKey: newUnlockKey(rng) };
  return {
    guards: [{ type: 'no-cluster' }],
    changes: [
      { type: 'cluster-create', cluster: { id, spec, joinSecrets, rootCa, ...lock, ...init.networks } },
      {
        type: 'node-create',
        node: {
          id: nodeId,
          spec: { Labels: {}, Role: 'manager', Availability: availability },
          role: 'manager',
          reachability: 'reachable',
          status: { state: 'unknown', message: '', addr },
          managerAddr,
          ...(description !== undefined && { description }),
        },
      },
      ...firstNetworks(init.networks?.addressPools, rng),
    ],
    result: id,
  };
}

/**
 * Puts a new spec in the place of the cluster's, and makes new join tokens as asked for: the old ones stop working. The
 * unlock key comes and goes with autolock; a new one is made when asked for, while managers are locked at all.
 *
 * @param request.version  the `meta.version` that the caller has seen
 * @param rng              one for secrets
 * @returns the id of the cluster
 * @throws ApiaryError `invalid-argument`, `out-of-sequence`, `unimplemented`, `unavailable` without a cluster
 */
export function updateCluster(
  view: View,
  request: {
    version: number;
    spec: ClusterSpec;
    rotateWorkerToken: boolean;
    rotateManagerToken: boolean;
    rotateUnlockKey: boolean;
    /** The root that is to come, as signed by the one that is: asked only when the spec wants another. */
    newRoot: (rootCa: ClusterRecord['rootCa'], given: GivenRoot | undefined) => RootRotation;
  },
  rng: Rng,
): Decision<string> {
  const cluster = view.cluster();
  if (cluster === undefined) throw new ApiaryError('unavailable', 'this manager has no cluster yet: try again');
  const { id, joinSecrets } = cluster;
  const { version, rotateWorkerToken, rotateManagerToken } = request;
  checkClusterSpec(request.spec);
  const spec = completeClusterSpec(request.spec);
  if (cluster.meta.version !== version) throw new ApiaryError('out-of-sequence', 'update out of sequence');
  const guards: Guard[] = [{ type: 'unchanged', kind: 'cluster', id, version }];
  const changes = trustChanges(cluster, spec, request.newRoot);
  if (rotateWorkerToken || rotateManagerToken) {
    changes.push({
      type: 'join-secrets',
      joinSecrets: {
        worker: rotateWorkerToken ? newJoinSecret(rng) : joinSecrets.worker,
        manager: rotateManagerToken ? newJoinSecret(rng) : joinSecrets.manager,
      },
    });
  }
  if (!isAutolocked(spec)) {
    if (cluster.unlockKey !== undefined) changes.push({ type: 'unlock-key' });
  } else if (cluster.unlockKey === undefined || request.rotateUnlockKey) {
    changes.push({ type: 'unlock-key', unlockKey: newUnlockKey(rng) });
  }
  return { guards, changes, result: id };
}

/** The new spec, and what it makes of the cluster's root. */
function trustChanges(
  cluster: ClusterRecord,
  spec: ClusterSpec,
  newRoot: Parameters<typeof updateCluster>[1]['newRoot'],
): Change[] {
  const change = rootChangeOf(cluster, spec);
  const kept = withRootsSaid(withoutSigning(spec), cluster.rootCa.certificatePem);
  const keyOf = ({ keyPem }: GivenRoot): Change => ({ type: 'root-key', ...(keyPem !== undefined && { keyPem }) });
  switch (change.type) {
    case 'none':
      return [{ type: 'cluster-spec', spec: kept }];
    case 'key':
      return [{ type: 'cluster-spec', spec: kept }, keyOf(change.given)];
    case 'abort':
      return [{ type: 'cluster-spec', spec: kept }, { type: 'root-rotation-abort' }, keyOf(change.given)];
    case 'rotate': {
      const rotation = newRoot(cluster.rootCa, change.given);
      return [
        { type: 'cluster-spec', spec: kept },
        { type: 'root-rotation-start', rotation },
      ];
    }
    default:
      return unreachable(change);
  }
}

/** Root and key are the root's business, and of the key nobody is shown anything. */
function withoutSigning(spec: ClusterSpec): ClusterSpec {
  const { SigningCACert: _, SigningCAKey: __, ...ca } = spec.CAConfig ?? {};
  return { ...spec, CAConfig: ca };
}

function isAutolocked(spec: ClusterSpec): boolean {
  return spec.EncryptionConfig?.AutoLockManagers === true;
}

const HOUR_NS = 3_600_000_000_000;

/** Docker's engine finds this fault before it asks SwarmKit. @throws ApiaryError `invalid-argument` */
export function checkClusterName({ Name = '' }: ClusterSpec): void {
  if (Name !== '' && Name !== 'default') throw invalid('swarm spec must be named "default"');
}

/** What is wrong with a cluster's spec in itself. @throws ApiaryError `invalid-argument`, `unimplemented` */
export function checkClusterSpec(spec: ClusterSpec): void {
  checkClusterName(spec);
  const expiryNs = spec.CAConfig?.NodeCertExpiry ?? 0;
  if (expiryNs !== 0 && expiryNs < HOUR_NS) throw invalid('minimum certificate expiry time is: 1h0m0s');
  if ((spec.Dispatcher?.HeartbeatPeriod ?? 0) < 0) {
    throw invalid('heartbeat time period cannot be a negative duration');
  }
  checkExternalCas(spec);
  refuseUnhonouredClusterSpec(spec);
}

const SECRET_LENGTH = 25;

/** The secret part of a join token. @param rng  one for secrets */
export function newJoinSecret(rng: Rng): string {
  return Array.from({ length: SECRET_LENGTH }, () => rng.below(36).toString(36)).join('');
}
