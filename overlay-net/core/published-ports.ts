import type { GatewayPeer } from './gateway-peers.js';
import type { NetworkState } from './network-state.js';

/** A port of this host that leads to a task of its own (host mode). */
export interface HostPort {
  taskId: string;
  protocol: string;
  /** Empty: every address of the host. */
  hostAddress: string;
  publishedPort: number;
  targetPort: number;
  /** The task's address on the gateway network. */
  gatewayAddress: string;
  /** The same of IPv6, where it has one. */
  gatewayIpv6Address?: string;
}

export interface PortTarget {
  address: string;
  /** The same of IPv6, where it has one. */
  ipv6Address?: string;
  port: number;
}

/** A port of this host, and where its connections go, one after the other. */
export interface PortRow {
  protocol: string;
  /** Empty: every address of the host. */
  hostAddress: string;
  port: number;
  /** In order, never empty. */
  targets: PortTarget[];
}

/**
 * The ports of this host that lead somewhere: those that are published on every node, and the host's own. A backend on a
 * node that is not known cannot be reached, and a port without backends is no port: who connects is refused.
 */
export function portRows(
  { selfId, publishedPorts }: Pick<NetworkState, 'selfId' | 'publishedPorts'>,
  peers: readonly GatewayPeer[],
  hostPorts: readonly HostPort[],
): PortRow[] {
  const reachable = new Set([selfId, ...peers.map(({ nodeId }) => nodeId)]);
  const rows = new Map<string, PortRow>();
  for (const { protocol, publishedPort: port, targetPort, backends, hostAddress = '' } of publishedPorts.values()) {
    const targets = backends
      .filter(({ nodeId, gatewayAddress }) => reachable.has(nodeId) && gatewayAddress !== '')
      .map((backend) => targetOf(backend, targetPort))
      .filter((target) => isReachedAt(target, hostAddress));
    const row = { protocol, hostAddress, port, targets: inOrder(targets) };
    if (targets.length > 0) rows.set(portRowKey(row), row);
  }
  for (const { protocol, hostAddress, publishedPort: port, targetPort, ...task } of hostPorts) {
    const target = targetOf(task, targetPort);
    if (!isReachedAt(target, hostAddress)) continue;
    const row = { protocol, hostAddress, port, targets: [target] };
    // What the cluster has is promised on every node; whoever asked for the host's own was told so.
    if (!rows.has(portRowKey(row))) rows.set(portRowKey(row), row);
  }
  return [...rows.values()].sort((a, b) => (portRowKey(a) < portRowKey(b) ? -1 : 1));
}

export function portRowKey({ protocol, hostAddress, port }: Omit<PortRow, 'targets'>): string {
  return `${hostAddress} ${protocol}/${port}`;
}

function targetOf(
  { gatewayAddress: address, gatewayIpv6Address = '' }: Pick<HostPort, 'gatewayAddress' | 'gatewayIpv6Address'>,
  port: number,
): PortTarget {
  return gatewayIpv6Address === '' ? { address, port } : { address, ipv6Address: gatewayIpv6Address, port };
}

/** What is published at an address of IPv6 leads to who has IPv6. */
function isReachedAt({ ipv6Address }: PortTarget, hostAddress: string): boolean {
  return !hostAddress.includes(':') || ipv6Address !== undefined;
}

function inOrder(targets: PortTarget[]): PortTarget[] {
  return targets.sort((a, b) => (a.address < b.address ? -1 : 1));
}

/** One direction of a flow that the kernel remembers, as far as it matters here. */
export interface TrackedFlow {
  original: { destination: string; destinationPort: number };
  reply: { source: string };
}

/**
 * Flows without connections (UDP) that go on to where they went when they began, although the port leads elsewhere by now:
 * to a task that is gone, or nowhere at all. To be forgotten, so that the next packet goes where it should.
 *
 * @param protocol        theirs
 * @param entries         addresses at which ports are taken in: this host's own, and other nodes'
 * @param isGatewayAddress  whether an address is some task's on a gateway network
 */
export function strayFlows<F extends TrackedFlow>(
  flows: readonly F[],
  protocol: string,
  rows: readonly PortRow[],
  entries: ReadonlySet<string>,
  isGatewayAddress: (address: string) => boolean,
): F[] {
  const targets = new Map<number, PortRow[]>();
  for (const row of rows) {
    if (row.protocol === protocol) targets.set(row.port, [...(targets.get(row.port) ?? []), row]);
  }
  return flows.filter(({ original, reply }) => {
    if (!entries.has(original.destination)) return false;
    const here = targets.get(original.destinationPort) ?? [];
    const exact = here.find(({ hostAddress }) => hostAddress === original.destination);
    const row = exact ?? here.find(({ hostAddress }) => hostAddress === '');
    if (row === undefined) return isGatewayAddress(reply.source);
    return !row.targets.some(({ address, ipv6Address }) => [address, ipv6Address].includes(reply.source));
  });
}

/** The tasks of this host that are on networks without a way out, and on no others: their addresses on the gateway. */
export function confinedTasks({ networks, tasks }: Pick<NetworkState, 'networks' | 'tasks'>): string[] {
  const isConfined = (networkId: string) => networks.get(networkId)?.internal === true;
  return [...tasks.values()]
    .filter(({ attachments }) => attachments.length > 0 && attachments.every(({ networkId }) => isConfined(networkId)))
    .map(({ gatewayAddress }) => gatewayAddress)
    .filter((address) => address !== '')
    .sort();
}
