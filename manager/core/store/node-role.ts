import type { NodeRecord } from './records.js';

/**
 * What a node is to be at this moment, and what its certificate says: a manager from when it is wanted as one until it
 * is neither wanted nor a member of the managers' log.
 */
export function effectiveRole({ spec, role }: Pick<NodeRecord, 'spec' | 'role'>): NodeRecord['role'] {
  return spec.Role === 'manager' || role === 'manager' ? 'manager' : 'worker';
}

/** Whether the user wants it as a manager. */
export function isWantedManager({ spec, role }: Pick<NodeRecord, 'spec' | 'role'>): boolean {
  return (spec.Role ?? role) === 'manager';
}
