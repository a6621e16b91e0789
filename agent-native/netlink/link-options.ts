import type { Fields } from './fields.js';
import type { LinkRef } from './message.js';

/** Options of a VXLAN device. What is left out is the kernel's default. */
export interface VxlanOptions {
  /** The network's identifier, 0 to 2^24-1. */
  vni?: number;
  /** Group or address that frames without an entry go to; without it they are dropped. */
  remote?: string;
  /** The underlay's link. */
  underlay?: LinkRef;
  /** Source address of the encapsulated packets. */
  local?: string;
  ttl?: number;
  tos?: number;
  /** Source addresses become FDB entries by themselves. */
  learning?: boolean;
  ageingSeconds?: number;
  maxEntries?: number;
  /** UDP source ports: "32768-60999". */
  sourcePorts?: string;
  /** Answers ARP and neighbour solicitations from the neighbour table. */
  proxy?: boolean;
  routeShortCircuit?: boolean;
  l2Miss?: boolean;
  l3Miss?: boolean;
  /** UDP destination port; the kernel's own default is 8472, the assigned one 4789. */
  port?: number;
  udpChecksum?: boolean;
  udpZeroChecksum6Tx?: boolean;
  udpZeroChecksum6Rx?: boolean;
  /** Carry the packet's mark (group-based policy). */
  groupPolicy?: boolean;
  /** Where to send is told by each packet's metadata. */
  external?: boolean;
  /** 0 unset, 1 set, 2 inherited from the inner packet. */
  dontFragment?: number;
}

export const VXLAN: Fields<VxlanOptions> = {
  vni: { type: 1, kind: 'u32' },
  remote: { type: 2, type6: 16, kind: 'ip' },
  underlay: { type: 3, kind: 'link' },
  local: { type: 4, type6: 17, kind: 'ip' },
  ttl: { type: 5, kind: 'u8' },
  tos: { type: 6, kind: 'u8' },
  learning: { type: 7, kind: 'bool' },
  ageingSeconds: { type: 8, kind: 'u32' },
  maxEntries: { type: 9, kind: 'u32' },
  sourcePorts: { type: 10, kind: 'be16-range' },
  proxy: { type: 11, kind: 'bool' },
  routeShortCircuit: { type: 12, kind: 'bool' },
  l2Miss: { type: 13, kind: 'bool' },
  l3Miss: { type: 14, kind: 'bool' },
  port: { type: 15, kind: 'be16' },
  udpChecksum: { type: 18, kind: 'bool' },
  udpZeroChecksum6Tx: { type: 19, kind: 'bool' },
  udpZeroChecksum6Rx: { type: 20, kind: 'bool' },
  groupPolicy: { type: 23, kind: 'flag' },
  external: { type: 25, kind: 'bool' },
  dontFragment: { type: 29, kind: 'u8' },
};

/** Options of a bridge. */
export interface BridgeOptions {
  forwardDelayMs?: number;
  helloTimeMs?: number;
  maxAgeMs?: number;
  ageingTimeMs?: number;
  /** 0 off, 1 the kernel's, 2 a daemon's. */
  stp?: number;
  priority?: number;
  vlanFiltering?: boolean;
  groupForwardMask?: number;
  multicastSnooping?: boolean;
  multicastQuerier?: boolean;
  netfilterIptables?: boolean;
  netfilterIp6tables?: boolean;
  netfilterArptables?: boolean;
  vlanDefaultPvid?: number;
}

export const BRIDGE: Fields<BridgeOptions> = {
  forwardDelayMs: { type: 1, kind: 'centiseconds' },
  helloTimeMs: { type: 2, kind: 'centiseconds' },
  maxAgeMs: { type: 3, kind: 'centiseconds' },
  ageingTimeMs: { type: 4, kind: 'centiseconds' },
  stp: { type: 5, kind: 'u32' },
  priority: { type: 6, kind: 'u16' },
  vlanFiltering: { type: 7, kind: 'bool' },
  groupForwardMask: { type: 9, kind: 'u16' },
  multicastSnooping: { type: 23, kind: 'bool' },
  multicastQuerier: { type: 25, kind: 'bool' },
  netfilterIptables: { type: 36, kind: 'bool' },
  netfilterIp6tables: { type: 37, kind: 'bool' },
  netfilterArptables: { type: 38, kind: 'bool' },
  vlanDefaultPvid: { type: 39, kind: 'u16' },
};

/** Options of a bridge's port, whatever kind of link it is. */
export interface BridgePortOptions {
  priority?: number;
  cost?: number;
  hairpin?: boolean;
  bpduGuard?: boolean;
  rootBlock?: boolean;
  fastLeave?: boolean;
  learning?: boolean;
  unicastFlood?: boolean;
  proxyArp?: boolean;
  multicastFlood?: boolean;
  broadcastFlood?: boolean;
  groupForwardMask?: number;
  /** Answers ARP and neighbour solicitations that the neighbour table of the bridge can answer. */
  neighbourSuppression?: boolean;
  /** Isolated ports do not reach one another. */
  isolated?: boolean;
}

export const BRIDGE_PORT: Fields<BridgePortOptions> = {
  priority: { type: 2, kind: 'u16' },
  cost: { type: 3, kind: 'u32' },
  hairpin: { type: 4, kind: 'bool' },
  bpduGuard: { type: 5, kind: 'bool' },
  rootBlock: { type: 6, kind: 'bool' },
  fastLeave: { type: 7, kind: 'bool' },
  learning: { type: 8, kind: 'bool' },
  unicastFlood: { type: 9, kind: 'bool' },
  proxyArp: { type: 10, kind: 'bool' },
  multicastFlood: { type: 27, kind: 'bool' },
  broadcastFlood: { type: 30, kind: 'bool' },
  groupForwardMask: { type: 31, kind: 'u16' },
  neighbourSuppression: { type: 32, kind: 'bool' },
  isolated: { type: 33, kind: 'bool' },
};
