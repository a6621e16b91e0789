import { parseIpv4 } from './ipv4.js';

/**
 * The MAC address of whoever has an IPv4 address: locally administered, and made of the address. Who has the address next
 * has it too, so that no neighbour is ever wrong; and nobody has to be told it.
 */
export function macOf(address: string): string {
  return `02:61:${(hexadecimal(address).match(/../g) ?? []).join(':')}`;
}

/** The link-local IPv6 address of whoever has an IPv4 address: made of the MAC address (RFC 4291, appendix A). */
export function linkLocalOf(address: string): string {
  const [a = 0, b = 0, c = 0, d = 0] = (hexadecimal(address).match(/../g) ?? []).map((octet) => parseInt(octet, 16));
  const word = (high: number, low: number) => ((high << 8) | low).toString(16);
  return `fe80::61:${word(a, 0xff)}:${word(0xfe, b)}:${word(c, d)}`;
}

/** An IPv4 address as eight digits. */
export function hexadecimal(address: string): string {
  return (parseIpv4(address) ?? 0).toString(16).padStart(8, '0');
}
