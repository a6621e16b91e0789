/**
 * What a node is told of the cluster's networks: the shapes of api/proto/network.proto, which says what each is. What is of
 * IPv6 is empty or left out where a network has none.
 */

export interface AssignedNetwork {
  networkId: string;
  name: string;
  vni: number;
  subnet: string;
  gateway: string;
  internal: boolean;
  attachable: boolean;
  encrypted: boolean;
  mtu: number;
  engineNetwork: string;
  ipv6Subnet?: string;
  ipv6Gateway?: string;
  /** More subnets of IPv4 on the same link; left out where there are none. */
  otherSubnets?: string[];
}

export interface TaskAttachment {
  networkId: string;
  address: string;
  aliases: string[];
  ipv6Address?: string;
}

export interface Endpoint {
  taskId: string;
  serviceId: string;
  nodeId: string;
  address: string;
  taskName: string;
  aliases: string[];
  live: boolean;
  ipv6Address?: string;
}

export interface NamedService {
  serviceId: string;
  name: string;
  vip: string;
  aliases: string[];
  ipv6Vip?: string;
}

export interface NetworkNode {
  nodeId: string;
  addr: string;
  gatewaySubnet: string;
  wireguardKey: string;
  advertisedAddr?: string | undefined;
  ipv6Addresses?: string | undefined;
}

export interface PublishedPort {
  protocol: string;
  publishedPort: number;
  targetPort: number;
  serviceId: string;
  backends: PortBackend[];
  /** At which address of a host; empty: at all. */
  hostAddress?: string;
}

export interface PortBackend {
  taskId: string;
  nodeId: string;
  gatewayAddress: string;
  gatewayIpv6Address?: string;
}

/** Everyone who is on a network, as one node knows it. */
export interface EndpointSet {
  version: number;
  /** By task id. */
  endpoints: ReadonlyMap<string, Endpoint>;
  /** By service id. */
  services: ReadonlyMap<string, NamedService>;
}

/** A task of this node that has its network: what DNS, VIPs and published ports need to know of it. */
export interface LocalTask {
  taskId: string;
  serviceId: string;
  gatewayAddress: string;
  /** Inode of its network namespace. */
  namespace: number;
  /** By which BPF programs know that namespace; left out where the kernel does not tell it. */
  namespaceCookie?: bigint;
  /** The file that stands for that namespace. */
  namespacePath?: string;
  /** Resolvers of its own, in place of its host's. */
  nameservers?: readonly string[];
  attachments: readonly TaskAttachment[];
}

/** All that a node knows of networks: what its kernel should be like follows from it. */
export interface NetworkState {
  selfId: string;
  dataPathPort: number;
  /** By id: those that its tasks are on. */
  networks: ReadonlyMap<string, AssignedNetwork>;
  endpointSets: ReadonlyMap<string, EndpointSet>;
  nodes: ReadonlyMap<string, NetworkNode>;
  /** By `tcp/8080`. */
  publishedPorts: ReadonlyMap<string, PublishedPort>;
  /** By task id. */
  tasks: ReadonlyMap<string, LocalTask>;
}
