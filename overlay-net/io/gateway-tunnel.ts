import type { Change, Link, Netlink } from '@apiary/agent-native';
import { ApiaryError } from '@apiary/std';
import {
  type GatewayPeer,
  LINK_GROUPS,
  type TunnelEnd,
  tunnelChanges,
  tunnelMac,
  tunnelRows,
  VXLAN_BYTES,
} from '../core/index.js';
import { soleAddressChanges } from './host-address.js';
import { GATEWAY_TUNNEL } from './kernel-names.js';
import { ensureLinkSettings } from './link-settings.js';
import { presentRows, presentRules, tunnelRowChange } from './tunnel-row-change.js';
import { TunnelShortcut } from './tunnel-shortcut.js';

/** Its network on the wire: one number for all hosts, that no user's network has. */
const VNI = 97;

/**
 * What comes in may have any source: a client of another host, or one on this very host that took the way by another.
 * These hold whatever is set for all links.
 */
const ANY_SOURCE = { rp_filter: '2', accept_local: '1', src_valid_mark: '1' } as const;
/** Replies to clients on loopback come in by it. */
const TO_LOOPBACK = { route_localnet: '1' } as const;

/**
 * The ways of a gateway network to the other hosts, over a routed VXLAN device whose neighbours are all known, so that nothing is
 * asked for, flooded or learned.
 */
export class GatewayTunnel {
  readonly #netlink: Netlink;
  readonly #gateway: string;
  readonly #shortcut: TunnelShortcut;

  /**
   * @param gateway  this host's address on its gateway network
   * @param onSlow   called when packets to other hosts cannot go past the device, which costs CPU time and nothing else
   */
  constructor(netlink: Netlink, gateway: string, onSlow: (reason: string) => void = () => {}) {
    this.#netlink = netlink;
    this.#gateway = gateway;
    this.#shortcut = new TunnelShortcut({ vni: VNI, gateway, onRefusal: onSlow });
  }

  /**
   * Puts right what is not as it should be; without peers there is no tunnel.
   *
   * @returns what was put right, in words
   */
  async ensure(end: TunnelEnd | undefined, peers: readonly GatewayPeer[]): Promise<string[]> {
    const reached = end === undefined ? [] : peers;
    const underlay = end === undefined ? undefined : await this.#underlay(end);
    const { tunnel, repaired } = await this.#ensureTunnel(end, reached, underlay?.mtu);
    const wanted = tunnelRows(reached, this.#gateway);
    const { remove, add } = tunnelChanges(wanted, await presentRows(this.#netlink, 'ipv4', tunnel));
    const refused = await this.#netlink.tryAll(remove.map((row) => tunnelRowChange('delete', row, 'ipv4')));
    const error = refused.find((each) => each !== undefined && !['ENOENT', 'ESRCH'].includes(each.code));
    if (error !== undefined) throw error;
    await this.#netlink.apply(add.map((row) => tunnelRowChange('add', row, 'ipv4')));
    if (remove.length + add.length > 0) repaired.push(`routes to ${reached.length} hosts`);
    if (end === undefined || tunnel === undefined) await this.close();
    else repaired.push(...(await this.#shortcut.ensure({ tunnel, underlay }, end, reached)));
    return repaired;
  }

  /** Looks after it no more: what is sent to other hosts goes by the device again. */
  async close(): Promise<void> {
    await this.#shortcut.close();
  }

  /** Takes it away, made by whichever process. */
  async remove(): Promise<void> {
    const rules = (await presentRules(this.#netlink, 'ipv4')).map((row) => tunnelRowChange('delete', row, 'ipv4'));
    // Routes and neighbours go with the device.
    const refused = await this.#netlink.tryAll([...rules, { do: 'delete-link', link: GATEWAY_TUNNEL }]);
    const error = refused.find((each) => each !== undefined && !['ENOENT', 'ENODEV'].includes(each.code));
    if (error !== undefined) throw error;
  }

  /** @returns the device as it is then */
  async #ensureTunnel(
    end: TunnelEnd | undefined,
    peers: readonly GatewayPeer[],
    underlayMtu = 1_500,
  ): Promise<{ tunnel: Link | undefined; repaired: string[] }> {
    const link = await this.#netlink.link(GATEWAY_TUNNEL);
    // What fits into the underlay's packets.
    const mtu = underlayMtu - VXLAN_BYTES[end?.local.includes(':') ? 'ipv6' : 'ipv4'];
    if (end !== undefined && peers.length > 0) {
      const isRepaired = await this.#ensureLink(end, link, mtu);
      if (!isRepaired) return { tunnel: link, repaired: [] };
      return { tunnel: await this.#netlink.link(GATEWAY_TUNNEL), repaired: [GATEWAY_TUNNEL] };
    }
    if (link === undefined) return { tunnel: undefined, repaired: [] };
    await this.#netlink.apply([{ do: 'delete-link', link: GATEWAY_TUNNEL }]);
    return { tunnel: undefined, repaired: [GATEWAY_TUNNEL] };
  }

  /** @returns whether something was put right */
  async #ensureLink(end: TunnelEnd, link: Link | undefined, mtu: number): Promise<boolean> {
    const isOther =
      link !== undefined &&
      (link.vxlan?.vni !== VNI || link.vxlan.local !== end.local || link.vxlan.port !== end.port || link.mtu !== mtu);
    if (link !== undefined && link.kind !== 'vxlan') {
      throw new ApiaryError('failed-precondition', `link ${GATEWAY_TUNNEL} is no VXLAN device: remove it`);
    }
    if (isOther) await this.#netlink.apply([{ do: 'delete-link', link: GATEWAY_TUNNEL }]);
    const present = isOther ? undefined : link;
    if (present === undefined) await this.#makeLink(end, mtu);
    const changes = present === undefined ? [] : await this.#linkChanges(present);
    await this.#netlink.apply(changes);
    const isSet = await ensureLinkSettings('ipv4', GATEWAY_TUNNEL, { ...ANY_SOURCE, ...TO_LOOPBACK });
    return present === undefined || changes.length > 0 || isSet;
  }

  async #makeLink({ local, port }: TunnelEnd, mtu: number): Promise<void> {
    await this.#netlink.apply([
      {
        do: 'add-link',
        link: {
          kind: 'vxlan',
          name: GATEWAY_TUNNEL,
          address: tunnelMac(this.#gateway),
          mtu,
          group: LINK_GROUPS.tunnel,
          vxlan: { vni: VNI, local, port, learning: false },
        },
      },
      { do: 'set-link', link: GATEWAY_TUNNEL, to: { ipv6AddressGeneration: 'none' } },
      { do: 'add-address', address: { link: GATEWAY_TUNNEL, address: `${this.#gateway}/32` } },
      { do: 'set-link', link: GATEWAY_TUNNEL, to: { isUp: true } },
    ]);
  }

  async #linkChanges({ index, isUp, address, group }: Link): Promise<Change[]> {
    const mac = tunnelMac(this.#gateway);
    const changes = await soleAddressChanges(this.#netlink, index, `${this.#gateway}/32`);
    const isRight = isUp && address === mac && group === LINK_GROUPS.tunnel;
    const to = { isUp: true, address: mac, group: LINK_GROUPS.tunnel };
    return isRight ? changes : [...changes, { do: 'set-link', link: index, to }];
  }

  /** The link that has the address by which the others reach this host. */
  async #underlay({ local }: TunnelEnd): Promise<Link | undefined> {
    const held = (await this.#netlink.addresses()).find(({ address }) => address.split('/')[0] === local);
    return held === undefined ? undefined : await this.#netlink.link(held.link);
  }
}
