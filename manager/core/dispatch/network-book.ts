import { isTerminal, type PortConfig, rankOf } from '@apiary/api/model';
import {
  type AssignedNetwork,
  type Endpoint,
  formatIp,
  type NamedService,
  type NetworkNode,
  type NetworkSubnet,
  type PortBackend,
  type PublishedPort,
  parseIp,
  type TaskAttachment,
} from '@apiary/overlay-net/core';
import { ENCRYPTED_OPTION, MTU_OPTION } from '../requests/network-requests.js';
import { networkTargets } from '../store/apply-network-change.js';
import type { Touched } from '../store/change.js';
import type {
  NetworkAddress,
  NetworkRecord,
  NodeRecord,
  ServiceRecord,
  SpecVersion,
  TaskRecord,
} from '../store/records.js';
import { taskName } from '../store/task-name.js';
import type { View } from '../store/view.js';
import { Ledger } from './ledger.js';
import { subnetToTell } from './told-subnet.js';

/** A published port with all that is said of it. */
export type ToldPort = Required<PublishedPort> & { backends: Required<PortBackend>[] };

/** Who is on a network: what every node with a task on it is told. */
export interface EndpointLedger {
  endpoints: Ledger<Required<Endpoint>>;
  services: Ledger<Required<NamedService>>;
}

/** Of what there is news. */
export interface NetworkNews {
  networkIds: Set<string>;
  nodes: boolean;
  ports: boolean;
}

/**
 * What nodes are told of the cluster's networks, kept in step with committed state, entry by entry: it follows from that
 * state alone, so that the next leader tells the same. O(what an entry touched), but that a port names all its backends.
 */
export class NetworkBook {
  readonly nodes = new Ledger<NetworkNode>();
  /** By `tcp/8080`. */
  readonly ports = new Ledger<ToldPort>();
  readonly #sets = new Map<string, EndpointLedger>();
  /** By the id of a task or an attachment. */
  readonly #networksOf = new Map<string, readonly string[]>();
  readonly #networksOfService = new Map<string, readonly string[]>();
  readonly #portsOfService = new Map<string, readonly string[]>();
  /** Of the services that publish ports on every node: by task id. */
  readonly #backends = new Map<string, Map<string, Required<PortBackend>>>();
  /** By the id of a task that is a backend. */
  readonly #serviceOfBackend = new Map<string, string>();

  constructor(view: View) {
    for (const node of view.nodes()) this.nodes.put(node.id, networkNode(node));
    const news: NetworkNews = { networkIds: new Set(), nodes: false, ports: false };
    for (const task of view.tasks()) this.#onTask(view, task.id, news);
    for (const attachment of view.attachments()) this.#onAttachment(view, attachment.id, news);
    for (const service of view.services()) this.#onService(view, service.id, news);
  }

  set(networkId: string): EndpointLedger {
    let set = this.#sets.get(networkId);
    if (set === undefined) {
      set = { endpoints: new Ledger(), services: new Ledger() };
      this.#sets.set(networkId, set);
    }
    return set;
  }

  /** Takes in what an entry touched. */
  update(view: View, touched: Pick<Touched, 'nodes' | 'services' | 'tasks' | 'networks' | 'attachments'>): NetworkNews {
    const news: NetworkNews = { networkIds: new Set(), nodes: false, ports: false };
    for (const id of touched.nodes) {
      const node = view.node(id);
      const isNews = node === undefined ? this.nodes.delete(id) : this.nodes.put(id, networkNode(node));
      news.nodes ||= isNews;
      // Whose node is down has no name.
      for (const attachment of view.attachmentsOfNode(id)) this.#onAttachment(view, attachment.id, news);
    }
    for (const id of touched.tasks) this.#onTask(view, id, news);
    for (const id of touched.attachments) this.#onAttachment(view, id, news);
    for (const id of touched.services) this.#onService(view, id, news);
    for (const id of touched.networks) if (view.network(id) === undefined) this.#sets.delete(id);
    return news;
  }

  #onTask(view: View, id: string, news: NetworkNews): void {
    const task = view.task(id);
    const isThere = task !== undefined && !isTerminal(task.status.state) && task.nodeId !== undefined;
    const places = isThere ? (task.networks ?? []).filter(({ address }) => address !== '') : [];
    this.#leave(id, places, news);
    if (task !== undefined && places.length > 0) {
      const spec = view.spec(task.serviceId, task.specVersion);
      for (const place of places) {
        const { networkId } = place;
        const endpoint = endpointOf(task, spec, place);
        if (this.set(networkId).endpoints.put(id, endpoint)) news.networkIds.add(networkId);
      }
    }
    if (task !== undefined) this.#onBackend(view, task, news);
    else this.#dropBackend(view, id, news);
  }

  /** Takes an endpoint out of all networks but these. */
  #leave(id: string, places: readonly NetworkAddress[], news: NetworkNews): void {
    const networkIds = places.map(({ networkId }) => networkId);
    for (const networkId of this.#networksOf.get(id) ?? []) {
      if (networkIds.includes(networkId)) continue;
      if (this.#sets.get(networkId)?.endpoints.delete(id)) news.networkIds.add(networkId);
    }
    if (networkIds.length === 0) this.#networksOf.delete(id);
    else this.#networksOf.set(id, networkIds);
  }

  #onAttachment(view: View, id: string, news: NetworkNews): void {
    const attachment = view.attachment(id);
    this.#leave(id, attachment === undefined ? [] : [attachment], news);
    if (attachment === undefined) return;
    const { nodeId, networkId, address, ipv6Address = '', containerName, aliases } = attachment;
    const live = view.node(nodeId)?.status.state === 'ready';
    const endpoint = {
      taskId: id,
      serviceId: '',
      nodeId,
      address,
      ipv6Address,
      taskName: containerName,
      aliases,
      live,
    };
    if (this.set(networkId).endpoints.put(id, endpoint)) news.networkIds.add(networkId);
  }

  #onBackend(view: View, task: TaskRecord, news: NetworkNews): void {
    const backends = this.#backends.get(task.serviceId);
    if (backends === undefined) return;
    const before = backends.get(task.id);
    const after = backendOf(task);
    if (JSON.stringify(before) === JSON.stringify(after)) return;
    if (after === undefined) {
      backends.delete(task.id);
      this.#serviceOfBackend.delete(task.id);
    } else {
      backends.set(task.id, after);
      this.#serviceOfBackend.set(task.id, task.serviceId);
    }
    this.#writePorts(view.service(task.serviceId), task.serviceId, news);
  }

  /** A task that is gone names its service no more; as a rule it had ended before, and was no backend. */
  #dropBackend(view: View, taskId: string, news: NetworkNews): void {
    const serviceId = this.#serviceOfBackend.get(taskId);
    if (serviceId === undefined) return;
    this.#serviceOfBackend.delete(taskId);
    if (this.#backends.get(serviceId)?.delete(taskId)) this.#writePorts(view.service(serviceId), serviceId, news);
  }

  #onService(view: View, id: string, news: NetworkNews): void {
    const service = view.service(id);
    const networkIds = service === undefined ? [] : [...new Set(networkTargets(service.spec))];
    for (const networkId of this.#networksOfService.get(id) ?? []) {
      if (networkIds.includes(networkId)) continue;
      if (this.#sets.get(networkId)?.services.delete(id)) news.networkIds.add(networkId);
    }
    if (networkIds.length === 0) this.#networksOfService.delete(id);
    else this.#networksOfService.set(id, networkIds);
    for (const networkId of service === undefined ? [] : networkIds) {
      if (service === undefined || view.network(networkId)?.kind !== 'overlay') continue;
      if (this.set(networkId).services.put(id, namedService(service, networkId))) news.networkIds.add(networkId);
    }
    const isPublished = ingressPorts(service).length > 0;
    const backends = this.#backends.get(id);
    if (!isPublished) {
      for (const taskId of backends?.keys() ?? []) this.#serviceOfBackend.delete(taskId);
      this.#backends.delete(id);
    } else if (backends === undefined) {
      const found = backendsOf(view.tasksOfService(id));
      this.#backends.set(id, found);
      for (const taskId of found.keys()) this.#serviceOfBackend.set(taskId, id);
    }
    this.#writePorts(service, id, news);
  }

  #writePorts(service: ServiceRecord | undefined, serviceId: string, news: NetworkNews): void {
    const backends = [...(this.#backends.get(serviceId)?.values() ?? [])].sort((a, b) =>
      a.taskId < b.taskId ? -1 : 1,
    );
    const ports = ingressPorts(service).map(
      ({ Protocol: protocol = 'tcp', PublishedPort: publishedPort = 0, TargetPort: targetPort = 0, HostIP = '' }) => ({
        protocol,
        publishedPort,
        targetPort,
        serviceId,
        backends,
        hostAddress: atAddress(HostIP),
      }),
    );
    const keys = ports.map(({ protocol, publishedPort }) => `${protocol}/${publishedPort}`);
    for (const key of this.#portsOfService.get(serviceId) ?? []) {
      // Another service may have it by now.
      if (keys.includes(key) || this.ports.get(key)?.serviceId !== serviceId) continue;
      if (this.ports.delete(key)) news.ports = true;
    }
    if (keys.length === 0) this.#portsOfService.delete(serviceId);
    else this.#portsOfService.set(serviceId, keys);
    for (const [i, port] of ports.entries()) if (this.ports.put(keys[i] ?? '', port)) news.ports = true;
  }
}

/** Whether new connections may go to a task: it runs, its health check included, and nobody wants it to stop. */
function isLive({ status, desiredState }: TaskRecord): boolean {
  return status.state === 'running' && rankOf(desiredState) <= rankOf('running');
}

function endpointOf(task: TaskRecord, spec: SpecVersion, place: NetworkAddress): Required<Endpoint> {
  const { id, serviceId, nodeId = '' } = task;
  const { networkId, address, ipv6Address = '' } = place;
  const live = isLive(task);
  const aliases = attachmentAliases(spec, networkId);
  const name = taskName(task, spec.serviceName);
  return { taskId: id, serviceId, nodeId, address, taskName: name, aliases, live, ipv6Address };
}

function namedService({ id, spec, endpoint }: ServiceRecord, networkId: string): Required<NamedService> {
  const { address: vip = '', ipv6Address: ipv6Vip = '' } =
    endpoint?.vips.find((each) => each.networkId === networkId) ?? {};
  const attachment = spec.TaskTemplate.Networks?.find(({ Target }) => Target === networkId);
  return { serviceId: id, name: spec.Name ?? '', vip, aliases: attachment?.Aliases ?? [], ipv6Vip };
}

function attachmentAliases({ template }: SpecVersion, networkId: string): string[] {
  return template.Networks?.find(({ Target }) => Target === networkId)?.Aliases ?? [];
}

function ingressPorts(service: ServiceRecord | undefined): PortConfig[] {
  return (service?.endpoint?.ports ?? []).filter(
    ({ PublishMode = 'ingress', PublishedPort = 0 }) => PublishMode === 'ingress' && PublishedPort !== 0,
  );
}

/** Empty: at all of them. */
function atAddress(hostIp: string): string {
  const address = parseIp(hostIp);
  return hostIp === '0.0.0.0' || address === undefined ? '' : formatIp(address);
}

function backendOf(task: TaskRecord): Required<PortBackend> | undefined {
  const { gatewayAddress, gatewayIpv6Address = '' } = task.status;
  if (!isLive(task) || gatewayAddress === undefined || task.nodeId === undefined) return undefined;
  return { taskId: task.id, nodeId: task.nodeId, gatewayAddress, gatewayIpv6Address };
}

function backendsOf(tasks: readonly TaskRecord[]): Map<string, Required<PortBackend>> {
  const backends = new Map<string, Required<PortBackend>>();
  for (const task of tasks) {
    const backend = backendOf(task);
    if (backend !== undefined) backends.set(task.id, backend);
  }
  return backends;
}

function networkNode(node: NodeRecord): NetworkNode {
  const { dataPathAddr = '', ipv6Addresses = '', status } = node;
  return {
    nodeId: node.id,
    addr: dataPathAddr || status.addr,
    ...(dataPathAddr !== '' && { advertisedAddr: status.addr }),
    gatewaySubnet: subnetToTell(node),
    wireguardKey: node.wireguardKey ?? '',
    ...(ipv6Addresses !== '' && { ipv6Addresses }),
  };
}

/** What a node must know of a network that a task of it is on. */
export function assignedNetwork({ id, spec, kind, vni, subnets }: NetworkRecord): Required<AssignedNetwork> {
  const isIpv6 = ({ subnet }: NetworkSubnet): boolean => subnet.includes(':');
  const [{ subnet = '', gateway = '' } = {}, ...others] = subnets.filter((each) => !isIpv6(each));
  const ipv6 = subnets.find(isIpv6);
  const options = spec.Options ?? {};
  return {
    networkId: id,
    name: spec.Name,
    vni,
    subnet,
    gateway,
    internal: spec.Internal ?? false,
    attachable: spec.Attachable ?? false,
    encrypted: Object.hasOwn(options, ENCRYPTED_OPTION),
    mtu: Number(options[MTU_OPTION] ?? 0),
    engineNetwork: kind === 'overlay' || kind === 'ingress' ? '' : kind,
    ipv6Subnet: ipv6?.subnet ?? '',
    ipv6Gateway: ipv6?.gateway ?? '',
    otherSubnets: others.map((each) => each.subnet),
  };
}

/** A task's places on its networks. */
export function attachmentsOf(
  { networks = [] }: Pick<TaskRecord, 'networks'>,
  spec: SpecVersion,
): Required<TaskAttachment>[] {
  return networks.map(({ networkId, address, ipv6Address = '' }) => ({
    networkId,
    address,
    aliases: attachmentAliases(spec, networkId),
    ipv6Address,
  }));
}
