import { type Change, type Link, type NamespaceRef, Netlink, RulesetWatch, writeSysctls } from '@apiary/agent-native';
import { ApiaryError, type Clock, messageOf, systemCodeOf } from '@apiary/std';
import { type GatewaySubnet, hexadecimal, macOf, overlap, parseIpv4Prefix, readGatewaySubnet } from '../core/index.js';
import { PacketFilter, removeRules } from './packet-filter.js';
import { Upkeep } from './upkeep.js';

/** The bridge that is every task's gateway. */
export const GATEWAY_BRIDGE = 'apiary_gw';
/** With an address in hexadecimal: the host's end of a task's link. */
const PORT_PREFIX = 'apgw';
/** The task's end. */
const TASK_LINK = 'eth0';
const LONGEST_MTU = 1_500;

/** Links are asked for without a process: often. */
const LINK_PERIOD_MS = 3_000;
/** What changes the rules of nftables is heard of at once; this is for iptables of the old kind. */
const FILTER_PERIOD_MS = 30_000;
const GATHER_MS = 300;

export interface GatewayLogger {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface GatewayNetworkOptions {
  /** `10.224.3.0/24` */
  subnet: string;
  clock: Clock;
  logger: GatewayLogger;
}

/**
 * This host's gateway network: a bridge with the subnet's first address, its ports isolated from one another, so that each
 * task reaches its host, and through it the world under the host's address, but no other task.
 *
 * What it is made of is looked at again and again, and put right when somebody took it away or changed it. It stays when
 * it is closed: tasks go on, and the next one that is opened takes it over.
 */
export class GatewayNetwork {
  readonly subnet: GatewaySubnet;
  readonly #netlink: Netlink;
  readonly #filter: PacketFilter;
  readonly #logger: GatewayLogger;
  readonly #linkUpkeep: Upkeep;
  readonly #filterUpkeep: Upkeep;
  #watch: RulesetWatch | undefined;
  #mtu = LONGEST_MTU;

  /**
   * Resolves when tasks can be attached.
   *
   * @throws ApiaryError, KernelError that says why this host cannot have it
   */
  static async open(options: GatewayNetworkOptions): Promise<GatewayNetwork> {
    const subnet = readGatewaySubnet(options.subnet);
    const netlink = await Netlink.open();
    const network = new GatewayNetwork(subnet, netlink, options);
    try {
      await network.#refuseOverlap();
      network.#mtu = await network.#uplinkMtu();
      await network.#ensureLinks();
      await writeSysctls({ 'net.ipv4.ip_forward': 1 });
      await network.#filter.ensure();
      await network.#watchRules();
    } catch (error) {
      await network.close();
      throw error;
    }
    return network;
  }

  private constructor(subnet: GatewaySubnet, netlink: Netlink, { clock, logger }: GatewayNetworkOptions) {
    this.subnet = subnet;
    this.#netlink = netlink;
    this.#logger = logger;
    this.#filter = new PacketFilter(GATEWAY_BRIDGE, subnet);
    const onFailure = (reason: string) => logger.warn({ reason }, 'cannot look after the gateway network');
    const upkeep = (periodMs: number, work: () => Promise<string[]>) =>
      new Upkeep({ clock, periodMs, gatherMs: GATHER_MS, onFailure, work: async () => this.#tell(await work()) });
    this.#linkUpkeep = upkeep(LINK_PERIOD_MS, () => this.#ensureLinks());
    this.#filterUpkeep = upkeep(FILTER_PERIOD_MS, () => this.#filter.ensure());
  }

  /** Something happened that may have cost the network a part: the engine was restarted. */
  look(): void {
    this.#linkUpkeep.ask();
    this.#filterUpkeep.ask();
  }

  /**
   * Gives a network namespace its interface: eth0 with the address, the default route, and lo up. As with Docker's own
   * bridge there is no IPv6 in it.
   *
   * @throws KernelError, after which nothing of it is left
   */
  async attach(namespace: NamespaceRef, address: string): Promise<void> {
    const port = portName(address);
    const changes = this.#attachment(namespace, address, port);
    await writeSysctls({ 'net.ipv6.conf.all.disable_ipv6': 1 }, namespace).catch((error: unknown) => {
      // A kernel without IPv6 has none to turn off.
      if (systemCodeOf(error) !== 'ENOENT') throw error;
    });
    const made = await this.#netlink.apply(changes).catch((error: unknown) => error);
    if (made === undefined) return;
    await deleteLink(this.#netlink, port);
    const code = systemCodeOf(made);
    // The bridge was just taken away; or there is the link of an earlier namespace, whose end the kernel has not come to.
    if (code === 'ENODEV') this.#tell(await this.#ensureLinks());
    else if (code !== 'EEXIST') throw made;
    await this.#netlink.apply(changes).catch(async (again: unknown) => {
      await deleteLink(this.#netlink, port);
      throw again;
    });
  }

  /** Whether the link of a task with this address is there. */
  async isAttached(address: string): Promise<boolean> {
    return (await this.#netlink.link(portName(address))) !== undefined;
  }

  /** Looks after it no more; it stays as it is. */
  async close(): Promise<void> {
    this.#watch?.close();
    await Promise.all([this.#linkUpkeep.stop(), this.#filterUpkeep.stop()]);
    await this.#netlink.close();
  }

  #attachment(namespace: NamespaceRef, address: string, port: string): Change[] {
    const peer = { name: TASK_LINK, namespace, address: macOf(address), mtu: this.#mtu };
    return [
      { do: 'add-link', link: { kind: 'veth', name: port, master: GATEWAY_BRIDGE, mtu: this.#mtu, peer } },
      { do: 'set-link', link: port, to: { ipv6AddressGeneration: 'none', port: { isolated: true } } },
      { do: 'set-link', link: port, to: { isUp: true } },
      { in: namespace, do: 'set-link', link: 'lo', to: { isUp: true } },
      { in: namespace, do: 'add-address', address: { link: TASK_LINK, address: `${address}/${this.subnet.length}` } },
      { in: namespace, do: 'set-link', link: TASK_LINK, to: { isUp: true } },
      {
        in: namespace,
        do: 'add-route',
        route: { destination: 'default', gateway: this.subnet.gateway, link: TASK_LINK },
      },
    ];
  }

  /** @returns what was put right, in words */
  async #ensureLinks(): Promise<string[]> {
    const bridge = await this.#netlink.link(GATEWAY_BRIDGE);
    const repaired = bridge === undefined ? await this.#makeBridge() : await this.#ensureBridge(bridge);
    const index = bridge?.index ?? (await this.#netlink.link(GATEWAY_BRIDGE))?.index;
    for (const port of await portsOf(this.#netlink)) {
      if (port.master === index && port.port?.isolated === true && port.isUp) continue;
      repaired.push(port.name);
      const changes: Change[] = [
        { do: 'set-link', link: port.name, to: { master: GATEWAY_BRIDGE } },
        { do: 'set-link', link: port.name, to: { port: { isolated: true } } },
        { do: 'set-link', link: port.name, to: { isUp: true } },
      ];
      await this.#netlink.apply(changes).catch((error: unknown) => {
        // Its task has ended meanwhile.
        if (systemCodeOf(error) !== 'ENODEV') throw error;
      });
    }
    return repaired;
  }

  async #makeBridge(): Promise<string[]> {
    const { gateway, length } = this.subnet;
    await this.#netlink.apply([
      {
        do: 'add-link',
        link: {
          kind: 'bridge',
          name: GATEWAY_BRIDGE,
          // Fixed: without one it changes as ports come and go, and tasks would know the gateway by an old one.
          address: macOf(gateway),
          mtu: this.#mtu,
          bridge: { stp: 0, multicastSnooping: false },
        },
      },
      { do: 'set-link', link: GATEWAY_BRIDGE, to: { ipv6AddressGeneration: 'none' } },
      { do: 'add-address', address: { link: GATEWAY_BRIDGE, address: `${gateway}/${length}` } },
      { do: 'set-link', link: GATEWAY_BRIDGE, to: { isUp: true } },
    ]);
    return [GATEWAY_BRIDGE];
  }

  async #ensureBridge({ index, kind, isUp }: Link): Promise<string[]> {
    if (kind !== 'bridge') {
      throw new ApiaryError('failed-precondition', `link ${GATEWAY_BRIDGE} is no bridge: remove it`);
    }
    const changes: Change[] = [];
    const own = `${this.subnet.gateway}/${this.subnet.length}`;
    const held = (await this.#netlink.addresses({ family: 'ipv4', link: index })).map(({ address }) => address);
    const others = held.filter((address) => address !== own);
    if (others.length > 0 && (await portsOf(this.#netlink)).some(({ master }) => master === index)) {
      const message = `${GATEWAY_BRIDGE} is in use with address ${others[0]}: by another swarmd on this host?`;
      throw new ApiaryError('failed-precondition', message);
    }
    for (const address of others) changes.push({ do: 'delete-address', address: { link: index, address } });
    if (!held.includes(own)) changes.push({ do: 'add-address', address: { link: index, address: own } });
    if (!isUp) changes.push({ do: 'set-link', link: index, to: { isUp: true } });
    await this.#netlink.apply(changes);
    return changes.length === 0 ? [] : [`address of ${GATEWAY_BRIDGE}`];
  }

  /** What is sent to the host's own network would go to the bridge. */
  async #refuseOverlap(): Promise<void> {
    const own = parseIpv4Prefix(this.subnet.subnet);
    const bridge = await this.#netlink.link(GATEWAY_BRIDGE);
    for (const { link, address } of await this.#netlink.addresses({ family: 'ipv4' })) {
      if (link === bridge?.index || !overlap(own, parseIpv4Prefix(address))) continue;
      const name = (await this.#netlink.link(link))?.name ?? 'another link';
      throw new ApiaryError(
        'failed-precondition',
        `gateway subnet ${this.subnet.subnet} overlaps ${address}, the address of ${name}`,
      );
    }
  }

  /** The MTU of the way out, so that what tasks send need not be broken up there. */
  async #uplinkMtu(): Promise<number> {
    const routes = await this.#netlink.routes({ family: 'ipv4', table: 'main' });
    const way = routes.find(({ destination }) => destination === 'default' || destination === '0.0.0.0/0');
    const uplink = way?.link === undefined ? undefined : await this.#netlink.link(way.link);
    return Math.min(uplink?.mtu ?? LONGEST_MTU, LONGEST_MTU);
  }

  async #watchRules(): Promise<void> {
    this.#watch = await RulesetWatch.open({
      listener: () => this.#filterUpkeep.ask(),
      onFailure: (error) => this.#logger.warn({ reason: error.message }, 'changes of nftables are not heard of'),
    }).catch((error: unknown) => {
      this.#logger.warn({ reason: messageOf(error) }, 'changes of nftables are not heard of');
      return undefined;
    });
  }

  #tell(repaired: string[]): void {
    if (repaired.length > 0) this.#logger.info({ repaired }, 'put the gateway network right');
  }
}

/** Takes away whatever of a gateway network is on this host, made by whichever process. None may be open. */
export async function removeGatewayNetwork(): Promise<void> {
  const netlink = await Netlink.open();
  try {
    for (const { name } of await portsOf(netlink)) await deleteLink(netlink, name);
    await deleteLink(netlink, GATEWAY_BRIDGE);
    await removeRules(GATEWAY_BRIDGE);
  } finally {
    await netlink.close();
  }
}

async function portsOf(netlink: Netlink): Promise<Link[]> {
  return (await netlink.links({ kind: 'veth' })).filter(({ name }) => name.startsWith(PORT_PREFIX));
}

async function deleteLink(netlink: Netlink, name: string): Promise<void> {
  await netlink.apply([{ do: 'delete-link', link: name }]).catch((error: unknown) => {
    if (systemCodeOf(error) !== 'ENODEV') throw error;
  });
}

function portName(address: string): string {
  return `${PORT_PREFIX}${hexadecimal(address)}`;
}
