import {
  type Change,
  type Link,
  type NamespaceRef,
  type Netlink,
  readSysctls,
  writeSysctls,
} from '@apiary/agent-native';
import { systemCodeOf } from '@apiary/std';
import { formatIpv4, type GatewaySubnet, hexadecimal, LINK_GROUPS, macOf } from '../core/index.js';
import { linksInUse } from './link-carrier.js';

/** Who made a route or a rule (rtm_protocol): a number that nobody else is known to use. */
export const GATEWAY_PROTOCOL = 97;
/** With an address in hexadecimal: the host's end of a task's link. */
export const PORT_PREFIX = 'apgw';
/** The task's end. */
export const TASK_LINK = 'eth0';

/** Replies to clients on loopback come in by it; a task has one address. */
const PORT_SETTINGS = { route_localnet: '1', rp_filter: '1' } as const;

/**
 * The links between a host and its tasks: a veth each, with a route to the task's address, and neighbours that both ends
 * know for good. Nothing but the host is at the other end, so that what passes between tasks is routed, and so filtered.
 */
export class GatewayPorts {
  readonly #netlink: Netlink;
  readonly #subnet: GatewaySubnet;

  constructor(netlink: Netlink, subnet: GatewaySubnet) {
    this.#netlink = netlink;
    this.#subnet = subnet;
  }

  /**
   * Gives a network namespace its interface: eth0 with the address, the default route, and lo up.
   *
   * @throws KernelError, after which nothing of it is left
   */
  async add(namespace: NamespaceRef, address: string, { mtu, hasWayOut }: { mtu: number; hasWayOut: boolean }) {
    const [name, { gateway, length }] = [portName(address), this.#subnet];
    const peer = { name: TASK_LINK, namespace, address: macOf(address), mtu };
    const inside: Change[] = [
      { in: namespace, do: 'set-link', link: 'lo', to: { isUp: true } },
      { in: namespace, do: 'add-address', address: { link: TASK_LINK, address: `${address}/${length}` } },
      { in: namespace, do: 'set-link', link: TASK_LINK, to: { isUp: true } },
      { in: namespace, do: 'add-neighbour', neighbour: { link: TASK_LINK, address: gateway, mac: macOf(gateway) } },
    ];
    if (hasWayOut) {
      inside.push({ in: namespace, do: 'add-route', route: { destination: 'default', gateway, link: TASK_LINK } });
    }
    try {
      await this.#netlink.apply([
        {
          do: 'add-link',
          link: { kind: 'veth', name, address: macOf(gateway), mtu, group: LINK_GROUPS.tasks, peer },
        },
        { do: 'set-link', link: name, to: { ipv6AddressGeneration: 'none' } },
        { do: 'set-link', link: name, to: { isUp: true } },
        ...this.#ways(name, address),
        ...inside,
      ]);
      await writeSysctls(settingsOf(name));
    } catch (error) {
      await this.remove(address);
      throw error;
    }
    await linksInUse(this.#netlink, [name]);
  }

  async has(address: string): Promise<boolean> {
    return (await this.#netlink.link(portName(address))) !== undefined;
  }

  async remove(address: string): Promise<void> {
    await this.#netlink.apply([{ do: 'delete-link', link: portName(address) }]).catch((error: unknown) => {
      if (systemCodeOf(error) !== 'ENODEV') throw error;
    });
  }

  /** The links that are there, of whichever subnet. */
  async all(): Promise<{ link: Link; address: string }[]> {
    const links = (await this.#netlink.links({ kind: 'veth' })).filter(({ name }) => name.startsWith(PORT_PREFIX));
    return links.flatMap((link) => {
      const digits = link.name.slice(PORT_PREFIX.length);
      return /^[\da-f]{8}$/.test(digits) ? [{ link, address: formatIpv4(Number.parseInt(digits, 16)) }] : [];
    });
  }

  /**
   * Puts right what is not as it should be of the hosts' ends.
   *
   * @returns the names of the links that something was put right of
   */
  async ensure(): Promise<string[]> {
    const ports = (await this.all()).map((port) => ({ ...port, settings: settingsOf(port.link.name) }));
    if (ports.length === 0) return [];
    const [routes, neighbours] = await Promise.all([
      this.#netlink.routes({ family: 'ipv4', protocol: GATEWAY_PROTOCOL }),
      this.#netlink.neighbours({ family: 'ipv4' }),
    ]);
    const key = (link: number | undefined, address: string) => `${link} ${address}`;
    const reached = new Set(routes.map(({ link, destination }) => key(link, destination)));
    const known = new Set(
      neighbours
        .filter(({ state, mac, address }) => state === 'permanent' && mac === macOf(address))
        .map(({ link, address }) => key(link, address)),
    );
    const present = await presentSettings(ports.map(({ settings }) => Object.keys(settings)));
    const mac = macOf(this.#subnet.gateway);
    const repaired: string[] = [];
    for (const { link, address, settings } of ports) {
      const isSet = Object.entries(settings).every(([name, value]) => present.get(name) === value);
      const isLink = link.isUp && link.group === LINK_GROUPS.tasks && link.address === mac && link.master === undefined;
      if (isLink && isSet && reached.has(key(link.index, `${address}/32`)) && known.has(key(link.index, address))) {
        continue;
      }
      const to = { isUp: true, group: LINK_GROUPS.tasks, address: mac, master: null };
      try {
        await this.#netlink.apply([{ do: 'set-link', link: link.name, to }, ...this.#ways(link.name, address)]);
        await writeSysctls(settings);
      } catch (error) {
        // Its task has ended meanwhile, or the gateway's address was taken away, which is heard of.
        if (!['ENODEV', 'ENOENT', 'EINVAL'].includes(systemCodeOf(error) ?? '')) throw error;
        continue;
      }
      repaired.push(link.name);
    }
    return repaired;
  }

  #ways(link: string, address: string): Change[] {
    return [
      { do: 'add-neighbour', neighbour: { link, address, mac: macOf(address), isReplacing: true } },
      {
        do: 'add-route',
        route: {
          destination: `${address}/32`,
          link,
          scope: 'link',
          source: this.#subnet.gateway,
          protocol: GATEWAY_PROTOCOL,
          ifExists: 'replace',
        },
      },
    ];
  }
}

/** Of the host's end of a task's link. */
export function portName(address: string): string {
  return `${PORT_PREFIX}${hexadecimal(address)}`;
}

function settingsOf(link: string): Record<string, string> {
  return Object.fromEntries(
    Object.entries(PORT_SETTINGS).map(([name, value]) => [`net/ipv4/conf/${link}/${name}`, value]),
  );
}

/** What is set of each link; of one that has gone meanwhile, nothing. */
async function presentSettings(names: readonly string[][]): Promise<ReadonlyMap<string, string>> {
  const unlessGone = (error: unknown): ReadonlyMap<string, string> => {
    if (systemCodeOf(error) !== 'ENOENT') throw error;
    return new Map();
  };
  const all = await readSysctls(names.flat()).catch(unlessGone);
  if (all.size > 0) return all;
  const each = await Promise.all(names.map((some) => readSysctls(some).catch(unlessGone)));
  return new Map(each.flatMap((some) => [...some]));
}
