import { removalOf } from '../requests/node-requests.js';
import type { Change, Guard } from '../store/change.js';
import type { NodeRecord } from '../store/records.js';
import type { View } from '../store/view.js';

/**
 * How long a node that was given a certificate may take to open its first session. A join opens it within seconds; one
 * that was cut short, before the node could keep its certificate, never does, and the next try makes another node.
 */
export const FIRST_SESSION_WITHIN_MS = 10 * 60_000;

/**
 * Whether a node has a certificate and has never been heard of: a session soon makes its node ready or, when it has no
 * engine, down; and the leader soon hears from a manager.
 */
export function isUnseen(node: NodeRecord): boolean {
  return node.description === undefined && node.status.state === 'unknown' && node.reachability !== 'reachable';
}

/**
 * Takes a node out that was never heard of; nothing when it was heard of meanwhile, or is gone. One that joined as a
 * manager goes with its membership, a moment later.
 */
export function removeUnseen(view: View, id: string): { guards: Guard[]; changes: Change[]; result: boolean } {
  const node = view.node(id);
  if (node === undefined || !isUnseen(node)) return { guards: [], changes: [], result: false };
  return { ...removalOf(node, false), result: true };
}
