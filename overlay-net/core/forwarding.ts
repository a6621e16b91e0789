import { macOf } from './mac-address.js';
import type { AssignedNetwork, NetworkState } from './network-state.js';
import { type OverlayRow, type OverlayRows, overlayKey } from './overlay-row.js';

/** Outer Ethernet payload of a VXLAN frame (RFC 7348): IP 20 or 40, UDP 8, VXLAN 8, inner Ethernet 14. */
export const VXLAN_BYTES = { ipv4: 50, ipv6: 70 } as const;
/** What a link must carry at least to have IPv6 (RFC 8200, 5): the kernel has none on a smaller one. */
export const LEAST_IPV6_MTU = 1_280;
/** IPv6 40 or IPv4 20, UDP 8, WireGuard 32. The larger of both, as WireGuard's own tools reckon. */
export const WIREGUARD_BYTES = 80;

/**
 * What this host's kernel should have for the overlay networks that its tasks are on, and nothing for any other.
 *
 * Nothing is learned or flooded between hosts: each remote endpoint has its rows, and what has none goes nowhere. An
 * endpoint that takes no new connections keeps its rows, for those that it has. O(endpoints).
 *
 * @param underlayMtu  of the link that has this host's address
 * @returns            undefined when it cannot be said, since the managers have not told this host's own address
 */
export function forwardingRows(state: NetworkState, underlayMtu: number): OverlayRows | undefined {
  const networks = [...state.networks.values()].filter(({ vni }) => vni > 0);
  const self = state.nodes.get(state.selfId);
  if (networks.length > 0 && (self === undefined || self.addr === '')) return undefined;
  const rows = new Map<string, OverlayRow>();
  const put = (row: OverlayRow) => rows.set(overlayKey(row), row);
  for (const network of networks) {
    const { vni, networkId, encrypted: isEncrypted } = network;
    const local = self?.addr ?? '';
    const mtu = networkMtu(network, underlayMtu, local);
    put({ kind: 'bridge', vni, mtu });
    const hasIpv6 = carriesIpv6(network, mtu);
    put({ kind: 'vxlan', vni, local, port: state.dataPathPort, mtu, isEncrypted, hasIpv6 });
    for (const address of localAddresses(state, networkId)) put({ kind: 'port', vni, address });
    for (const { address, ipv6Address, vtep } of remotes(state, networkId)) {
      const mac = macOf(address);
      put({ kind: 'fdb', vni, mac, vtep });
      put({ kind: 'neighbour', vni, address, mac });
      if (hasIpv6 && ipv6Address !== '') put({ kind: 'neighbour', vni, address: ipv6Address, mac });
    }
  }
  return rows;
}

/**
 * The largest packet of a network's tasks. As Docker has it, what the user gave is that of the way between the hosts, and
 * what the encapsulation takes comes off it.
 *
 * @param local  the address that the encapsulated packets have
 */
export function networkMtu({ mtu, encrypted }: AssignedNetwork, underlayMtu: number, local: string): number {
  const way = mtu > 0 ? mtu : underlayMtu;
  return way - VXLAN_BYTES[local.includes(':') ? 'ipv6' : 'ipv4'] - (encrypted ? WIREGUARD_BYTES : 0);
}

/** Whether tasks on the network have IPv6 on a link of this MTU. */
export function carriesIpv6({ ipv6Subnet = '' }: AssignedNetwork, mtu: number): boolean {
  return ipv6Subnet !== '' && mtu >= LEAST_IPV6_MTU;
}

function localAddresses({ tasks }: NetworkState, networkId: string): string[] {
  return [...tasks.values()].flatMap(({ attachments }) =>
    attachments.flatMap((each) => (each.networkId === networkId && each.address !== '' ? [each.address] : [])),
  );
}

interface Remote {
  address: string;
  ipv6Address: string;
  vtep: string;
}

/** Endpoints elsewhere. When an address has two, one that takes connections has it. */
function remotes(state: NetworkState, networkId: string): Remote[] {
  const found: Remote[] = [];
  const live: Remote[] = [];
  for (const endpoint of state.endpointSets.get(networkId)?.endpoints.values() ?? []) {
    if (endpoint.nodeId === state.selfId || endpoint.address === '') continue;
    const vtep = state.nodes.get(endpoint.nodeId)?.addr ?? '';
    const { address, ipv6Address = '' } = endpoint;
    if (vtep !== '') (endpoint.live ? live : found).push({ address, ipv6Address, vtep });
  }
  return [...found, ...live];
}

/** A step from what is there to what should be there. `change` is of a row that goes on as it is but for its MTU or target. */
export interface OverlayChange {
  do: 'remove' | 'add' | 'change';
  row: OverlayRow;
}

const ORDER = ['bridge', 'vxlan', 'port', 'fdb', 'neighbour'] as const;

/**
 * What to do, in order, for the kernel to have all that is desired and nothing else. O(rows).
 *
 * Ports are removed only with their network: a task's end of them goes with its namespace. What a VXLAN device has goes
 * with the device.
 */
export function overlayDiff(desired: OverlayRows, present: OverlayRows): OverlayChange[] {
  const removed: OverlayRow[] = [];
  const added: OverlayChange[] = [];
  const lost = new Set<number>();
  for (const [key, row] of present) {
    if (row.kind !== 'vxlan') continue;
    const wanted = desired.get(key);
    if (wanted?.kind === 'vxlan' && isSameDevice(row, wanted)) continue;
    lost.add(row.vni);
    removed.push(row);
  }
  const isThere = (row: OverlayRow) => !((row.kind === 'fdb' || row.kind === 'neighbour') && lost.has(row.vni));
  for (const [key, row] of present) {
    if (row.kind === 'vxlan' || !isThere(row) || desired.has(key)) continue;
    if (row.kind === 'port' && desired.has(overlayKey({ kind: 'bridge', vni: row.vni, mtu: 0 }))) continue;
    removed.push(row);
  }
  for (const [key, row] of desired) {
    const before = present.get(key);
    if (before === undefined || !isThere(before) || (row.kind === 'vxlan' && lost.has(row.vni))) {
      added.push({ do: 'add', row });
    } else if (!isSame(before, row)) added.push({ do: 'change', row });
  }
  const rank = ({ kind }: OverlayRow) => ORDER.indexOf(kind);
  return [
    ...removed.sort((a, b) => rank(b) - rank(a)).map((row): OverlayChange => ({ do: 'remove', row })),
    ...added.sort((a, b) => rank(a.row) - rank(b.row)),
  ];
}

type VxlanRow = Extract<OverlayRow, { kind: 'vxlan' }>;

/** Whether one becomes the other without being made anew. */
function isSameDevice(a: VxlanRow, b: VxlanRow): boolean {
  return a.local === b.local && a.port === b.port && a.isEncrypted === b.isEncrypted && a.hasIpv6 === b.hasIpv6;
}

function isSame(a: OverlayRow, b: OverlayRow): boolean {
  if (a.kind === 'fdb' && b.kind === 'fdb') return a.vtep === b.vtep;
  if (a.kind === 'neighbour' && b.kind === 'neighbour') return a.mac === b.mac;
  if ((a.kind === 'bridge' && b.kind === 'bridge') || (a.kind === 'vxlan' && b.kind === 'vxlan'))
    return a.mtu === b.mtu;
  return true;
}
