import { ApiaryError } from '@apiary/std';
import type { View } from '../../core/store/view.js';
import type { LocalNode, Replica } from '../ports.js';
import type { EngineEndpoint } from './engine-endpoint.js';
import { asClusterRequest } from './error-reply.js';

/** The part of a pino logger that is used. */
export interface Logger {
  info(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** What all routes lean on. */
export interface ApiContext {
  node: LocalNode;
  engine: EngineEndpoint;
  /** Our own version, for `/version`. */
  version: string;
}

/**
 * This manager's copy of the state, once it has one.
 *
 * @throws ApiaryError `not-manager`, with Docker's words, also while this node is still becoming a manager
 */
export function replicaOf({ node }: ApiContext): Replica {
  const replica = node.replica();
  if (replica.view.cluster() !== undefined) return replica;
  throw new ApiaryError(
    'not-manager',
    'This node is not a swarm manager. Manager is being prepared or has trouble connecting to the cluster.',
  );
}

/**
 * The cluster's state with all that was committed before this call, wherever that was: what a client has been told is
 * done is seen, also by a client of another manager.
 *
 * @throws ApiaryError `not-manager`; ReplyError when there is no leader, in the form that Docker gives it
 */
export async function currentView(context: ApiContext): Promise<View> {
  const replica = replicaOf(context);
  await asClusterRequest(() => replica.barrier());
  return replica.view;
}

/** The node that leads the managers, when it is known. */
export function leaderOf({ node }: ApiContext, { leadership }: Replica): string | undefined {
  return leadership.role === 'leader' ? node.status().nodeId : leadership.leaderId;
}
