import { parseIpv4, parseIpv4Prefix } from '../ipv4.js';
import type { NetworkSubnet } from './subnet.js';

/** Which of a network's IPv4 addresses are in use, as numbers. */
export interface AddressUse {
  readonly count: number;
  /** The one that was given last. */
  readonly last: number | undefined;
  has(address: number): boolean;
}

/** Addresses that tasks and services can have, from the first to the last, as numbers. */
export interface AddressRange {
  first: number;
  last: number;
  /** Within it, but never given: the gateway, and what was set aside. */
  excluded: readonly number[];
}

/** Of an IPv4 subnet: all of it but its first and its last address, or the part that was asked for. */
export function addressRange({ subnet, gateway, ipRange, reserved = [] }: NetworkSubnet): AddressRange {
  const whole = parseIpv4Prefix(subnet);
  const part = ipRange === undefined ? whole : parseIpv4Prefix(ipRange);
  const first = Math.max(part.first, whole.first + 1);
  const last = Math.min(lastAddress(part), lastAddress(whole) - 1);
  const excluded = new Set([gateway, ...reserved].map((text) => parseIpv4(text) ?? -1));
  return { first, last, excluded: [...excluded].filter((address) => address >= first && address <= last) };
}

function lastAddress({ first, length }: { first: number; length: number }): number {
  return first + 2 ** (32 - length) - 1;
}

/** How many addresses of a range can be in use. */
export function capacityOf({ first, last, excluded }: AddressRange): number {
  return last - first + 1 - excluded.length;
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
