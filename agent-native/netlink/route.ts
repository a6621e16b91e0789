import type { NamespaceRef } from '../namespace.js';
import { SCOPES } from './address.js';
import { integer, nameOf, numberOf } from './fields.js';
import { AF_INET, AF_INET6, formatIp, type IpPrefix, parseIp, parsePrefix } from './ip-address.js';
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

export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;

const RTA = {
  dst: 1,
  oif: 4,
  gateway: 5,
  priority: 6,
  prefsrc: 7,
  metrics: 8,
  multipath: 9,
  table: 15,
  via: 18,
} as const;
const RTAX = { mtu: 2, advmss: 8 } as const;
const RTNH_F_ONLINK = 4;
const RTM_F_CLONED = 0x200;
const HEADER_BYTES = 12;
const NEXT_HOP_BYTES = 8;

const TYPES = { unicast: 1, local: 2, broadcast: 3, blackhole: 6, unreachable: 7, prohibit: 8, throw: 9 } as const;
/** Types that lead nowhere need no link, and are known everywhere. */
const WITHOUT_LINK = ['blackhole', 'unreachable', 'prohibit', 'throw'];
export const TABLES = { default: 253, main: 254, local: 255 } as const;
const PROTOCOLS = { unspecified: 0, redirect: 1, kernel: 2, boot: 3, static: 4, ra: 9, dhcp: 16 } as const;

export interface NextHop {
  gateway?: string;
  link?: LinkRef;
  /** The gateway is taken for a neighbour on `link`, whatever the link's addresses say. */
  isOnLink?: boolean;
  /** Share of the flows, 1 to 256. */
  weight?: number;
}

export interface RouteSettings {
  /** `10.1.0.0/24`, or `default`, which is IPv4's unless `gateway` or `family` says otherwise. */
  destination: string;
  family?: 'ipv4' | 'ipv6';
  gateway?: string;
  link?: LinkRef;
  isOnLink?: boolean;
  /** Instead of gateway and link: several, among which flows are shared out. */
  nextHops?: readonly NextHop[];
  table?: keyof typeof TABLES | number;
  type?: keyof typeof TYPES;
  /** By default `link` for a route without gateway, `host` for a local one, else `global`. */
  scope?: keyof typeof SCOPES | number;
  /** Who made it: `static` unless given; a number of one's own tells one's own routes apart. */
  protocol?: keyof typeof PROTOCOLS | number;
  metric?: number;
  /** Source address preferred for what is sent along it. */
  source?: string;
  tos?: number;
  mtu?: number;
  advertisedMss?: number;
  /** What happens when there is one with this destination, table, metric and tos: `fail` with EEXIST unless given. */
  ifExists?: 'fail' | 'replace' | 'append';
}

/** A route as the kernel describes it; links are indices. */
export interface Route {
  family: 'ipv4' | 'ipv6';
  destination: string;
  gateway?: string;
  link?: number;
  isOnLink: boolean;
  nextHops?: { gateway?: string; link: number; isOnLink: boolean; weight: number }[];
  table: number;
  type: string;
  scope: string;
  protocol: string;
  metric?: number;
  source?: string;
  tos: number;
  mtu?: number;
  advertisedMss?: number;
}

const KEYS = [
  'destination',
  'family',
  'gateway',
  'link',
  'isOnLink',
  'nextHops',
  'table',
  'type',
  'scope',
  'protocol',
  'metric',
  'source',
  'tos',
  'mtu',
  'advertisedMss',
  'ifExists',
];

export function writeRoute(writer: MessageWriter, route: RouteSettings, scope?: NamespaceRef): void {
  checkKeys(route, KEYS, 'a route');
  const flags = {
    fail: NLM_F_CREATE | NLM_F_EXCL,
    replace: NLM_F_CREATE | NLM_F_REPLACE,
    append: NLM_F_CREATE | NLM_F_APPEND,
  };
  const how = route.ifExists ?? 'fail';
  if (!Object.hasOwn(flags, how)) throw new TypeError(`ifExists "${how}" is unknown`);
  writer.message(RTM_NEWROUTE, flags[how], scope, () => {
    const reach =
      route.scope ??
      (route.type === 'local'
        ? 'host'
        : route.gateway === undefined && route.nextHops === undefined && !WITHOUT_LINK.includes(route.type ?? '')
          ? 'link'
          : 'global');
    writeBody(writer, route, numberOf(SCOPES, reach, 0xff, 'scope'), 'static', 'unicast');
  });
}

/** What is left out of a deletion matches anything. */
export function writeRouteDeletion(writer: MessageWriter, route: RouteSettings, scope?: NamespaceRef): void {
  checkKeys(route, KEYS, 'a route');
  writer.message(RTM_DELROUTE, 0, scope, () => {
    writeBody(writer, route, numberOf(SCOPES, route.scope ?? 'nowhere', 0xff, 'scope'), 0, undefined);
  });
}

function writeBody(
  writer: MessageWriter,
  route: RouteSettings,
  reach: number,
  protocol: string | number,
  type: keyof typeof TYPES | undefined,
): void {
  const destination = destinationOf(route);
  const table = numberOf(TABLES, route.table ?? 'main', 0xffffffff, 'table');
  const kind = route.type ?? type;
  writer.u8(destination.family);
  writer.u8(destination.prefixLength);
  writer.u8(0);
  writer.u8(integer(route.tos ?? 0, 0xff, 'tos'));
  writer.u8(table > 0xff ? 0 : table);
  writer.u8(numberOf(PROTOCOLS, route.protocol ?? protocol, 0xff, 'protocol'));
  writer.u8(reach);
  writer.u8(kind === undefined ? 0 : numberOf(TYPES, kind, 0xff, 'type'));
  writer.u32(route.isOnLink === true ? RTNH_F_ONLINK : 0);
  writer.attributeU32(RTA.table, table);
  if (destination.prefixLength > 0) writer.attributeBytes(RTA.dst, destination.bytes);
  writeGateway(writer, route.gateway, destination.family);
  if (route.link !== undefined) writer.attributeLink(RTA.oif, route.link);
  if (route.metric !== undefined) writer.attributeU32(RTA.priority, integer(route.metric, 0xffffffff, 'metric'));
  if (route.source !== undefined) writer.attributeBytes(RTA.prefsrc, parseIp(route.source).bytes);
  const { mtu, advertisedMss, nextHops } = route;
  if (mtu !== undefined || advertisedMss !== undefined) {
    writer.nested(RTA.metrics, () => {
      if (mtu !== undefined) writer.attributeU32(RTAX.mtu, integer(mtu, 0xffffffff, 'mtu'));
      if (advertisedMss !== undefined) {
        writer.attributeU32(RTAX.advmss, integer(advertisedMss, 0xffffffff, 'advertisedMss'));
      }
    });
  }
  if (nextHops !== undefined) {
    writer.nested(RTA.multipath, () => {
      for (const hop of nextHops) writeNextHop(writer, hop, destination.family);
    });
  }
}

/** A gateway of the other family (IPv4 over an IPv6 neighbour) has an attribute of its own. */
function writeGateway(writer: MessageWriter, gateway: string | undefined, family: number): void {
  if (gateway === undefined) return;
  const ip = parseIp(gateway);
  if (ip.family === family) writer.attributeBytes(RTA.gateway, ip.bytes);
  else writer.attributeBytes(RTA.via, Uint8Array.from([ip.family, 0, ...ip.bytes]));
}

function writeNextHop(writer: MessageWriter, hop: NextHop, family: number): void {
  const weight = hop.weight ?? 1;
  if (weight < 1) throw new TypeError("a next hop's weight is 1 to 256");
  const gateway = hop.gateway === undefined ? undefined : parseIp(hop.gateway);
  const attributeBytes = gateway === undefined ? 0 : 4 + gateway.bytes.length + (gateway.family === family ? 0 : 2);
  writer.u16(NEXT_HOP_BYTES + ((attributeBytes + 3) & ~3));
  writer.u8(hop.isOnLink === true ? RTNH_F_ONLINK : 0);
  writer.u8(integer(weight - 1, 0xff, 'weight'));
  writer.link(hop.link);
  writeGateway(writer, hop.gateway, family);
}

function destinationOf(route: RouteSettings): IpPrefix {
  if (route.destination !== 'default') return parsePrefix(route.destination);
  const gateway = route.gateway ?? route.nextHops?.find((hop) => hop.gateway !== undefined)?.gateway;
  const isIpv6 = route.family === 'ipv6' || (route.family === undefined && gateway?.includes(':') === true);
  return { family: isIpv6 ? AF_INET6 : AF_INET, bytes: new Uint8Array(isIpv6 ? 16 : 4), prefixLength: 0 };
}

export function writeRouteDump(
  writer: MessageWriter,
  family: number,
  filter: { table?: keyof typeof TABLES | number; link?: LinkRef; protocol?: keyof typeof PROTOCOLS | number },
): void {
  const { table, link, protocol } = filter;
  writer.dump(RTM_GETROUTE, () => {
    writer.u8(family);
    writer.u32(0);
    writer.u8(numberOf(PROTOCOLS, protocol ?? 0, 0xff, 'protocol'));
    writer.u16(0);
    writer.u32(0);
    if (table !== undefined) writer.attributeU32(RTA.table, numberOf(TABLES, table, 0xffffffff, 'table'));
    if (link !== undefined) writer.attributeLink(RTA.oif, link);
  });
}

/** Reads an rtmsg with its attributes; undefined for other families and for entries of a cache. */
export function readRoute(body: Buffer): Route | undefined {
  const family = body.length < HEADER_BYTES ? 0 : body.readUInt8(0);
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  const flags = body.readUInt32LE(8);
  if ((flags & RTM_F_CLONED) !== 0) return undefined;
  const attributes = attributesIn(body, HEADER_BYTES);
  const u32 = (type: number) => attributes.get(type)?.readUInt32LE();
  const length = body.readUInt8(1);
  const zeros = Buffer.alloc(family === AF_INET ? 4 : 16);
  const destination = length === 0 ? 'default' : `${formatIp(attributes.get(RTA.dst) ?? zeros)}/${length}`;
  const metrics = attributesIn(attributes.get(RTA.metrics) ?? Buffer.alloc(0));
  const [gateway, link, metric] = [readGateway(attributes), u32(RTA.oif), u32(RTA.priority)];
  const [source, hops] = [attributes.get(RTA.prefsrc), attributes.get(RTA.multipath)];
  const [mtu, advertisedMss] = [metrics.get(RTAX.mtu)?.readUInt32LE(), metrics.get(RTAX.advmss)?.readUInt32LE()];
  return {
    family: family === AF_INET ? 'ipv4' : 'ipv6',
    destination,
    ...(gateway && { gateway }),
    ...(link && { link }),
    isOnLink: (flags & RTNH_F_ONLINK) !== 0,
    ...(hops && { nextHops: readNextHops(hops) }),
    table: u32(RTA.table) ?? body.readUInt8(4),
    type: nameOf(TYPES, body.readUInt8(7)),
    scope: nameOf(SCOPES, body.readUInt8(6)),
    protocol: nameOf(PROTOCOLS, body.readUInt8(5)),
    ...(metric && { metric }),
    ...(source && { source: formatIp(source) }),
    tos: body.readUInt8(3),
    ...(mtu && { mtu }),
    ...(advertisedMss && { advertisedMss }),
  };
}

function readGateway(attributes: Map<number, Buffer>): string | undefined {
  const own = attributes.get(RTA.gateway) ?? attributes.get(RTA.via)?.subarray(2);
  return own === undefined ? undefined : formatIp(own);
}

function readNextHops(bytes: Buffer): NonNullable<Route['nextHops']> {
  const hops: NonNullable<Route['nextHops']> = [];
  for (let at = 0; at + NEXT_HOP_BYTES <= bytes.length; ) {
    const length = bytes.readUInt16LE(at);
    if (length < NEXT_HOP_BYTES || at + length > bytes.length) break;
    const gateway = readGateway(attributesIn(bytes.subarray(at, at + length), NEXT_HOP_BYTES));
    hops.push({
      ...(gateway && { gateway }),
      link: bytes.readUInt32LE(at + 4),
      isOnLink: (bytes.readUInt8(at + 2) & RTNH_F_ONLINK) !== 0,
      weight: bytes.readUInt8(at + 3) + 1,
    });
    at += (length + 3) & ~3;
  }
  return hops;
}
