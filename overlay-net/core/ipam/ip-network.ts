import { ApiaryError } from '@apiary/std';
import { formatIpv4, parseIpv4 } from '../ipv4.js';

/** An address of either family, as a number. */
export interface IpAddress {
  bits: 32 | 128;
  value: bigint;
}

export interface IpNetwork {
  bits: 32 | 128;
  /** The network's first address. */
  first: bigint;
  /** Of the network: 0 to `bits`. */
  length: number;
}

/** @returns undefined for what is no address */
export function parseIp(text: string): IpAddress | undefined {
  if (text.includes(':')) return parseIpv6(text);
  const value = parseIpv4(text);
  return value === undefined ? undefined : { bits: 32, value: BigInt(value) };
}

function parseIpv6(text: string): IpAddress | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const [head = [], tail = []] = halves.map((half) => (half === '' ? [] : half.split(':')));
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const groups = [...head, ...Array.from({ length: missing }, () => '0'), ...tail];
  if (groups.some((group) => !/^[0-9a-f]{1,4}$/i.test(group))) return undefined;
  return { bits: 128, value: groups.reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n) };
}

/** IPv6 in the form of RFC 5952: lower case, its longest run of two or more zero groups as `::`. */
export function formatIp({ bits, value }: IpAddress): string {
  if (bits === 32) return formatIpv4(Number(value));
  const groups = Array.from({ length: 8 }, (_, i) => ((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16));
  let start = -1;
  let longest = 1;
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (groups[end] === '0') end++;
    if (end - i > longest) [start, longest] = [i, end - i];
  }
  if (start === -1) return groups.join(':');
  return `${groups.slice(0, start).join(':')}::${groups.slice(start + longest).join(':')}`;
}

/**
 * Reads `ADDRESS/LENGTH` of either family; the address may be any of the network's.
 *
 * @throws ApiaryError `invalid-argument`
 */
export function parseIpNetwork(text: string): IpNetwork {
  const [, base = '', digits = ''] = /^([^/]*)\/(\d{1,3})$/.exec(text) ?? [];
  const address = parseIp(base);
  const length = Number(digits);
  if (address === undefined || length > address.bits) {
    throw new ApiaryError('invalid-argument', `"${text}" is no network: write it as 10.224.3.0/24 or fd00:3::/64`);
  }
  const rest = BigInt(address.bits - length);
  return { bits: address.bits, first: (address.value >> rest) << rest, length };
}

export function formatIpNetwork({ bits, first, length }: IpNetwork): string {
  return `${formatIp({ bits, value: first })}/${length}`;
}

export function lastOf({ bits, first, length }: IpNetwork): bigint {
  return first + (1n << BigInt(bits - length)) - 1n;
}

export function networkContains(network: IpNetwork, { bits, value }: IpAddress): boolean {
  return bits === network.bits && value >= network.first && value <= lastOf(network);
}

/** Whether two networks have an address in common. */
export function networksOverlap(a: IpNetwork, b: IpNetwork): boolean {
  return a.bits === b.bits && a.first <= lastOf(b) && b.first <= lastOf(a);
}
