/** What the cluster has events of. Tasks are ours: Docker Swarm has none of them. */
export type EventType = 'service' | 'node' | 'task' | 'secret' | 'config' | 'network';

/** An object of the cluster came, changed or went. */
export interface ClusterEvent {
  /** By the managers' clock, milliseconds since the epoch. Never less than that of the event before. */
  atMs: number;
  /** Nanoseconds within that millisecond: with them, no two events have the same time. */
  nanos: number;
  type: EventType;
  action: 'create' | 'update' | 'remove';
  id: string;
  /** Docker's: `name`, and of an update what changed (`replicas.old`, `replicas.new`, ...). */
  attributes: Record<string, string>;
}

/** An event that has no time yet. */
export type EventDraft = Omit<ClusterEvent, 'atMs' | 'nanos'>;

/** Nanoseconds since the epoch, in digits: too many for a number. */
export function timeNanoOf({ atMs, nanos }: Pick<ClusterEvent, 'atMs' | 'nanos'>): string {
  return `${atMs}${String(nanos).padStart(6, '0')}`;
}

/** Whether `a` happened before `b`. */
export function isEarlier(a: Pick<ClusterEvent, 'atMs' | 'nanos'>, b: Pick<ClusterEvent, 'atMs' | 'nanos'>): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.nanos < b.nanos);
}
