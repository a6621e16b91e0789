import type { NamespaceRef } from '../namespace.js';
import { integer, nameOf, numberOf } from './fields.js';
import { AF_INET, AF_INET6, formatIp, parseIp, parsePrefix } from './ip-address.js';
import { checkKeys } from './link.js';
import {
  attributesIn,
  type LinkRef,
  type MessageWriter,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  textOf,
} from './message.js';

export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
const RTM_GETADDR = 22;

const IFA = { address: 1, local: 2, label: 3, broadcast: 4, flags: 8, rtPriority: 9 } as const;
const IFA_F = { nodad: 0x02, dadfailed: 0x08, tentative: 0x40, noprefixroute: 0x200 } as const;
const HEADER_BYTES = 8;

/** How far an address or a route reaches. Any other number stands for itself. */
export const SCOPES = { global: 0, site: 200, link: 253, host: 254, nowhere: 255 } as const;

export interface AddressSettings {
  link: LinkRef;
  /** With the length of its network: `10.0.0.2/24`. */
  address: string;
  /** The other end of a point-to-point link. */
  peer?: string;
  broadcast?: string;
  label?: string;
  scope?: keyof typeof SCOPES | number;
  /** The kernel adds no route to the network of the address. */
  hasNoPrefixRoute?: boolean;
  /** IPv6: usable at once, without looking for a duplicate. */
  isWithoutDuplicateDetection?: boolean;
  /** Metric of the route to its network. */
  metric?: number;
  /**
   * Instead of being refused with `EEXIST`, changes the one that is there: of an IPv4 address the kernel changes the
   * metric alone.
   */
  isReplacing?: boolean;
}

/** An address as the kernel describes it. */
export interface Address {
  link: number;
  family: 'ipv4' | 'ipv6';
  address: string;
  peer?: string;
  broadcast?: string;
  label?: string;
  scope: string;
  hasNoPrefixRoute: boolean;
  isTentative: boolean;
  isDuplicate: boolean;
}

const KEYS = [
  'link',
  'address',
  'peer',
  'broadcast',
  'label',
  'scope',
  'hasNoPrefixRoute',
  'isWithoutDuplicateDetection',
  'metric',
  'isReplacing',
];

export function writeAddress(writer: MessageWriter, settings: AddressSettings, scope?: NamespaceRef): void {
  checkKeys(settings, KEYS, 'an address');
  const flags = NLM_F_CREATE | (settings.isReplacing === true ? NLM_F_REPLACE : NLM_F_EXCL);
  writer.message(RTM_NEWADDR, flags, scope, () => writeBody(writer, settings));
}

export function writeAddressDeletion(
  writer: MessageWriter,
  { link, address, peer }: Pick<AddressSettings, 'link' | 'address' | 'peer'>,
  scope?: NamespaceRef,
): void {
  writer.message(RTM_DELADDR, 0, scope, () => writeBody(writer, { link, address, ...(peer && { peer }) }));
}

function writeBody(writer: MessageWriter, settings: AddressSettings): void {
  const local = parsePrefix(settings.address);
  const flags =
    (settings.hasNoPrefixRoute === true ? IFA_F.noprefixroute : 0) |
    (settings.isWithoutDuplicateDetection === true ? IFA_F.nodad : 0);
  const reach = numberOf(SCOPES, settings.scope ?? 'global', 0xff, 'scope');
  writer.u8(local.family);
  writer.u8(local.prefixLength);
  writer.u8(0);
  writer.u8(reach);
  writer.link(settings.link);
  writer.attributeBytes(IFA.local, local.bytes);
  writer.attributeBytes(IFA.address, settings.peer === undefined ? local.bytes : parseIp(settings.peer).bytes);
  if (settings.broadcast !== undefined) writer.attributeBytes(IFA.broadcast, parseIp(settings.broadcast).bytes);
  if (settings.label !== undefined) writer.attributeText(IFA.label, settings.label);
  if (flags !== 0) writer.attributeU32(IFA.flags, flags);
  if (settings.metric !== undefined) {
    writer.attributeU32(IFA.rtPriority, integer(settings.metric, 0xffffffff, 'metric'));
  }
}

export function writeAddressDump(writer: MessageWriter, family: number, link: LinkRef | undefined): void {
  writer.dump(RTM_GETADDR, () => {
    writer.u8(family);
    writer.u8(0);
    writer.u16(0);
    writer.link(link);
  });
}

/** Reads an ifaddrmsg with its attributes. */
export function readAddress(body: Buffer): Address | undefined {
  const family = body.length < HEADER_BYTES ? 0 : body.readUInt8(0);
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  const attributes = attributesIn(body, HEADER_BYTES);
  const other = attributes.get(IFA.address);
  const own = attributes.get(IFA.local) ?? other;
  if (own === undefined) return undefined;
  const flags = attributes.get(IFA.flags)?.readUInt32LE() ?? body.readUInt8(2);
  const [broadcast, label] = [attributes.get(IFA.broadcast), attributes.get(IFA.label)];
  return {
    link: body.readUInt32LE(4),
    family: family === AF_INET ? 'ipv4' : 'ipv6',
    address: `${formatIp(own)}/${body.readUInt8(1)}`,
    ...(other && !other.equals(own) && { peer: formatIp(other) }),
    ...(broadcast && { broadcast: formatIp(broadcast) }),
    ...(label && { label: textOf(label) }),
    scope: nameOf(SCOPES, body.readUInt8(3)),
    hasNoPrefixRoute: (flags & IFA_F.noprefixroute) !== 0,
    isTentative: (flags & IFA_F.tentative) !== 0,
    isDuplicate: (flags & IFA_F.dadfailed) !== 0,
  };
}
