import { fnv1a } from './fnv.js';
import { parseIp } from './ipam/index.js';
import type { NetworkState } from './network-state.js';

/** How many of a service's tasks a host can know; of more it has its own share. */
export const MOST_VIP_BACKENDS = 512;

/** Where connections to a service's address on a network go: all of one family. */
export interface VipRow {
  vip: string;
  /** Of the network: those who are on it use the row. */
  vni: number;
  /** Addresses of live tasks. Empty: who connects is refused. */
  backends: string[];
}

/** That who is in a network namespace is on a network. */
export interface VipMember {
  namespaceCookie: bigint;
  vni: number;
}

/** The VIPs of the networks that this host has tasks on, by address, and those tasks. */
export function vipRows(state: NetworkState): { rows: VipRow[]; members: VipMember[] } {
  const members: VipMember[] = [];
  const used = new Set<string>();
  for (const { namespaceCookie = 0n, attachments } of state.tasks.values()) {
    for (const { networkId } of attachments) {
      const vni = state.networks.get(networkId)?.vni ?? 0;
      if (vni === 0 || namespaceCookie === 0n) continue;
      used.add(networkId);
      members.push({ namespaceCookie, vni });
    }
  }
  const rows = [...used].flatMap((networkId) => networkRows(state, networkId));
  return { rows: rows.sort((a, b) => (a.vip < b.vip ? -1 : 1)), members };
}

function networkRows({ selfId, networks, endpointSets }: NetworkState, networkId: string): VipRow[] {
  const vni = networks.get(networkId)?.vni ?? 0;
  const set = endpointSets.get(networkId);
  if (set === undefined) return [];
  const live = [...set.endpoints.values()].filter(({ live }) => live);
  const services = [...set.services.values()];
  const ofFamily = (backends: Map<string, string[]>, vips: { serviceId: string; vip: string }[]): VipRow[] =>
    vips.flatMap(({ serviceId, vip }) => {
      if (parseIp(vip) === undefined) return [];
      return [{ vip, vni, backends: share(backends.get(serviceId)?.sort() ?? [], selfId) }];
    });
  return [
    ...ofFamily(byService(live.map(({ serviceId, address }) => ({ serviceId, address }))), services),
    ...ofFamily(
      byService(live.map(({ serviceId, ipv6Address = '' }) => ({ serviceId, address: ipv6Address }))),
      services.map(({ serviceId, ipv6Vip = '' }) => ({ serviceId, vip: ipv6Vip })),
    ),
  ];
}

function byService(endpoints: readonly { serviceId: string; address: string }[]): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const { serviceId, address } of endpoints) {
    if (parseIp(address) === undefined) continue;
    const known = found.get(serviceId);
    if (known === undefined) found.set(serviceId, [address]);
    else known.push(address);
  }
  return found;
}

/** As many as a host can know, beginning somewhere else on each host. */
function share(sorted: string[], selfId: string): string[] {
  if (sorted.length <= MOST_VIP_BACKENDS) return sorted;
  const start = fnv1a(selfId) % sorted.length;
  return [...sorted.slice(start), ...sorted.slice(0, start)].slice(0, MOST_VIP_BACKENDS).sort();
}
