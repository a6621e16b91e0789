import { freeGatewayIndex } from '@apiary/overlay-net/core';
import { unreachable } from '@apiary/std';
import { deleteAttachment } from './apply-attachment-change.js';
import type { ChangeOf, Touched } from './change.js';
import { created, type Landing, updated } from './landing.js';
import { effectiveRole, isWantedManager } from './node-role.js';
import type { NodeRecord } from './records.js';
import type { Tables } from './tables.js';

type NodePatch = ChangeOf<
  | 'node-spec'
  | 'node-status'
  | 'node-description'
  | 'node-role'
  | 'node-reachability'
  | 'node-manager-addr'
  | 'node-wireguard-key'
  | 'node-data-path-addr'
  | 'node-ipv6-addresses'
>;

/** Makes one change of a node, and keeps the list of those that may be managers no more. */
export function changeNode(
  tables: Tables,
  change: NodePatch | ChangeOf<'node-create' | 'node-delete'>,
  landing: Landing,
  touched: Touched,
): void {
  const id = change.type === 'node-create' ? change.node.id : change.id;
  const before = tables.nodes.get(id);
  let after: NodeRecord | undefined;
  if (change.type === 'node-create') {
    if (before !== undefined) return;
    const gatewayIndex = freeGatewayIndex(tables.nodes.values().map((node) => node.gatewayIndex));
    after = settled({ ...change.node, meta: created(landing), ...(gatewayIndex !== undefined && { gatewayIndex }) });
  } else {
    if (before === undefined) return;
    if (change.type !== 'node-delete') after = patched(before, change, landing);
    else if (before.role === 'manager') return;
  }
  if (after === undefined) {
    tables.nodes.delete(id);
    for (const attachment of tables.attachmentsOfNode.list(id)) deleteAttachment(tables, attachment, touched);
  } else tables.nodes.put(after);
  touched.nodes.add(id);
  countExclusion(tables, id, before, after, landing, touched);
}

/** Undefined when the change takes the record away. */
function patched(node: NodeRecord, change: NodePatch, landing: Landing): NodeRecord | undefined {
  if (change.type === 'node-role' && change.role === 'worker' && node.departure?.isRemoval === true) return undefined;
  return settled({ ...node, ...fieldsOf(node, change, landing), meta: updated(node.meta, landing) });
}

function fieldsOf(node: NodeRecord, change: NodePatch, { atMs }: Landing): Partial<NodeRecord> {
  switch (change.type) {
    case 'node-spec':
      return { spec: change.spec, ...(change.departure !== undefined && { departure: change.departure }) };
    case 'node-description': {
      const { description, managerAddr } = change;
      return { description, ...(managerAddr !== undefined && { managerAddr }) };
    }
    case 'node-role': {
      const { role, managerAddr } = change;
      return {
        role,
        ...(role !== node.role && { reachabilityAtMs: atMs }),
        ...(managerAddr !== undefined && { managerAddr }),
      };
    }
    case 'node-reachability':
      return { reachability: change.reachability, reachabilityAtMs: atMs };
    case 'node-wireguard-key':
      return { wireguardKey: change.wireguardKey };
    case 'node-data-path-addr':
      return { dataPathAddr: change.dataPathAddr };
    case 'node-ipv6-addresses':
      return { ipv6Addresses: change.ipv6Addresses };
    case 'node-manager-addr':
      return { managerAddr: change.managerAddr };
    case 'node-status': {
      const { status } = change;
      return { status, ...(status.state === 'down' && node.downSinceMs === undefined && { downSinceMs: atMs }) };
    }
    default:
      return unreachable(change);
  }
}

/** Without what is of managers only, or of nodes that are down. */
function settled(node: NodeRecord): NodeRecord {
  const { downSinceMs, reachability, reachabilityAtMs, departure, ...rest } = node;
  const isManager = rest.role === 'manager';
  return {
    ...rest,
    ...(rest.status.state !== 'ready' && downSinceMs !== undefined && { downSinceMs }),
    ...(isManager && reachability !== undefined && { reachability }),
    ...(isManager && reachabilityAtMs !== undefined && { reachabilityAtMs }),
    ...(isManager && !isWantedManager(rest) && departure !== undefined && { departure }),
  };
}

const DAY_MS = 24 * 3600 * 1000;
/** How long certificates are good for unless the cluster's spec says otherwise. */
const DEFAULT_VALIDITY_MS = 90 * DAY_MS;

/**
 * A node that may be a manager no more is excluded from here on, and one that may be again is not any more: it need
 * not have noticed, and then goes on with the certificate that it has.
 */
function countExclusion(
  tables: Tables,
  id: string,
  before: NodeRecord | undefined,
  after: NodeRecord | undefined,
  { atMs }: Landing,
  touched: Touched,
): void {
  const { cluster } = tables;
  const wasManager = before !== undefined && effectiveRole(before) === 'manager';
  const isManager = after !== undefined && effectiveRole(after) === 'manager';
  if (cluster === undefined || wasManager === isManager) return;
  const { excluded: excludedBefore = {}, ...rest } = cluster;
  if (isManager && excludedBefore[id] === undefined) return;
  const forgetBeforeMs = atMs - Math.max(DEFAULT_VALIDITY_MS, (cluster.spec.CAConfig?.NodeCertExpiry ?? 0) / 1e6);
  const excluded: Record<string, number> = {};
  for (const [each, sinceMs] of Object.entries(excludedBefore)) {
    if (each !== id && sinceMs > forgetBeforeMs) excluded[each] = sinceMs;
  }
  if (!isManager) excluded[id] = atMs;
  tables.cluster = Object.keys(excluded).length === 0 ? rest : { ...rest, excluded };
  touched.cluster = true;
}
