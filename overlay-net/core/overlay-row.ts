import { hexadecimal } from './mac-address.js';

/**
 * One thing that a host's kernel has, or should have, for the overlay networks.
 *
 * - `bridge`: what this host's tasks on a network, and the VXLAN device, are ports of.
 * - `vxlan`: leads to the other hosts. An encrypted network's sends from where there is nothing but the tunnel. One of
 *   IPv6 gets its multicasts, by which neighbours are asked for, and answers them.
 * - `port`: the host's end of a task's interface.
 * - `fdb`: frames for the MAC address go to the host `vtep`.
 * - `neighbour`: ARP for the address, or for one of IPv6 its neighbour solicitation, is answered here, with the MAC address.
 */
export type OverlayRow =
  | { kind: 'bridge'; vni: number; mtu: number }
  | { kind: 'vxlan'; vni: number; local: string; port: number; mtu: number; isEncrypted: boolean; hasIpv6: boolean }
  | { kind: 'port'; vni: number; address: string }
  | { kind: 'fdb'; vni: number; mac: string; vtep: string }
  | { kind: 'neighbour'; vni: number; address: string; mac: string };

/** By `overlayKey`. */
export type OverlayRows = ReadonlyMap<string, OverlayRow>;

/** What tells a row from every other that can be there beside it. */
export function overlayKey(row: OverlayRow): string {
  switch (row.kind) {
    case 'bridge':
    case 'vxlan':
      return `${row.kind} ${row.vni}`;
    case 'port':
    case 'neighbour':
      return `${row.kind} ${row.vni} ${row.address}`;
    case 'fdb':
      return `fdb ${row.vni} ${row.mac}`;
  }
}

export const BRIDGE_PREFIX = 'apb';
export const VXLAN_PREFIX = 'apv';

export function bridgeName(vni: number): string {
  return `${BRIDGE_PREFIX}${vni}`;
}

export function vxlanName(vni: number): string {
  return `${VXLAN_PREFIX}${vni}`;
}

/** Fifteen characters, as many as a link's name may have. */
export function portName(vni: number, address: string): string {
  return `t${vni.toString(16).padStart(6, '0')}${hexadecimal(address)}`;
}

/** Which network a link with such a name is of; undefined for one that is none of ours. */
export function vniOfLink(name: string): { kind: 'bridge' | 'vxlan' | 'port'; vni: number } | undefined {
  const [, prefix, number] = /^(apb|apv)(\d+)$/.exec(name) ?? [];
  if (prefix !== undefined) return { kind: prefix === BRIDGE_PREFIX ? 'bridge' : 'vxlan', vni: Number(number) };
  const [, digits] = /^t([0-9a-f]{6})[0-9a-f]{8}$/.exec(name) ?? [];
  return digits === undefined ? undefined : { kind: 'port', vni: Number.parseInt(digits, 16) };
}
