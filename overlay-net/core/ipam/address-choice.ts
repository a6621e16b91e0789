import { formatIp, lastOf, parseIp, parseIpNetwork } from './ip-network.js';
import type { NetworkSubnet } from './subnet.js';

/** Which of a range's addresses are in use, by their numbers in it. */
export interface AddressUse {
  readonly count: number;
  /** The one that was given last. */
  readonly last: number | undefined;
  has(address: number): boolean;
}

/** Which of a network's IPv6 addresses are in use, as they are written. */
export interface Ipv6AddressUse {
  readonly count: number;
  /** The one that was given last. */
  readonly last: string | undefined;
  has(address: string): boolean;
}

/** Addresses that tasks and services can have, from the first to the last, by number. */
export interface AddressRange {
  bits: 32 | 128;
  /** The address with the number 0: that of IPv4 itself, so that an IPv4 address is its number; else the range's own start. */
  base: bigint;
  first: number;
  last: number;
  /** Within it, but never given: the gateway, and what was set aside. */
  excluded: readonly number[];
}

/** Of a range of IPv6 so many addresses are given: as many as there are of IPv4. */
const MOST_IPV6 = 2n ** 32n;

/**
 * Of a subnet: all of it but its first address and, of IPv4, its last; or the part that was asked for. The first address of
 * an IPv6 subnet is that of its routers (RFC 4291, 2.6.1).
 */
export function addressRange({ subnet, gateway, ipRange, reserved = [] }: NetworkSubnet): AddressRange {
  const whole = parseIpNetwork(subnet);
  const part = ipRange === undefined ? whole : parseIpNetwork(ipRange);
  const { bits } = whole;
  const base = bits === 32 ? 0n : part.first;
  const start = part.first > whole.first ? part.first : whole.first + 1n;
  const end = bits === 32 && lastOf(part) === lastOf(whole) ? lastOf(whole) - 1n : lastOf(part);
  const first = Number(start - base);
  const last = Number(end - base < MOST_IPV6 ? end - base : MOST_IPV6 - 1n);
  const excluded = new Set([gateway, ...reserved].map((text) => Number((parseIp(text)?.value ?? -1n) - base)));
  return { bits, base, first, last, excluded: [...excluded].filter((number) => number >= first && number <= last) };
}

/** How many addresses of a range can be in use. */
export function capacityOf({ first, last, excluded }: AddressRange): number {
  return last - first + 1 - excluded.length;
}

/** The address with a number, as it is written. */
export function addressIn({ bits, base }: AddressRange, number: number): string {
  return formatIp({ bits, value: base + BigInt(number) });
}

/** The number of an address; one that is not of the range has one outside of it, or none that is whole. */
export function numberIn({ bits, base }: AddressRange, text: string): number | undefined {
  const address = parseIp(text);
  return address?.bits === bits ? Number(address.value - base) : undefined;
}

/** The use of a network's IPv6 addresses by their numbers in a range. */
export function useIn(range: AddressRange, use: Ipv6AddressUse): AddressUse {
  return {
    count: use.count,
    last: use.last === undefined ? undefined : numberIn(range, use.last),
    has: (number) => use.has(addressIn(range, number)),
  };
}

/** A network whose size nobody chose begins with so many addresses, and takes twice as many when they get scarce. */
const FIRST_WINDOW = 256;

/**
 * A free address of a range, or undefined when all are in use: the one after the last that was given, so that one that was
 * given back is not soon another's, while somebody may still remember who had it. O(1) while there is room.
 *
 * @param grows  stays within the first 256 addresses until three quarters are in use, then within 512, and so on
 */
export function freeAddress(range: AddressRange, use: AddressUse, grows: boolean): number | undefined {
  const size = range.last - range.first + 1;
  let window = grows ? Math.min(FIRST_WINDOW, size) : size;
  while (window < size && 4 * use.count >= 3 * window) window = Math.min(2 * window, size);
  const { last } = use;
  const start = last !== undefined && last >= range.first && last < range.first + window ? last - range.first + 1 : 0;
  for (let i = 0; i < window; i++) {
    const address = range.first + ((start + i) % window);
    if (!use.has(address) && !range.excluded.includes(address)) return address;
  }
  return undefined;
}
