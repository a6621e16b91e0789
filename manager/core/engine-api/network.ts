import type { Network } from '@apiary/api/model';
import {
  addressRange,
  capacityOf,
  formatIpNetwork,
  macOf,
  networkContains,
  parseIp,
  parseIpNetwork,
} from '@apiary/overlay-net/core';
import type { AttachmentRecord, NetworkAddress, NetworkRecord, TaskRecord } from '../store/records.js';
import { taskName } from '../store/task-name.js';
import type { View } from '../store/view.js';
import { filled, metaOf, timestampOf } from './timestamp.js';

/** A look at the networks that records speak of. */
export type Networks = Pick<View, 'network' | 'networks' | 'addresses'>;

const VNI_KEY = 'com.docker.network.driver.overlay.vxlanid_list';
/** With what Docker allocates addresses; shown once there are options at all. */
const SERIAL = { 'com.docker.network.ipam.serial': 'true' };
const DOCKER_SUBNET_LENGTH = 24;

/** A network of the cluster as Docker's managers show it in a list. */
export function networkObject(view: View, record: NetworkRecord): Network {
  const { id, meta, spec, kind, vni } = record;
  const isOurs = isOverlay(record);
  const options = filled(spec.IPAM?.Options);
  return {
    Name: spec.Name,
    Id: id,
    Created: timestampOf(meta.createdAtMs),
    Scope: 'swarm',
    Driver: isOurs ? 'overlay' : (spec.Driver ?? ''),
    EnableIPv6: spec.EnableIPv6 ?? false,
    IPAM: {
      Driver: isOurs ? 'default' : '',
      Options: options === undefined ? null : { ...SERIAL, ...options },
      Config: ipamConfig(view, record),
    },
    Internal: spec.Internal ?? false,
    Attachable: spec.Attachable ?? false,
    Ingress: kind === 'ingress',
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: null,
    Options: isOurs ? { ...spec.Options, [VNI_KEY]: String(vni) } : null,
    Labels: filled(spec.Labels) ?? (kind === 'ingress' ? {} : null),
  };
}

export function isOverlay({ kind }: Pick<NetworkRecord, 'kind'>): boolean {
  return kind === 'overlay' || kind === 'ingress';
}

/** `IPAM.Config`: the subnets in force. */
function ipamConfig(view: Networks, record: NetworkRecord): Network['IPAM']['Config'] {
  return record.subnets.map(({ gateway, ipRange }, i) => ({
    Subnet: shownSubnet(view, record, i),
    ...(ipRange !== undefined && { IPRange: ipRange }),
    Gateway: gateway,
  }));
}

/**
 * A subnet as far as it is used. One that nobody asked for is larger than Docker's, and is shown as the /24 that it begins
 * with for as long as all addresses are from there. `GET /apiary/v1/networks/ID/usage` tells all of it.
 */
function shownSubnet(view: Networks, { id, spec, subnets }: NetworkRecord, index: number): string {
  const { subnet = '' } = subnets[index] ?? {};
  const isAsked = (spec.IPAM?.Config ?? []).some(({ Subnet = '' }) => Subnet !== '' && !Subnet.includes(':'));
  const network = parseIpNetwork(subnet);
  if (isAsked || network.bits === 128 || network.length >= DOCKER_SUBNET_LENGTH) return subnet;
  const beyond = (view.addresses(id).highest() ?? 0) - Number(network.first);
  let length = DOCKER_SUBNET_LENGTH;
  while (length > network.length && beyond >= 2 ** (32 - length)) length--;
  return formatIpNetwork({ ...network, length });
}

/** An address with the length of its network's prefix: `10.0.16.3/20`, `fd00:3::2/64`. */
export function withPrefixLength(networks: Networks, networkId: string, address: string): string {
  const ip = parseIp(address);
  const subnets = networks.network(networkId)?.subnets ?? [];
  const { subnet = '' } = subnets.find((each) => ip && networkContains(parseIpNetwork(each.subnet), ip)) ?? {};
  return `${address}/${subnet.split('/')[1] ?? 32}`;
}

/** The same of both families, IPv4 first; none on a network of the engine's. */
export function writtenAddresses(
  networks: Networks,
  { networkId, address, ipv6Address = '' }: NetworkAddress,
): string[] {
  const all = [address, ipv6Address].filter((each) => each !== '');
  return all.map((each) => withPrefixLength(networks, networkId, each));
}

/** What a task's `NetworksAttachments` tells of its networks. */
export function attachmentObjects(networks: Networks, addresses: readonly NetworkAddress[]): unknown[] {
  return addresses.flatMap((place) => {
    const record = networks.network(place.networkId);
    if (record === undefined) return [];
    const Addresses = filled(writtenAddresses(networks, place));
    return [{ Network: swarmNetworkObject(networks, record), ...(Addresses && { Addresses }) }];
  });
}

/**
 * What stands for the ingress network among a task's `NetworksAttachments`, as Docker has it for one whose service publishes
 * ports with the cluster: with the address that those ports lead to, which is one of its node's gateway network.
 *
 * @param gatewayAddress  undefined while the task has none: Docker shows the network then, too
 */
export function ingressAttachment(networks: Networks, gatewayAddress: string | undefined): unknown[] {
  const record = networks.networks().find(({ kind }) => kind === 'ingress');
  if (record === undefined) return [];
  const Network = swarmNetworkObject(networks, record);
  return [
    { Network, ...(gatewayAddress !== undefined && { Addresses: [`${gatewayAddress}/${DOCKER_SUBNET_LENGTH}`] }) },
  ];
}

/** A network as SwarmKit has it, which shows through in tasks alone. */
function swarmNetworkObject(networks: Networks, record: NetworkRecord): object {
  const { spec, kind } = record;
  const isOurs = isOverlay(record);
  const Driver = { Name: 'default' };
  // The first networks are SwarmKit's own: nobody wrote down a driver for the ingress network, or for its addresses.
  const isFirst = kind === 'ingress' && spec.IPAM === undefined;
  const predefined = { ...spec.Labels, 'com.docker.swarm.predefined': 'true' };
  const asked = { Driver: isFirst ? {} : Driver, Configs: filled(spec.IPAM?.Config) && ipamConfig(networks, record) };
  return {
    ...metaOf(record),
    Spec: {
      Name: spec.Name,
      Labels: isOurs ? (spec.Labels ?? {}) : predefined,
      DriverConfiguration: { Name: isFirst ? undefined : filled(spec.Driver), Options: filled(spec.Options) },
      IPv6Enabled: filled(spec.EnableIPv6),
      Internal: filled(spec.Internal),
      Attachable: filled(spec.Attachable),
      Ingress: filled(spec.Ingress),
      ...(isOurs && { IPAMOptions: asked }),
      Scope: 'swarm',
    },
    DriverState: {
      Name: isOurs ? 'overlay' : spec.Driver,
      ...(isOurs && { Options: { ...spec.Options, [VNI_KEY]: String(record.vni) } }),
    },
    IPAMOptions: isOurs ? { Driver, Configs: ipamConfig(networks, record) } : { Driver: {} },
  };
}

/** How much of a network's subnet is in use, and how many addresses tasks and services can still get. */
export interface NetworkUsage {
  Subnet: string;
  IPsInUse: number;
  DynamicIPsAvailable: number;
}

/** `GET /apiary/v1/networks/ID/usage`, in the words of newer versions of Docker's API. */
export function networkUsage(view: Networks, { id, subnets }: NetworkRecord): NetworkUsage[] {
  const { count, ipv6, owners } = view.addresses(id);
  return subnets.map((subnet) => {
    const range = addressRange(subnet);
    const isOnly = range.bits === 128 || subnets.filter((each) => !each.subnet.includes(':')).length === 1;
    const inRange = () => [...owners.keys()].filter((number) => number >= range.first && number <= range.last).length;
    const inUse = range.bits === 128 ? ipv6.count : isOnly ? count : inRange();
    return { Subnet: subnet.subnet, IPsInUse: inUse, DynamicIPsAvailable: capacityOf(range) - inUse };
  });
}

/**
 * A network as `GET /networks/ID` shows it: with the containers that are on it, on whichever node, and with the nodes. The
 * engine of each node would show its own alone.
 *
 * @param options.verbose  with the services too
 */
export function networkDetails(view: View, record: NetworkRecord, options: { verbose: boolean }): Network {
  const tasks = [...view.addresses(record.id).owners.values()]
    .flatMap((id) => view.task(id) ?? [])
    .sort((a, b) => (a.id < b.id ? -1 : 1));
  const places = tasks.map((task) => placeOf(view, record, task));
  const others = attachmentsOn(view, record);
  const containers = [
    ...places.flatMap(({ container }) => (container === undefined ? [] : [container])),
    ...others.map((attachment) => attachedContainer(view, attachment)),
  ];
  const nodes = [...new Set([...tasks, ...others].flatMap(({ nodeId }) => nodeId ?? []))].sort();
  const peers = nodes.map((id) => ({ Name: id.slice(0, 12), IP: view.node(id)?.status.addr ?? '' }));
  return {
    ...networkObject(view, record),
    ...(containers.length > 0 && { Containers: Object.fromEntries(containers) }),
    ...(peers.length > 0 && { Peers: peers }),
    ...(options.verbose && places.length > 0 && { Services: servicesOn(view, record, places) }),
  };
}

/** Containers that are no tasks, by id. */
function attachmentsOn(view: View, { id }: NetworkRecord): AttachmentRecord[] {
  const ids = [...view.addresses(id).owners.values()].sort();
  return ids.flatMap((owner) => view.attachment(owner) ?? []);
}

function attachedContainer(view: View, attachment: AttachmentRecord): [id: string, object] {
  const { id, networkId, address, ipv6Address = '', containerId, containerName } = attachment;
  const endpoint = {
    Name: containerName,
    EndpointID: id,
    MacAddress: macOf(address),
    IPv4Address: withPrefixLength(view, networkId, address),
    IPv6Address: ipv6Address === '' ? '' : withPrefixLength(view, networkId, ipv6Address),
  };
  return [containerId || id, endpoint];
}

interface Place {
  task: TaskRecord;
  name: string;
  address: string;
  container: [id: string, object] | undefined;
}

function placeOf(view: View, { id }: NetworkRecord, task: TaskRecord): Place {
  const name = taskName(task, view.spec(task.serviceId, task.specVersion).serviceName);
  const { address = '', ipv6Address } = task.networks?.find(({ networkId }) => networkId === id) ?? {};
  const { container } = task.status;
  const endpoint = {
    Name: name,
    EndpointID: task.id,
    MacAddress: macOf(address),
    IPv4Address: withPrefixLength(view, id, address),
    IPv6Address: ipv6Address === undefined ? '' : withPrefixLength(view, id, ipv6Address),
  };
  return { task, name, address, container: container === undefined ? undefined : [container.id, endpoint] };
}

function servicesOn(view: View, { id }: NetworkRecord, places: readonly Place[]): Record<string, object> {
  const services = new Map<string, Place[]>();
  for (const place of places) {
    const of = services.get(place.task.serviceId) ?? [];
    of.push(place);
    services.set(place.task.serviceId, of);
  }
  return Object.fromEntries(
    [...services].map(([serviceId, of]) => {
      const service = view.service(serviceId);
      const vip = service?.endpoint?.vips.find(({ networkId }) => networkId === id)?.address;
      const Tasks = of.map(({ task, name, address }) => ({
        Name: name,
        EndpointID: task.id,
        EndpointIP: address,
        Info: { 'Host IP': view.node(task.nodeId ?? '')?.status.addr ?? '' },
      }));
      // Go's word for an address that is none.
      return [service?.spec.Name ?? serviceId, { VIP: vip ?? '<nil>', Ports: [], LocalLBIndex: 0, Tasks }];
    }),
  );
}
