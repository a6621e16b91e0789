import { type GatewayPeer, gatewayPeers, type TunnelEnd, tunnelEnd } from './gateway-peers.js';
import type { GatewayFilter } from './gateway-rules.js';
import type { NetworkState } from './network-state.js';
import { confinedTasks, type HostPort, portRows } from './published-ports.js';

/** What a host is to have of a gateway network beside its own links. */
export interface GatewayArrangement {
  /** To the other hosts. */
  ways: { end: TunnelEnd | undefined; peers: GatewayPeer[] };
  filter: GatewayFilter;
}

/**
 * What follows from what the managers say.
 *
 * @param hostPorts  the ports of this host that lead to tasks of its own
 * @param ipv6       as in GatewayFilter; undefined on a host without
 */
export function gatewayArrangement(
  state: NetworkState,
  hostPorts: readonly HostPort[],
  ipv6: GatewayFilter['ipv6'],
): GatewayArrangement {
  const end = tunnelEnd(state);
  const peers = gatewayPeers(state);
  const filter: GatewayFilter = {
    peers,
    dataPathPort: end?.port ?? 0,
    ports: portRows(state, peers, hostPorts),
    confined: confinedTasks(state),
  };
  return { ways: { end, peers }, filter: ipv6 === undefined ? filter : { ...filter, ipv6 } };
}
