import { effectiveRole } from '../store/node-role.js';
import type { NodeRecord } from '../store/records.js';
import type { View } from '../store/view.js';

/**
 * What a session tells a node to be. A node that is to become a manager hears it before it is one, for it must start
 * its manager to be made a member; one that is to be a manager no more hears it once it is no member.
 */
export function roleToTell(node: Pick<NodeRecord, 'spec' | 'role'>): NodeRecord['role'] {
  return effectiveRole(node);
}

/** As `roleToTell`, of a node that may be gone. */
export function roleOfNode(view: View, nodeId: string): NodeRecord['role'] | undefined {
  const node = view.node(nodeId);
  return node && roleToTell(node);
}
