import type { Change, Netlink } from '@apiary/agent-native';
import { GATEWAY_PROTOCOL } from './kernel-names.js';

/**
 * What makes an address the only one of its family that a link has: empty when it is.
 *
 * @param address  with the length of its prefix: `10.224.3.1/32`
 */
export async function soleAddressChanges(netlink: Netlink, link: number, address: string): Promise<Change[]> {
  const held = (await netlink.addresses({ family: familyOf(address), link })).map((each) => each.address);
  const others = held.filter((each) => each !== address);
  const changes = others.map((each): Change => ({ do: 'delete-address', address: { link, address: each } }));
  const own = { link, address, ...(familyOf(address) === 'ipv6' && { isWithoutDuplicateDetection: true }) };
  return held.includes(address) ? changes : [...changes, { do: 'add-address', address: own }];
}

/** What is sent to a task that is gone does not leave the host by its default route. */
export function nowhere(subnet: string): Change {
  const route = { destination: subnet, type: 'unreachable', protocol: GATEWAY_PROTOCOL } as const;
  return { do: 'add-route', route: { ...route, ifExists: 'replace' } };
}

/** The same, where it is not so: else empty. */
export async function nowhereChanges(netlink: Netlink, subnet: string): Promise<Change[]> {
  const present = await nowheres(netlink, familyOf(subnet));
  return present.includes(subnet) ? [] : [nowhere(subnet)];
}

/** What takes all of these away again, of whichever subnet. */
export async function nowhereRemovals(netlink: Netlink, family: 'ipv4' | 'ipv6'): Promise<Change[]> {
  const present = await nowheres(netlink, family);
  return present.map((destination) => ({ do: 'delete-route', route: { destination, type: 'unreachable' } }));
}

async function nowheres(netlink: Netlink, family: 'ipv4' | 'ipv6'): Promise<string[]> {
  const routes = await netlink.routes({ family, protocol: GATEWAY_PROTOCOL });
  return routes.flatMap(({ type, destination }) => (type === 'unreachable' ? [destination] : []));
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return address.includes(':') ? 'ipv6' : 'ipv4';
}
