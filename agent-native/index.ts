/**
 * The Linux kernel's own interfaces: rtnetlink, mounts, namespaces, sysctls and BPF.
 * Plain values in and out, no policy: what should be there is decided elsewhere. Everything is asynchronous, on threads of
 * the addon's own; what the kernel refuses rejects with a KernelError that has its number and its words.
 */

export { Assembler, BPF_FUNCTIONS, type Instructions, type Register, type Width } from './bpf/assembler.js';
export { type BpfEntry, BpfMap, type BpfMapOptions, type BpfMapType } from './bpf/map.js';
export { type BpfObject, bpfIds, unpin } from './bpf/object.js';
export {
  attachedPrograms,
  type BpfAttachType,
  BpfLink,
  BpfProgram,
  type BpfProgramOptions,
  type BpfProgramType,
  type CgroupAttachment,
} from './bpf/program.js';
export { type Gate, type GateOptions, openGate } from './fuse/gate.js';
export { trimHeap } from './heap.js';
export { KernelError } from './kernel-error.js';
export * from './mount.js';
export {
  createNetworkNamespace,
  deleteNetworkNamespace,
  type NamespaceRef,
  networkNamespaceCookie,
  openSocketIn,
  type SocketEnds,
} from './namespace.js';
export type { Address, AddressSettings } from './netlink/address.js';
export type { Change } from './netlink/change.js';
export { Conntrack, type Flow, type FlowEnd } from './netlink/conntrack.js';
export { IpsecPolicies } from './netlink/ipsec.js';
export type { Link, LinkChange, LinkSettings, NewLink, PeerLink } from './netlink/link.js';
export type { BridgeOptions, BridgePortOptions, VxlanOptions } from './netlink/link-options.js';
export type { LinkRef } from './netlink/message.js';
export type { FdbEntry, FdbSettings, Neighbour, NeighbourSettings } from './netlink/neighbour.js';
export { type FamilyFilter, Netlink } from './netlink/netlink.js';
export type { NextHop, Route, RouteSettings } from './netlink/route.js';
export type { Rule, RuleSettings } from './netlink/rule.js';
export { generationAfter, Ruleset, type RulesetChange, type TranslationTarget } from './netlink/ruleset.js';
export { RulesetWatch, type RulesetWatchOptions } from './netlink/ruleset-watch.js';
export { endUdpSockets } from './netlink/udp-sockets.js';
export { type NetworkEvent, NetworkWatch, type WatchOptions, type WatchSubject } from './netlink/watch.js';
export { type SocketPeer, socketPeer } from './socket-peer.js';
export { readSysctls, writeSysctls } from './sysctl.js';
