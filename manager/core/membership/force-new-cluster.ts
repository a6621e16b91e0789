import type { Change } from '../store/change.js';
import { effectiveRole } from '../store/node-role.js';
import type { View } from '../store/view.js';

/**
 * What makes one node the only manager of the cluster, after its log was cut down to this one member: when the others
 * are lost, or a backup is restored. All other managers become workers, and their certificates as managers count no
 * more. Without effect on a cluster that is so already.
 *
 * @param selfId  the only member of the log: a node of the cluster, or a new one with a certificate of its own
 * @param self.managerAddr  where it is reached as a manager, `HOST:PORT`
 * @param self.addr         the host of its address, as `node inspect` shows it
 */
export function forceNewCluster(view: View, selfId: string, self: { managerAddr: string; addr: string }): Change[] {
  const changes: Change[] = [];
  for (const node of view.nodes()) {
    if (node.id === selfId || effectiveRole(node) === 'worker') continue;
    const { id, spec } = node;
    if (spec.Role !== 'worker') changes.push({ type: 'node-spec', id, spec: { ...spec, Role: 'worker' } });
    if (node.role === 'manager') changes.push({ type: 'node-role', id, role: 'worker' });
  }
  return [...changes, ...changesOfSelf(view, selfId, self)];
}

function changesOfSelf(view: View, id: string, self: { managerAddr: string; addr: string }): Change[] {
  const { managerAddr, addr } = self;
  const node = view.node(id);
  if (node === undefined) {
    const spec = { Labels: {}, Role: 'manager' as const, Availability: 'active' as const };
    const status = { state: 'unknown' as const, message: '', addr };
    const created = { id, spec, role: 'manager' as const, status, managerAddr, reachability: 'reachable' as const };
    return [{ type: 'node-create', node: created }];
  }
  const changes: Change[] = [];
  // Before the role: a manager that was on its way out, record and all, stays.
  if (node.spec.Role !== 'manager') changes.push({ type: 'node-spec', id, spec: { ...node.spec, Role: 'manager' } });
  if (node.role !== 'manager') changes.push({ type: 'node-role', id, role: 'manager' });
  if (node.managerAddr !== managerAddr) changes.push({ type: 'node-manager-addr', id, managerAddr });
  if (node.reachability !== 'reachable') changes.push({ type: 'node-reachability', id, reachability: 'reachable' });
  if (node.status.addr !== addr) changes.push({ type: 'node-status', id, status: { ...node.status, addr } });
  return changes;
}
