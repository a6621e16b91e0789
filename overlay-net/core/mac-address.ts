import { parseIpv4 } from './ipv4.js';

/**
 * The MAC address of whoever has an IPv4 address: locally administered, and made of the address. Who has the address next
 * has it too, so that no neighbour is ever wrong; and nobody has to be told it.
 */
export function macOf(address: string): string {
  return `02:61:${(hexadecimal(address).match(/../g) ?? []).join(':')}`;
}

/** An IPv4 address as eight digits. */
export function hexadecimal(address: string): string {
  return (parseIpv4(address) ?? 0).toString(16).padStart(8, '0');
}
