import { fnv1a } from '../fnv.js';
import { formatIpNetwork } from './ip-network.js';

/** Of each network that nobody chose a subnet for: the size that a host expects (RFC 4291, 2.5.1). */
export const IPV6_SUBNET_LENGTH = 64;

/** RFC 4193, 3.1: fd00::/8, then forty bits that are likely nobody else's. */
const PREFIX = 0xfdn;
const LENGTH = 48;

/**
 * A cluster's own /48 of the addresses that everybody may use for himself, from which its networks get their subnets: from
 * its id, which is drawn at random, so that it is the same on all managers, and likely another in the next cluster.
 */
export function uniqueLocalPool(clusterId: string): string {
  const globalId = (BigInt(fnv1a(clusterId)) << 8n) | BigInt(fnv1a(`${clusterId}/`) & 0xff);
  return formatIpNetwork({ bits: 128, first: ((PREFIX << 40n) | globalId) << 80n, length: LENGTH });
}
