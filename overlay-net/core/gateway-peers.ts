import { readGatewaySubnet } from './gateway-subnet.js';
import { formatIpv4, parseIpv4 } from './ipv4.js';
import { hexadecimal } from './mac-address.js';
import type { NetworkState } from './network-state.js';

/** Marks of connections that came in by way of another node: this, and the number of the node's gateway subnet. */
export const ENTRY_MARK = 0x61000000;
/** The bits that tell such a mark from others'. */
export const ENTRY_MARK_MASK = 0xff000000;

/** Another node, as the gateway networks of two hosts know each other. */
export interface GatewayPeer {
  nodeId: string;
  /** Where what is sent to its tasks goes on the wire. */
  underlay: string;
  /** By which clients know it beside that. */
  advertised?: string;
  /** The same of IPv6. */
  ipv6Addresses?: readonly string[];
  /** Of its tasks: `10.224.3.0/24`. */
  subnet: string;
  /** Its own address in it: the next hop. */
  gateway: string;
  /** Of its end of the tunnel. */
  mac: string;
  /** Of the connections that came in at it, and the number of the routing table by which their replies go back. */
  mark: number;
}

/** This host's own end of the tunnel between the hosts. */
export interface TunnelEnd {
  /** The address by which the others reach this host: the source of what is sent. */
  local: string;
  port: number;
}

/** The other nodes that have a gateway network, by id. Those whose addresses cannot be used are passed over. */
export function gatewayPeers({ selfId, nodes }: Pick<NetworkState, 'selfId' | 'nodes'>): GatewayPeer[] {
  const peers: GatewayPeer[] = [];
  for (const { nodeId, addr, advertisedAddr = '', ipv6Addresses = '', gatewaySubnet } of nodes.values()) {
    if (nodeId === selfId || gatewaySubnet === '' || !isAddress(addr)) continue;
    const { subnet, gateway, firstAddress } = readGatewaySubnet(gatewaySubnet);
    const number = Math.floor(firstAddress / 256) % 0x10000;
    const peer = { nodeId, underlay: addr, subnet, gateway, mac: tunnelMac(gateway), mark: ENTRY_MARK + number };
    peers.push({
      ...peer,
      ...(advertisedAddr !== '' && { advertised: advertisedAddr }),
      ...(ipv6Addresses !== '' && { ipv6Addresses: ipv6Addresses.split(',') }),
    });
  }
  peers.sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1));
  // The number of a node that is gone may be another's before both are heard of.
  return peers.filter(({ subnet }, i) => peers.findIndex((peer) => peer.subnet === subnet) === i);
}

/** Undefined while this node is not known, or its address is none. */
export function tunnelEnd({ selfId, nodes, dataPathPort }: NetworkState): TunnelEnd | undefined {
  const local = nodes.get(selfId)?.addr ?? '';
  return isAddress(local) && dataPathPort > 0 ? { local, port: dataPathPort } : undefined;
}

const MAC_PREFIX = '02:62:';

export function isTunnelMac(mac: string): boolean {
  return mac.startsWith(MAC_PREFIX);
}

/**
 * The MAC address of a host's end of the tunnel. It follows from its gateway address, so that nobody has to be told of it.
 */
export function tunnelMac(gateway: string): string {
  return `${MAC_PREFIX}${(hexadecimal(gateway).match(/../g) ?? []).join(':')}`;
}

/** The addresses at which other nodes take in what is published, as far as they are known. */
export function entryAddresses(peers: readonly GatewayPeer[]): string[] {
  const addresses = peers.flatMap(({ underlay, advertised = '', gateway }) => [underlay, advertised, gateway]);
  return addresses.filter((address) => parseIpv4(address) !== undefined).sort();
}

function isAddress(text: string): boolean {
  const value = parseIpv4(text);
  return value === undefined ? text.includes(':') : formatIpv4(value) === text && value !== 0;
}
