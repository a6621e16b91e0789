import type {
  ClusterSpec,
  DesiredState,
  EndpointSpec,
  GenericResource,
  NetworkSpec,
  NodeDescription,
  NodeSpec,
  NodeState,
  PortConfig,
  SecretSpec,
  ServiceSpec,
  TaskStatus,
  TaskTemplate,
  UpdateState,
} from '@apiary/api/model';
import type { NetworkSubnet } from '@apiary/overlay-net/core';

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
  /** Join tokens beside the two of `joinSecrets`. */
  joinTokens?: JoinTokenRecord[];
  /** While managers are locked when they start (autolock): the key that they are unlocked with. */
  unlockKey?: string;
  /** The root certificate and its key, PEM. Without the key, signers outside of the cluster sign (`CAConfig.ExternalCAs`). */
  rootCa: { certificatePem: string; keyPem?: string };
  /** While the root is being changed: the one that is to come. */
  rootRotation?: RootRotation;
  /**
   * Nodes that may be managers no more, and since when (milliseconds since the epoch): a certificate as a manager that
   * was issued to one at or before then is refused. Kept for as long as such a certificate may be good. A node that is
   * wanted as a manager again is not among them. No change of it is a new version of the cluster.
   */
  excluded?: Record<string, number>;
  /** Where networks get their subnets from, as asked for when the cluster was made; undefined for the default. */
  addressPools?: { pools: string[]; subnetLength: number };
  /** The UDP port of what is sent between hosts; undefined for the default, 4789. */
  dataPathPort?: number;
  /** The manager that leads, as it said itself when it came to: for events. No change of it is a new version. */
  leaderId?: string;
}

/** A join token that says more than a role. */
export interface JoinTokenRecord {
  id: string;
  role: 'worker' | 'manager';
  /** What every node that joins with it is labelled with. */
  labels: Record<string, string>;
  /** As `joinSecrets` has them. */
  secret: string;
  createdAtMs: number;
  notAfterMs?: number;
}

export interface RootRotation {
  certificatePem: string;
  keyPem?: string;
  /** Its key and subject as the cluster's root signed them, PEM. */
  crossSignedPem: string;
  /** By which a node's certificate is known to be of it, in base64. */
  issuer: { CertIssuerSubject: string; CertIssuerPublicKey: string };
}

export interface NodeRecord {
  id: string;
  meta: Meta;
  spec: NodeSpec;
  /**
   * `manager` exactly while it is a member, voter or learner, of the managers' log: the entry that changes membership
   * changes this too, and nothing else does. What the user wants it to be is `spec.Role`.
   */
  role: 'worker' | 'manager';
  /** Undefined until the node's agent has had its first session: a worker that has none within 10 minutes is removed. */
  description?: NodeDescription;
  status: { state: NodeState; message: string; addr: string };
  /**
   * Which subnet of the gateway pool is the node's: the lowest number that was free when its record was made, until the
   * record goes. Undefined when there was none, and of a record that an earlier version made.
   */
  gatewayIndex?: number;
  /** Base64 of the key that its tasks' traffic is encrypted to; undefined when it has none. */
  wireguardKey?: string;
  /** Where what is sent between hosts comes from and goes to, where that is not its address. */
  dataPathAddr?: string;
  /** By which clients may know it, separated by commas. */
  ipv6Addresses?: string;
  /** When the entry landed that first found it down, by the managers' clock; undefined again once it is ready. */
  downSinceMs?: number;
  /**
   * Where the other managers and the agents reach it as a manager, `HOST:PORT`, as last heard. It stays when the node
   * becomes a worker, since one that is soon a manager again need not say it twice: ask `role` first.
   */
  managerAddr?: string;
  /** For a manager: whether the leader hears from it. Undefined while the leader has not found out. */
  reachability?: 'reachable' | 'unreachable';
  /** For a manager: when the entry landed that put `reachability`, or made it a manager, by the managers' clock. */
  reachabilityAtMs?: number;
  /** For a manager that is to be one no more (`spec.Role`): what goes beyond that. */
  departure?: Departure;
}

export interface Departure {
  /** Take it out of the managers' log even at the price of its quorum. */
  isForced: boolean;
  /** Its record goes with its membership. */
  isRemoval: boolean;
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
  /** Of a job only. */
  job?: JobRun;
  /** While its tasks are being spread anew over the nodes, because somebody asked for it. */
  rebalance?: Rebalance;
  /** What the leader gave it; no change of it is a new version of the service. */
  endpoint?: ServiceEndpoint;
}

/** An address without a prefix length; empty on a network of the engine's. */
export interface NetworkAddress {
  networkId: string;
  address: string;
  /** The one that goes with it on a network of IPv6, as `formatIp` writes it. */
  ipv6Address?: string;
}

/** Where a service is reached: Docker's `Endpoint`. */
export interface ServiceEndpoint {
  /** One for each of its networks, in endpoint mode `vip`. */
  vips: NetworkAddress[];
  /** Those of the spec, with numbers for those that have none there. */
  ports: PortConfig[];
}

/** A network that tasks on all nodes may be on. */
export interface NetworkRecord {
  id: string;
  meta: Meta;
  spec: NetworkSpec;
  /**
   * `overlay`: ours, between hosts. `ingress`: what stands for the ports that every node publishes, which come in over the
   * gateway networks; nothing is on it. The others: the engine's own network of that name, on whatever node a task is.
   */
  kind: 'overlay' | 'ingress' | 'host' | 'bridge' | 'none';
  /** Identifies it on the wire between hosts; 0 for one of the engine's. */
  vni: number;
  /** At most one of each family, IPv4 first; none for one of the engine's. */
  subnets: NetworkSubnet[];
}

/**
 * A container of a node's own, which is no task, on a network. It is the node's agent that says which there are; it holds
 * its address for as long as its record is there.
 */
export interface AttachmentRecord {
  /** Chosen by the agent. */
  id: string;
  meta: Meta;
  nodeId: string;
  networkId: string;
  address: string;
  /** The one that goes with it on a network of IPv6. */
  ipv6Address?: string;
  /** Empty until the engine has told it. */
  containerId: string;
  containerName: string;
  aliases: string[];
}

/** Tasks move from fuller nodes to emptier ones until no move makes it better. Ends with the next change of the spec. */
export interface Rebalance {
  /** How many tasks may be on the way at once. */
  most: number;
  /** It is one of all that are rebalanced together: one service after the other, so that `most` holds for all of them. */
  isOfCluster: boolean;
}

/** How often a job has been run, and since when it does: Docker's `JobStatus`. Every update runs it again. */
export interface JobRun {
  /** From 0. */
  iteration: number;
  startedAtMs: number;
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
  /**
   * By `contentKey`, the version that each name which the template follows had when this was made. One that had none by
   * then is not in it. Undefined when nothing is followed.
   */
  contentIds?: Record<string, string>;
  /**
   * What nodes pull its tasks' image with: Docker's `AuthConfig`, the base64 of its JSON. The one part of a version that changes in its
   * place, for it says nothing of the tasks that run. It is a secret: no answer, log or event has it.
   */
  registryAuth?: string;
}

export interface TaskRecord {
  id: string;
  meta: Meta;
  serviceId: string;
  specVersion: number;
  /** From 1, for a replicated service; from 0, for a replicated job; 0 for one that has a task on each node. */
  slot: number;
  /** Of a job's task: which run of the job it is part of. */
  jobIteration?: number;
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
  /** Its addresses on its networks, from its assignment on; they are free again once it has ended. */
  networks?: NetworkAddress[];
  /** A rebalance wants it elsewhere: it has to leave its node, as it would a drained one. */
  isToMove?: true;
  /** Why it was told to end, when it is because of its node; what the node says of its end says nothing of that. */
  endReason?: string;
  /** What of its node's generic resources was claimed for it, with its node. */
  genericResources?: GenericResource[];
}

export type ClientRole = 'admin' | 'operator' | 'viewer';

/** A certificate that the HTTP API lets in over TCP. The key is its holder's alone. */
export interface ClientCertificateRecord {
  /** The certificate's common name. */
  id: string;
  meta: Meta;
  name: string;
  role: ClientRole;
  /** Only what belongs to this stack is there for its holder. */
  stack?: string;
  notAfterMs: number;
  revokedAtMs?: number;
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

/**
 * One version of a secret or a config. Its data never change; a name gets other data by a new version in its place.
 * This one then stays for as long as a spec version that something needs points at it.
 */
export interface ContentRecord {
  /** Of the version: what specs of services call `SecretID` or `ConfigID`. */
  id: string;
  meta: Meta;
  /** The data in base64, in Go's standard form. */
  spec: SecretSpec;
  /** Tells apart what a name has had, and says nothing of it to who does not know the salt. */
  hash: string;
  /** All versions of a name have the same, at random; it is never shown. */
  salt: string;
  /** When another version took its place. Undefined of the one that the name has. */
  supersededAtMs?: number;
}
