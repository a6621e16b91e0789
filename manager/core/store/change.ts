import type {
  ClusterSpec,
  ContentKind,
  DesiredState,
  GenericResource,
  NodeDescription,
  NodeSpec,
  PortConfig,
  ServiceSpec,
  TaskStatus,
} from '@apiary/api/model';
import type { ClusterEvent } from '../events/cluster-event.js';
import type {
  AttachmentRecord,
  ClientCertificateRecord,
  ClusterRecord,
  ContentRecord,
  Departure,
  JoinTokenRecord,
  NetworkAddress,
  NetworkRecord,
  NodeRecord,
  Rebalance,
  RestartHistory,
  RootRotation,
  ServiceEndpoint,
  TaskRecord,
  UpdateProgress,
} from './records.js';

/**
 * One entry of the log: it happens as a whole or, when a guard does not hold where it lands, not at all.
 * The guards make read-check-write safe without a lock, whatever was committed between the reading and the landing.
 */
export interface Entry {
  /** The proposer's clock, milliseconds since the epoch: the only time that a replica may write into a record. */
  atMs: number;
  guards: Guard[];
  changes: Change[];
}

export type Guard =
  /** The object is there, and unchanged since `version` (any version when it is undefined). */
  | { type: 'unchanged'; kind: 'cluster' | 'node' | 'service' | 'network' | ContentKind; id: string; version?: number }
  /** No service other than `exceptId` has this name. */
  | { type: 'service-name-free'; name: string; exceptId?: string }
  | { type: 'content-name-free'; kind: ContentKind; name: string }
  /** The spec of no service names the secret or config, in whichever version. */
  | { type: 'content-unused'; kind: ContentKind; name: string }
  | { type: 'no-cluster' }
  /** No other network has the name or the VNI of this one, or a subnet that overlaps with one of its. */
  | { type: 'network-free'; network: Pick<NetworkRecord, 'spec' | 'vni' | 'subnets'> }
  /** No service and no task asks for the network. */
  | { type: 'network-unused'; id: string }
  /** Nobody but `owner` has the address on the network. */
  | { type: 'address-free'; owner: string; address: NetworkAddress }
  /** No other service publishes one of the ports. */
  | { type: 'ports-free'; ports: PortConfig[]; exceptId?: string };

/** A change of one record. One that names an object which is gone changes nothing. */
export type Change =
  | { type: 'cluster-create'; cluster: Omit<ClusterRecord, 'meta' | 'excluded' | 'leaderId'> }
  | { type: 'cluster-spec'; spec: ClusterSpec }
  | { type: 'join-token-create'; token: JoinTokenRecord }
  | { type: 'join-token-delete'; id: string }
  /** Takes the place of one that is under way. */
  | { type: 'root-rotation-start'; rotation: RootRotation }
  /** The new root is the cluster's, and the old one is nothing any more. */
  | { type: 'root-rotation-finish' }
  /** The new root is nothing any more. */
  | { type: 'root-rotation-abort' }
  /** Of the root that certificates are signed by: the new one, while there is one. Without it, others sign. */
  | { type: 'root-key'; keyPem?: string }
  /** Undefined: managers are not locked from now on. */
  | { type: 'unlock-key'; unlockKey?: string }
  /** A manager says that it leads now. */
  | { type: 'leader'; nodeId: string }
  | { type: 'join-secrets'; joinSecrets: ClusterRecord['joinSecrets'] }
  /** Those that have expired go with it. */
  | { type: 'client-certificate-create'; certificate: Omit<ClientCertificateRecord, 'meta'> }
  | { type: 'client-certificate-revoke'; id: string }
  | { type: 'node-create'; node: Omit<NodeRecord, 'meta'> }
  /** `departure` counts while the node is a manager that the spec wants as a worker; without one, the last stands. */
  | { type: 'node-spec'; id: string; spec: NodeSpec; departure?: Departure }
  | { type: 'node-status'; id: string; status: NodeRecord['status'] }
  | { type: 'node-description'; id: string; description: NodeDescription; managerAddr?: string }
  /**
   * Only in the very entry that makes the node a member of the managers' log, or takes it out, which has no guards: see
   * membership/README.md. A manager that was to be removed (`departure.isRemoval`) goes with its record.
   */
  | { type: 'node-role'; id: string; role: NodeRecord['role']; managerAddr?: string }
  /** What the leader hears of a manager; of a worker, it changes nothing. */
  | { type: 'node-reachability'; id: string; reachability: 'reachable' | 'unreachable' }
  | { type: 'node-manager-addr'; id: string; managerAddr: string }
  | { type: 'node-wireguard-key'; id: string; wireguardKey: string }
  /** Empty: its address. */
  | { type: 'node-data-path-addr'; id: string; dataPathAddr: string }
  | { type: 'node-ipv6-addresses'; id: string; ipv6Addresses: string }
  /** Changes nothing while the node is a manager: first it must be taken out of their log. */
  | { type: 'node-delete'; id: string }
  /** Makes spec version 1 of the service. Does nothing when the name is taken: a guard says so to who asked. */
  | { type: 'service-create'; id: string; spec: ServiceSpec; registryAuth?: string }
  /**
   * Puts a new spec; what concerns tasks becomes a new spec version, unless it is what the current or the previous
   * one had. `update` is put as given: undefined for a change that starts no rolling update.
   * `specVersion` is the one before, to be gone back to as it was: the names that it follows may have other contents now.
   * `registryAuth` is what the image is pulled with from now on, empty for nothing; undefined: as until now.
   */
  | {
      type: 'service-spec';
      id: string;
      spec: ServiceSpec;
      previous: 'keep-as-previous' | 'drop';
      update?: UpdateProgress;
      specVersion?: number;
      registryAuth?: string;
      ifVersion?: number;
    }
  /**
   * With `ifVersion`, this and `service-spec` change nothing unless the record is still of that version, or was changed
   * by this very entry: what was planned on one spec must not undo what a user asked for meanwhile.
   */
  | { type: 'service-update'; id: string; update: UpdateProgress; ifVersion?: number }
  /** Begins to spread the service's tasks anew; without `rebalance`, ends that. `ifVersion` as above. */
  | { type: 'service-rebalance'; id: string; rebalance?: Rebalance; ifVersion?: number }
  | { type: 'service-delete'; id: string }
  /** Changes nothing when somebody else has one of the addresses. */
  | { type: 'service-endpoint'; id: string; endpoint: ServiceEndpoint }
  /** Does nothing when the name is taken: a guard says so to who asked. */
  | { type: 'content-create'; kind: ContentKind; content: Omit<ContentRecord, 'meta' | 'supersededAtMs'> }
  /**
   * Puts a version in the place of the one that the name has, or again one that it had. Services that follow the name,
   * but for jobs, get a new spec version. Does nothing when the name is gone.
   */
  | { type: 'content-version'; kind: ContentKind; content: Omit<ContentRecord, 'meta' | 'supersededAtMs'> }
  | { type: 'content-labels'; kind: ContentKind; id: string; labels: Record<string, string> }
  /** Takes away all versions of the name, also those that something needs. */
  | { type: 'content-delete'; kind: ContentKind; name: string }
  | { type: 'task-create'; task: Omit<TaskRecord, 'meta'> }
  /** Desired state never goes back: a lower one than the task's own changes nothing. Clears `startAtMs`. */
  | { type: 'task-desired'; id: string; desiredState: DesiredState; endReason?: string }
  /** Gives a pending task its node. Changes nothing when somebody else has one of its addresses. */
  | {
      type: 'task-assign';
      id: string;
      nodeId: string;
      status: TaskStatus;
      genericResources?: GenericResource[];
      networks?: NetworkAddress[];
    }
  /**
   * Observed state never goes back: an earlier state than the task's own changes nothing. Sets `runningAtMs` at the
   * first report of `running` and `endedAtMs` at the first of a terminal state, both to the entry's `atMs`.
   */
  | { type: 'task-status'; id: string; status: TaskStatus }
  | { type: 'task-restarts'; id: string; restarts: RestartHistory }
  | { type: 'task-move'; id: string }
  | { type: 'task-delete'; id: string }
  /** Does nothing when the name is taken. */
  | { type: 'network-create'; network: Omit<NetworkRecord, 'meta'> }
  | { type: 'network-delete'; id: string }
  /** Makes it, or puts it in the place of what it was. Changes nothing when the node or network is gone, or the address somebody else's. */
  | { type: 'attachment-put'; attachment: Omit<AttachmentRecord, 'meta'> }
  | { type: 'attachment-delete'; id: string };

export type ChangeOf<T extends Change['type']> = Extract<Change, { type: T }>;

export type ApplyResult = { ok: true; index: number } | { ok: false; failed: Guard };

/** What an applied entry touched, for those who wait: the planner, dispatch, event streams. */
export interface Touched {
  cluster: boolean;
  services: Set<string>;
  nodes: Set<string>;
  /** By id: versions that were made or changed, and all of a name that was taken away. */
  secrets: Set<string>;
  configs: Set<string>;
  tasks: Set<string>;
  /** Services one of whose tasks was made, changed or deleted. */
  taskServices: Set<string>;
  /** Nodes whose set of tasks or attachments changed, or what one of those is to do, or that ended. */
  assignments: Set<string>;
  networks: Set<string>;
  /** By id: containers that are no tasks, on networks. */
  attachments: Set<string>;
  /** What there is to tell of it, in order. */
  events: ClusterEvent[];
}
