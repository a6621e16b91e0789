import type { ClusterSpec, NodeSpec } from './cluster-spec.js';
import type { EndpointSpec, GenericResource, PortConfig, ServiceSpec, TaskTemplate } from './service-spec.js';
import type { DesiredState, TaskState } from './task-state.js';

/** The objects that the Docker Engine API answers with. Times are RFC 3339 strings with nanoseconds, in UTC. */

export interface ObjectMeta {
  ID: string;
  Version: { Index: number };
  CreatedAt: string;
  UpdatedAt: string;
}

export interface Service extends ObjectMeta {
  Spec: ServiceSpec;
  PreviousSpec?: ServiceSpec;
  Endpoint: {
    Spec?: EndpointSpec;
    Ports?: PortConfig[];
    /** Without an address on a network of the engine. */
    VirtualIPs?: { NetworkID: string; Addr?: string }[];
  };
  UpdateStatus?: { State: UpdateState; StartedAt?: string; CompletedAt?: string; Message: string };
  /** With `GET /services?status=true`. */
  ServiceStatus?: { RunningTasks: number; DesiredTasks: number; CompletedTasks: number };
  JobStatus?: { JobIteration: { Index?: number }; LastExecution?: string };
}

export type UpdateState =
  | 'updating'
  | 'paused'
  | 'completed'
  | 'rollback_started'
  | 'rollback_paused'
  | 'rollback_completed';

export interface Task extends ObjectMeta {
  Labels: Record<string, string>;
  Name?: string;
  Spec: TaskTemplate;
  ServiceID?: string;
  Slot?: number;
  NodeID?: string;
  Status: {
    Timestamp: string;
    State: TaskState;
    Message?: string;
    Err?: string;
    /** Not Docker's: why no node takes a task that waits for one, every node counted in one of them. */
    Reasons?: string[];
    ContainerStatus?: { ContainerID: string; PID: number; ExitCode: number };
    PortStatus: { Ports?: PortConfig[] };
  };
  DesiredState: DesiredState;
  NetworksAttachments?: unknown[];
  GenericResources?: GenericResource[];
  JobIteration?: { Index?: number };
}

export type NodeState = 'unknown' | 'down' | 'ready' | 'disconnected';

export interface NodeDescription {
  Hostname: string;
  Platform: { Architecture: string; OS: string };
  Resources: { NanoCPUs: number; MemoryBytes: number; GenericResources?: GenericResource[] };
  Engine: { EngineVersion: string; Labels?: Record<string, string>; Plugins: { Type: string; Name: string }[] };
  TLSInfo?: TlsInfo;
}

export interface Node extends ObjectMeta {
  Spec: NodeSpec;
  Description: NodeDescription;
  Status: { State: NodeState; Message?: string; Addr: string };
  ManagerStatus?: { Leader?: true; Reachability: 'unknown' | 'unreachable' | 'reachable'; Addr: string };
}

/** PEM of the root certificate; subject and public key are DER in base64. */
export interface TlsInfo {
  TrustRoot: string;
  CertIssuerSubject: string;
  CertIssuerPublicKey: string;
}

export interface ClusterInfo extends ObjectMeta {
  Spec: ClusterSpec;
  TLSInfo: TlsInfo;
  RootRotationInProgress: boolean;
  DataPathPort: number;
  /** Null while the default pool is in use. */
  DefaultAddrPool: string[] | null;
  SubnetSize: number;
}

export interface Swarm extends ClusterInfo {
  JoinTokens: { Worker: string; Manager: string };
}

/** A network, the engine's or the cluster's, as `GET /networks/ID` answers. */
export interface Network {
  Name: string;
  Id: string;
  Created: string;
  Scope: string;
  Driver: string;
  /** Engines from 28 on. */
  EnableIPv4?: boolean;
  EnableIPv6: boolean;
  IPAM: {
    Driver: string;
    Options: Record<string, string> | null;
    Config: { Subnet?: string; IPRange?: string; Gateway?: string; AuxiliaryAddresses?: Record<string, string> }[];
  };
  Internal: boolean;
  Attachable: boolean;
  Ingress: boolean;
  ConfigFrom: { Network: string };
  ConfigOnly: boolean;
  Containers: Record<string, object> | null;
  Options: Record<string, string> | null;
  Labels: Record<string, string> | null;
  Peers?: { Name: string; IP: string }[];
  /** Of the API from 1.52 on: by subnet, the addresses that are in use and free. */
  Status?: { IPAM: { Subnets: Record<string, { IPsInUse: number; DynamicIPsAvailable: number }> } };
  /** Of a network of the cluster, with `verbose`: by name. */
  Services?: Record<string, object>;
}

export type LocalNodeState = 'inactive' | 'pending' | 'active' | 'error' | 'locked';

/** The `Swarm` part of `GET /info`. */
export interface SwarmInfo {
  NodeID: string;
  NodeAddr: string;
  LocalNodeState: LocalNodeState;
  ControlAvailable: boolean;
  Error: string;
  RemoteManagers: { NodeID: string; Addr: string }[] | null;
  Nodes?: number;
  Managers?: number;
  Cluster?: ClusterInfo;
}
