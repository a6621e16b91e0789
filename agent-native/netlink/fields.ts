import { AF_INET, formatIp, formatMac, parseIp, parseMac } from './ip-address.js';
import { type LinkRef, type MessageWriter, textOf } from './message.js';

/** How a value of ours is written as an attribute's bytes, and read back. */
type FieldKind =
  | 'u8'
  | 'u16'
  | 'u32'
  /** 16 bits in network order: a port. */
  | 'be16'
  /** One byte, 0 or 1. */
  | 'bool'
  /** One byte, 1 or 0: the kernel says the opposite of ours. */
  | 'not'
  /** Present or not. */
  | 'flag'
  | 'text'
  /** The index of a link. */
  | 'link'
  | 'mac'
  /** An address; `type` is the attribute's for IPv4, `type6` that for IPv6. */
  | 'ip'
  /** Milliseconds of ours, hundredths of a second of the kernel's. */
  | 'centiseconds'
  /** Two ports in network order: "low-high". */
  | 'be16-range'
  /** Two 16-bit numbers: "low-high". */
  | 'u16-range';

export interface Field {
  type: number;
  type6?: number;
  kind: FieldKind;
}

/** One line for each key that a group of options may have. */
export type Fields<Options> = Readonly<Record<keyof Options & string, Field>>;

const LIMITS = { u8: 0xff, u16: 0xffff, be16: 0xffff, u32: 0xffffffff, centiseconds: 0xffffffff * 10 } as const;

/** Writes those of `options` that are defined; a key that is not in the table is refused. */
export function writeFields<Options extends object>(
  writer: MessageWriter,
  fields: Fields<Options>,
  options: Options,
  group: string,
): void {
  for (const [key, value] of Object.entries(options)) {
    const field = Object.hasOwn(fields, key) ? fields[key as keyof Options & string] : undefined;
    if (field === undefined) throw new TypeError(`${group} has no option "${key}"`);
    if (value !== undefined) writeField(writer, field, value, `${group} ${key}`);
  }
}

function writeField(writer: MessageWriter, { type, type6, kind }: Field, value: unknown, name: string): void {
  switch (kind) {
    case 'u8':
      writer.attributeU8(type, integer(value, LIMITS.u8, name));
      break;
    case 'u16':
      writer.attributeU16(type, integer(value, LIMITS.u16, name));
      break;
    case 'be16':
      writer.attributeBe16(type, integer(value, LIMITS.be16, name));
      break;
    case 'u32':
      writer.attributeU32(type, integer(value, LIMITS.u32, name));
      break;
    case 'centiseconds':
      writer.attributeU32(type, Math.round(integer(value, LIMITS.centiseconds, name) / 10));
      break;
    case 'bool':
      writer.attributeU8(type, truth(value, name) ? 1 : 0);
      break;
    case 'not':
      writer.attributeU8(type, truth(value, name) ? 0 : 1);
      break;
    case 'flag':
      if (truth(value, name)) writer.attributeBytes(type, new Uint8Array());
      break;
    case 'text':
      writer.attributeText(type, value as string);
      break;
    case 'link':
      writer.attributeLink(type, value as LinkRef);
      break;
    case 'mac':
      writer.attributeBytes(type, parseMac(value as string));
      break;
    case 'ip': {
      const ip = parseIp(value as string);
      writer.attributeBytes(ip.family === AF_INET || type6 === undefined ? type : type6, ip.bytes);
      break;
    }
    case 'be16-range':
    case 'u16-range':
      writer.attributeBytes(type, range(value, name, kind));
      break;
  }
}

/** Reads the attributes that are there into options of the same names. */
export function readFields<Options extends object>(fields: Fields<Options>, attributes: Map<number, Buffer>): Options {
  const options: Record<string, unknown> = {};
  for (const [key, field] of Object.entries<Field>(fields)) {
    const bytes = attributes.get(field.type) ?? (field.type6 === undefined ? undefined : attributes.get(field.type6));
    const value = bytes === undefined ? (field.kind === 'flag' ? false : undefined) : readField(field.kind, bytes);
    if (value !== undefined) options[key] = value;
  }
  return options as Options;
}

const BYTES_NEEDED: Readonly<Partial<Record<FieldKind, number>>> = {
  u8: 1,
  bool: 1,
  not: 1,
  u16: 2,
  be16: 2,
  u32: 4,
  link: 4,
  centiseconds: 4,
  ip: 4,
  'be16-range': 4,
  'u16-range': 4,
};

function readField(kind: FieldKind, bytes: Buffer): unknown {
  if (bytes.length < (BYTES_NEEDED[kind] ?? 0)) return undefined;
  switch (kind) {
    case 'u8':
      return bytes.readUInt8();
    case 'u16':
      return bytes.readUInt16LE();
    case 'be16':
      return bytes.readUInt16BE();
    case 'u32':
    case 'link':
      return bytes.readUInt32LE();
    case 'centiseconds':
      return bytes.readUInt32LE() * 10;
    case 'bool':
      return bytes.readUInt8() !== 0;
    case 'not':
      return bytes.readUInt8() === 0;
    case 'flag':
      return true;
    case 'text':
      return textOf(bytes);
    case 'mac':
      return formatMac(bytes);
    case 'ip':
      return formatIp(bytes);
    case 'be16-range':
      return `${bytes.readUInt16BE()}-${bytes.readUInt16BE(2)}`;
    case 'u16-range':
      return `${bytes.readUInt16LE()}-${bytes.readUInt16LE(2)}`;
  }
}

/** @throws TypeError unless `value` is a whole number of at most `limit` */
export function integer(value: unknown, limit: number, name: string): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > limit) {
    throw new TypeError(`${name} must be a whole number of at most ${limit}, not ${String(value)}`);
  }
  return value;
}

function truth(value: unknown, name: string): boolean {
  if (typeof value !== 'boolean') throw new TypeError(`${name} must be true or false, not ${String(value)}`);
  return value;
}

function range(value: unknown, name: string, kind: 'be16-range' | 'u16-range'): Uint8Array {
  const [, low = '', high = low] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(String(value)) ?? [];
  if (low === '' || Number(high) > 0xffff || Number(low) > Number(high)) {
    throw new TypeError(`${name} must be a range of ports such as 8000-8080, not ${String(value)}`);
  }
  const bytes = Buffer.alloc(4);
  const write = kind === 'be16-range' ? bytes.writeUInt16BE : bytes.writeUInt16LE;
  write.call(bytes, Number(low));
  write.call(bytes, Number(high), 2);
  return bytes;
}

const inverses = new WeakMap<object, Map<number, string>>();

/** The key whose value is `number`, or the number as text. */
export function nameOf(names: Readonly<Record<string, number>>, number: number): string {
  let inverse = inverses.get(names);
  if (inverse === undefined) {
    inverse = new Map(Object.entries(names).map(([name, value]) => [value, name]));
    inverses.set(names, inverse);
  }
  return inverse.get(number) ?? String(number);
}

/** The number of a name; a whole number stands for itself. */
export function numberOf(
  names: Readonly<Record<string, number>>,
  value: string | number,
  limit: number,
  name: string,
): number {
  if (typeof value === 'string' && Object.hasOwn(names, value)) return names[value] as number;
  if (typeof value === 'string' && /^\d+$/.test(value)) return integer(Number(value), limit, name);
  if (typeof value === 'string') {
    throw new TypeError(`${name} "${value}" is unknown; known are ${Object.keys(names).join(', ')}`);
  }
  return integer(value, limit, name);
}
