import type {
  AssignedNetwork,
  Endpoint,
  EndpointSet,
  LocalTask,
  NamedService,
  NetworkNode,
  NetworkState,
  PublishedPort,
  TaskAttachment,
} from '@apiary/overlay-net/core';
import { ApiaryError } from '@apiary/std';
import type { AssignedTask } from './assignments.js';

/** Messages of the managers: the shapes of api/proto, each complete or a delta. */
export interface EndpointsMessage {
  networkId: string;
  version: number;
  complete: boolean;
  endpoints: Endpoint[];
  removedTaskIds: string[];
  services: NamedService[];
  removedServiceIds: string[];
}

export interface NodesMessage {
  complete: boolean;
  nodes: NetworkNode[];
  removedNodeIds: string[];
}

export interface PortsMessage {
  complete: boolean;
  ports: PublishedPort[];
  removed: { protocol: string; publishedPort: number }[];
}

export interface AttachmentsMessage {
  /** All that are attachable. */
  networks: AssignedNetwork[];
  /** Of containers that are no tasks. */
  attachments: { attachmentId: string; networkId: string; address: string; error: string; ipv6Address: string }[];
}

/** A task of this node that is on networks; what its host makes of it is not known here. */
export type NetworkedTask = Omit<LocalTask, 'gatewayAddress' | 'namespace' | 'namespaceCookie' | 'namespacePath'>;

/** A `NetworkState` as the managers tell it. */
export type AssignedNetworks = Omit<NetworkState, 'tasks'> & {
  /** By task id: those that this node should have. */
  tasks: ReadonlyMap<string, NetworkedTask>;
  attachments: AttachmentsMessage;
};

/**
 * What this node knows of the cluster's networks: the sum of the managers' messages. With a new session each part stays as
 * it was until its first message, which is complete: nothing that works is taken away for want of news.
 */
export class NetworkPicture {
  readonly #selfId: string;
  #dataPathPort = 0;
  readonly #endpointSets = new Map<string, EndpointSet>();
  #nodes: Map<string, NetworkNode> | undefined;
  #ports: Map<string, PublishedPort> | undefined;
  #attachments: AttachmentsMessage = { networks: [], attachments: [] };

  constructor(selfId: string) {
    this.#selfId = selfId;
  }

  dataPath(port: number): void {
    this.#dataPathPort = port;
  }

  /** @throws ApiaryError `internal` when a message before this one is missing: the session must start anew */
  endpoints(message: EndpointsMessage): void {
    const { networkId, version, complete } = message;
    const before = this.#endpointSets.get(networkId);
    if (!complete && before?.version !== version - 1) {
      const had = before === undefined ? 'none' : `version ${before.version}`;
      throw new ApiaryError('internal', `endpoints of network ${networkId}: version ${version}, and here is ${had}`);
    }
    const endpoints = new Map(complete ? [] : before?.endpoints);
    for (const endpoint of message.endpoints) endpoints.set(endpoint.taskId, endpoint);
    for (const id of message.removedTaskIds) endpoints.delete(id);
    const services = new Map(complete ? [] : before?.services);
    for (const service of message.services) services.set(service.serviceId, service);
    for (const id of message.removedServiceIds) services.delete(id);
    this.#endpointSets.set(networkId, { version, endpoints, services });
  }

  nodes({ complete, nodes, removedNodeIds }: NodesMessage): void {
    this.#nodes = new Map(complete ? [] : this.#nodes);
    for (const node of nodes) this.#nodes.set(node.nodeId, node);
    for (const id of removedNodeIds) this.#nodes.delete(id);
  }

  publishedPorts({ complete, ports, removed }: PortsMessage): void {
    const key = (port: { protocol: string; publishedPort: number }) => `${port.protocol}/${port.publishedPort}`;
    this.#ports = new Map(complete ? [] : this.#ports);
    for (const port of ports) this.#ports.set(key(port), port);
    for (const port of removed) this.#ports.delete(key(port));
  }

  attachments(message: AttachmentsMessage): void {
    this.#attachments = message;
  }

  /**
   * All of it, with the networks that these tasks are on; undefined while a part has not been heard of, since nothing can
   * be taken away before then.
   *
   * @param tasks     that this node should have
   * @param networks  that the managers have named, by id
   */
  state(tasks: readonly AssignedTask[], networks: ReadonlyMap<string, AssignedNetwork>): AssignedNetworks | undefined {
    const used = new Map<string, AssignedNetwork>();
    for (const { networkId } of tasks.flatMap((task) => task.networks ?? [])) {
      const network = networks.get(networkId);
      if (network !== undefined) used.set(networkId, network);
    }
    const attachable = new Map(this.#attachments.networks.map((network) => [network.networkId, network]));
    for (const { networkId } of this.#attachments.attachments) {
      const network = attachable.get(networkId);
      if (network !== undefined) used.set(networkId, network);
    }
    for (const id of this.#endpointSets.keys()) if (!used.has(id)) this.#endpointSets.delete(id);
    const isHeardOf = [...used.values()].every(({ vni, networkId }) => vni === 0 || this.#endpointSets.has(networkId));
    if (!isHeardOf || this.#nodes === undefined || this.#ports === undefined || this.#dataPathPort === 0)
      return undefined;
    return {
      selfId: this.#selfId,
      dataPathPort: this.#dataPathPort,
      networks: used,
      endpointSets: new Map(this.#endpointSets),
      nodes: this.#nodes,
      publishedPorts: this.#ports,
      attachments: this.#attachments,
      tasks: new Map(tasks.map((task) => [task.id, networked(task)])),
    };
  }
}

function networked({ id, serviceId, networks = [], template }: AssignedTask): NetworkedTask {
  const attachments: readonly TaskAttachment[] = networks;
  return { taskId: id, serviceId, attachments, nameservers: template.ContainerSpec?.DNSConfig?.Nameservers ?? [] };
}
