import { type ClusterEvent, timeNanoOf } from '../events/cluster-event.js';

/** Of what concerns the whole cluster, beside the engine's `local`. */
export const SWARM_SCOPE = 'swarm';

/** The event as `GET /events` says it: one line of JSON, its keys in Docker's order, without a line feed. */
export function eventLine(event: ClusterEvent): string {
  const { type, action, id, attributes, atMs } = event;
  const sorted = Object.fromEntries(Object.entries(attributes).sort(([a], [b]) => (a < b ? -1 : 1)));
  const actor = { ID: id, Attributes: sorted };
  const time = Math.floor(atMs / 1000);
  const line = JSON.stringify({ Type: type, Action: action, Actor: actor, scope: SWARM_SCOPE, time });
  // More digits than a number of ours has.
  return `${line.slice(0, -1)},"timeNano":${timeNanoOf(event)}}`;
}
