import { type AddressRange, type AddressUse, capacityOf, useIn } from '@apiary/overlay-net/core';
import type { NetworkRecord } from './records.js';
import type { View } from './view.js';

/** What of one subnet is in use. */
export function useOf(network: ReturnType<View['addresses']>, range: AddressRange): AddressUse {
  return range.bits === 32 ? network : useIn(range, network.ipv6);
}

/** Whether nobody chose the subnet, of IPv4: it begins as small as Docker's. */
export function isGrowing({ spec }: NetworkRecord, { bits }: AddressRange): boolean {
  return bits === 32 && (spec.IPAM?.Config ?? []).every(({ Subnet = '' }) => Subnet.includes(':'));
}

/** Why nobody can have an address of the subnet. */
export function shortageWords({ spec }: NetworkRecord, subnet: string, range: AddressRange): string {
  return `no free address in subnet ${subnet} of network ${spec.Name} (all ${capacityOf(range)} are in use)`;
}
