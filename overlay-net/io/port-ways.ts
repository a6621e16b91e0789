import { type Change, type Link, type Netlink, writeSysctls } from '@apiary/agent-native';
import { systemCodeOf } from '@apiary/std';
import { GATEWAY_PROTOCOL } from './kernel-names.js';
import { type LinkSettings, linkSysctls, presentSysctls } from './link-settings.js';

/** What a host has of one family by the link of a task. */
export interface PortWays {
  link: Link;
  /** The task's. */
  address: string;
  mac: string;
  /** Where routes by the link lead to: prefixes. */
  destinations: readonly string[];
  settings: LinkSettings;
  /** The link itself is not as it should be. */
  isWrong: boolean;
  /** What makes all of it so, once the settings are. */
  changes: readonly Change[];
}

/** What leads from the host to a task, by the address of either family, from the host's own on the gateway network. */
export function wayTo(link: string, { address, mac }: { address: string; mac: string }, source: string): Change[] {
  const isIpv6 = address.includes(':');
  const route = { destination: hostPrefix(address), link, source, protocol: GATEWAY_PROTOCOL } as const;
  return [
    { do: 'add-neighbour', neighbour: { link, address, mac, isReplacing: true } },
    { do: 'add-route', route: { ...route, ...(!isIpv6 && { scope: 'link' }), ifExists: 'replace' } },
  ];
}

/** The address alone, as a prefix. */
export function hostPrefix(address: string): string {
  return `${address}/${address.includes(':') ? 128 : 32}`;
}

/**
 * Puts right what is not as it should be.
 *
 * @returns the links that something was put right of
 */
export async function ensurePortWays(
  netlink: Netlink,
  family: 'ipv4' | 'ipv6',
  ports: readonly PortWays[],
): Promise<Link[]> {
  if (ports.length === 0) return [];
  const [routes, neighbours] = await Promise.all([
    netlink.routes({ family, protocol: GATEWAY_PROTOCOL }),
    netlink.neighbours({ family }),
  ]);
  const reached = new Set(routes.map(({ link, destination }) => `${link} ${destination}`));
  const known = new Set(
    neighbours.flatMap(({ link, state, mac, address }) => (state === 'permanent' ? [`${link} ${address} ${mac}`] : [])),
  );
  const wanted = ports.map((port) => ({ ...port, settings: linkSysctls(family, port.link.name, port.settings) }));
  const present = await presentSysctls(wanted.map(({ settings }) => Object.keys(settings)));
  const repaired: Link[] = [];
  for (const { link, address, mac, destinations, settings, isWrong, changes } of wanted) {
    const isSet = Object.entries(settings).every(([name, value]) => present.get(name) === value);
    const isReached = destinations.every((each) => reached.has(`${link.index} ${each}`));
    if (!isWrong && isSet && isReached && known.has(`${link.index} ${address} ${mac}`)) continue;
    try {
      if (!isSet) await writeSysctls(settings);
      await netlink.apply(changes);
    } catch (error) {
      // Its task has ended meanwhile, or the gateway's address was taken away, which is heard of.
      if (!['ENODEV', 'ENOENT', 'EINVAL'].includes(systemCodeOf(error) ?? '')) throw error;
      continue;
    }
    repaired.push(link);
  }
  return repaired;
}
