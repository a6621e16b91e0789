import { type Change, type NamespaceRef, Netlink, writeSysctls } from '@apiary/agent-native';
import { type Clock, invariant, messageOf, systemCodeOf } from '@apiary/std';
import {
  type GatewayArrangement,
  type GatewaySubnet,
  gatewayArrangement,
  type HostPort,
  ipv6GatewayAddress,
  type NetworkState,
  readGatewaySubnet,
} from '../core/index.js';
import { FilterUpkeep } from './filter-upkeep.js';
import { GatewayIpv6 } from './gateway-ipv6.js';
import { GatewayLink } from './gateway-link.js';
import { GatewayNames, type NamesPlace } from './gateway-names.js';
import { GatewayPorts } from './gateway-ports.js';
import { GatewayTunnel } from './gateway-tunnel.js';
import { GatewayWatch } from './gateway-watch.js';
import { nowhereRemovals } from './host-address.js';
import { endIpv6Forwarding } from './ipv6-forwarding.js';
import { GATEWAY_LINK, NAMES_LINK, PORT_PREFIX } from './kernel-names.js';
import { removeRules } from './packet-filter.js';
import { Upkeep } from './upkeep.js';

const NO_IPV6 = { 'net.ipv6.conf.all.disable_ipv6': 1 };
/** What is made from then on has none, until that is said of it. */
const IPV6_FOR_OTHERS = { 'net.ipv6.conf.all.disable_ipv6': 0, 'net.ipv6.conf.default.disable_ipv6': 1 };

/** What is taken away is heard of at once; this is for what is only changed. */
const LINK_PERIOD_MS = 3_000;
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
  /** `ipv6Addresses` are others. */
  onIpv6Addresses?: () => void;
}

/**
 * This host's gateway network: a link to each task, and the subnet's first address, so that each task reaches its host,
 * and through it the world under the host's address, but no other task.
 *
 * What it is made of is looked at again and again, and put right when somebody took it away or changed it. It stays when
 * it is closed: tasks go on, and the next one that is opened takes it over.
 */
export class GatewayNetwork {
  readonly subnet: GatewaySubnet;
  readonly #options: GatewayNetworkOptions;
  readonly #netlink: Netlink;
  readonly #ports: GatewayPorts;
  readonly #tunnel: GatewayTunnel;
  readonly #upkeep: Upkeep;
  #link: GatewayLink | undefined;
  #names: GatewayNames | undefined;
  /** Undefined on a host that has none. */
  #ipv6: GatewayIpv6 | undefined;
  #filter: FilterUpkeep | undefined;
  #watch: GatewayWatch | undefined;
  #state: NetworkState | undefined;
  #hostPorts: readonly HostPort[] | undefined;
  /** What was made of these. */
  #wanted: GatewayArrangement | undefined;
  #arranging: Promise<void> = Promise.resolve();

  /**
   * Resolves when tasks can be attached.
   *
   * @throws ApiaryError, KernelError that says why this host cannot have it
   */
  static async open(options: GatewayNetworkOptions): Promise<GatewayNetwork> {
    const subnet = readGatewaySubnet(options.subnet);
    const network = new GatewayNetwork(subnet, await Netlink.open(), options);
    try {
      await network.#open();
    } catch (error) {
      await network.close();
      throw error;
    }
    return network;
  }

  private constructor(subnet: GatewaySubnet, netlink: Netlink, options: GatewayNetworkOptions) {
    this.subnet = subnet;
    this.#options = options;
    this.#netlink = netlink;
    this.#ports = new GatewayPorts(netlink, subnet);
    this.#tunnel = new GatewayTunnel(netlink, subnet.gateway, (reason) =>
      options.logger.info({ reason }, 'packets to other hosts go by the tunnel device alone'),
    );
    this.#upkeep = new Upkeep({
      ...this.#upkeepOptions(),
      periodMs: LINK_PERIOD_MS,
      work: async () => this.#tell(await this.#ensure()),
    });
  }

  async #open(): Promise<void> {
    const [netlink, subnet] = [this.#netlink, this.subnet];
    this.#link = await GatewayLink.open(netlink, subnet, this.#ports);
    await this.#ports.ensure();
    await writeSysctls({ 'net.ipv4.ip_forward': 1 });
    this.#names = await GatewayNames.open(netlink, subnet);
    this.#ipv6 = await this.#openIpv6(this.#link.mtu);
    const onRepaired = (repaired: string[]) => this.#tell(repaired);
    const filter = await FilterUpkeep.open({ ...this.#upkeepOptions(), netlink, subnet, onRepaired });
    this.#filter = filter;
    this.#watch = await GatewayWatch.open({
      onRules: () => filter.ask(),
      onLoss: () => this.#upkeep.ask(),
      onFailure: (what, reason) => this.#options.logger.warn({ reason }, `changes of ${what} are not heard of`),
    });
  }

  /**
   * What is known of the cluster's networks: the other hosts, and what is published on all of them. Until it is told,
   * what an earlier process made for it stays.
   *
   * @returns when the kernel does as it says, or cannot
   */
  async apply(state: NetworkState): Promise<void> {
    this.#state = state;
    await this.#arrange();
  }

  /** Where what tasks ask their gateway for names comes to, until this is closed. */
  get names(): NamesPlace {
    invariant(this.#names !== undefined, 'it is opened with the network');
    return this.#names.place;
  }

  /** The ports of this host that lead to tasks of its own. @returns when they do, or cannot */
  async publish(hostPorts: readonly HostPort[]): Promise<void> {
    this.#hostPorts = hostPorts;
    await this.#arrange();
  }

  /** Something happened that may have cost the network a part: the engine was restarted. */
  look(): void {
    this.#upkeep.ask();
    this.#filter?.ask();
  }

  /**
   * Gives a network namespace its interface: eth0 with the address, the default route, and lo up. As with Docker's own
   * bridge there is no IPv6 on it.
   *
   * @param hasWayOut  with false there is no default route: the host is reached, and nothing beyond it
   * @param hasIpv6    the namespace is to have IPv6 by other interfaces; else it has none, or only what the next gives it
   * @param isReachedByIpv6  it has the address of `ipv6AddressOf` too
   * @throws KernelError, after which nothing of it is left
   */
  async attach(
    namespace: NamespaceRef,
    address: string,
    { hasWayOut = true, hasIpv6 = false, isReachedByIpv6 = false } = {},
  ): Promise<void> {
    await writeSysctls(hasIpv6 ? IPV6_FOR_OTHERS : NO_IPV6, namespace).catch((error: unknown) => {
      // A kernel without IPv6 has none to turn off.
      if (systemCodeOf(error) !== 'ENOENT') throw error;
    });
    invariant(this.#link !== undefined, "it is made before the network is anybody's");
    const { mtu } = this.#link;
    const add = () => this.#ports.add(namespace, address, { mtu, hasWayOut });
    await add().catch(async (error: unknown) => {
      const code = systemCodeOf(error);
      // The gateway's address was just taken away; or there is the link of an earlier namespace, whose end the kernel has
      // not come to.
      if (code === 'EINVAL') await this.#upkeep.now();
      else if (code !== 'EEXIST') throw error;
      await add();
    });
    if (isReachedByIpv6) await this.#attachIpv6(namespace, address, { hasWayOut });
  }

  /** The addresses of IPv6 at which this host takes in what is published, separated by commas. */
  get ipv6Addresses(): string {
    return this.#ipv6?.hostAddresses ?? '';
  }

  /** The address of IPv6 that goes with one of a task's, if it is attached with `isReachedByIpv6`; empty when there is none here. */
  ipv6AddressOf(address: string): string {
    return this.#ipv6 === undefined ? '' : ipv6GatewayAddress(address);
  }

  /** Whether the link of a task with this address is there. */
  async isAttached(address: string): Promise<boolean> {
    return await this.#ports.has(address);
  }

  /** Looks after it no more; it stays as it is. */
  async close(): Promise<void> {
    this.#watch?.close();
    await Promise.all([this.#upkeep.stop(), this.#filter?.stop()]);
    await this.#arranging;
    await this.#tunnel.close();
    await Promise.all([this.#filter?.close(), this.#names?.close()]);
    await this.#netlink.close();
  }

  /** One after the other. What cannot be made of one state may be of the next. */
  #arrange(): Promise<void> {
    const { logger } = this.#options;
    this.#arranging = this.#arranging
      .then(() => this.#arrangeOnce())
      .catch((error: unknown) => {
        logger.warn({ reason: messageOf(error) }, 'cannot arrange the gateway network as the managers say');
      });
    return this.#arranging;
  }

  /** Only what differs from the last time. */
  async #arrangeOnce(): Promise<void> {
    // Half of it would take away what an earlier process made of the other half.
    if (this.#state === undefined || this.#hostPorts === undefined) return;
    const ipv6 = this.#ipv6 && (this.#ipv6.isOwnOnly ? 'own-only' : 'open');
    const wanted = gatewayArrangement(this.#state, this.#hostPorts, ipv6);
    const before = this.#wanted;
    this.#wanted = wanted;
    // The way there is before what leads to it.
    if (!isSame(wanted.ways, before?.ways)) await this.#upkeep.now();
    if (!isSame(wanted.filter, before?.filter)) await this.#filter?.want(wanted.filter);
  }

  /** @returns what was put right of all but the rules, in words */
  async #ensure(): Promise<string[]> {
    this.#filter?.askAgain();
    const repaired = [
      ...((await this.#link?.ensure()) ?? []),
      ...((await this.#names?.ensure()) ?? []),
      ...(await this.#ports.ensure()),
    ];
    const ways = this.#wanted?.ways;
    if (ways !== undefined) repaired.push(...(await this.#tunnel.ensure(ways.end, ways.peers)));
    if (this.#ipv6 !== undefined) repaired.push(...(await this.#ipv6.ensure(await this.#ports.all(), ways?.peers)));
    return repaired;
  }

  /** A host without IPv6 is as good as before: its tasks are reached by IPv4. */
  async #openIpv6(mtu: number): Promise<GatewayIpv6 | undefined> {
    const { logger, onIpv6Addresses = () => {} } = this.#options;
    const ipv6 = await GatewayIpv6.open({
      netlink: this.#netlink,
      subnet: this.subnet,
      mtu,
      onAddresses: onIpv6Addresses,
      onOwnOnly: () => setImmediate(() => void this.#arrange()),
      onFailure: (reason) => logger.warn({ reason }, 'cannot look after IPv6 on the gateway network'),
    });
    if (typeof ipv6 !== 'string') return ipv6;
    logger.info({ reason: ipv6 }, 'tasks are reached by IPv4 alone on this host');
    return undefined;
  }

  async #attachIpv6(namespace: NamespaceRef, address: string, options: { hasWayOut: boolean }): Promise<void> {
    try {
      await this.#ipv6?.attach(namespace, address, options);
    } catch (error) {
      await this.#ports.remove(address);
      throw error;
    }
  }

  #upkeepOptions() {
    const { clock, logger } = this.#options;
    const onFailure = (reason: string) => logger.warn({ reason }, 'cannot look after the gateway network');
    return { clock, gatherMs: GATHER_MS, onFailure };
  }

  #tell(repaired: string[]): void {
    if (repaired.length > 0) this.#options.logger.info({ repaired }, 'put the gateway network right');
  }
}

/** Takes away whatever of a gateway network is on this host, made by whichever process. None may be open. */
export async function removeGatewayNetwork(): Promise<void> {
  const netlink = await Netlink.open();
  try {
    const links = (await netlink.links({ kind: 'veth' })).filter(({ name }) => name.startsWith(PORT_PREFIX));
    await new GatewayTunnel(netlink, '').remove();
    await GatewayIpv6.remove(netlink).catch(ifWithoutIpv6);
    await endIpv6Forwarding();
    const refused = await netlink.tryAll([
      ...[...links.map(({ name }) => name), GATEWAY_LINK, NAMES_LINK].map(
        (link): Change => ({ do: 'delete-link', link }),
      ),
      ...(await nowhereRemovals(netlink, 'ipv4')),
    ]);
    const error = refused.find((each) => each !== undefined && !['ENODEV', 'ESRCH'].includes(each.code));
    if (error !== undefined) throw error;
    await removeRules();
  } finally {
    await netlink.close();
  }
}

function ifWithoutIpv6(error: unknown): void {
  if (systemCodeOf(error) !== 'EAFNOSUPPORT') throw error;
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
