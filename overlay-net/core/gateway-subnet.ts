import { ApiaryError } from '@apiary/std';
import { formatIpv4, parseIpv4Prefix } from './ipv4.js';

/** Each node has one /24 of this: the ways out and in of its tasks. */
export const GATEWAY_POOL = '10.224.0.0/11';
/** How many nodes the pool is enough for. */
export const GATEWAY_SUBNETS = 2 ** 13;

const LENGTH = 24;

/** A node's share of the gateway pool, by its number: `10.224.0.0/24` for 0. */
export function gatewaySubnet(index: number): string {
  if (!Number.isInteger(index) || index < 0 || index >= GATEWAY_SUBNETS) {
    throw new ApiaryError('invalid-argument', `${index} is no number of a gateway subnet: 0 to ${GATEWAY_SUBNETS - 1}`);
  }
  return `${formatIpv4(parseIpv4Prefix(GATEWAY_POOL).first + index * 2 ** (32 - LENGTH))}/${LENGTH}`;
}

/** The lowest number that is not taken, or undefined when all are. O(taken). */
export function freeGatewayIndex(taken: Iterable<number | undefined>): number | undefined {
  const held = new Set(taken);
  for (let index = 0; index < GATEWAY_SUBNETS; index++) if (!held.has(index)) return index;
  return undefined;
}

/** A subnet with the gateway at its first address; the others, but for the last, are for tasks. */
export interface GatewaySubnet {
  /** `10.224.3.0/24` */
  subnet: string;
  length: number;
  gateway: string;
  /** Of the name server, which tasks ask at the gateway: the subnet's own address, which no task has. */
  names: string;
  /** For tasks: the first and the last, as numbers. */
  firstAddress: number;
  lastAddress: number;
}

/** @throws ApiaryError `invalid-argument` for what is no network, or one without room for a task */
export function readGatewaySubnet(text: string): GatewaySubnet {
  const { first, length } = parseIpv4Prefix(text);
  if (length < 8 || length > 30) {
    throw new ApiaryError('invalid-argument', `gateway subnet ${text}: expected a network of /8 to /30`);
  }
  return {
    subnet: `${formatIpv4(first)}/${length}`,
    length,
    gateway: formatIpv4(first + 1),
    names: formatIpv4(first),
    firstAddress: first + 2,
    lastAddress: first + 2 ** (32 - length) - 2,
  };
}
