import type { Test } from 'tap';
import { type Change, Netlink } from '../index.js';
import { networkOf } from '../kernel.fixture.js';

/** A namespace of the test's own, a connection into it, and its name for ip(8). */
export async function network(t: Test, label = 'a') {
  const { path, name } = await networkOf(t, label);
  const net = await Netlink.open({ namespace: { path } });
  t.teardown(() => net.close());
  return { net, name, space: { path } };
}

export const BRIDGE: Change = { do: 'add-link', link: { kind: 'bridge', name: 'br0', isUp: true } };
export const VXLAN: Change = {
  do: 'add-link',
  link: { kind: 'vxlan', name: 'vx0', isUp: true, vxlan: { vni: 7, port: 4789, learning: false } },
};

export function mac(i: number): string {
  return `02:00:00:${[i >> 16, (i >> 8) & 0xff, i & 0xff].map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`;
}
