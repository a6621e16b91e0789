import type { NetworkSpec } from '@apiary/api/model';
import {
  freeSubnet,
  freeVni,
  GATEWAY_POOL,
  IPV6_SUBNET_LENGTH,
  LAST_VNI,
  LEAST_IPV6_MTU,
  type NetworkSubnet,
  networksOverlap,
  parseIpNetwork,
  readSubnet,
  uniqueLocalPool,
  VXLAN_BYTES,
  WIREGUARD_BYTES,
} from '@apiary/overlay-net/core';
import { ApiaryError, newId, type Rng } from '@apiary/std';
import { networkTargets } from '../store/apply-network-change.js';
import type { Change } from '../store/change.js';
import type { ClusterRecord, NetworkRecord } from '../store/records.js';
import type { View } from '../store/view.js';
import type { Decision } from './decision.js';
import { addressPoolsOf } from './network-settings.js';
import { invalid, quoted, unhonoured } from './refusal.js';

/** Docker's ingress network; nothing is on ours. */
const INGRESS_SUBNET_LENGTH = 24;
const INGRESS_VNI = 4096;

export const MTU_OPTION = 'com.docker.network.driver.mtu';
export const VNI_OPTION = 'com.docker.network.driver.overlay.vxlanid_list';
/** That it is there is what counts, as with Docker: `--opt encrypted` writes an empty value. */
export const ENCRYPTED_OPTION = 'encrypted';

const MAX_NAME_LENGTH = 63;
const NAME = /^[a-zA-Z0-9]+(?:[-_]+[a-zA-Z0-9]+)*$/;
const SMALLEST_MTU = 576;
const LARGEST_MTU = 65_535;

/**
 * Makes a network: checks what was asked, and chooses what was left open.
 *
 * @returns the id of the network
 * @throws ApiaryError `invalid-argument`, `already-exists`, `resource-exhausted` when the pool has no subnet left,
 *   `unimplemented` for what this version does not honour
 */
export function createNetwork(view: View, spec: NetworkSpec, rng: Rng): Decision<string> {
  checkNetworkWords(spec);
  checkNetworkSpec(view, spec);
  const existing = view.networks().find((network) => network.spec.Name === spec.Name);
  if (existing !== undefined) throw new ApiaryError('already-exists', `network with name ${spec.Name} already exists`);
  const kind = spec.Ingress === true ? 'ingress' : 'overlay';
  const subnets = subnetsOf(view, spec, kind);
  const vni = vniOf(view, spec, kind, rng);
  const network: Omit<NetworkRecord, 'meta'> = { id: newId(rng), spec, kind, vni, subnets };
  return {
    guards: [{ type: 'network-free', network: { spec, vni, subnets } }],
    changes: [{ type: 'network-create', network }],
    result: network.id,
  };
}

/** Whether only tasks of services that are gone have still to leave the network. */
export function isBeingLeft(view: View, id: string): boolean {
  const isWanted = view.services().some(({ spec }) => networkTargets(spec).includes(id));
  const owners = [...view.addresses(id).owners.values()];
  // Containers that are no tasks stay for as long as whoever started them likes.
  const isHeld = owners.some((owner) => view.attachment(owner) !== undefined);
  return view.network(id) !== undefined && !isWanted && !isHeld && owners.length > 0;
}

/**
 * Takes a network away that nobody uses.
 *
 * @returns the id of the network
 * @throws ApiaryError `not-found`; `failed-precondition`, saying by what it is in use
 */
export function removeNetwork(view: View, id: string): Decision<string> {
  const network = view.network(id);
  if (network === undefined) throw new ApiaryError('not-found', `network ${id} not found`);
  if (network.kind !== 'overlay' && network.kind !== 'ingress') {
    const words = `${network.spec.Name} is a pre-defined network and cannot be removed`;
    throw new ApiaryError('failed-precondition', words);
  }
  const service = view.services().find(({ spec }) => networkTargets(spec).includes(id));
  if (service !== undefined) {
    throw new ApiaryError('failed-precondition', `network ${id} is in use by service ${service.id}`);
  }
  // Of a service that is gone, while its containers stop.
  const [owner] = [...view.addresses(id).owners.values()].sort();
  const attachment = owner === undefined ? undefined : view.attachment(owner);
  if (attachment !== undefined) {
    const { containerName, containerId, nodeId } = attachment;
    const on = view.node(nodeId)?.description?.Hostname ?? nodeId;
    const words = `network ${id} is in use by container ${containerName || containerId.slice(0, 12) || attachment.id} on node ${on}`;
    throw new ApiaryError('failed-precondition', words);
  }
  if (owner !== undefined) throw new ApiaryError('failed-precondition', `network ${id} is in use by task ${owner}`);
  return {
    guards: [
      { type: 'unchanged', kind: 'network', id },
      { type: 'network-unused', id },
    ],
    changes: [{ type: 'network-delete', id }],
    result: id,
  };
}

/** The networks that every cluster begins with: what `docker network ls` shows as `ingress`, and the engine's own. */
export function firstNetworks(addressPools: ClusterRecord['addressPools'], rng: Rng): Change[] {
  const { pools, subnetLength } = addressPoolsOf({ ...(addressPools !== undefined && { addressPools }) });
  const subnet = freeSubnet(pools, Math.max(subnetLength, INGRESS_SUBNET_LENGTH), [GATEWAY_POOL]) ?? '';
  const ingress: NetworkSpec = { Name: 'ingress', Driver: 'overlay', Ingress: true, Labels: {} };
  const create = (spec: NetworkSpec, rest: Pick<NetworkRecord, 'kind' | 'vni' | 'subnets'>): Change => ({
    type: 'network-create',
    network: { id: newId(rng), spec, ...rest },
  });
  return [
    create(ingress, { kind: 'ingress', vni: INGRESS_VNI, subnets: [readSubnet({ Subnet: subnet })] }),
    ...(['host', 'bridge', 'none'] as const).map((kind) =>
      create({ Name: kind, Driver: kind === 'none' ? 'null' : kind }, { kind, vni: 0, subnets: [] }),
    ),
  ];
}

/**
 * Refuses what Docker's engine refuses before it asks SwarmKit: who puts SwarmKit's `rpc error` before the other faults calls
 * this one apart.
 *
 * @throws ApiaryError `permission-denied` in Docker's words
 */
export function checkNetworkWords({ Name, Scope = '' }: NetworkSpec): void {
  if (Name === 'none' || Name === 'default') {
    throw new ApiaryError('permission-denied', `operation is not permitted on predefined ${Name} network`);
  }
  if (Scope !== '' && Scope !== 'swarm') {
    throw new ApiaryError('permission-denied', 'cannot downgrade network scope for overlay networks');
  }
}

function checkNetworkSpec(view: View, spec: NetworkSpec): void {
  const { Name, Driver = '', IPAM } = spec;
  if (Name.length > MAX_NAME_LENGTH) throw invalid(`name must be ${MAX_NAME_LENGTH} characters or fewer`);
  if (!NAME.test(Name)) throw invalid('name must be valid as a DNS name component');
  if (Driver !== '' && Driver !== 'overlay') {
    throw unhonoured(`Driver ${quoted(Driver)} with scope swarm`, 'use the driver overlay');
  }
  if ((spec.ConfigFrom?.Network ?? '') !== '') throw unhonoured('ConfigFrom');
  if (spec.EnableIPv4 === false) throw unhonoured('EnableIPv4 false', 'IPv6 is beside IPv4: ask for EnableIPv6');
  const driver = IPAM?.Driver ?? '';
  if (driver !== '' && driver !== 'default') throw invalid(`error during lookup of plugin ${driver}`);
  checkOptions(spec);
  if (spec.Ingress !== true) return;
  if (spec.Attachable === true) throw invalid('ingress network cannot be attachable');
  const present = view.networks().find(({ kind }) => kind === 'ingress');
  if (present !== undefined) {
    throw new ApiaryError('already-exists', `ingress network (${present.id}) is already present`);
  }
}

function checkOptions({ Options = {}, EnableIPv6 = false }: NetworkSpec): void {
  const overhead = VXLAN_BYTES.ipv4 + (Object.hasOwn(Options, ENCRYPTED_OPTION) ? WIREGUARD_BYTES : 0);
  const smallest = EnableIPv6 ? LEAST_IPV6_MTU + overhead : SMALLEST_MTU;
  for (const [key, value] of Object.entries(Options)) {
    if (key === ENCRYPTED_OPTION) continue;
    if (key === VNI_OPTION) {
      const vni = Number(value);
      if (/^\d{1,8}$/.test(value) && vni >= 1 && vni <= LAST_VNI) continue;
      throw invalid(`option ${key}: expected one number from 1 to ${LAST_VNI}, got ${quoted(value)}`);
    }
    if (key !== MTU_OPTION) throw unhonoured(`Options.${key}`);
    const mtu = Number(value);
    if (/^\d{1,5}$/.test(value) && mtu >= smallest && mtu <= LARGEST_MTU) continue;
    throw invalid(
      `option ${key}: expected ${smallest} to ${LARGEST_MTU}${EnableIPv6 ? ' with IPv6' : ''}, got ${quoted(value)}`,
    );
  }
}

/**
 * The subnets that were asked for; one of the pools of each family for which none was. IPv4 first. Of that there may be
 * several, the later ones for when those before them are full.
 */
function subnetsOf(view: View, spec: NetworkSpec, kind: NetworkRecord['kind']): NetworkSubnet[] {
  const asked = (spec.IPAM?.Config ?? []).map(readSubnet);
  const isIpv6 = ({ subnet }: NetworkSubnet): boolean => subnet.includes(':');
  const ipv4 = asked.filter((subnet) => !isIpv6(subnet));
  const ipv6 = asked.filter(isIpv6);
  if (ipv6.length > 1) throw unhonoured('IPAM.Config: more than one subnet of IPv6', 'ask for one larger subnet');
  if (ipv4.length > 1 && spec.Attachable === true) {
    throw unhonoured('IPAM.Config: more than one subnet with Attachable', 'ask for one larger subnet');
  }
  if (ipv6.length > 0 && spec.EnableIPv6 !== true) {
    throw invalid(`subnet ${ipv6[0]?.subnet} is of IPv6: ask for EnableIPv6 as well (--ipv6)`);
  }
  for (const [i, { subnet }] of asked.entries()) {
    refuseOverlap(view, subnet);
    const other = asked
      .slice(0, i)
      .find((each) => networksOverlap(parseIpNetwork(each.subnet), parseIpNetwork(subnet)));
    if (other !== undefined) throw invalid(`subnet ${subnet} overlaps with subnet ${other.subnet} of the same network`);
  }
  const first = ipv4.length > 0 ? ipv4 : [readSubnet({ Subnet: subnetFromPool(view, kind) })];
  if (spec.EnableIPv6 !== true) return first;
  return [...first, ipv6[0] ?? readSubnet({ Subnet: ipv6SubnetFromPool(view) })];
}

function refuseOverlap(view: View, subnet: string): void {
  const wanted = parseIpNetwork(subnet);
  for (const { spec, subnets } of view.networks()) {
    const other = subnets.find((taken) => networksOverlap(wanted, parseIpNetwork(taken.subnet)));
    if (other === undefined) continue;
    throw invalid(`subnet ${subnet} overlaps with subnet ${other.subnet} of network ${spec.Name}: choose another`);
  }
  if (networksOverlap(wanted, parseIpNetwork(GATEWAY_POOL))) {
    throw invalid(`subnet ${subnet} overlaps with ${GATEWAY_POOL}, from which each node has its own: choose another`);
  }
}

/** @throws ApiaryError `resource-exhausted` */
function ipv6SubnetFromPool(view: View): string {
  const pool = uniqueLocalPool(view.cluster()?.id ?? '');
  const hosts = view.nodes().flatMap(({ status: { addr } }) => (addr.includes(':') ? [`${addr}/128`] : []));
  const subnet = freeSubnet([pool], IPV6_SUBNET_LENGTH, [...takenSubnets(view), ...hosts]);
  if (subnet !== undefined) return subnet;
  const words = `no subnet of /${IPV6_SUBNET_LENGTH} is left in ${pool}: remove a network, or ask for a subnet`;
  throw new ApiaryError('resource-exhausted', words);
}

function takenSubnets(view: View): string[] {
  return view.networks().flatMap(({ subnets }) => subnets.map(({ subnet }) => subnet));
}

/** @throws ApiaryError `resource-exhausted` */
function subnetFromPool(view: View, kind: NetworkRecord['kind']): string {
  const { pools, subnetLength } = addressPoolsOf(view.cluster());
  const length = kind === 'ingress' ? Math.max(subnetLength, INGRESS_SUBNET_LENGTH) : subnetLength;
  // A task must be able to reach the hosts.
  const hosts = view
    .nodes()
    .flatMap(({ status: { addr }, dataPathAddr = '' }) => [addr, dataPathAddr])
    .flatMap((addr) => (/^[\d.]+$/.test(addr) ? [`${addr}/32`] : []));
  const subnet = freeSubnet(pools, length, [...takenSubnets(view), ...hosts, GATEWAY_POOL]);
  if (subnet !== undefined) return subnet;
  const from = `${pools.length === 1 ? 'pool' : 'pools'} ${pools.join(', ')}`;
  const words = `no subnet of /${length} is left in address ${from}: remove a network, or ask for a subnet of another range`;
  throw new ApiaryError('resource-exhausted', words);
}

function vniOf(view: View, { Name, Options = {} }: NetworkSpec, kind: NetworkRecord['kind'], rng: Rng): number {
  const asked = Options[VNI_OPTION];
  if (asked !== undefined) {
    const vni = Number(asked);
    const holder = view.networks().find((network) => network.vni === vni);
    if (holder === undefined) return vni;
    throw invalid(`VXLAN id ${vni} of network ${Name} is already that of network ${holder.spec.Name}`);
  }
  const taken = new Set(view.networks().map(({ vni }) => vni));
  if (kind === 'ingress' && !taken.has(INGRESS_VNI)) return INGRESS_VNI;
  const vni = freeVni(taken, rng);
  if (vni === undefined) throw new ApiaryError('resource-exhausted', 'every VXLAN id is taken: remove a network');
  return vni;
}
