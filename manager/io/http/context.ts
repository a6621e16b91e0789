import type { View } from '../../core/store/view.js';
import type { LocalNode, Replica } from '../ports.js';
import type { EngineEndpoint } from './engine-endpoint.js';

/** What all routes lean on. */
export interface ApiContext {
  node: LocalNode;
  engine: EngineEndpoint;
  /** Our own version, for `/version`. */
  version: string;
}

/**
 * The cluster's state with all that was committed before this call: what a client has been told is done is seen.
 *
 * @throws ApiaryError `not-manager`, `unavailable` when there is no leader
 */
export async function currentView({ node }: ApiContext): Promise<View> {
  const replica = node.replica();
  await replica.barrier();
  return replica.view;
}

/** The node that leads the managers, when it is known. */
export function leaderOf({ node }: ApiContext, { leadership }: Replica): string | undefined {
  return leadership.role === 'leader' ? node.status().nodeId : leadership.leaderId;
}
