import { type NamespaceRef, Netlink } from '@apiary/agent-native';
import { ApiaryError, type Clock, messageOf, systemCodeOf } from '@apiary/std';
import {
  type AssignedNetwork,
  carriesIpv6,
  forwardingRows,
  LEAST_IPV6_MTU,
  type NetworkState,
  networkContains,
  networkMtu,
  type OverlayChange,
  type OverlayRows,
  overlayDiff,
  overlayKey,
  parseIp,
  parseIpNetwork,
  parseIpv4Prefix,
  portName,
  type TaskAttachment,
  vniOfLink,
} from '../core/index.js';
import type { GatewayLogger } from './gateway-network.js';
import { linksInUse } from './link-carrier.js';
import { inodeOf, NetworkNamespace } from './network-namespace.js';
import { OfferedPorts } from './offered-ports.js';
import { OverlayKernel, type TaskInterface } from './overlay-kernel.js';
import { Tunnel } from './tunnel.js';
import { Upkeep } from './upkeep.js';

const LOOK_PERIOD_MS = 2_000;
/** Changes that come this close together are made in one go. */
const GATHER_MS = 10;
const DEFAULT_MTU = 1_500;

const DIRECTORY = '/run/netns';
const OVERLAY_NAMESPACE = 'apiary';
const TUNNEL_NAMESPACE = 'apiary-tunnel';

export interface OverlayNetworkOptions {
  clock: Clock;
  logger: GatewayLogger;
  /** Where network namespaces have names. */
  directory?: string;
  /** The host's own namespace, by which other hosts are reached; by default this process's. */
  host?: NamespaceRef;
  /** The name of the link of encrypted networks, where several hosts share a machine. */
  tunnelLink?: string;
  /** `wireguardKey` is another. */
  onKey?: () => void;
}

/** A task's namespace, as far as it is known: a process's number may become another's. */
interface Place {
  namespace: NamespaceRef;
  inode: number | undefined;
}

/**
 * This host's part of the overlay networks: in a network namespace of its own, so that neither the host's packet filter nor
 * its routes have a say in what goes over them, a bridge and a VXLAN device for each network that has tasks here.
 *
 * What the kernel has is compared with what it should have at each change, and again and again. All of it stays when this
 * is closed: tasks go on, and the next one that is opened takes over what it finds.
 */
export class OverlayNetwork {
  readonly #options: OverlayNetworkOptions;
  readonly #host: NamespaceRef;
  readonly #netlink: Netlink;
  readonly #upkeep: Upkeep;
  readonly #places = new Map<string, Place>();
  readonly #offered = new OfferedPorts();
  #state: NetworkState | undefined;
  #inside: { namespace: NetworkNamespace; kernel: OverlayKernel } | undefined;
  /** What the kernel has, as far as is known. */
  #present: OverlayRows | undefined;
  #lookedAtMs = 0;
  #underlayMtu = DEFAULT_MTU;
  readonly #tunnel: Tunnel;
  /** Why encrypted networks have nothing here. */
  #tunnelTrouble: unknown;
  /** What is done comes one after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  /** @throws KernelError that says why this host cannot have it */
  static async open(options: OverlayNetworkOptions): Promise<OverlayNetwork> {
    const { clock, host = { pid: process.pid }, directory = DIRECTORY, tunnelLink: link } = options;
    const tunnel = await Tunnel.open({ clock, host, path: `${directory}/${TUNNEL_NAMESPACE}`, link });
    return new OverlayNetwork(await Netlink.open({ namespace: host }), tunnel, options);
  }

  private constructor(netlink: Netlink, tunnel: Tunnel, options: OverlayNetworkOptions) {
    this.#netlink = netlink;
    this.#tunnel = tunnel;
    this.#options = options;
    this.#host = options.host ?? { pid: process.pid };
    this.#upkeep = new Upkeep({
      clock: options.clock,
      periodMs: LOOK_PERIOD_MS,
      gatherMs: GATHER_MS,
      work: async () => {
        await this.#inTurn(() => this.#converge());
        return this.#tunnelTrouble === undefined ? undefined : 'incomplete';
      },
      onFailure: (reason) => options.logger.warn({ reason }, 'cannot bring the overlay networks up to date'),
    });
  }

  /** By which the other hosts are to know this one, for encrypted networks; empty when it can have none. */
  get wireguardKey(): string {
    return this.#tunnel.publicKey;
  }

  /** What there should be from now on; nothing before the first time. */
  apply(state: NetworkState): void {
    this.#state = state;
    this.#upkeep.ask();
  }

  /** Resolves when what was applied before is done, or has failed and will be tried again. */
  async settled(): Promise<void> {
    await this.#inTurn(() => this.#converge());
  }

  /**
   * Gives a task's namespace an interface on each of its networks: eth1 and on, in their order.
   *
   * @throws ApiaryError `failed-precondition` when a network is not known here, KernelError; then none of them is left
   */
  async attach(taskId: string, namespace: NamespaceRef, attachments: readonly TaskAttachment[]): Promise<void> {
    await this.#inTurn(async () => {
      const interfaces = this.#interfacesOf(attachments);
      if (interfaces.length === 0) return;
      await this.#ready(attachments, interfaces);
      await this.#make(namespace, interfaces).catch(async (error: unknown) => {
        // The link of an earlier namespace, whose end the kernel has not come to; or the bridge was just taken away.
        if (!['EEXIST', 'ENODEV'].includes(systemCodeOf(error) ?? '')) throw error;
        await this.#converge(true);
        await this.#make(namespace, interfaces);
      });
      this.#places.set(taskId, { namespace, inode: await inodeOfRef(namespace) });
    });
  }

  /**
   * Makes an interface on a network for somebody else to put where it belongs: a link of this host with the MAC address that
   * follows from its address, which it has not got.
   *
   * @param taken  called once it is up, perhaps more than once, until it is retracted
   * @throws ApiaryError `failed-precondition` when the network is not known here, KernelError
   */
  async offer(attachment: TaskAttachment, link: string, taken: () => void): Promise<void> {
    await this.#inTurn(async () => {
      const [wanted] = this.#interfacesOf([attachment]);
      if (wanted === undefined) return;
      const offered = { ...wanted, name: link };
      await this.#ready([attachment], [offered]);
      if (this.#inside === undefined) throw new ApiaryError('unavailable', 'the overlay networks are not there yet');
      const { kernel, namespace } = this.#inside;
      await this.#offered.watch(namespace.ref);
      const port = portName(offered.vni, offered.address);
      // Of an earlier one that was cut short.
      await namespace.netlink.tryAll([{ do: 'delete-link', link: port }]);
      this.#offered.expect(port, taken);
      await namespace.netlink.apply(kernel.offer(this.#host, offered));
      await kernel.refuseWithoutIpv6(this.#host, offered);
    });
  }

  /** Takes an interface away that was offered, wherever it is by now. */
  async retract({ networkId, address }: TaskAttachment): Promise<void> {
    await this.#inTurn(async () => {
      const vni = this.#state?.networks.get(networkId)?.vni;
      if (vni === undefined) return;
      const port = portName(vni, address);
      this.#offered.forget(port);
      await this.#inside?.namespace.netlink.tryAll([{ do: 'delete-link', link: port }]);
    });
  }

  /** Where a task is that was attached by an earlier process: what it has lost can be given back to it. */
  async found(taskId: string, namespace: NamespaceRef): Promise<void> {
    const inode = await inodeOfRef(namespace);
    if (inode !== undefined) this.#places.set(taskId, { namespace, inode });
  }

  /** The task's container has ended. */
  forget(taskId: string): void {
    this.#places.delete(taskId);
  }

  /** Looks after it no more; it stays as it is. */
  async close(): Promise<void> {
    await this.#upkeep.stop();
    this.#offered.stop();
    await this.#turn;
    await this.#inside?.namespace.close();
    await this.#netlink.close();
  }

  /** Has the kernel have what the interfaces need. @throws what stands in the way */
  async #ready(attachments: readonly TaskAttachment[], interfaces: readonly TaskInterface[]): Promise<void> {
    this.#refuseSmallLinks(attachments, interfaces);
    const encrypted = attachments.some(({ networkId }) => this.#networkOf(networkId).encrypted);
    if (encrypted && this.#tunnelTrouble !== undefined) await this.#converge(true);
    if (encrypted && this.#tunnelTrouble !== undefined) throw this.#tunnelTrouble;
    const isReady = ({ vni }: TaskInterface) =>
      this.#present?.has(overlayKey({ kind: 'bridge', vni, mtu: 0 })) === true;
    if (this.#inside === undefined || !interfaces.every(isReady)) await this.#converge();
  }

  #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {});
    return done;
  }

  /** @param isLooking  whatever is believed of the kernel, look */
  async #converge(isLooking = false): Promise<void> {
    const state = this.#state;
    if (state === undefined) return;
    const nowMs = this.#options.clock.now();
    const isDue = isLooking || this.#present === undefined || nowMs - this.#lookedAtMs >= LOOK_PERIOD_MS - GATHER_MS;
    const believed = this.#present;
    if (isDue) this.#underlayMtu = await this.#mtuOf(state.nodes.get(state.selfId)?.addr ?? '');
    if (this.#tunnel.rotate()) this.#options.onKey?.();
    const desired = forwardingRows(await this.#reachable(state, isDue), this.#underlayMtu);
    if (desired === undefined) return;
    if (desired.size === 0) return await this.#empty();
    const kernel = await this.#kernel();
    const present = isDue || this.#present === undefined ? await kernel.look() : this.#present;
    if (isDue) {
      this.#lookedAtMs = nowMs;
      await kernel.removeStrays(new Set(Array.from(desired.values(), ({ vni }) => vni)));
    }
    const changes = overlayDiff(desired, present);
    const refused = await kernel.perform(changes);
    const missing = await this.#reattach(state, changes);
    this.#present = refused.length > 0 ? undefined : without(desired, missing);
    if (refused[0] !== undefined) throw refused[0];
    if (isDue && !hasEncrypted(state))
      await Tunnel.remove(`${this.#options.directory ?? DIRECTORY}/${TUNNEL_NAMESPACE}`);
    const repaired = isDue && believed !== undefined ? changes.filter(({ row }) => believed.has(overlayKey(row))) : [];
    if (repaired.length > 0) {
      this.#options.logger.info({ repaired: repaired.map(({ row }) => overlayKey(row)) }, 'put overlay networks right');
    }
  }

  /** Without the encrypted networks, while there is no tunnel for them: nothing of them may be there. */
  async #reachable(state: NetworkState, isDue: boolean): Promise<NetworkState> {
    if (!hasEncrypted(state)) {
      this.#tunnelTrouble = undefined;
      return state;
    }
    const ensured = await this.#tunnel.ensure(state, this.#underlayMtu, isDue).catch((error: unknown) => ({ error }));
    if (ensured === true) await this.#removeEncrypted();
    const trouble = typeof ensured === 'object' ? ensured.error : undefined;
    if (trouble !== undefined && this.#tunnelTrouble === undefined) {
      this.#options.logger.warn({ reason: messageOf(trouble) }, 'encrypted networks are not reached');
    }
    this.#tunnelTrouble = trouble;
    if (trouble === undefined) return state;
    return { ...state, networks: new Map([...state.networks].filter(([, { encrypted }]) => !encrypted)) };
  }

  /** What went by a tunnel that is no more is still there for a moment: what is made anew must not be taken for it. */
  async #removeEncrypted(): Promise<void> {
    if (this.#inside === undefined) return;
    await this.#inside.kernel.removeEncrypted();
    this.#present = undefined;
  }

  /** Takes all of it away. */
  async #empty(): Promise<void> {
    this.#present = undefined;
    this.#places.clear();
    this.#offered.stop();
    await this.#inside?.namespace.close();
    this.#inside = undefined;
    await removeOverlayNetwork(this.#options.directory);
  }

  async #kernel(): Promise<OverlayKernel> {
    if (this.#inside !== undefined && !(await this.#inside.namespace.isNamed())) {
      // It ends some time after its last name is gone, and until then its devices stand in the way of new ones.
      this.#offered.stop();
      await removeLinks(this.#inside.namespace.netlink);
      await this.#inside.namespace.close();
      this.#inside = undefined;
      this.#present = undefined;
    }
    if (this.#inside === undefined) {
      const namespace = await NetworkNamespace.open(`${this.#options.directory ?? DIRECTORY}/${OVERLAY_NAMESPACE}`);
      const { netlink, ref } = namespace;
      const tunnel = { path: `${this.#options.directory ?? DIRECTORY}/${TUNNEL_NAMESPACE}` };
      this.#inside = { namespace, kernel: new OverlayKernel({ netlink, ref, underlay: this.#host, tunnel }) };
    }
    return this.#inside.kernel;
  }

  async #make(namespace: NamespaceRef, interfaces: readonly TaskInterface[]): Promise<void> {
    if (this.#inside === undefined) throw new ApiaryError('unavailable', 'the overlay networks are not there yet');
    const { kernel, namespace: inside } = this.#inside;
    try {
      await inside.netlink.apply(interfaces.flatMap((each) => kernel.attachment(namespace, each)));
      for (const each of interfaces) await kernel.addIpv6(namespace, each);
      await inside.netlink.apply(interfaces.flatMap((each) => kernel.ways(namespace, each)));
      const ports = interfaces.map(({ vni, address }) => portName(vni, address));
      await linksInUse(inside.netlink, ports);
    } catch (error) {
      for (const { vni, address } of interfaces) {
        await inside.netlink.tryAll([{ do: 'delete-link', link: portName(vni, address) }]);
      }
      throw error;
    }
  }

  /**
   * Gives tasks back the interfaces that they have lost.
   *
   * @returns keys of the ports that are still missing
   */
  async #reattach(state: NetworkState, changes: readonly OverlayChange[]): Promise<Set<string>> {
    const missing = new Set<string>();
    const ports = changes.flatMap(({ do: what, row }) => (what === 'add' && row.kind === 'port' ? [row] : []));
    if (ports.length === 0) return missing;
    for (const { taskId, attachments } of state.tasks.values()) {
      const lost = this.#interfacesOf(attachments).filter(({ vni, address }) =>
        ports.some((port) => port.vni === vni && port.address === address),
      );
      for (const each of lost) {
        if (await this.#isThere(each)) continue;
        const place = this.#places.get(taskId);
        const isSame = place?.inode !== undefined && (await inodeOfRef(place.namespace)) === place.inode;
        const made = isSame ? await this.#make(place.namespace, [each]).catch((error: unknown) => error) : 'unknown';
        if (made === undefined) continue;
        missing.add(overlayKey({ kind: 'port', vni: each.vni, address: each.address }));
        if (made === 'unknown') continue;
        this.#options.logger.warn({ task: taskId, reason: messageOf(made) }, 'cannot give a task its interface back');
      }
    }
    return missing;
  }

  async #isThere({ vni, address }: TaskInterface): Promise<boolean> {
    return (await this.#inside?.namespace.netlink.link(portName(vni, address))) !== undefined;
  }

  #interfacesOf(attachments: readonly TaskAttachment[]): TaskInterface[] {
    const named = attachments.filter(({ address }) => address !== '');
    return named.map(({ networkId, address, ipv6Address = '' }, i) => {
      const network = this.#networkOf(networkId);
      const subnets = [network.subnet, ...(network.otherSubnets ?? [])];
      const own = subnets.find((subnet) => isInSubnet(address, subnet)) ?? network.subnet;
      const { length: prefixLength } = parseIpv4Prefix(own);
      const otherSubnets = subnets.filter((subnet) => subnet !== own);
      const self = this.#state?.nodes.get(this.#state.selfId)?.addr ?? '';
      const mtu = networkMtu(network, this.#underlayMtu, self);
      const made = { vni: network.vni, address, prefixLength, name: `eth${i + 1}`, mtu, otherSubnets };
      const ipv6Prefix = network.ipv6Subnet?.split('/')[1];
      if (ipv6Address === '' || ipv6Prefix === undefined || !carriesIpv6(network, mtu)) return made;
      return { ...made, ipv6Address: `${ipv6Address}/${ipv6Prefix}` };
    });
  }

  /** @throws ApiaryError `failed-precondition` for a task that would not have its IPv6 address, which others are told */
  #refuseSmallLinks(attachments: readonly TaskAttachment[], interfaces: readonly TaskInterface[]): void {
    for (const { networkId, address, ipv6Address = '' } of attachments) {
      const made = interfaces.find((each) => each.address === address);
      if (ipv6Address === '' || made === undefined || made.ipv6Address !== undefined) continue;
      const { name } = this.#networkOf(networkId);
      const words = `network ${name}: a packet has at most ${made.mtu} bytes here, and IPv6 needs ${LEAST_IPV6_MTU}`;
      throw new ApiaryError('failed-precondition', `${words}: raise the MTU of the link between the hosts`);
    }
  }

  #networkOf(networkId: string): AssignedNetwork {
    const network = this.#state?.networks.get(networkId);
    if (network !== undefined && network.vni > 0) return network;
    throw new ApiaryError('failed-precondition', `network ${networkId}: the managers have not told this node of it`);
  }

  /** Of the link that has the address: what is sent between hosts leaves by it. */
  async #mtuOf(address: string): Promise<number> {
    const held = await this.#netlink.addresses();
    const own = held.find((each) => each.address.split('/')[0] === address);
    return (own && (await this.#netlink.link(own.link))?.mtu) ?? DEFAULT_MTU;
  }
}

function isInSubnet(address: string, subnet: string): boolean {
  const ip = parseIp(address);
  return ip !== undefined && networkContains(parseIpNetwork(subnet), ip);
}

function hasEncrypted({ networks }: NetworkState): boolean {
  return [...networks.values()].some(({ encrypted, vni }) => encrypted && vni > 0);
}

/** Takes away whatever of overlay networks is on this host, made by whichever process. None may be open. */
export async function removeOverlayNetwork(directory: string = DIRECTORY): Promise<void> {
  const path = `${directory}/${OVERLAY_NAMESPACE}`;
  if ((await inodeOf(path)) !== undefined) {
    const { netlink } = await NetworkNamespace.open(path);
    try {
      await removeLinks(netlink);
    } finally {
      await netlink.close();
    }
    await NetworkNamespace.remove(path);
  }
  await Tunnel.remove(`${directory}/${TUNNEL_NAMESPACE}`);
}

async function removeLinks(netlink: Netlink): Promise<void> {
  const ours = (await netlink.links()).filter(({ name }) => vniOfLink(name) !== undefined);
  await netlink.tryAll(ours.map(({ name }) => ({ do: 'delete-link', link: name })));
}

async function inodeOfRef(namespace: NamespaceRef): Promise<number | undefined> {
  return await inodeOf('pid' in namespace ? `/proc/${namespace.pid}/ns/net` : namespace.path);
}

function without(rows: OverlayRows, keys: ReadonlySet<string>): OverlayRows {
  return keys.size === 0 ? rows : new Map([...rows].filter(([key]) => !keys.has(key)));
}
