import { ApiaryError } from '@apiary/std';

export interface Ipv4Prefix {
  /** The network's first address, as a number. */
  first: number;
  /** Of the network: 0 to 32. */
  length: number;
}

/** @returns the address as a number from 0 to 2^32-1; undefined for what is no dotted quad */
export function parseIpv4(text: string): number | undefined {
  const octets = text.split('.');
  if (octets.length !== 4 || !octets.every((octet) => /^(0|[1-9]\d{0,2})$/.test(octet) && Number(octet) <= 255)) {
    return undefined;
  }
  return octets.reduce((sum, octet) => sum * 256 + Number(octet), 0);
}

export function formatIpv4(address: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join('.');
}

/**
 * Reads `ADDRESS/LENGTH`; the address may be any of the network's.
 *
 * @throws ApiaryError `invalid-argument`
 */
export function parseIpv4Prefix(text: string): Ipv4Prefix {
  const [, base = '', bits = ''] = /^([\d.]+)\/(\d{1,2})$/.exec(text) ?? [];
  const address = parseIpv4(base);
  const length = Number(bits);
  if (address === undefined || bits === '' || length > 32) {
    throw new ApiaryError('invalid-argument', `"${text}" is no IPv4 network: write it as 10.224.3.0/24`);
  }
  const size = 2 ** (32 - length);
  return { first: Math.floor(address / size) * size, length };
}

export function overlap(a: Ipv4Prefix, b: Ipv4Prefix): boolean {
  const size = 2 ** (32 - Math.min(a.length, b.length));
  return Math.floor(a.first / size) === Math.floor(b.first / size);
}
