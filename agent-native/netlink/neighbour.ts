import type { NamespaceRef } from '../namespace.js';
import { type Fields, nameOf, numberOf, readFields, writeFields } from './fields.js';
import { AF_BRIDGE, AF_INET, AF_INET6, formatIp, formatMac, parseIp, parseMac } from './ip-address.js';
import { checkKeys } from './link.js';
import {
  attributesIn,
  type LinkRef,
  type MessageWriter,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
} from './message.js';

export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
const RTM_GETNEIGH = 30;

const NDA = { dst: 1, lladdr: 2, ifindex: 8, master: 9 } as const;
const NTF = { self: 0x02, master: 0x04, proxy: 0x08, extLearned: 0x10, sticky: 0x40, router: 0x80 } as const;
const HEADER_BYTES = 12;

const NEIGHBOUR_STATES = {
  none: 0,
  incomplete: 1,
  reachable: 2,
  stale: 4,
  delay: 8,
  probe: 0x10,
  failed: 0x20,
  noarp: 0x40,
  permanent: 0x80,
} as const;

/** As bridge(8) names them. A `permanent` entry of a bridge itself is an address of the host. */
const FDB_STATES = { dynamic: 2, stale: 4, static: 0x40, permanent: 0x80 } as const;

export interface NeighbourSettings {
  link: LinkRef;
  /** The neighbour's IP address. */
  address: string;
  /** Its MAC address; left out of an entry that only says `isProxy`. */
  mac?: string;
  /** `permanent` unless given. */
  state?: keyof typeof NEIGHBOUR_STATES;
  /** The host answers for the address. */
  isProxy?: boolean;
  isRouter?: boolean;
  /** Made by a control plane: the kernel never ages it. */
  isExternallyLearned?: boolean;
  /** Instead of being refused with `EEXIST`, changes the one that is there. */
  isReplacing?: boolean;
}

export interface Neighbour {
  link: number;
  family: 'ipv4' | 'ipv6';
  address: string;
  mac?: string;
  state: string;
  isProxy: boolean;
  isRouter: boolean;
  isExternallyLearned: boolean;
}

interface FdbTarget {
  /** Of a VXLAN device: the host that the frames go to. */
  destination?: string;
  port?: number;
  vni?: number;
  /** The underlay's link. */
  via?: LinkRef;
  vlan?: number;
}

const TARGET: Fields<FdbTarget> = {
  destination: { type: NDA.dst, kind: 'ip' },
  port: { type: 6, kind: 'be16' },
  vni: { type: 7, kind: 'u32' },
  via: { type: NDA.ifindex, kind: 'link' },
  vlan: { type: 5, kind: 'u16' },
};

/** An entry of a forwarding database: that of a VXLAN device, or of the bridge that `link` is a port of. */
export interface FdbSettings extends FdbTarget {
  link: LinkRef;
  /** All zeros stands for every address that has no entry of its own. */
  mac: string;
  /** Whose table: the device's own (`self`), or its bridge's (`master`). */
  table: 'self' | 'master';
  /** `permanent` for `self`, `static` for `master`, unless given. */
  state?: keyof typeof FDB_STATES;
  isExternallyLearned?: boolean;
  isSticky?: boolean;
  /** `fail` with `EEXIST` unless given; `append` adds one more destination to an address. */
  ifExists?: 'fail' | 'replace' | 'append';
}

export interface FdbEntry extends Omit<FdbTarget, 'via'> {
  link: number;
  mac: string;
  /** `self` and `master` are where it was found: entries of a bridge have its index as `master`. */
  table: 'self' | 'master';
  master?: number;
  via?: number;
  state: string;
  isExternallyLearned: boolean;
  isSticky: boolean;
}

const NEIGHBOUR_KEYS = ['link', 'address', 'mac', 'state', 'isProxy', 'isRouter', 'isExternallyLearned', 'isReplacing'];
const FDB_KEYS = ['link', 'mac', 'table', 'state', 'isExternallyLearned', 'isSticky', 'ifExists'];

export function writeNeighbour(writer: MessageWriter, entry: NeighbourSettings, scope?: NamespaceRef): void {
  checkKeys(entry, NEIGHBOUR_KEYS, 'a neighbour');
  const flags = NLM_F_CREATE | (entry.isReplacing === true ? NLM_F_REPLACE : NLM_F_EXCL);
  writer.message(RTM_NEWNEIGH, flags, scope, () => writeNeighbourBody(writer, entry));
}

export function writeNeighbourDeletion(writer: MessageWriter, entry: NeighbourSettings, scope?: NamespaceRef): void {
  checkKeys(entry, NEIGHBOUR_KEYS, 'a neighbour');
  writer.message(RTM_DELNEIGH, 0, scope, () => writeNeighbourBody(writer, entry));
}

function writeNeighbourBody(writer: MessageWriter, entry: NeighbourSettings): void {
  const ip = parseIp(entry.address);
  const flags =
    (entry.isProxy === true ? NTF.proxy : 0) |
    (entry.isRouter === true ? NTF.router : 0) |
    (entry.isExternallyLearned === true ? NTF.extLearned : 0);
  writeHeader(
    writer,
    ip.family,
    entry.link,
    numberOf(NEIGHBOUR_STATES, entry.state ?? 'permanent', 0xff, 'state'),
    flags,
  );
  writer.attributeBytes(NDA.dst, ip.bytes);
  if (entry.mac !== undefined) writer.attributeBytes(NDA.lladdr, parseMac(entry.mac));
}

export function writeFdb(writer: MessageWriter, entry: FdbSettings, scope?: NamespaceRef): void {
  const flags = {
    fail: NLM_F_CREATE | NLM_F_EXCL,
    replace: NLM_F_CREATE | NLM_F_REPLACE,
    append: NLM_F_CREATE | NLM_F_APPEND,
  };
  const how = entry.ifExists ?? 'fail';
  if (!Object.hasOwn(flags, how)) throw new TypeError(`ifExists "${how}" is unknown`);
  writer.message(RTM_NEWNEIGH, flags[how], scope, () => writeFdbBody(writer, entry));
}

export function writeFdbDeletion(writer: MessageWriter, entry: FdbSettings, scope?: NamespaceRef): void {
  writer.message(RTM_DELNEIGH, 0, scope, () => writeFdbBody(writer, entry));
}

function writeFdbBody(writer: MessageWriter, entry: FdbSettings): void {
  checkKeys(entry, [...FDB_KEYS, ...Object.keys(TARGET)], 'an FDB entry');
  const { link, mac, table, state, isExternallyLearned, isSticky, destination, port, vni, via, vlan } = entry;
  if (table !== 'self' && table !== 'master') throw new TypeError('an FDB entry is of table self or master');
  const flags = NTF[table] | (isExternallyLearned === true ? NTF.extLearned : 0) | (isSticky === true ? NTF.sticky : 0);
  const kept = numberOf(FDB_STATES, state ?? (table === 'self' ? 'permanent' : 'static'), 0xff, 'state');
  writeHeader(writer, AF_BRIDGE, link, kept, flags);
  writer.attributeBytes(NDA.lladdr, parseMac(mac));
  writeFields(writer, TARGET, { destination, port, vni, via, vlan } as FdbTarget, 'an FDB entry');
}

/** An ndmsg. */
function writeHeader(
  writer: MessageWriter,
  family: number,
  link: LinkRef | undefined,
  state: number,
  flags: number,
): void {
  writer.u32(family);
  writer.link(link);
  writer.u16(state);
  writer.u8(flags);
  writer.u8(0);
}

export function writeNeighbourDump(
  writer: MessageWriter,
  family: number,
  filter: { link?: LinkRef; isProxy?: boolean },
): void {
  writer.dump(RTM_GETNEIGH, () => {
    writeHeader(writer, family, undefined, 0, filter.isProxy === true ? NTF.proxy : 0);
    if (filter.link !== undefined) writer.attributeLink(NDA.ifindex, filter.link);
  });
}

export function writeFdbDump(writer: MessageWriter, filter: { link?: LinkRef; bridge?: LinkRef }): void {
  writer.dump(RTM_GETNEIGH, () => {
    writeHeader(writer, AF_BRIDGE, filter.link, 0, 0);
    if (filter.bridge !== undefined) writer.attributeLink(NDA.master, filter.bridge);
  });
}

/** Reads an ndmsg about a neighbour; undefined for what is none. */
export function readNeighbour(body: Buffer): Neighbour | undefined {
  const family = body.length < HEADER_BYTES ? 0 : body.readUInt8(0);
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  const attributes = attributesIn(body, HEADER_BYTES);
  const [address, mac, flags] = [attributes.get(NDA.dst), attributes.get(NDA.lladdr), body.readUInt8(10)];
  if (address === undefined) return undefined;
  return {
    link: body.readUInt32LE(4),
    family: family === AF_INET ? 'ipv4' : 'ipv6',
    address: formatIp(address),
    ...(mac && { mac: formatMac(mac) }),
    state: nameOf(NEIGHBOUR_STATES, body.readUInt16LE(8)),
    isProxy: (flags & NTF.proxy) !== 0,
    isRouter: (flags & NTF.router) !== 0,
    isExternallyLearned: (flags & NTF.extLearned) !== 0,
  };
}

/** Reads an ndmsg about an FDB entry; undefined for what is none. */
export function readFdbEntry(body: Buffer): FdbEntry | undefined {
  if (body.length < HEADER_BYTES || body.readUInt8(0) !== AF_BRIDGE) return undefined;
  const attributes = attributesIn(body, HEADER_BYTES);
  const mac = attributes.get(NDA.lladdr);
  if (mac === undefined) return undefined;
  const [flags, master] = [body.readUInt8(10), attributes.get(NDA.master)?.readUInt32LE()];
  const { via, ...target } = readFields(TARGET, attributes);
  return {
    ...target,
    ...(typeof via === 'number' && { via }),
    link: body.readUInt32LE(4),
    mac: formatMac(mac),
    table: (flags & NTF.self) !== 0 ? 'self' : 'master',
    ...(master && { master }),
    state: nameOf(FDB_STATES, body.readUInt16LE(8)),
    isExternallyLearned: (flags & NTF.extLearned) !== 0,
    isSticky: (flags & NTF.sticky) !== 0,
  };
}
