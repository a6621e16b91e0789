import { type Change, type Link, type NamespaceRef, type Netlink, writeSysctls } from '@apiary/agent-native';
import { messageOf, systemCodeOf } from '@apiary/std';
import {
  type GatewayPeer,
  type GatewaySubnet,
  ipv6GatewayAddress,
  ipv6GatewaySubnet,
  ipv6TunnelRows,
  isIpv6GatewayAddress,
  LEAST_IPV6_MTU,
  macOf,
  parseIpv4,
  tunnelChanges,
} from '../core/index.js';
import type { GatewayPort } from './gateway-ports.js';
import { nowhereChanges, nowhereRemovals, soleAddressChanges } from './host-address.js';
import { ensureIpv6Forwarding, forwardsForTasksAlone, ipv6Gap } from './ipv6-forwarding.js';
import { GATEWAY_LINK, GATEWAY_PROTOCOL, GATEWAY_TUNNEL, portName, TASK_LINK } from './kernel-names.js';
import { ensureLinkSettings, linkSysctls } from './link-settings.js';
import { ensurePortWays, hostPrefix, type PortWays, wayTo } from './port-ways.js';
import { presentRows, presentRules, tunnelRowChange } from './tunnel-row-change.js';

/** A host may have many, of containers' networks too. */
const MOST_ADDRESSES = 16;
const LOOPBACK = '::1/128';

/** What tasks say of routers is not believed. */
const SETTINGS = { disable_ipv6: '0', accept_ra: '0' } as const;

export interface GatewayIpv6Options {
  netlink: Netlink;
  subnet: GatewaySubnet;
  /** Of the gateway network's links. */
  mtu: number;
  /** `hostAddresses` are others. */
  onAddresses: () => void;
  /** `isOwnOnly` is another. */
  onOwnOnly: () => void;
  onFailure: (reason: string) => void;
}

/**
 * What a gateway network has of IPv6, beside IPv4 and on the same links: an address for each task and one for the host, and the
 * ways between hosts. None of it is needed for what is of IPv4.
 */
export class GatewayIpv6 {
  readonly #options: GatewayIpv6Options;
  readonly #netlink: Netlink;
  readonly #subnet: GatewaySubnet;
  readonly #gateway: string;
  #isOwnOnly = false;
  #hostAddresses = '';

  private constructor(options: GatewayIpv6Options) {
    this.#options = options;
    this.#netlink = options.netlink;
    this.#subnet = options.subnet;
    this.#gateway = ipv6GatewayAddress(options.subnet.gateway);
  }

  /** @returns why this host has none, in words, where it has none */
  static async open(options: GatewayIpv6Options): Promise<GatewayIpv6 | string> {
    if (options.mtu < LEAST_IPV6_MTU) return `its link's packets have at most ${options.mtu} bytes`;
    const gap = await ipv6Gap();
    if (gap !== undefined) return gap;
    const ipv6 = new GatewayIpv6(options);
    return await ipv6.#ensure([], undefined).then(() => ipv6, messageOf);
  }

  /** Whether the host forwards IPv6 for its tasks and nobody else. */
  get isOwnOnly(): boolean {
    return this.#isOwnOnly;
  }

  /** By which clients may know the host, separated by commas. */
  get hostAddresses(): string {
    return this.#hostAddresses;
  }

  /**
   * Gives a task that is attached its address, and with `hasWayOut` the default route.
   *
   * @param address  of IPv4
   * @throws KernelError
   */
  async attach(namespace: NamespaceRef, address: string, { hasWayOut }: { hasWayOut: boolean }): Promise<void> {
    const link = TASK_LINK;
    const to = { ipv6AddressGeneration: 'none' } as const;
    await this.#netlink.apply([{ in: namespace, do: 'set-link', link, to }]);
    await writeSysctls(linkSysctls('ipv6', link, SETTINGS), namespace);
    const own = { link, address: hostPrefix(ipv6GatewayAddress(address)), isWithoutDuplicateDetection: true };
    const neighbour = { link, address: this.#gateway, mac: macOf(this.#subnet.gateway) };
    const inside: Change[] = [
      { in: namespace, do: 'add-address', address: own },
      { in: namespace, do: 'add-neighbour', neighbour },
    ];
    if (hasWayOut) {
      const route = { destination: 'default', family: 'ipv6', gateway: this.#gateway, link, isOnLink: true } as const;
      inside.push({ in: namespace, do: 'add-route', route });
    }
    await writeSysctls(linkSysctls('ipv6', portName(address), SETTINGS));
    await this.#netlink.apply([...this.#ways(portName(address), address), ...inside]);
  }

  /**
   * Puts right what is not as it should be; what cannot be is told of, for what is of IPv4 goes on without.
   *
   * @param ports  links of tasks, with their IPv4 addresses
   * @param peers  the other hosts; undefined while they are not known: what there is stays
   * @returns      what was put right, in words
   */
  async ensure(ports: readonly GatewayPort[], peers: readonly GatewayPeer[] | undefined): Promise<string[]> {
    const [isOwnOnly, hostAddresses] = [this.#isOwnOnly, this.#hostAddresses];
    try {
      return await this.#ensure(ports, peers);
    } catch (error) {
      // A link was just taken away, which is heard of.
      if (!['ENODEV', 'ENOENT'].includes(systemCodeOf(error) ?? '')) this.#options.onFailure(messageOf(error));
      return [];
    } finally {
      if (this.#hostAddresses !== hostAddresses) this.#options.onAddresses();
      if (this.#isOwnOnly !== isOwnOnly) this.#options.onOwnOnly();
    }
  }

  /** Takes away what does not go with the links. */
  static async remove(netlink: Netlink): Promise<void> {
    const rules = (await presentRules(netlink, 'ipv6')).map((row) => tunnelRowChange('delete', row, 'ipv6'));
    await netlink.tryAll([...rules, ...(await nowhereRemovals(netlink, 'ipv6'))]);
  }

  async #ensure(ports: readonly GatewayPort[], peers: readonly GatewayPeer[] | undefined): Promise<string[]> {
    const repaired: string[] = [];
    if (await ensureIpv6Forwarding()) repaired.push('forwarding of IPv6');
    this.#isOwnOnly = await forwardsForTasksAlone();
    repaired.push(...(await this.#ensureAddress()));
    const all = await this.#netlink.addresses({ family: 'ipv6' });
    const own = all.filter(({ scope }) => scope === 'global').map(({ address }) => address.split('/')[0] ?? '');
    this.#hostAddresses = [...new Set(own.filter((each) => !isIpv6GatewayAddress(each)))]
      .sort()
      .slice(0, MOST_ADDRESSES)
      .join();
    const able = ports.filter(({ link }) => link.mtu >= LEAST_IPV6_MTU).map((port) => this.#waysOf(port));
    const restored = await ensurePortWays(this.#netlink, 'ipv6', able);
    repaired.push(...restored.map(({ name }) => `IPv6 of ${name}`));
    return peers === undefined ? repaired : [...repaired, ...(await this.#ensureTunnel(peers))];
  }

  async #ensureAddress(): Promise<string[]> {
    const link = await this.#netlink.link(GATEWAY_LINK);
    // Just taken away, which is heard of.
    if (link === undefined) return [];
    await ensureLinkSettings('ipv6', GATEWAY_LINK, SETTINGS);
    const changes = [
      ...(await soleAddressChanges(this.#netlink, link.index, hostPrefix(this.#gateway))),
      ...(await nowhereChanges(this.#netlink, ipv6GatewaySubnet(this.#subnet.subnet))),
    ];
    await this.#netlink.apply(changes);
    return changes.length === 0 ? [] : [`IPv6 address of ${GATEWAY_LINK}`];
  }

  async #ensureTunnel(peers: readonly GatewayPeer[]): Promise<string[]> {
    const link = await this.#netlink.link(GATEWAY_TUNNEL);
    const tunnel = link !== undefined && link.mtu >= LEAST_IPV6_MTU ? link : undefined;
    const wanted = tunnel === undefined || peers.length === 0 ? [] : ipv6TunnelRows(peers, this.#subnet.gateway);
    if (tunnel !== undefined) await ensureLinkSettings('ipv6', GATEWAY_TUNNEL, SETTINGS);
    const { remove, add } = tunnelChanges(wanted, await presentRows(this.#netlink, 'ipv6', tunnel));
    await this.#netlink.tryAll(remove.map((row) => tunnelRowChange('delete', row, 'ipv6')));
    const changes = add.map((row) => tunnelRowChange('add', row, 'ipv6'));
    if (tunnel !== undefined && !(await this.#hasLoopback(tunnel))) {
      changes.push(toLoopback(GATEWAY_TUNNEL, this.#subnet.gateway));
    }
    await this.#netlink.apply(changes);
    return remove.length + changes.length > 0 ? [`IPv6 routes to ${peers.length} hosts`] : [];
  }

  async #hasLoopback({ index }: Link): Promise<boolean> {
    const routes = await this.#netlink.routes({ family: 'ipv6', link: index, protocol: GATEWAY_PROTOCOL });
    return routes.some(({ destination }) => destination === LOOPBACK);
  }

  #waysOf({ link, address }: GatewayPort): PortWays {
    const own = ipv6GatewayAddress(address);
    return {
      link,
      address: own,
      mac: macOf(address),
      destinations: [hostPrefix(own), LOOPBACK],
      settings: SETTINGS,
      isWrong: false,
      changes: this.#ways(link.name, address),
    };
  }

  #ways(link: string, address: string): Change[] {
    const task = { address: ipv6GatewayAddress(address), mac: macOf(address) };
    return [...wayTo(link, task, this.#gateway), toLoopback(link, address)];
  }
}

/**
 * Replies to clients on ::1 come in by it: the kernel takes them for the host's own if the address is one of that very link. What
 * comes in with that address on it is dropped long before.
 *
 * @param address  of IPv4, that nobody else on this host has: routes to ::1 have to differ in something
 */
function toLoopback(link: string, address: string): Change {
  const metric = parseIpv4(address) ?? 0;
  const route = { destination: LOOPBACK, link, type: 'local', table: 'local', metric } as const;
  return { do: 'add-route', route: { ...route, protocol: GATEWAY_PROTOCOL, ifExists: 'replace' } };
}
