import { ApiaryError } from '@apiary/std';
import type { Observation } from '../../core/dispatch/index.js';
import type { Replica } from '../ports.js';

/** Why an agent gets no session now. */
export function noLeader(): ApiaryError {
  return new ApiaryError('unavailable', 'the managers have no leader now: try another, or later');
}

/** A node whose session is over, as it goes on record. */
export function downObservation(nodeId: string, message: string, addr: string): Observation {
  return { type: 'status', nodeId, status: { state: 'down', message, addr } };
}

/** Where the leader is, when it is another manager; empty when there is none, or it is not known. */
export function leaderAddrOf({ leadership, view }: Pick<Replica, 'leadership' | 'view'>): string {
  if (leadership.role === 'leader' || leadership.leaderId === undefined) return '';
  return view.node(leadership.leaderId)?.managerAddr ?? '';
}
