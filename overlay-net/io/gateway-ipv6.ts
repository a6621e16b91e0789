import {
  type Change,
  type Link,
  type NamespaceRef,
  type Netlink,
  readSysctls,
  writeSysctls,
} from '@apiary/agent-native';
import { systemCodeOf } from '@apiary/std';
import {
  type GatewayPeer,
  type GatewaySubnet,
  ipv6GatewayAddress,
  ipv6GatewaySubnet,
  ipv6TunnelRows,
  isEntryTable,
  isIpv6GatewayAddress,
  LEAST_IPV6_MTU,
  MAIN_TABLE,
  macOf,
  parseIpv4,
  type TunnelRow,
  tunnelChanges,
} from '../core/index.js';
import { GATEWAY_PROTOCOL, portName, TASK_LINK } from './gateway-ports.js';
import { ensureIpv6Forwarding, forwardsForTasksAlone } from './ipv6-forwarding.js';
import { GATEWAY_TUNNEL, presentRules, tunnelRowChange } from './tunnel-row-change.js';

/** A host may have many, of containers' networks too. */
const MOST_ADDRESSES = 16;
const LOOPBACK = '::1/128';

/** What tasks say of routers is not believed. */
const SETTINGS = { disable_ipv6: '0', accept_ra: '0' } as const;

/**
 * What a gateway network has of IPv6, beside IPv4 and on the same links: an address for each task and one for the host, and the
 * ways between hosts. None of it is needed for what is of IPv4.
 */
export class GatewayIpv6 {
  readonly #netlink: Netlink;
  readonly #subnet: GatewaySubnet;
  readonly #link: string;
  readonly #gateway: string;
  #isOwnOnly = false;
  #hostAddresses = '';

  /** @param link  the one that has the host's own address */
  constructor(netlink: Netlink, subnet: GatewaySubnet, link: string) {
    this.#netlink = netlink;
    this.#subnet = subnet;
    this.#link = link;
    this.#gateway = ipv6GatewayAddress(subnet.gateway);
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
    await writeSysctls(settingsOf(link), namespace);
    const own = { link, address: `${ipv6GatewayAddress(address)}/128`, isWithoutDuplicateDetection: true };
    const neighbour = { link, address: this.#gateway, mac: macOf(this.#subnet.gateway) };
    const inside: Change[] = [
      { in: namespace, do: 'add-address', address: own },
      { in: namespace, do: 'add-neighbour', neighbour },
    ];
    if (hasWayOut) {
      const route = { destination: 'default', family: 'ipv6', gateway: this.#gateway, link, isOnLink: true } as const;
      inside.push({ in: namespace, do: 'add-route', route });
    }
    await writeSysctls(settingsOf(portName(address)));
    await this.#netlink.apply([...this.#ways(portName(address), address), ...inside]);
  }

  /**
   * Puts right what is not as it should be.
   *
   * @param ports  links of tasks, with their IPv4 addresses
   * @param peers  the other hosts; undefined while they are not known: what there is stays
   * @returns      what was put right, in words
   */
  async ensure(
    ports: readonly { link: Link; address: string }[],
    peers: readonly GatewayPeer[] | undefined,
  ): Promise<string[]> {
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
    const able = ports.filter(({ link }) => link.mtu >= LEAST_IPV6_MTU);
    repaired.push(...(await this.#ensurePorts(able)));
    return peers === undefined ? repaired : [...repaired, ...(await this.#ensureTunnel(peers))];
  }

  /** Takes away what does not go with the links. */
  static async remove(netlink: Netlink): Promise<void> {
    const rules = (await presentRules(netlink, 'ipv6')).map((row) => tunnelRowChange('delete', row, 'ipv6'));
    const routes = await netlink.routes({ family: 'ipv6', protocol: GATEWAY_PROTOCOL });
    const nowhere = routes.filter(({ type }) => type === 'unreachable');
    await netlink.tryAll([
      ...rules,
      ...nowhere.map(
        ({ destination }): Change => ({ do: 'delete-route', route: { destination, type: 'unreachable' } }),
      ),
    ]);
  }

  async #ensureAddress(): Promise<string[]> {
    const link = await this.#netlink.link(this.#link);
    // Just taken away, which is heard of.
    if (link === undefined) return [];
    await ensureSettings(this.#link);
    const own = `${this.#gateway}/128`;
    const held = (await this.#netlink.addresses({ family: 'ipv6', link: link.index })).map(({ address }) => address);
    const changes: Change[] = held
      .filter((address) => address !== own)
      .map((address) => ({ do: 'delete-address', address: { link: link.index, address } }));
    if (!held.includes(own)) {
      const address = { link: link.index, address: own, isWithoutDuplicateDetection: true };
      changes.push({ do: 'add-address', address });
    }
    const nowhere = ipv6GatewaySubnet(this.#subnet.subnet);
    const routes = await this.#netlink.routes({ family: 'ipv6', protocol: GATEWAY_PROTOCOL });
    if (!routes.some(({ type, destination }) => type === 'unreachable' && destination === nowhere)) {
      const route = { destination: nowhere, type: 'unreachable', protocol: GATEWAY_PROTOCOL } as const;
      changes.push({ do: 'add-route', route: { ...route, ifExists: 'replace' } });
    }
    await this.#netlink.apply(changes);
    return changes.length === 0 ? [] : [`IPv6 address of ${this.#link}`];
  }

  async #ensurePorts(ports: readonly { link: Link; address: string }[]): Promise<string[]> {
    if (ports.length === 0) return [];
    const [routes, neighbours] = await Promise.all([
      this.#netlink.routes({ family: 'ipv6', protocol: GATEWAY_PROTOCOL }),
      this.#netlink.neighbours({ family: 'ipv6' }),
    ]);
    const reached = new Set(routes.map(({ link, destination }) => `${link} ${destination}`));
    const known = new Set(
      neighbours.flatMap(({ link, state, mac, address }) =>
        state === 'permanent' ? [`${link} ${address} ${mac}`] : [],
      ),
    );
    const settings = await readSysctls(ports.flatMap(({ link }) => Object.keys(settingsOf(link.name))));
    const repaired: string[] = [];
    for (const { link, address } of ports) {
      const own = ipv6GatewayAddress(address);
      const isReached = [`${own}/128`, LOOPBACK].every((each) => reached.has(`${link.index} ${each}`));
      try {
        const isSet = Object.entries(settingsOf(link.name)).every(([name, value]) => settings.get(name) === value);
        if (isSet && isReached && known.has(`${link.index} ${own} ${macOf(address)}`)) continue;
        if (!isSet) await writeSysctls(settingsOf(link.name));
        await this.#netlink.apply(this.#ways(link.name, address));
      } catch (error) {
        // Its task has ended meanwhile, or the gateway's address was taken away, which is heard of.
        if (!['ENODEV', 'ENOENT', 'EINVAL'].includes(systemCodeOf(error) ?? '')) throw error;
        continue;
      }
      repaired.push(`IPv6 of ${link.name}`);
    }
    return repaired;
  }

  async #ensureTunnel(peers: readonly GatewayPeer[]): Promise<string[]> {
    const link = await this.#netlink.link(GATEWAY_TUNNEL);
    const tunnel = link !== undefined && link.mtu >= LEAST_IPV6_MTU ? link : undefined;
    const wanted = tunnel === undefined || peers.length === 0 ? [] : ipv6TunnelRows(peers, this.#subnet.gateway);
    if (tunnel !== undefined) await ensureSettings(GATEWAY_TUNNEL);
    const { remove, add } = tunnelChanges(wanted, await this.#rows(tunnel));
    await this.#netlink.tryAll(remove.map((row) => tunnelRowChange('delete', row, 'ipv6')));
    const changes = add.map((row) => tunnelRowChange('add', row, 'ipv6'));
    if (tunnel !== undefined && !(await this.#hasLoopback(tunnel))) {
      changes.push(toLoopback(GATEWAY_TUNNEL, this.#subnet.gateway));
    }
    await this.#netlink.apply(changes);
    return remove.length + changes.length > 0 ? [`IPv6 routes to ${peers.length} hosts`] : [];
  }

  async #rows(tunnel: Link | undefined): Promise<TunnelRow[]> {
    const rows = await presentRules(this.#netlink, 'ipv6');
    if (tunnel === undefined) return rows;
    const neighbours = await this.#netlink.neighbours({ family: 'ipv6', link: tunnel.index });
    for (const { address, mac = '', state } of neighbours) {
      rows.push({ kind: 'neighbour', address, mac: state === 'permanent' ? mac : '' });
    }
    for (const { destination, gateway = '', table, source = '' } of await this.#routes(tunnel)) {
      if (table === MAIN_TABLE || isEntryTable(table)) {
        rows.push({ kind: 'route', destination, gateway, table, source });
      }
    }
    return rows;
  }

  async #hasLoopback(link: Link): Promise<boolean> {
    return (await this.#routes(link)).some(({ destination }) => destination === LOOPBACK);
  }

  #routes(link: Link) {
    return this.#netlink.routes({ family: 'ipv6', link: link.index, protocol: GATEWAY_PROTOCOL });
  }

  #ways(link: string, address: string): Change[] {
    const own = ipv6GatewayAddress(address);
    return [
      { do: 'add-neighbour', neighbour: { link, address: own, mac: macOf(address), isReplacing: true } },
      {
        do: 'add-route',
        route: {
          destination: `${own}/128`,
          link,
          source: this.#gateway,
          protocol: GATEWAY_PROTOCOL,
          ifExists: 'replace',
        },
      },
      toLoopback(link, address),
    ];
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

function settingsOf(link: string): Record<string, string> {
  return Object.fromEntries(Object.entries(SETTINGS).map(([name, value]) => [`net/ipv6/conf/${link}/${name}`, value]));
}

async function ensureSettings(link: string): Promise<void> {
  const wanted = Object.entries(settingsOf(link));
  const present = await readSysctls(wanted.map(([name]) => name));
  const wrong = wanted.filter(([name, value]) => present.get(name) !== value);
  if (wrong.length > 0) await writeSysctls(Object.fromEntries(wrong));
}
