import {
  type Change,
  type Link,
  type NamespaceRef,
  Netlink,
  type NetworkEvent,
  NetworkWatch,
  RulesetWatch,
  writeSysctls,
} from '@apiary/agent-native';
import { ApiaryError, type Clock, invariant, messageOf, systemCodeOf } from '@apiary/std';
import {
  confinedTasks,
  type GatewayFilter,
  type GatewayPeer,
  type GatewaySubnet,
  gatewayPeers,
  type HostPort,
  ipv6GatewayAddress,
  isTunnelMac,
  LEAST_IPV6_MTU,
  macOf,
  type NetworkState,
  overlap,
  parseIpv4Prefix,
  portRows,
  readGatewaySubnet,
  type TunnelEnd,
  tunnelEnd,
} from '../core/index.js';
import { GatewayIpv6 } from './gateway-ipv6.js';
import { GatewayNames, NAMES_LINK, type NamesPlace } from './gateway-names.js';
import { GATEWAY_PROTOCOL, GatewayPorts, PORT_PREFIX } from './gateway-ports.js';
import { GatewayTunnel } from './gateway-tunnel.js';
import { endIpv6Forwarding, ipv6Gap } from './ipv6-forwarding.js';
import { PacketFilter, removeRules } from './packet-filter.js';
import { StrayFlows } from './stray-flows.js';
import { GATEWAY_TUNNEL } from './tunnel-row-change.js';
import { Upkeep } from './upkeep.js';

/** The link that has every task's gateway address: a bridge without ports, since not every kernel has dummies. */
export const GATEWAY_LINK = 'apiary_gw';
const NO_IPV6 = { 'net.ipv6.conf.all.disable_ipv6': 1 };
/** What is made from then on has none, until that is said of it. */
const IPV6_FOR_OTHERS = { 'net.ipv6.conf.all.disable_ipv6': 0, 'net.ipv6.conf.default.disable_ipv6': 1 };
const OWN_LINKS: readonly string[] = [GATEWAY_LINK, GATEWAY_TUNNEL, NAMES_LINK];
const LONGEST_MTU = 1_500;

/** What is taken away is heard of at once; this is for what is only changed. */
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
  readonly #netlink: Netlink;
  readonly #filter: PacketFilter;
  readonly #ports: GatewayPorts;
  readonly #tunnel: GatewayTunnel;
  /** Undefined on a host that has none. */
  #ipv6: GatewayIpv6 | undefined;
  readonly #flows: StrayFlows;
  readonly #logger: GatewayLogger;
  readonly #onIpv6Addresses: () => void;
  readonly #linkUpkeep: Upkeep;
  readonly #filterUpkeep: Upkeep;
  #names: GatewayNames | undefined;
  #watches: { close(): void }[] = [];
  #mtu = LONGEST_MTU;
  #state: NetworkState | undefined;
  #hostPorts: readonly HostPort[] | undefined;
  /** What was made of these. */
  #wanted: { ways: { end: TunnelEnd | undefined; peers: GatewayPeer[] }; filter: GatewayFilter } | undefined;
  #arranging: Promise<void> = Promise.resolve();
  /** The last attempt failed: it is not to wait for the next change. */
  #isFilterBehind = false;

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
      network.#names = await GatewayNames.open(netlink, subnet);
      await network.#openIpv6();
      await network.#filter.ensure();
      await network.#watch();
    } catch (error) {
      await network.close();
      throw error;
    }
    return network;
  }

  private constructor(subnet: GatewaySubnet, netlink: Netlink, options: GatewayNetworkOptions) {
    const { clock, logger, onIpv6Addresses = () => {} } = options;
    this.#onIpv6Addresses = onIpv6Addresses;
    this.subnet = subnet;
    this.#netlink = netlink;
    this.#logger = logger;
    this.#filter = new PacketFilter(subnet);
    this.#ports = new GatewayPorts(netlink, subnet);
    this.#tunnel = new GatewayTunnel(netlink, subnet.gateway, (reason) =>
      logger.info({ reason }, 'packets to other hosts go by the tunnel device alone'),
    );
    this.#flows = new StrayFlows(netlink, subnet.names);
    const onFailure = (reason: string) => logger.warn({ reason }, 'cannot look after the gateway network');
    const upkeep = (periodMs: number, work: () => Promise<string[]>) =>
      new Upkeep({ clock, periodMs, gatherMs: GATHER_MS, onFailure, work: async () => this.#tell(await work()) });
    this.#linkUpkeep = upkeep(LINK_PERIOD_MS, () => this.#ensureAllLinks());
    this.#filterUpkeep = upkeep(FILTER_PERIOD_MS, () => this.#ensureFilter());
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
    this.#linkUpkeep.ask();
    this.#filterUpkeep.ask();
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
    const add = () => this.#ports.add(namespace, address, { mtu: this.#mtu, hasWayOut });
    await add().catch(async (error: unknown) => {
      const code = systemCodeOf(error);
      // The gateway's address was just taken away; or there is the link of an earlier namespace, whose end the kernel has
      // not come to.
      if (code === 'EINVAL') await this.#linkUpkeep.now();
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
    for (const watch of this.#watches) watch.close();
    await Promise.all([this.#linkUpkeep.stop(), this.#filterUpkeep.stop()]);
    await this.#arranging;
    await this.#tunnel.close();
    await Promise.all([this.#filter.close(), this.#flows.close(), this.#names?.close()]);
    await this.#netlink.close();
  }

  /** One after the other. What cannot be made of one state may be of the next. */
  #arrange(): Promise<void> {
    this.#arranging = this.#arranging
      .then(() => this.#arrangeOnce())
      .catch((error: unknown) => {
        this.#logger.warn({ reason: messageOf(error) }, 'cannot arrange the gateway network as the managers say');
      });
    return this.#arranging;
  }

  /** Only what differs from the last time. */
  async #arrangeOnce(): Promise<void> {
    // Half of it would take away what an earlier process made of the other half.
    if (this.#state === undefined || this.#hostPorts === undefined) return;
    const { selfId, publishedPorts } = this.#state;
    const peers = gatewayPeers(this.#state);
    const rows = portRows({ selfId, publishedPorts }, peers, this.#hostPorts);
    const wanted = {
      ways: { end: tunnelEnd(this.#state), peers },
      filter: {
        peers,
        dataPathPort: tunnelEnd(this.#state)?.port ?? 0,
        ports: rows,
        confined: confinedTasks(this.#state),
        ...(this.#ipv6 !== undefined && ({ ipv6: this.#ipv6.isOwnOnly ? 'own-only' : 'open' } as const)),
      },
    };
    const before = this.#wanted;
    this.#wanted = wanted;
    // The way there is before what leads to it.
    if (!isSame(wanted.ways, before?.ways)) await this.#linkUpkeep.now();
    if (isSame(wanted.filter, before?.filter)) return;
    if (!(await this.#filter.want(wanted.filter))) await this.#filterUpkeep.now();
    else await this.#flowsFollow().catch(() => this.#filterUpkeep.ask());
  }

  async #ensureAllLinks(): Promise<string[]> {
    if (this.#isFilterBehind) this.#filterUpkeep.ask();
    const repaired = await this.#ensureLinks();
    const ways = this.#wanted?.ways;
    if (ways !== undefined) repaired.push(...(await this.#tunnel.ensure(ways.end, ways.peers)));
    return [...repaired, ...(await this.#ensureIpv6(ways?.peers))];
  }

  async #ensureFilter(): Promise<string[]> {
    this.#isFilterBehind = true;
    const repaired = await this.#filter.ensure();
    await this.#flowsFollow();
    this.#isFilterBehind = false;
    return repaired;
  }

  async #flowsFollow(): Promise<void> {
    if (this.#wanted === undefined) return;
    const { filter, ways } = this.#wanted;
    await this.#flows.redirect(filter.ports, ways.peers, { hasIpv6: filter.ipv6 !== undefined });
  }

  /** A host without IPv6 is as good as before: its tasks are reached by IPv4. */
  async #openIpv6(): Promise<void> {
    const gap = this.#mtu < LEAST_IPV6_MTU ? `its link's packets have at most ${this.#mtu} bytes` : await ipv6Gap();
    const ipv6 = new GatewayIpv6(this.#netlink, this.subnet, GATEWAY_LINK);
    const reason = gap ?? (await ipv6.ensure([], undefined).then(() => undefined, messageOf));
    if (reason === undefined) this.#ipv6 = ipv6;
    else this.#logger.info({ reason }, 'tasks are reached by IPv4 alone on this host');
  }

  /** What is of IPv4 is done whatever becomes of it. */
  async #ensureIpv6(peers: readonly GatewayPeer[] | undefined): Promise<string[]> {
    if (this.#ipv6 === undefined) return [];
    const { isOwnOnly, hostAddresses } = this.#ipv6;
    try {
      return await this.#ipv6.ensure(await this.#ports.all(), peers);
    } catch (error) {
      // A link was just taken away, which is heard of.
      if (['ENODEV', 'ENOENT'].includes(systemCodeOf(error) ?? '')) return [];
      this.#logger.warn({ reason: messageOf(error) }, 'cannot look after IPv6 on the gateway network');
      return [];
    } finally {
      if (this.#ipv6.hostAddresses !== hostAddresses) this.#onIpv6Addresses();
      if (this.#ipv6.isOwnOnly !== isOwnOnly) setImmediate(() => void this.#arrange());
    }
  }

  async #attachIpv6(namespace: NamespaceRef, address: string, options: { hasWayOut: boolean }): Promise<void> {
    try {
      await this.#ipv6?.attach(namespace, address, options);
    } catch (error) {
      await this.#ports.remove(address);
      throw error;
    }
  }

  /** @returns what was put right, in words */
  async #ensureLinks(): Promise<string[]> {
    const link = await this.#netlink.link(GATEWAY_LINK);
    const repaired = link === undefined ? await this.#makeLink() : await this.#ensureLink(link);
    return [...repaired, ...((await this.#names?.ensure()) ?? []), ...(await this.#ports.ensure())];
  }

  async #makeLink(): Promise<string[]> {
    const name = GATEWAY_LINK;
    await this.#netlink.apply([
      { do: 'add-link', link: { kind: 'bridge', name, address: macOf(this.subnet.gateway), mtu: this.#mtu } },
      { do: 'set-link', link: name, to: { ipv6AddressGeneration: 'none' } },
      { do: 'add-address', address: { link: name, address: `${this.subnet.gateway}/32` } },
      { do: 'set-link', link: name, to: { isUp: true } },
      this.#nowhere(),
    ]);
    return [name];
  }

  async #ensureLink({ index, kind, isUp }: Link): Promise<string[]> {
    if (kind !== 'bridge') {
      throw new ApiaryError('failed-precondition', `link ${GATEWAY_LINK} is no bridge: remove it`);
    }
    const changes: Change[] = [];
    const own = `${this.subnet.gateway}/32`;
    const held = (await this.#netlink.addresses({ family: 'ipv4', link: index })).map(({ address }) => address);
    const others = held.filter((address) => address !== own);
    if (others.length > 0 && (await this.#ports.all()).some(({ address }) => !this.#isOwn(address))) {
      const message = `${GATEWAY_LINK} is in use with address ${others[0]}: by another swarmd on this host?`;
      throw new ApiaryError('failed-precondition', message);
    }
    for (const address of others) changes.push({ do: 'delete-address', address: { link: index, address } });
    if (!held.includes(own)) changes.push({ do: 'add-address', address: { link: index, address: own } });
    if (!isUp) changes.push({ do: 'set-link', link: index, to: { isUp: true } });
    const routes = await this.#netlink.routes({ family: 'ipv4', protocol: GATEWAY_PROTOCOL });
    const isNowhere = routes.some(
      ({ type, destination }) => type === 'unreachable' && destination === this.subnet.subnet,
    );
    if (!isNowhere) changes.push(this.#nowhere());
    await this.#netlink.apply(changes);
    return changes.length === 0 ? [] : [`address of ${GATEWAY_LINK}`];
  }

  /** What is sent to a task that is gone does not leave the host by its default route. */
  #nowhere(): Change {
    const { subnet: destination } = this.subnet;
    const route = { destination, type: 'unreachable', protocol: GATEWAY_PROTOCOL, ifExists: 'replace' } as const;
    return { do: 'add-route', route };
  }

  #isOwn(address: string): boolean {
    return overlap(parseIpv4Prefix(this.subnet.subnet), parseIpv4Prefix(`${address}/32`));
  }

  /** What is sent to the host's own network would go to tasks. */
  async #refuseOverlap(): Promise<void> {
    const own = parseIpv4Prefix(this.subnet.subnet);
    for (const { link, address } of await this.#netlink.addresses({ family: 'ipv4' })) {
      if (!overlap(own, parseIpv4Prefix(address))) continue;
      const name = (await this.#netlink.link(link))?.name ?? 'another link';
      if (OWN_LINKS.includes(name)) continue;
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

  async #watch(): Promise<void> {
    const failed = (what: string) => (error: unknown) => {
      this.#logger.warn({ reason: messageOf(error) }, `changes of ${what} are not heard of`);
      return undefined;
    };
    const opened = await Promise.all([
      RulesetWatch.open({ listener: () => this.#filterUpkeep.ask(), onFailure: failed('nftables') }).catch(
        failed('nftables'),
      ),
      NetworkWatch.open({
        subjects: ['links', 'routes', 'rules', 'neighbours'],
        listener: (events) => {
          if (events.some(isLoss)) this.#linkUpkeep.ask();
        },
        onFailure: failed('the network'),
      }).catch(failed('the network')),
    ]);
    this.#watches = opened.filter((watch) => watch !== undefined);
  }

  #tell(repaired: string[]): void {
    if (repaired.length > 0) this.#logger.info({ repaired }, 'put the gateway network right');
  }
}

/** Takes away whatever of a gateway network is on this host, made by whichever process. None may be open. */
export async function removeGatewayNetwork(): Promise<void> {
  const netlink = await Netlink.open();
  try {
    const links = (await netlink.links({ kind: 'veth' })).filter(({ name }) => name.startsWith(PORT_PREFIX));
    const routes = (await netlink.routes({ family: 'ipv4', protocol: GATEWAY_PROTOCOL })).filter(
      ({ type }) => type === 'unreachable',
    );
    await new GatewayTunnel(netlink, '').remove();
    await GatewayIpv6.remove(netlink).catch(ifWithoutIpv6);
    await endIpv6Forwarding();
    const refused = await netlink.tryAll([
      ...[...links.map(({ name }) => name), GATEWAY_LINK, NAMES_LINK].map(
        (link): Change => ({ do: 'delete-link', link }),
      ),
      ...routes.map(({ destination }): Change => ({ do: 'delete-route', route: { destination, type: 'unreachable' } })),
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

/** Whether a part of a gateway network may be gone, but for the links of tasks: these go with them. */
function isLoss(event: NetworkEvent): boolean {
  if (event.change === 'lost') return true;
  switch (event.kind) {
    case 'link':
      return OWN_LINKS.includes(event.link.name) && !(event.change === 'set' && event.link.isUp);
    case 'route':
      // Of IPv6 those to a task are told of too, which go with its link.
      if (event.route.destination.endsWith('/128')) return false;
      return event.change === 'gone' && event.route.protocol === `${GATEWAY_PROTOCOL}`;
    case 'rule':
      return event.change === 'gone' && event.rule.protocol === GATEWAY_PROTOCOL;
    case 'neighbour':
      return event.change === 'gone' && isTunnelMac(event.neighbour.mac ?? '');
    case 'fdb':
      return event.change === 'gone' && isTunnelMac(event.fdb.mac);
    case 'address':
      return false;
  }
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
