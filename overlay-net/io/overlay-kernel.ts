import {
  type Change,
  type FdbEntry,
  type KernelError,
  type Link,
  type NamespaceRef,
  type Netlink,
  writeSysctls,
} from '@apiary/agent-native';
import { ApiaryError, systemCodeOf } from '@apiary/std';
import {
  bridgeName,
  linkLocalOf,
  macOf,
  type OverlayChange,
  type OverlayRow,
  overlayKey,
  portName,
  vniOfLink,
  vxlanName,
} from '../core/index.js';

/** A port learns nothing, and gets no frame that is for an address that is not known to be there. */
const TASK_PORT = { learning: false, unicastFlood: false };
/** What is for nobody here goes to the VXLAN device, which has a row for whoever is elsewhere, and drops the rest. */
const VXLAN_PORT = { learning: false, unicastFlood: true };

/** The group of links that says of a VXLAN device that it is an encrypted network's: nothing else tells where it sends from. */
const ENCRYPTED_GROUP = 0x61;

/** What a task's interface is to be. */
export interface TaskInterface {
  vni: number;
  address: string;
  /** Of the network. */
  prefixLength: number;
  /** `eth1` */
  name: string;
  mtu: number;
  /** With the length of the network's prefix. */
  ipv6Address?: string;
  /** More subnets that are reached by it, without a gateway. */
  otherSubnets?: readonly string[];
}

export interface OverlayKernelOptions {
  /** To the namespace that has the bridges, the ports and the VXLAN devices. */
  netlink: Netlink;
  ref: NamespaceRef;
  /** Where the encapsulated packets of plain networks come from and go to. */
  underlay: NamespaceRef;
  /** The same for encrypted ones. */
  tunnel: NamespaceRef;
}

/** What the kernel has of `OverlayRow`s, and how it gets others. */
export class OverlayKernel {
  readonly #netlink: Netlink;
  readonly #options: OverlayKernelOptions;
  /** Links of ours that are there but not as they should be. */
  #wrong = new Set<string>();
  /** VXLAN devices that are known to have IPv6. */
  readonly #ipv6Links = new Set<string>();

  constructor(options: OverlayKernelOptions) {
    this.#netlink = options.netlink;
    this.#options = options;
  }

  /** All that is there as it should be. What is there otherwise is made anew when it is added. */
  async look(): Promise<Map<string, OverlayRow>> {
    const [links, fdb, neighbours] = await Promise.all([
      this.#netlink.links(),
      this.#netlink.fdb(),
      this.#netlink.neighbours(),
    ]);
    const rows = new Map<string, OverlayRow>();
    const names = new Map(links.map(({ name, index }) => [name, index]));
    const statics = new Set(fdb.flatMap((entry) => (entry.table === 'master' ? [`${entry.link} ${entry.mac}`] : [])));
    const vxlans = new Map<number, number>();
    this.#wrong = new Set();
    this.#ipv6Links.clear();
    for (const link of links) {
      const named = vniOfLink(link.name);
      if (named === undefined) continue;
      const row = rowOf(link, named, names.get(bridgeName(named.vni)), statics);
      if (row === undefined) this.#wrong.add(link.name);
      else rows.set(overlayKey(row), row);
      if (row?.kind === 'vxlan') vxlans.set(link.index, row.vni);
    }
    for (const entry of fdb) {
      const row = forwardingRow(entry, vxlans.get(entry.link));
      if (row !== undefined) rows.set(overlayKey(row), row);
    }
    for (const { link, address, mac = '', state } of neighbours) {
      const vni = vxlans.get(link);
      if (vni === undefined || state !== 'permanent') continue;
      const row: OverlayRow = { kind: 'neighbour', vni, address, mac };
      rows.set(overlayKey(row), row);
    }
    return rows;
  }

  /** @returns what was refused */
  async perform(changes: readonly OverlayChange[]): Promise<KernelError[]> {
    const ofIpv6 = changes.filter(isIpv6Neighbour);
    const refused = await this.#write(changes.filter((change) => !isIpv6Neighbour(change)));
    if (ofIpv6.length === 0) return refused;
    for (const name of new Set(ofIpv6.map(({ row }) => vxlanName(row.vni)))) await this.#enableIpv6(name);
    return [...refused, ...(await this.#write(ofIpv6))];
  }

  async #write(changes: readonly OverlayChange[]): Promise<KernelError[]> {
    const writes = changes.flatMap((change) => this.#writes(change));
    const errors = await this.#netlink.tryAll(writes);
    return errors.filter((error, i) => error !== undefined && !isGoneAnyway(writes[i], error)) as KernelError[];
  }

  /** The namespace has no IPv6, and the kernel takes no neighbours of it for a link without: this one has, but no address. */
  async #enableIpv6(name: string): Promise<void> {
    if (this.#ipv6Links.has(name)) return;
    await this.#netlink.tryAll([{ do: 'set-link', link: name, to: { ipv6AddressGeneration: 'none' } }]);
    await writeSysctls({ [`net/ipv6/conf/${name}/disable_ipv6`]: 0 }, this.#options.ref).catch((error: unknown) => {
      // The device was just taken away; or the kernel has no IPv6, which the attaching of a task says.
      if (systemCodeOf(error) !== 'ENOENT') throw error;
    });
    this.#ipv6Links.add(name);
  }

  /** Takes away what the last look found wrong and is of none of these networks. */
  async removeStrays(vnis: ReadonlySet<number>): Promise<void> {
    const strays = [...this.#wrong].filter((name) => !vnis.has(vniOfLink(name)?.vni ?? 0));
    await this.#netlink.tryAll(strays.map((link) => ({ do: 'delete-link', link })));
    for (const name of strays) this.#wrong.delete(name);
  }

  /** Takes away the devices of encrypted networks. */
  async removeEncrypted(): Promise<void> {
    const links = (await this.#netlink.links()).filter(
      ({ kind, group }) => kind === 'vxlan' && group === ENCRYPTED_GROUP,
    );
    await this.#netlink.tryAll(links.map(({ name }) => ({ do: 'delete-link', link: name })));
  }

  /** What gives a namespace its interface, in one go; one of IPv6 is up once `addIpv6` has done its part. */
  attachment(namespace: NamespaceRef, { vni, address, prefixLength, name, mtu, ipv6Address }: TaskInterface): Change[] {
    const port = portName(vni, address);
    const peer = { name, namespace, address: macOf(address), mtu };
    return [
      { do: 'add-link', link: { kind: 'veth', name: port, mtu, peer } },
      ...portWrites(vni, address),
      { in: namespace, do: 'add-address', address: { link: name, address: `${address}/${prefixLength}` } },
      ...(ipv6Address === undefined ? [upIn(namespace, name)] : []),
    ];
  }

  /**
   * Gives a namespace's interface IPv6, at once and of our making alone: nobody else has the addresses, so that there is
   * nothing to look for, and what neighbours say of routers is not believed.
   *
   * @throws ApiaryError `failed-precondition` when this host has no IPv6, KernelError
   */
  async addIpv6(namespace: NamespaceRef, { name, address, ipv6Address }: TaskInterface): Promise<void> {
    if (ipv6Address === undefined) return;
    const settings = `net/ipv6/conf/${name}`;
    try {
      await this.#netlink.apply([{ in: namespace, do: 'set-link', link: name, to: { ipv6AddressGeneration: 'none' } }]);
      await writeSysctls({ [`${settings}/accept_ra`]: 0, [`${settings}/disable_ipv6`]: 0 }, namespace);
    } catch (error) {
      throw withoutIpv6(error, name, ipv6Address);
    }
    const add = (text: string): Change => ({
      in: namespace,
      do: 'add-address',
      address: { link: name, address: text, isWithoutDuplicateDetection: true },
    });
    await this.#netlink.apply([add(`${linkLocalOf(address)}/64`), add(ipv6Address), upIn(namespace, name)]);
  }

  /** What leads to the other subnets of the interface's network, once it is up. */
  ways(namespace: NamespaceRef, { name, otherSubnets = [] }: TaskInterface): Change[] {
    return otherSubnets.map((destination) => ({
      in: namespace,
      do: 'add-route',
      route: { destination, link: name, scope: 'link', ifExists: 'replace' },
    }));
  }

  /** What makes an interface in a namespace, for somebody else to give it its address. */
  offer(namespace: NamespaceRef, { vni, address, name, mtu }: TaskInterface): Change[] {
    const peer = { name, namespace, address: macOf(address), mtu };
    return [
      { do: 'add-link', link: { kind: 'veth', name: portName(vni, address), mtu, peer } },
      ...portWrites(vni, address),
    ];
  }

  /** @throws ApiaryError `failed-precondition` when somebody is to give a link of this host an address that it cannot have */
  async refuseWithoutIpv6(namespace: NamespaceRef, { name, ipv6Address }: TaskInterface): Promise<void> {
    if (ipv6Address === undefined) return;
    // As it is already, but the kernel takes it for a link that can have IPv6 alone.
    const to = { ipv6AddressGeneration: 'eui64' } as const;
    await this.#netlink.apply([{ in: namespace, do: 'set-link', link: name, to }]).catch((error: unknown) => {
      throw withoutIpv6(error, name, ipv6Address);
    });
  }

  #writes({ do: what, row }: OverlayChange): Change[] {
    switch (row.kind) {
      case 'bridge':
      case 'vxlan': {
        const name = row.kind === 'bridge' ? bridgeName(row.vni) : vxlanName(row.vni);
        if (what === 'remove') return [{ do: 'delete-link', link: name }];
        if (what === 'change') return [{ do: 'set-link', link: name, to: { mtu: row.mtu } }];
        this.#ipv6Links.delete(name);
        const made = row.kind === 'bridge' ? bridgeWrites(name, row.mtu) : this.#vxlanWrites(name, row);
        return this.#wrong.delete(name) ? [{ do: 'delete-link', link: name }, ...made] : made;
      }
      case 'port': {
        const name = portName(row.vni, row.address);
        if (what === 'remove') return [{ do: 'delete-link', link: name }];
        return this.#wrong.delete(name) ? portWrites(row.vni, row.address) : [];
      }
      case 'fdb': {
        const fdb = { link: vxlanName(row.vni), mac: row.mac, table: 'self', destination: row.vtep } as const;
        if (what === 'remove') return [{ do: 'delete-fdb', fdb }];
        return [{ do: 'add-fdb', fdb: { ...fdb, ifExists: 'replace' } }];
      }
      case 'neighbour': {
        const neighbour = { link: vxlanName(row.vni), address: row.address, mac: row.mac };
        if (what === 'remove') return [{ do: 'delete-neighbour', neighbour }];
        return [{ do: 'add-neighbour', neighbour: { ...neighbour, isReplacing: true } }];
      }
    }
  }

  /** The device is made where its packets come from and go to, and put beside the bridge: it keeps its socket there. */
  #vxlanWrites(name: string, row: Extract<OverlayRow, { kind: 'vxlan' }>): Change[] {
    const { ref, underlay, tunnel } = this.#options;
    const { vni, local, port, mtu, isEncrypted, hasIpv6 } = row;
    const vxlan = { vni, local, port, learning: false, proxy: true };
    const group = isEncrypted ? ENCRYPTED_GROUP : 0;
    return [
      {
        in: isEncrypted ? tunnel : underlay,
        do: 'add-link',
        link: { kind: 'vxlan', name, namespace: ref, mtu, group, vxlan },
      },
      { do: 'set-link', link: name, to: { master: bridgeName(vni) } },
      { do: 'set-link', link: name, to: { port: { ...VXLAN_PORT, multicastFlood: hasIpv6 } } },
      { do: 'set-link', link: name, to: { isUp: true } },
    ];
  }
}

function withoutIpv6(error: unknown, name: string, address: string): unknown {
  if (!['EAFNOSUPPORT', 'ENOENT'].includes(systemCodeOf(error) ?? '')) return error;
  const words = `${name} cannot have ${address}: this host's kernel runs without IPv6`;
  return new ApiaryError('failed-precondition', words, { cause: error });
}

function upIn(namespace: NamespaceRef, name: string): Change {
  return { in: namespace, do: 'set-link', link: name, to: { isUp: true } };
}

/** Adding it takes IPv6 on its link. */
function isIpv6Neighbour({ do: what, row }: OverlayChange): boolean {
  return what !== 'remove' && row.kind === 'neighbour' && row.address.includes(':');
}

/** What was to be taken away went by itself, as a port does with its task. */
function isGoneAnyway(write: Change | undefined, { code }: KernelError): boolean {
  return write?.do.startsWith('delete-') === true && (code === 'ENODEV' || code === 'ENOENT');
}

function bridgeWrites(name: string, mtu: number): Change[] {
  return [
    {
      do: 'add-link',
      // It answers nothing itself: the namespace has no address to answer for.
      link: { kind: 'bridge', name, mtu, isArpOff: true, bridge: { stp: 0, multicastSnooping: false } },
    },
    { do: 'set-link', link: name, to: { isUp: true } },
  ];
}

function portWrites(vni: number, address: string): Change[] {
  const name = portName(vni, address);
  return [
    { do: 'set-link', link: name, to: { master: bridgeName(vni) } },
    { do: 'set-link', link: name, to: { port: TASK_PORT } },
    { do: 'set-link', link: name, to: { isUp: true } },
    { do: 'add-fdb', fdb: { link: name, mac: macOf(address), table: 'master', ifExists: 'replace' } },
  ];
}

type Named = NonNullable<ReturnType<typeof vniOfLink>>;

/** The row that a link of ours is; undefined for one that is not as it should be. */
function rowOf(
  link: Link,
  { kind, vni }: Named,
  bridge: number | undefined,
  statics: ReadonlySet<string>,
): OverlayRow | undefined {
  const { isUp, mtu, master, port, vxlan } = link;
  if (!isUp) return undefined;
  if (kind === 'bridge') return link.kind === 'bridge' ? { kind, vni, mtu } : undefined;
  if (master !== bridge || port?.learning !== false) return undefined;
  if (kind === 'port') {
    const [a = 0, b = 0, c = 0, d = 0] = (link.name.slice(-8).match(/../g) ?? []).map((octet) => parseInt(octet, 16));
    const address = `${a}.${b}.${c}.${d}`;
    const isRight = port.unicastFlood === false && statics.has(`${link.index} ${macOf(address)}`);
    return isRight ? { kind, vni, address } : undefined;
  }
  const isRight = port.unicastFlood === true && vxlan?.learning === false && vxlan.proxy === true;
  if (!isRight || vxlan.vni !== vni || vxlan.local === undefined || vxlan.port === undefined) return undefined;
  const isEncrypted = link.group === ENCRYPTED_GROUP;
  const hasIpv6 = port.multicastFlood !== false;
  return { kind, vni, local: vxlan.local, port: vxlan.port, mtu, isEncrypted, hasIpv6 };
}

function forwardingRow({ table, destination, mac }: FdbEntry, vni: number | undefined): OverlayRow | undefined {
  if (vni === undefined || table !== 'self' || destination === undefined) return undefined;
  return { kind: 'fdb', vni, mac, vtep: destination };
}
