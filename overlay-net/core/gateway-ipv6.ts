import type { GatewayPeer } from './gateway-peers.js';
import { formatIp, networkContains, parseIp, parseIpNetwork } from './ipam/index.js';
import { type TunnelRow, tunnelRows } from './tunnel-rows.js';

/**
 * Of all gateway addresses of IPv6: each is this and the IPv4 address that it goes with, so that nobody gives them and nobody has
 * to be told of them. They stay among the cluster's hosts (RFC 4193).
 */
export const GATEWAY_IPV6_PREFIX = 'fd61:7069:6172:7900::/96';

const PREFIX = parseIpNetwork(GATEWAY_IPV6_PREFIX);

/** The address that goes with one on a gateway network: `fd61:7069:6172:7900::ae0:302` with 10.224.3.2. */
export function ipv6GatewayAddress(address: string): string {
  return formatIp({ bits: 128, value: PREFIX.first + (parseIp(address)?.value ?? 0n) });
}

/** The same of a network: `fd61:7069:6172:7900::ae0:300/120` with 10.224.3.0/24. */
export function ipv6GatewaySubnet(subnet: string): string {
  const [address = '', length = ''] = subnet.split('/');
  return `${ipv6GatewayAddress(address)}/${PREFIX.length + Number(length)}`;
}

export function isIpv6GatewayAddress(text: string): boolean {
  const address = parseIp(text);
  return address !== undefined && networkContains(PREFIX, address);
}

/** The addresses of IPv6 at which other nodes take in what is published, as far as they are known. */
export function ipv6EntryAddresses(peers: readonly GatewayPeer[]): string[] {
  const found = peers.flatMap(({ underlay, advertised = '', ipv6Addresses = [], gateway }) => [
    ...[underlay, advertised, ...ipv6Addresses].filter((each) => each.includes(':')),
    ipv6GatewayAddress(gateway),
  ]);
  return [...new Set(found)].sort();
}

/** `tunnelRows` of IPv6, beside those of IPv4: the same ways, by the same MAC addresses. */
export function ipv6TunnelRows(peers: readonly GatewayPeer[], gateway: string): TunnelRow[] {
  const theirs = peers.map((peer) => ({
    ...peer,
    subnet: ipv6GatewaySubnet(peer.subnet),
    gateway: ipv6GatewayAddress(peer.gateway),
  }));
  // Which MAC address is behind which host is told once.
  return tunnelRows(theirs, ipv6GatewayAddress(gateway)).filter(({ kind }) => kind !== 'fdb');
}
