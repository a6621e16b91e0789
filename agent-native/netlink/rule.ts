import type { NamespaceRef } from '../namespace.js';
import { type Fields, integer, nameOf, numberOf, readFields, writeFields } from './fields.js';
import { AF_INET, AF_INET6, formatIp, parsePrefix } from './ip-address.js';
import { checkKeys } from './link.js';
import { attributesIn, type MessageWriter, NLM_F_CREATE, NLM_F_EXCL } from './message.js';
import { TABLES } from './route.js';

export const RTM_NEWRULE = 32;
export const RTM_DELRULE = 33;
const RTM_GETRULE = 34;

const FRA = { dst: 1, src: 2, table: 15 } as const;
const ACTIONS = { lookup: 1, goto: 2, nop: 3, blackhole: 6, unreachable: 7, prohibit: 8 } as const;
const FIB_RULE_INVERT = 2;
const HEADER_BYTES = 12;

interface RuleMatch {
  priority?: number;
  /** Name of the link that a packet came in by; `lo` for what the host itself sends. */
  inputLink?: string;
  outputLink?: string;
  mark?: number;
  /** The bits of the packet's mark that are compared; all of them unless given. */
  markMask?: number;
  /** Makes a lookup pass on routes whose prefixes are no longer than this. */
  suppressPrefixLength?: number;
  gotoPriority?: number;
  ipProtocol?: number;
  sourcePorts?: string;
  destinationPorts?: string;
  /** Who made it. */
  protocol?: number;
}

const MATCH: Fields<RuleMatch> = {
  priority: { type: 6, kind: 'u32' },
  inputLink: { type: 3, kind: 'text' },
  outputLink: { type: 17, kind: 'text' },
  mark: { type: 10, kind: 'u32' },
  markMask: { type: 16, kind: 'u32' },
  suppressPrefixLength: { type: 14, kind: 'u32' },
  gotoPriority: { type: 4, kind: 'u32' },
  ipProtocol: { type: 22, kind: 'u8' },
  sourcePorts: { type: 23, kind: 'u16-range' },
  destinationPorts: { type: 24, kind: 'u16-range' },
  protocol: { type: 21, kind: 'u8' },
};

/** A rule of policy routing. */
export interface RuleSettings extends RuleMatch {
  family: 'ipv4' | 'ipv6';
  /** The packet's addresses: prefixes. */
  source?: string;
  destination?: string;
  tos?: number;
  /** Applies to what does not match. */
  isInverted?: boolean;
  /** `lookup` in `table` unless given. */
  action?: keyof typeof ACTIONS;
  table?: keyof typeof TABLES | number;
}

/** A rule as the kernel describes it. */
export interface Rule extends RuleMatch {
  family: 'ipv4' | 'ipv6';
  source?: string;
  destination?: string;
  tos: number;
  isInverted: boolean;
  action: string;
  table: number;
}

const OWN_KEYS = ['family', 'source', 'destination', 'tos', 'isInverted', 'action', 'table'];

/** The kernel takes the same rule twice unless EXCL says otherwise. */
export function writeRule(writer: MessageWriter, rule: RuleSettings, scope?: NamespaceRef): void {
  writer.message(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, scope, () => writeBody(writer, rule, 'lookup'));
}

/** Deletes the first rule that has everything that is given. */
export function writeRuleDeletion(writer: MessageWriter, rule: RuleSettings, scope?: NamespaceRef): void {
  writer.message(RTM_DELRULE, 0, scope, () => writeBody(writer, rule, undefined));
}

function writeBody(writer: MessageWriter, rule: RuleSettings, action: 'lookup' | undefined): void {
  checkKeys(rule, [...OWN_KEYS, ...Object.keys(MATCH)], 'a rule');
  const family = familyOf(rule.family);
  const [source, destination] = [rule.source, rule.destination].map((prefix) => {
    const parsed = prefix === undefined ? undefined : parsePrefix(prefix);
    if (parsed !== undefined && parsed.family !== family)
      throw new TypeError(`"${prefix}" is not of the rule's family`);
    return parsed;
  });
  const isLookup = (rule.action ?? action) === 'lookup';
  const table = numberOf(TABLES, rule.table ?? (isLookup ? 'main' : 0), 0xffffffff, 'table');
  const act = rule.action ?? action;
  writer.u8(family);
  writer.u8(destination?.prefixLength ?? 0);
  writer.u8(source?.prefixLength ?? 0);
  writer.u8(integer(rule.tos ?? 0, 0xff, 'tos'));
  writer.u8(table > 0xff ? 0 : table);
  writer.u16(0);
  writer.u8(act === undefined ? 0 : numberOf(ACTIONS, act, 0xff, 'action'));
  writer.u32(rule.isInverted === true ? FIB_RULE_INVERT : 0);
  if (destination !== undefined) writer.attributeBytes(FRA.dst, destination.bytes);
  if (source !== undefined) writer.attributeBytes(FRA.src, source.bytes);
  if (table > 0) writer.attributeU32(FRA.table, table);
  const match = Object.fromEntries(Object.entries(rule).filter(([key]) => !OWN_KEYS.includes(key)));
  writeFields(writer, MATCH, match as RuleMatch, 'a rule');
}

function familyOf(family: 'ipv4' | 'ipv6'): number {
  if (family !== 'ipv4' && family !== 'ipv6')
    throw new TypeError(`a rule is of family ipv4 or ipv6, not ${String(family)}`);
  return family === 'ipv4' ? AF_INET : AF_INET6;
}

export function writeRuleDump(writer: MessageWriter, family: number): void {
  writer.dump(RTM_GETRULE, () => writer.bytes(Uint8Array.from([family, ...new Array<number>(11).fill(0)])));
}

/** Reads a fib_rule_hdr with its attributes. */
export function readRule(body: Buffer): Rule | undefined {
  const family = body.length < HEADER_BYTES ? 0 : body.readUInt8(0);
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  const attributes = attributesIn(body, HEADER_BYTES);
  const prefix = (type: number, length: number) => {
    const bytes = attributes.get(type);
    return bytes && `${formatIp(bytes)}/${length}`;
  };
  const [destination, source] = [prefix(FRA.dst, body.readUInt8(1)), prefix(FRA.src, body.readUInt8(2))];
  const { suppressPrefixLength, ...match } = readFields(MATCH, attributes);
  return {
    ...match,
    // The kernel says "none" with all bits set.
    ...(suppressPrefixLength !== undefined && suppressPrefixLength !== 0xffffffff && { suppressPrefixLength }),
    priority: match.priority ?? 0,
    family: family === AF_INET ? 'ipv4' : 'ipv6',
    ...(source && { source }),
    ...(destination && { destination }),
    tos: body.readUInt8(3),
    isInverted: (body.readUInt32LE(8) & FIB_RULE_INVERT) !== 0,
    action: nameOf(ACTIONS, body.readUInt8(7)),
    table: attributes.get(FRA.table)?.readUInt32LE() ?? body.readUInt8(4),
  };
}
