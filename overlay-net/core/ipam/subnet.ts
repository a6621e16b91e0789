import { ApiaryError } from '@apiary/std';
import {
  formatIp,
  formatIpNetwork,
  type IpNetwork,
  lastOf,
  networkContains,
  networksOverlap,
  parseIp,
  parseIpNetwork,
} from './ip-network.js';

/** What a user may ask of a subnet: one of the Engine API's `IPAM.Config`. */
export interface SubnetRequest {
  Subnet?: string | undefined;
  IPRange?: string | undefined;
  Gateway?: string | undefined;
  AuxiliaryAddresses?: Record<string, string> | undefined;
}

/** A network's subnet in force. Addresses without a prefix length. */
export interface NetworkSubnet {
  /** `10.0.16.0/20` */
  subnet: string;
  /** The address that no task has. */
  gateway: string;
  /** Addresses are given from this part of the subnet only. */
  ipRange?: string;
  /** Addresses that are never given: somebody outside of the cluster has them. */
  reserved?: string[];
}

/** Of IPv6: loopback and IPv4's addresses written as IPv6's, those that hold on one link only, and groups of hosts. */
const NOT_FOR_HOSTS = ['::/8', 'fe80::/10', 'ff00::/8'];

/**
 * Checks what was asked of a subnet, and fills in its gateway: the first address, or that of the range, as Docker has it.
 *
 * @throws ApiaryError `invalid-argument`
 */
export function readSubnet(request: SubnetRequest): NetworkSubnet {
  const network = networkOf(request.Subnet ?? '', 'subnet');
  const subnet = formatIpNetwork(network);
  if (lastOf(network) - network.first < 3n) throw invalid(`subnet ${subnet} has no room for a task`);
  if (NOT_FOR_HOSTS.some((other) => networksOverlap(network, parseIpNetwork(other)))) {
    throw invalid(`subnet ${subnet} has addresses that no host can have: choose one of fd00::/8`);
  }
  const range = rangeOf(request.IPRange, network, subnet);
  const result: NetworkSubnet = { subnet, gateway: gatewayOf(request.Gateway, network, range) };
  if (range !== undefined) result.ipRange = formatIpNetwork(range);
  const reserved = Object.entries(request.AuxiliaryAddresses ?? {}).map(([name, text]) => {
    const address = parseIp(text);
    if (address === undefined || !networkContains(network, address)) {
      throw invalid(`auxiliary address ${name}=${text} is not in subnet ${subnet}`);
    }
    return formatIp(address);
  });
  if (reserved.length > 0) result.reserved = reserved;
  return result;
}

function rangeOf(text: string | undefined, network: IpNetwork, subnet: string): IpNetwork | undefined {
  if (text === undefined || text === '') return undefined;
  const range = networkOf(text, 'ip-range');
  if (range.length >= network.length && networkContains(network, { bits: range.bits, value: range.first }))
    return range;
  throw invalid(`ip-range ${text} is not in subnet ${subnet}`);
}

function gatewayOf(text: string | undefined, network: IpNetwork, range: IpNetwork | undefined): string {
  const { bits, first } = network;
  if (text === undefined || text === '') {
    return formatIp({ bits, value: range === undefined || range.first === first ? first + 1n : range.first });
  }
  const gateway = parseIp(text);
  if (gateway === undefined || !networkContains(network, gateway)) {
    throw invalid(`gateway ${text} is not in subnet ${formatIpNetwork(network)}`);
  }
  if (bits === 32 && (gateway.value === first || gateway.value === lastOf(network))) {
    throw invalid(`gateway ${text} is no address that a host of subnet ${formatIpNetwork(network)} can have`);
  }
  return formatIp(gateway);
}

/** A network that is written with the bits of a host is mostly a slip: which of the two was meant is not ours to say. */
function networkOf(text: string, what: string): IpNetwork {
  const [, base = ''] = /^(.*)\/\d+$/.exec(text) ?? [];
  const address = parseIp(base);
  if (address === undefined) throw invalid(`invalid ${what} ${text}: invalid CIDR address: ${text}`);
  const network = parseIpNetwork(text);
  if (address.value !== network.first) {
    throw invalid(`invalid ${what} ${text}: it should be ${formatIpNetwork(network)}`);
  }
  return network;
}

/**
 * The first subnet of a pool, of the given length, that overlaps with nothing that is taken: undefined when there is none.
 * Steps over what is taken: O(taken²) at most, whatever the size of the pool.
 *
 * @param pools  networks, in the order of preference
 * @param taken  networks of any family and size
 */
export function freeSubnet(pools: readonly string[], length: number, taken: readonly string[]): string | undefined {
  const blocked = taken.map(parseIpNetwork);
  for (const text of pools) {
    const pool = parseIpNetwork(text);
    if (length < pool.length || length > pool.bits) continue;
    const size = 1n << BigInt(pool.bits - length);
    let first = pool.first;
    while (first <= lastOf(pool)) {
      const candidate = { bits: pool.bits, first, length };
      const obstacle = blocked.find((network) => networksOverlap(network, candidate));
      if (obstacle === undefined) return formatIpNetwork(candidate);
      // The next multiple of the size behind the obstacle.
      first = (lastOf(obstacle) / size + 1n) * size;
    }
  }
  return undefined;
}

function invalid(words: string): ApiaryError {
  return new ApiaryError('invalid-argument', words);
}
