import type {
  ClusterSpec,
  DesiredState,
  EndpointSpec,
  NodeDescription,
  NodeSpec,
  NodeState,
  ServiceSpec,
  TaskStatus,
  TaskTemplate,
  UpdateState,
} from '@apiary/api/model';

/** What the managers remember. Records are never changed in place: a change puts a new record in the old one's place. */

export interface Meta {
  /** Index of the log entry that changed the record last: the `Version.Index` of Docker's API. */
  version: number;
  createdAtMs: number;
  updatedAtMs: number;
}

export interface ClusterRecord {
  id: string;
  meta: Meta;
  spec: ClusterSpec;
  /** The secret part of each role's join token: 25 characters of base 36. */
  joinSecrets: { worker: string; manager: string };
  /** The root certificate and its key, PEM. */
  rootCa: { certificatePem: string; keyPem: string };
}

export interface NodeRecord {
  id: string;
  meta: Meta;
  spec: NodeSpec;
  /** What its certificate says it is. */
  role: 'worker' | 'manager';
  /** Undefined until the node's agent has had its first session: a worker that has none within 10 minutes is removed. */
  description?: NodeDescription;
  status: { state: NodeState; message: string; addr: string };
  /** When the entry landed that first found it down, by the managers' clock; undefined again once it is ready. */
  downSinceMs?: number;
  /** For a manager: where the other managers and the agents reach it, `HOST:PORT`. */
  managerAddr?: string;
}

export interface ServiceRecord {
  id: string;
  meta: Meta;
  spec: ServiceSpec;
  /** The spec version that the service's tasks should have. Grows only when a change concerns tasks. */
  specVersion: number;
  /** What a rollback goes back to. */
  previous?: { spec: ServiceSpec; specVersion: number };
  update?: UpdateProgress;
}

/** A rolling update or rollback, under way or ended: Docker's `UpdateStatus`, and what the planner must remember. */
export interface UpdateProgress {
  state: UpdateState;
  startedAtMs: number;
  completedAtMs?: number;
  message: string;
}

/** The part of a service's spec that its tasks depend on. Stored once, however many tasks point at it. */
export interface SpecVersion {
  serviceId: string;
  version: number;
  serviceName: string;
  serviceLabels: Record<string, string>;
  template: TaskTemplate;
  endpoint?: EndpointSpec;
}

export interface TaskRecord {
  id: string;
  meta: Meta;
  serviceId: string;
  specVersion: number;
  /** From 1, for a replicated service; 0 for a global one. */
  slot: number;
  /** Undefined while no node has been found. Set from the start for a task of a global service. */
  nodeId?: string;
  desiredState: DesiredState;
  status: TaskStatus;
  /** While the desired state is `ready`: when the task may start (the delay of the restart policy). */
  startAtMs?: number;
  /** When the entry landed that first reported it running, and the one that reported its end: by the managers' clock. */
  runningAtMs?: number;
  endedAtMs?: number;
  restarts: RestartHistory;
}

/** What a task inherits from those that ran in its slot before it, under the same spec version. */
export interface RestartHistory {
  /** Restarts so far: what `MaxAttempts` is compared with when there is no window. */
  attempts: number;
  /** Failures in a row, none of which had run for long: what the back-off grows with. */
  failuresInARow: number;
  /** With a window: when the restarts within it were, oldest first, milliseconds since the epoch. */
  recentMs: number[];
}
