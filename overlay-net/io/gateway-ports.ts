import { type Change, type Link, type NamespaceRef, type Netlink, writeSysctls } from '@apiary/agent-native';
import { systemCodeOf } from '@apiary/std';
import { formatIpv4, type GatewaySubnet, LINK_GROUPS, macOf } from '../core/index.js';
import { PORT_PREFIX, portName, TASK_LINK } from './kernel-names.js';
import { linksInUse } from './link-carrier.js';
import { linkSysctls } from './link-settings.js';
import { ensurePortWays, hostPrefix, type PortWays, wayTo } from './port-ways.js';

/** Replies to clients on loopback come in by it; a task has one address. */
const PORT_SETTINGS = { route_localnet: '1', rp_filter: '1' } as const;

/** The host's end of a task's link, and the task's IPv4 address. */
export interface GatewayPort {
  link: Link;
  address: string;
}

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
      await writeSysctls(linkSysctls('ipv4', name, PORT_SETTINGS));
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
  async all(): Promise<GatewayPort[]> {
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
    const ports = (await this.all()).map((port) => this.#waysOf(port));
    return (await ensurePortWays(this.#netlink, 'ipv4', ports)).map(({ name }) => name);
  }

  #waysOf({ link, address }: GatewayPort): PortWays {
    const mac = macOf(this.#subnet.gateway);
    const group = LINK_GROUPS.tasks;
    const isRight = link.isUp && link.group === group && link.address === mac && link.master === undefined;
    const to = { isUp: true, group, address: mac, master: null };
    return {
      link,
      address,
      mac: macOf(address),
      destinations: [hostPrefix(address)],
      settings: PORT_SETTINGS,
      isWrong: !isRight,
      changes: [{ do: 'set-link', link: link.name, to }, ...this.#ways(link.name, address)],
    };
  }

  #ways(link: string, address: string): Change[] {
    return wayTo(link, { address, mac: macOf(address) }, this.#subnet.gateway);
  }
}
