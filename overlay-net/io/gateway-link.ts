import type { Link, Netlink } from '@apiary/agent-native';
import { ApiaryError } from '@apiary/std';
import { type GatewaySubnet, macOf, overlap, parseIpv4Prefix } from '../core/index.js';
import type { GatewayPorts } from './gateway-ports.js';
import { nowhere, nowhereChanges, soleAddressChanges } from './host-address.js';
import { GATEWAY_LINK, OWN_LINKS } from './kernel-names.js';

const LONGEST_MTU = 1_500;

/** The link of a gateway network that has the host's own address, which is every task's gateway. */
export class GatewayLink {
  readonly #netlink: Netlink;
  readonly #subnet: GatewaySubnet;
  readonly #ports: GatewayPorts;
  /** Of the way out, so that what tasks send need not be broken up there. */
  readonly mtu: number;

  private constructor(netlink: Netlink, subnet: GatewaySubnet, ports: GatewayPorts, mtu: number) {
    this.#netlink = netlink;
    this.#subnet = subnet;
    this.#ports = ports;
    this.mtu = mtu;
  }

  /** @throws ApiaryError when the subnet is somebody else's, or the link; KernelError */
  static async open(netlink: Netlink, subnet: GatewaySubnet, ports: GatewayPorts): Promise<GatewayLink> {
    await refuseOverlap(netlink, subnet);
    const link = new GatewayLink(netlink, subnet, ports, await uplinkMtu(netlink));
    await link.ensure();
    return link;
  }

  /** @returns what was put right, in words */
  async ensure(): Promise<string[]> {
    const link = await this.#netlink.link(GATEWAY_LINK);
    return link === undefined ? await this.#make() : await this.#ensure(link);
  }

  get #address(): string {
    return `${this.#subnet.gateway}/32`;
  }

  async #make(): Promise<string[]> {
    const name = GATEWAY_LINK;
    await this.#netlink.apply([
      { do: 'add-link', link: { kind: 'bridge', name, address: macOf(this.#subnet.gateway), mtu: this.mtu } },
      { do: 'set-link', link: name, to: { ipv6AddressGeneration: 'none' } },
      { do: 'add-address', address: { link: name, address: this.#address } },
      { do: 'set-link', link: name, to: { isUp: true } },
      nowhere(this.#subnet.subnet),
    ]);
    return [name];
  }

  async #ensure({ index, kind, isUp }: Link): Promise<string[]> {
    if (kind !== 'bridge') {
      throw new ApiaryError('failed-precondition', `link ${GATEWAY_LINK} is no bridge: remove it`);
    }
    const changes = await soleAddressChanges(this.#netlink, index, this.#address);
    const other = changes.find((change) => change.do === 'delete-address');
    if (other !== undefined && (await this.#ports.all()).some(({ address }) => !this.#isOwn(address))) {
      const message = `${GATEWAY_LINK} is in use with address ${other.address.address}: by another swarmd on this host?`;
      throw new ApiaryError('failed-precondition', message);
    }
    if (!isUp) changes.push({ do: 'set-link', link: index, to: { isUp: true } });
    changes.push(...(await nowhereChanges(this.#netlink, this.#subnet.subnet)));
    await this.#netlink.apply(changes);
    return changes.length === 0 ? [] : [`address of ${GATEWAY_LINK}`];
  }

  #isOwn(address: string): boolean {
    return overlap(parseIpv4Prefix(this.#subnet.subnet), parseIpv4Prefix(`${address}/32`));
  }
}

/** What is sent to the host's own network would go to tasks. */
async function refuseOverlap(netlink: Netlink, { subnet }: GatewaySubnet): Promise<void> {
  const own = parseIpv4Prefix(subnet);
  for (const { link, address } of await netlink.addresses({ family: 'ipv4' })) {
    if (!overlap(own, parseIpv4Prefix(address))) continue;
    const name = (await netlink.link(link))?.name ?? 'another link';
    if (OWN_LINKS.includes(name)) continue;
    const message = `gateway subnet ${subnet} overlaps ${address}, the address of ${name}`;
    throw new ApiaryError('failed-precondition', message);
  }
}

async function uplinkMtu(netlink: Netlink): Promise<number> {
  const routes = await netlink.routes({ family: 'ipv4', table: 'main' });
  const way = routes.find(({ destination }) => destination === 'default' || destination === '0.0.0.0/0');
  const uplink = way?.link === undefined ? undefined : await netlink.link(way.link);
  return Math.min(uplink?.mtu ?? LONGEST_MTU, LONGEST_MTU);
}
