import { ApiaryError } from '@apiary/std';
import type { View } from '../store/view.js';

/** Who calls, by the certificate of this cluster that the connection was made with. */
export interface Caller {
  nodeId: string;
  role: 'worker' | 'manager';
  clusterId: string;
  /** When the certificate was issued, to the second. */
  issuedMs: number;
  /** Until when the certificate is good. A connection can outlive it. */
  validUntilMs: number;
}

/**
 * Who may call a method: anybody who reaches the port, any node of the cluster, only its managers, or whoever may take
 * part in the managers' log (`memberRefusalOf`).
 */
export type Access = 'anyone' | 'node' | 'manager' | 'member';

/**
 * Says why a call may not be made, or undefined when it may. A node is what both its certificate and its record
 * say: one that was removed is nobody, and one that was demoted is no manager, whatever it can still show.
 *
 * @param caller  undefined without a certificate that the cluster's root signed
 */
export function refusalOf(
  view: View,
  caller: Caller | undefined,
  access: Exclude<Access, 'member'>,
  nowMs: number,
): ApiaryError | undefined {
  if (access === 'anyone') return undefined;
  const cluster = view.cluster();
  if (cluster === undefined) {
    return new ApiaryError('unavailable', 'this manager does not have the state of the cluster yet: try another one');
  }
  const refusal = certificateRefusalOf(caller, cluster.id, nowMs);
  if (refusal !== undefined || caller === undefined) return refusal;
  const node = view.node(caller.nodeId);
  if (node === undefined) {
    return notOfCluster(caller.nodeId);
  }
  if (access === 'manager' && (caller.role !== 'manager' || node.role !== 'manager')) {
    return new ApiaryError('permission-denied', `node ${caller.nodeId} is a worker: this call is for managers only`);
  }
  return undefined;
}

/**
 * Says why somebody may not take part in the managers' log, or undefined when it may. The state is not asked who is a
 * manager: one that joins has none yet, and one that lags behind must still let those in that can help it. It only says
 * who is one no more.
 *
 * @param own.clusterId  of this manager's own certificate
 * @param own.excluded   as in the cluster's record
 */
export function memberRefusalOf(
  caller: Caller | undefined,
  own: { clusterId: string; excluded: Record<string, number> | undefined },
  nowMs: number,
): ApiaryError | undefined {
  const refusal = certificateRefusalOf(caller, own.clusterId, nowMs);
  if (refusal !== undefined || caller === undefined) return refusal;
  const { nodeId, role, issuedMs } = caller;
  if (role !== 'manager') {
    return new ApiaryError('permission-denied', `node ${nodeId} is a worker: this call is for managers only`);
  }
  const excludedMs = own.excluded?.[nodeId];
  if (excludedMs !== undefined && issuedMs <= excludedMs) {
    return new ApiaryError(
      'permission-denied',
      `node ${nodeId} is no manager any more: its certificate is of before it was demoted or removed`,
    );
  }
  return undefined;
}

function certificateRefusalOf(caller: Caller | undefined, clusterId: string, nowMs: number): ApiaryError | undefined {
  if (caller === undefined) {
    return new ApiaryError(
      'unauthenticated',
      'this call needs a valid certificate of this cluster: none was shown, it has expired, or another CA signed it',
    );
  }
  if (caller.clusterId !== clusterId) {
    return new ApiaryError('unauthenticated', `node ${caller.nodeId}: its certificate is for another cluster`);
  }
  if (caller.validUntilMs <= nowMs) {
    return new ApiaryError('unauthenticated', `node ${caller.nodeId}: its certificate has expired`);
  }
  return undefined;
}

/** A node that is not on record, or no longer: its agent hears that there is nothing to wait for. */
export function notOfCluster(nodeId: string): ApiaryError {
  return new ApiaryError('not-found', `node ${nodeId} is not, or no longer, part of this cluster`);
}
