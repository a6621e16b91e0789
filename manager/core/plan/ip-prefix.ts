import { parseIp } from '@apiary/overlay-net/core';

/** Whether `prefix` (an address, or a network as `ADDRESS/LENGTH`; IPv4 or IPv6) contains `address`. */
export function prefixContains(prefix: string, address: string): boolean {
  const [networkText = '', lengthText] = prefix.split('/');
  const network = parseIp(networkText);
  const host = parseIp(address);
  if (network === undefined || host === undefined || network.bits !== host.bits) return false;
  const length = lengthText === undefined ? network.bits : Number(lengthText);
  if (!Number.isInteger(length) || length < 0 || length > network.bits) return false;
  const rest = BigInt(network.bits - length);
  return network.value >> rest === host.value >> rest;
}
