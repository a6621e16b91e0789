import { isIPv4, isIPv6 } from 'node:net';

/** Address families, as the kernel numbers them. */
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_BRIDGE = 7;

export interface IpAddress {
  family: typeof AF_INET | typeof AF_INET6;
  /** 4 or 16 bytes, in network order. */
  bytes: Uint8Array;
}

export interface IpPrefix extends IpAddress {
  prefixLength: number;
}

/** @throws TypeError when `text` is no IP address, or has a zone */
export function parseIp(text: string): IpAddress {
  if (typeof text === 'string' && isIPv4(text))
    return { family: AF_INET, bytes: Uint8Array.from(text.split('.'), Number) };
  if (typeof text === 'string' && isIPv6(text) && !text.includes('%'))
    return { family: AF_INET6, bytes: ipv6Bytes(text) };
  throw new TypeError(`"${String(text)}" is no IP address`);
}

/** Reads `10.0.0.0/24`; without a length it is a single address. */
export function parsePrefix(text: string): IpPrefix {
  const [address = '', length, more] = String(text).split('/');
  const ip = parseIp(address);
  const longest = ip.bytes.length * 8;
  const prefixLength = length === undefined ? longest : /^\d{1,3}$/.test(length) ? Number(length) : Number.NaN;
  if (more !== undefined || !(prefixLength <= longest)) throw new TypeError(`"${text}" is no IP prefix`);
  return { ...ip, prefixLength };
}

/** Writes 4 or 16 bytes the way RFC 5952 wants it. */
export function formatIp(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  const words = Array.from({ length: 8 }, (_, i) => ((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0));
  if (words.slice(0, 5).every((word) => word === 0) && words[5] === 0xffff)
    return `::ffff:${bytes.subarray(12).join('.')}`;
  let [start, length] = [-1, 1];
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && words[end] === 0) end++;
    if (end - i > length) [start, length] = [i, end - i];
    i = Math.max(i, end - 1);
  }
  const hex = (from: number, to: number) =>
    words
      .slice(from, to)
      .map((word) => word.toString(16))
      .join(':');
  return start < 0 ? hex(0, 8) : `${hex(0, start)}::${hex(start + length, 8)}`;
}

function ipv6Bytes(text: string): Uint8Array {
  const lastColon = text.lastIndexOf(':');
  const tail = text.slice(lastColon + 1);
  let whole = text;
  if (tail.includes('.')) {
    const [a = 0, b = 0, c = 0, d = 0] = tail.split('.').map(Number);
    whole = `${text.slice(0, lastColon + 1)}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  }
  const [left = '', right] = whole.split('::');
  const words = (part: string) => (part === '' ? [] : part.split(':').map((word) => Number.parseInt(word, 16)));
  const [before, after] = [words(left), words(right ?? '')];
  const all = [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after];
  return Uint8Array.from(all.flatMap((word) => [word >> 8, word & 0xff]));
}

/** @throws TypeError when `text` is no MAC address of six bytes */
export function parseMac(text: string): Uint8Array {
  if (typeof text !== 'string' || !/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) {
    throw new TypeError(`"${String(text)}" is no MAC address`);
  }
  return Buffer.from(text.replaceAll(':', ''), 'hex');
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

export function formatMac(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += text === '' ? HEX[byte] : `:${HEX[byte]}`;
  return text;
}
