import { effectiveRole } from '../store/node-role.js';
import type { NodeRecord } from '../store/records.js';

/**
 * What a session tells a node to be. A node that is to become a manager hears it before it is one, for it must start
 * its manager to be made a member; one that is to be a manager no more hears it once it is no member.
 */
export function roleToTell(node: Pick<NodeRecord, 'spec' | 'role'>): NodeRecord['role'] {
  return effectiveRole(node);
}
