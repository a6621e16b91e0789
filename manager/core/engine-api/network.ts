import type { Network } from '@apiary/api/model';
import { formatIpNetwork, parseIpNetwork } from '@apiary/overlay-net/core';
import type { NetworkAddress, NetworkRecord } from '../store/records.js';
import type { View } from '../store/view.js';
import { filled, metaOf, timestampOf } from './timestamp.js';

const VNI_KEY = 'com.docker.network.driver.overlay.vxlanid_list';
/** With what Docker allocates addresses; shown once there are options at all. */
const SERIAL = { 'com.docker.network.ipam.serial': 'true' };
const DOCKER_SUBNET_LENGTH = 24;

/** A network of the cluster as Docker's managers show it: what a node alone knows (its containers) is left out. */
export function networkObject(record: NetworkRecord): Network {
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
      Config: ipamConfig(record),
    },
    Internal: spec.Internal ?? false,
    Attachable: spec.Attachable ?? false,
    Ingress: kind === 'ingress',
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: null,
    Options: isOurs ? { ...spec.Options, [VNI_KEY]: String(vni) } : null,
    Labels: filled(spec.Labels) ?? null,
  };
}

export function isOverlay({ kind }: Pick<NetworkRecord, 'kind'>): boolean {
  return kind === 'overlay' || kind === 'ingress';
}

/** `IPAM.Config`: the subnets in force. */
export function ipamConfig(record: NetworkRecord): Network['IPAM']['Config'] {
  return record.subnets.map(({ gateway, ipRange }, i) => ({
    Subnet: shownSubnet(record, i),
    ...(ipRange !== undefined && { IPRange: ipRange }),
    Gateway: gateway,
  }));
}

/**
 * A subnet in Docker's size. One that nobody asked for is larger than Docker's, and is shown as the /24 that it begins
 * with: addresses are given from there until it is full. `GET /apiary/v1/networks/ID` tells all of it.
 */
function shownSubnet({ spec, subnets }: NetworkRecord, index: number): string {
  const { subnet = '' } = subnets[index] ?? {};
  const isAsked = (spec.IPAM?.Config ?? []).length > 0;
  const network = parseIpNetwork(subnet);
  if (isAsked || network.bits === 128 || network.length >= DOCKER_SUBNET_LENGTH) return subnet;
  return formatIpNetwork({ ...network, length: DOCKER_SUBNET_LENGTH });
}

/** An address with the length of its network's prefix: `10.0.16.3/20`. */
export function withPrefixLength(networks: Pick<View, 'network'>, networkId: string, address: string): string {
  const { subnet = '' } = networks.network(networkId)?.subnets[0] ?? {};
  return `${address}/${subnet.split('/')[1] ?? 32}`;
}

/** What a task's `NetworksAttachments` tells of its networks. */
export function attachmentObjects(networks: Pick<View, 'network'>, addresses: readonly NetworkAddress[]): unknown[] {
  return addresses.flatMap(({ networkId, address }) => {
    const record = networks.network(networkId);
    if (record === undefined) return [];
    const Addresses = address === '' ? {} : { Addresses: [withPrefixLength(networks, networkId, address)] };
    return [{ Network: swarmNetworkObject(record), ...Addresses }];
  });
}

/** A network as SwarmKit has it, which shows through in tasks alone. */
function swarmNetworkObject(record: NetworkRecord): object {
  const { spec } = record;
  const isOurs = isOverlay(record);
  const ipam = { Driver: { Name: 'default' }, Configs: ipamConfig(record) };
  return {
    ...metaOf(record),
    Spec: {
      Name: spec.Name,
      Labels: spec.Labels ?? {},
      DriverConfiguration: { Name: filled(spec.Driver), Options: filled(spec.Options) },
      IPv6Enabled: filled(spec.EnableIPv6),
      Internal: filled(spec.Internal),
      Attachable: filled(spec.Attachable),
      Ingress: filled(spec.Ingress),
      ...(isOurs && { IPAMOptions: ipam }),
      Scope: isOurs ? 'swarm' : 'local',
    },
    DriverState: {
      Name: isOurs ? 'overlay' : spec.Driver,
      ...(isOurs && { Options: { ...spec.Options, [VNI_KEY]: String(record.vni) } }),
    },
    ...(isOurs && { IPAMOptions: ipam }),
  };
}
