import type { NamespaceRef } from '../namespace.js';
import { integer, nameOf, readFields, writeFields } from './fields.js';
import { formatMac, parseMac } from './ip-address.js';
import {
  BRIDGE,
  BRIDGE_PORT,
  type BridgeOptions,
  type BridgePortOptions,
  VXLAN,
  type VxlanOptions,
} from './link-options.js';
import {
  attributesIn,
  checkName,
  type LinkRef,
  type MessageWriter,
  NLM_F_CREATE,
  NLM_F_EXCL,
  textOf,
} from './message.js';

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;

const IFLA = {
  address: 1,
  ifname: 3,
  mtu: 4,
  link: 5,
  master: 10,
  txqlen: 13,
  operstate: 16,
  linkinfo: 18,
  ifalias: 20,
  afSpec: 26,
  group: 27,
  netNsFd: 28,
  extMask: 29,
  linkNetnsid: 37,
  altIfname: 53,
} as const;
const INFO = { kind: 1, data: 2, slaveKind: 4, slaveData: 5 } as const;
const VETH_INFO_PEER = 1;
const AF_INET6 = 10;
const IFLA_INET6_ADDR_GEN_MODE = 8;
const IFF = { up: 1, loopback: 8, noarp: 0x80, promiscuous: 0x100, lowerUp: 0x10000 } as const;
/** Leaves the counters out of dumps. */
const RTEXT_FILTER_SKIP_STATS = 8;
const HEADER_BYTES = 16;
const OPER_STATES = { unknown: 0, notpresent: 1, down: 2, lowerlayerdown: 3, testing: 4, dormant: 5, up: 6 } as const;
const ADDRESS_GENERATION = { eui64: 0, none: 1, 'stable-privacy': 2, random: 3 } as const;

/** What every link has. Left out: as it is, or the kernel's default. */
export interface LinkSettings {
  isUp?: boolean;
  mtu?: number;
  /** Its MAC address. */
  address?: string;
  txQueueLength?: number;
  group?: number;
  isArpOff?: boolean;
  isPromiscuous?: boolean;
  /** The bridge that it is a port of; null for none. */
  master?: LinkRef | null;
}

/** The other end of a veth. The kernel cannot set it up at once, as it has no peer yet: that takes a change of its own. */
export interface PeerLink extends Pick<LinkSettings, 'mtu' | 'address' | 'txQueueLength'> {
  name: string;
  /** The index that it is to have. */
  index?: number;
  /** Where it is made. */
  namespace?: NamespaceRef;
}

export interface NewLinkSettings extends LinkSettings {
  name: string;
  /** The index that it is to have. */
  index?: number;
  /** Where it is made; a VXLAN device keeps its UDP socket where the message is sent. */
  namespace?: NamespaceRef;
}

/** A link to be made. */
export type NewLink = NewLinkSettings &
  (
    | { kind: 'vxlan'; vxlan: VxlanOptions }
    | { kind: 'bridge'; bridge?: BridgeOptions }
    | { kind: 'veth'; peer: PeerLink }
    | { kind: 'dummy' | 'ifb' | 'wireguard' }
  );

/** What is to be different of a link. */
export interface LinkChange extends LinkSettings {
  /** Its new name; the link must be down. */
  name?: string;
  namespace?: NamespaceRef;
  /** How its link-local IPv6 address comes about; `none` for a link without one. */
  ipv6AddressGeneration?: keyof typeof ADDRESS_GENERATION;
  /** A text for people. The kernel would ignore it, as it would an ipv6AddressGeneration, for a new link. */
  alias?: string;
  vxlan?: VxlanOptions;
  bridge?: BridgeOptions;
  /** Options of it as a bridge's port. It must be one already: not in the change that sets `master`. */
  port?: BridgePortOptions;
}

/** A link as the kernel describes it. */
export interface Link {
  index: number;
  name: string;
  /** `vxlan`, `veth`, `bridge`, ...; empty for what has none, as hardware and the loopback. */
  kind: string;
  isUp: boolean;
  hasCarrier: boolean;
  isLoopback: boolean;
  isPromiscuous: boolean;
  isArpOff: boolean;
  operState: string;
  mtu: number;
  address: string;
  txQueueLength: number;
  group: number;
  alias?: string;
  /** The index of the bridge. */
  master?: number;
  /** The other end of a veth, the underlay of a VXLAN: an index in the namespace `linkNamespaceId`, or in this one. */
  parent?: number;
  linkNamespaceId?: number;
  vxlan?: VxlanOptions;
  bridge?: BridgeOptions;
  port?: BridgePortOptions;
}

const NEW_LINK_KEYS = ['name', 'index', 'namespace', 'kind', 'vxlan', 'bridge', 'peer'];
const PEER_KEYS = ['name', 'index', 'namespace', 'mtu', 'address', 'txQueueLength'];
const CHANGE_KEYS = ['name', 'namespace', 'alias', 'ipv6AddressGeneration', 'vxlan', 'bridge', 'port'];
const SETTING_KEYS = ['isUp', 'mtu', 'address', 'txQueueLength', 'group', 'isArpOff', 'isPromiscuous', 'master'];

export function writeNewLink(writer: MessageWriter, link: NewLink, scope?: NamespaceRef): void {
  checkKeys(link, [...NEW_LINK_KEYS, ...SETTING_KEYS], 'a new link');
  checkName(link.name);
  writer.message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, scope, () => {
    writeHeader(writer, link, link.index);
    writer.attributeText(IFLA.ifname, link.name);
    if (link.namespace !== undefined) writer.attributeNamespace(IFLA.netNsFd, link.namespace);
    writeSettings(writer, link);
    writer.nested(IFLA.linkinfo, () => {
      writer.attributeText(INFO.kind, link.kind);
      if (link.kind === 'vxlan') writer.nested(INFO.data, () => writeFields(writer, VXLAN, link.vxlan, 'vxlan'));
      if (link.kind === 'bridge') {
        writer.nested(INFO.data, () => writeFields(writer, BRIDGE, link.bridge ?? {}, 'bridge'));
      }
      if (link.kind === 'veth') {
        writer.nested(INFO.data, () => writer.nested(VETH_INFO_PEER, () => writePeer(writer, link.peer)));
      }
    });
  });
}

function writePeer(writer: MessageWriter, peer: PeerLink): void {
  checkKeys(peer, PEER_KEYS, 'a peer');
  checkName(peer.name);
  writeHeader(writer, {}, peer.index);
  writer.attributeText(IFLA.ifname, peer.name);
  if (peer.namespace !== undefined) writer.attributeNamespace(IFLA.netNsFd, peer.namespace);
  writeSettings(writer, peer);
}

export function writeLinkChange(writer: MessageWriter, ref: LinkRef, change: LinkChange, scope?: NamespaceRef): void {
  checkKeys(change, [...CHANGE_KEYS, ...SETTING_KEYS], 'a change of a link');
  writer.message(RTM_NEWLINK, 0, scope, () => {
    writeHeader(writer, change, ref);
    if (change.name !== undefined) {
      checkName(change.name);
      writer.attributeText(IFLA.ifname, change.name);
    }
    if (change.namespace !== undefined) writer.attributeNamespace(IFLA.netNsFd, change.namespace);
    writeSettings(writer, change);
    const { vxlan, bridge, port, alias, ipv6AddressGeneration: generation } = change;
    if (alias !== undefined) writer.attributeText(IFLA.ifalias, alias);
    if (generation !== undefined) {
      if (!Object.hasOwn(ADDRESS_GENERATION, generation))
        throw new TypeError(`ipv6AddressGeneration "${generation}" is unknown`);
      writer.nested(IFLA.afSpec, () =>
        writer.nested(AF_INET6, () => writer.attributeU8(IFLA_INET6_ADDR_GEN_MODE, ADDRESS_GENERATION[generation])),
      );
    }
    if (vxlan !== undefined || bridge !== undefined || port !== undefined) {
      writer.nested(IFLA.linkinfo, () => {
        if (vxlan !== undefined) writeKind(writer, 'vxlan', () => writeFields(writer, VXLAN, vxlan, 'vxlan'));
        if (bridge !== undefined) writeKind(writer, 'bridge', () => writeFields(writer, BRIDGE, bridge, 'bridge'));
        if (port !== undefined) {
          writer.attributeText(INFO.slaveKind, 'bridge');
          writer.nested(INFO.slaveData, () => writeFields(writer, BRIDGE_PORT, port, 'port'));
        }
      });
    }
  });
}

function writeKind(writer: MessageWriter, kind: string, write: () => void): void {
  writer.attributeText(INFO.kind, kind);
  writer.nested(INFO.data, write);
}

export function writeLinkDeletion(writer: MessageWriter, ref: LinkRef, scope?: NamespaceRef): void {
  writer.message(RTM_DELLINK, 0, scope, () => writeHeader(writer, {}, ref));
}

/** Asks for one link. */
export function writeLinkQuery(writer: MessageWriter, ref: LinkRef): void {
  writer.message(RTM_GETLINK, 0, undefined, () => {
    writeHeader(writer, {}, typeof ref === 'number' ? ref : undefined);
    if (typeof ref === 'string') {
      checkName(ref);
      writer.attributeText(Buffer.byteLength(ref) < 16 ? IFLA.ifname : IFLA.altIfname, ref);
    }
    writer.attributeU32(IFLA.extMask, RTEXT_FILTER_SKIP_STATS);
  });
}

export function writeLinkDump(writer: MessageWriter, filter: { master?: LinkRef; kind?: string }): void {
  writer.dump(RTM_GETLINK, () => {
    writeHeader(writer, {}, undefined);
    writer.attributeU32(IFLA.extMask, RTEXT_FILTER_SKIP_STATS);
    if (filter.master !== undefined) writer.attributeLink(IFLA.master, filter.master);
    const { kind } = filter;
    if (kind !== undefined) writer.nested(IFLA.linkinfo, () => writer.attributeText(INFO.kind, kind));
  });
}

/** An ifinfomsg: the flags that are to change, and their values. */
function writeHeader(writer: MessageWriter, settings: LinkSettings, ref: LinkRef | undefined): void {
  const asked: [boolean | undefined, number][] = [
    [settings.isUp, IFF.up],
    [settings.isArpOff, IFF.noarp],
    [settings.isPromiscuous, IFF.promiscuous],
  ];
  writer.u32(0);
  writer.link(ref);
  writer.u32(asked.reduce((flags, [value, flag]) => (value === true ? flags | flag : flags), 0));
  writer.u32(asked.reduce((mask, [value, flag]) => (value === undefined ? mask : mask | flag), 0));
}

function writeSettings(writer: MessageWriter, settings: LinkSettings): void {
  const { mtu, address, txQueueLength, group, master } = settings;
  if (mtu !== undefined) writer.attributeU32(IFLA.mtu, integer(mtu, 0xffffffff, 'mtu'));
  if (address !== undefined) writer.attributeBytes(IFLA.address, parseMac(address));
  if (txQueueLength !== undefined) {
    writer.attributeU32(IFLA.txqlen, integer(txQueueLength, 0xffffffff, 'txQueueLength'));
  }
  if (group !== undefined) writer.attributeU32(IFLA.group, integer(group, 0xffffffff, 'group'));
  if (master !== undefined) writer.attributeLink(IFLA.master, master ?? 0);
}

/** @throws TypeError when `value` has a key that is not among `known` */
export function checkKeys(value: object, known: readonly string[], what: string): void {
  const stranger = Object.keys(value).find((key) => !known.includes(key));
  if (stranger !== undefined) throw new TypeError(`${what} has no "${stranger}"`);
}

/** Reads an ifinfomsg with its attributes; undefined for one about a bridge's port alone. */
export function readLink(body: Buffer): Link | undefined {
  if (body.length < HEADER_BYTES || body.readUInt8(0) !== 0) return undefined;
  const attributes = attributesIn(body, HEADER_BYTES);
  const info = attributesIn(attributes.get(IFLA.linkinfo) ?? Buffer.alloc(0));
  const flags = body.readUInt32LE(8);
  const u32 = (type: number) => attributes.get(type)?.readUInt32LE();
  const kind = textOf(info.get(INFO.kind) ?? Buffer.alloc(0));
  const data = () => attributesIn(info.get(INFO.data) ?? Buffer.alloc(0));
  const alias = attributes.get(IFLA.ifalias);
  const port = info.get(INFO.slaveData);
  const [master, parent, linkNamespaceId] = [u32(IFLA.master), u32(IFLA.link), u32(IFLA.linkNetnsid)];
  const isPort = textOf(info.get(INFO.slaveKind) ?? Buffer.alloc(0)) === 'bridge' && port !== undefined;
  return {
    index: body.readInt32LE(4),
    name: textOf(attributes.get(IFLA.ifname) ?? Buffer.alloc(0)),
    kind,
    isUp: (flags & IFF.up) !== 0,
    hasCarrier: (flags & IFF.lowerUp) !== 0,
    isLoopback: (flags & IFF.loopback) !== 0,
    isPromiscuous: (flags & IFF.promiscuous) !== 0,
    isArpOff: (flags & IFF.noarp) !== 0,
    operState: nameOf(OPER_STATES, attributes.get(IFLA.operstate)?.readUInt8() ?? 0),
    mtu: u32(IFLA.mtu) ?? 0,
    address: formatMac(attributes.get(IFLA.address) ?? Buffer.alloc(0)),
    txQueueLength: u32(IFLA.txqlen) ?? 0,
    group: u32(IFLA.group) ?? 0,
    ...(alias && { alias: textOf(alias) }),
    ...(master && { master }),
    ...(parent && { parent }),
    ...(linkNamespaceId !== undefined && { linkNamespaceId }),
    ...(kind === 'vxlan' && { vxlan: readFields(VXLAN, data()) }),
    ...(kind === 'bridge' && { bridge: readFields(BRIDGE, data()) }),
    ...(isPort && { port: readFields(BRIDGE_PORT, attributesIn(port)) }),
  };
}
