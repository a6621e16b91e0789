import { ApiaryError } from '@apiary/std';
import type { Observation } from '../../core/dispatch/index.js';

/** Why an agent gets no session now. */
export function noLeader(): ApiaryError {
  return new ApiaryError('unavailable', 'the managers have no leader now: try another, or later');
}

/** A node whose session is over, as it goes on record. */
export function downObservation(nodeId: string, message: string, addr: string): Observation {
  return { type: 'status', nodeId, status: { state: 'down', message, addr } };
}
