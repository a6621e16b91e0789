import { parseIp } from './ipam/index.js';
import { parseIpv4 } from './ipv4.js';

/** An address in network order: 4 bytes, or 16 of IPv6; what is no address is that of nobody. */
export function addressBytes(text: string): Uint8Array {
  if (text.includes(':')) {
    let { value } = parseIp(text) ?? { value: 0n };
    const bytes = new Uint8Array(16);
    for (let i = 15; i >= 0; i--) {
      bytes[i] = Number(value & 0xffn);
      value >>= 8n;
    }
    return bytes;
  }
  const value = parseIpv4(text) ?? 0;
  return Uint8Array.of(Math.floor(value / 2 ** 24), (value >> 16) & 0xff, (value >> 8) & 0xff, value & 0xff);
}
