import { ApiaryError } from '@apiary/std';
import type { View } from '../store/view.js';

/** Who calls, by the certificate of this cluster that the connection was made with. */
export interface Caller {
  nodeId: string;
  role: 'worker' | 'manager';
  clusterId: string;
  /** Until when the certificate is good. A connection can outlive it. */
  validUntilMs: number;
}

/** Who may call a method: anybody who reaches the port, any node of the cluster, or only its managers. */
export type Access = 'anyone' | 'node' | 'manager';

/**
 * Says why a call may not be made, or undefined when it may. A node is what both its certificate and its record
 * say: one that was removed is nobody, and one that was demoted is no manager, whatever it can still show.
 *
 * @param caller  undefined without a certificate that the cluster's root signed
 */
export function refusalOf(
  view: View,
  caller: Caller | undefined,
  access: Access,
  nowMs: number,
): ApiaryError | undefined {
  if (access === 'anyone') return undefined;
  if (caller === undefined) {
    return new ApiaryError(
      'unauthenticated',
      'this call needs a valid certificate of this cluster: none was shown, it has expired, or another CA signed it',
    );
  }
  if (caller.clusterId !== view.cluster()?.id) {
    return new ApiaryError('unauthenticated', `node ${caller.nodeId}: its certificate is for another cluster`);
  }
  if (caller.validUntilMs <= nowMs) {
    return new ApiaryError('unauthenticated', `node ${caller.nodeId}: its certificate has expired`);
  }
  const node = view.node(caller.nodeId);
  if (node === undefined) {
    return notOfCluster(caller.nodeId);
  }
  if (access === 'manager' && (caller.role !== 'manager' || node.role !== 'manager')) {
    return new ApiaryError('permission-denied', `node ${caller.nodeId} is a worker: this call is for managers only`);
  }
  return undefined;
}

/** A node that is not on record, or no longer: its agent hears that there is nothing to wait for. */
export function notOfCluster(nodeId: string): ApiaryError {
  return new ApiaryError('not-found', `node ${nodeId} is not, or no longer, part of this cluster`);
}
