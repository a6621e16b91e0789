import { ApiaryError } from '@apiary/std';
import type { Guard } from '../store/change.js';
import { isWantedManager } from '../store/node-role.js';
import type { View } from '../store/view.js';

/** What it costs to take one manager out, as the records say. */
export interface RemovalCost {
  /** No other manager stays: nobody would keep the cluster's state. */
  isLast: boolean;
  /** Those that stay and are reachable would not be more than half of those that stay. */
  losesQuorum: boolean;
  /** Managers that stay, how many of them are reachable, and how many must be. */
  left: number;
  reachable: number;
  needed: number;
  /** Those that stay and are not reachable: their hostnames. */
  unreachable: string[];
  /** That those that stay do so still: or else two removals, decided at once, could be one too many. */
  guards: Guard[];
}

/**
 * Counts what is left without manager `id`: members of the managers' log that are not on their way out already. One
 * that was just added counts as not reachable until the leader has heard of it.
 */
export function costOfRemoval(view: View, id: string): RemovalCost {
  const staying = view.nodes().filter((node) => node.id !== id && node.role === 'manager' && isWantedManager(node));
  const unreachable = staying
    .filter(({ reachability }) => reachability !== 'reachable')
    .map((node) => node.description?.Hostname ?? node.id);
  const left = staying.length;
  const needed = Math.floor(left / 2) + 1;
  const reachable = left - unreachable.length;
  return {
    isLast: left === 0,
    losesQuorum: reachable < needed,
    left,
    reachable,
    needed,
    unreachable,
    guards: staying.map(({ id, meta }) => ({ type: 'unchanged', kind: 'node', id, version: meta.version })),
  };
}

/** SwarmKit's words. */
export const LAST_MANAGER = 'attempting to demote the last manager of the swarm';

/** SwarmKit's words, and what stands behind them. */
export function quorumRefusal({ left, reachable, needed, unreachable }: RemovalCost): ApiaryError {
  return new ApiaryError(
    'failed-precondition',
    "can't remove member from the raft: this would result in a loss of quorum: " +
      `of the ${left} managers left, ${reachable} would be reachable where ${needed} must be, ` +
      `and nothing in the cluster could be changed. Bring back ${unreachable.join(', ')} or remove what is lost first; ` +
      'with force it is done all the same',
  );
}
