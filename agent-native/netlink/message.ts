import { type NamespaceRef, namespacePath } from '../namespace.js';

/** A link by its name or its index. A name is looked up when the message is sent, after those before it were done. */
export type LinkRef = string | number;

export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;
const NLM_F_DUMP = 0x300;
const NLA_F_NESTED = 0x8000;
const ATTRIBUTE_TYPE = 0x3fff;
const HEADER_BYTES = 16;
/** The addon's word for: this message's answers end with those of a dump. */
const PLAN_IS_DUMP = 0x80000000;
/** Kinds of fixups, as the addon numbers them. */
const FIXUP = { linkIndex: 0, namespace: 1 } as const;

/**
 * Messages to be sent in one call, written one after the other.
 *
 * What only the moment of sending can tell (the index of a link that an earlier message makes, the descriptor of a
 * namespace) is left open and noted; the addon fills it in.
 */
export class MessageWriter {
  #bytes = Buffer.alloc(1024);
  #length = 0;
  #start = 0;
  #scope = 0;
  readonly #plans: number[] = [];
  readonly #namespaces = new Table();
  readonly #names = new Table();
  readonly #fixups: number[] = [];

  /** Messages so far. */
  get count(): number {
    return this.#plans.length;
  }

  /** What the addon's run() takes. */
  finish(): [messages: Uint8Array, plans: Uint32Array, namespaces: string[], names: string[], fixups: Uint32Array] {
    return [
      this.#bytes.subarray(0, this.#length),
      Uint32Array.from(this.#plans),
      this.#namespaces.values,
      this.#names.values,
      Uint32Array.from(this.#fixups),
    ];
  }

  /** Writes one message: its header, then what `write` writes. */
  message(type: number, flags: number, scope: NamespaceRef | undefined, write: () => void): void {
    this.#scope = scope === undefined ? 0 : 1 + this.#namespaces.place(namespacePath(scope, 'net'));
    this.#message(type, flags, this.#scope, write);
  }

  dump(type: number, write: () => void): void {
    this.#scope = 0;
    this.#message(type, NLM_F_DUMP, PLAN_IS_DUMP, write);
  }

  #message(type: number, flags: number, plan: number, write: () => void): void {
    this.#start = this.#length;
    const fixups = this.#fixups.length;
    try {
      this.u32(0);
      this.u16(type);
      this.u16(flags);
      this.u32(0);
      this.u32(0);
      write();
    } catch (error) {
      this.#length = this.#start;
      this.#fixups.length = fixups;
      throw error;
    }
    this.#bytes.writeUInt32LE(this.#length - this.#start, this.#start);
    this.#pad();
    this.#plans.push(plan);
  }

  u8(value: number): void {
    this.#room(1);
    this.#length = this.#bytes.writeUInt8(value, this.#length);
  }

  u16(value: number): void {
    this.#room(2);
    this.#length = this.#bytes.writeUInt16LE(value, this.#length);
  }

  u32(value: number): void {
    this.#room(4);
    this.#length = this.#bytes.writeUInt32LE(value, this.#length);
  }

  /** The index of a link of the namespace that the message is sent in; 0 for none. */
  link(ref: LinkRef | undefined): void {
    if (typeof ref === 'string') {
      checkName(ref);
      this.#fixups.push(this.#length, FIXUP.linkIndex, this.#names.place(ref));
      this.u32(0);
      return;
    }
    if (ref !== undefined && !(Number.isInteger(ref) && ref >= 0 && ref <= 0x7fffffff)) {
      throw new TypeError(`a link is named by its name or its index, not by ${String(ref)}`);
    }
    this.u32(ref ?? 0);
  }

  attributeU8(type: number, value: number): void {
    this.#attribute(type, 1, () => this.u8(value));
  }

  attributeU16(type: number, value: number): void {
    this.#attribute(type, 2, () => this.u16(value));
  }

  /** In network order. */
  attributeBe16(type: number, value: number): void {
    this.#attribute(type, 2, () => {
      this.#room(2);
      this.#length = this.#bytes.writeUInt16BE(value, this.#length);
    });
  }

  attributeU32(type: number, value: number): void {
    this.#attribute(type, 4, () => this.u32(value));
  }

  /** In network order. */
  attributeBe32(type: number, value: number): void {
    this.#attribute(type, 4, () => {
      this.#room(4);
      this.#length = this.#bytes.writeUInt32BE(value, this.#length);
    });
  }

  attributeBytes(type: number, value: Uint8Array): void {
    this.#attribute(type, value.length, () => this.bytes(value));
  }

  attributeText(type: number, value: string): void {
    if (typeof value !== 'string' || value.includes('\0'))
      throw new TypeError(`a text is wanted, not ${String(value)}`);
    const bytes = Buffer.from(`${value}\0`);
    this.#attribute(type, bytes.length, () => this.bytes(bytes));
  }

  attributeLink(type: number, ref: LinkRef): void {
    this.#attribute(type, 4, () => this.link(ref));
  }

  attributeNamespace(type: number, ref: NamespaceRef): void {
    this.#attribute(type, 4, () => {
      this.#fixups.push(this.#length, FIXUP.namespace, this.#namespaces.place(namespacePath(ref, 'net')));
      this.u32(0);
    });
  }

  /** An attribute made of what `write` writes. */
  nested(type: number, write: () => void): void {
    const start = this.#length;
    this.u16(0);
    this.u16(type | NLA_F_NESTED);
    write();
    const length = this.#length - start;
    if (length > 0xffff) throw new RangeError('a netlink attribute cannot be longer than 64 KiB');
    this.#bytes.writeUInt16LE(length, start);
    this.#pad();
  }

  #attribute(type: number, length: number, write: () => void): void {
    if (length + 4 > 0xffff) throw new RangeError('a netlink attribute cannot be longer than 64 KiB');
    this.u16(length + 4);
    this.u16(type);
    write();
    this.#pad();
  }

  bytes(value: Uint8Array): void {
    this.#room(value.length);
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
  }

  #pad(): void {
    while (this.#length % 4 !== 0) this.u8(0);
  }

  #room(more: number): void {
    if (this.#length + more <= this.#bytes.length) return;
    const larger = Buffer.alloc(Math.max(this.#bytes.length * 2, this.#length + more));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
  }
}

/** Distinct texts, by their places. */
class Table {
  readonly values: string[] = [];
  readonly #places = new Map<string, number>();

  place(value: string): number {
    let place = this.#places.get(value);
    if (place === undefined) {
      place = this.values.push(value) - 1;
      this.#places.set(value, place);
    }
    return place;
  }
}

/** @throws TypeError for what cannot be the name of a link (Linux: 1 to 15 bytes, alternative names up to 127) */
export function checkName(name: string): void {
  if (typeof name !== 'string' || name === '' || Buffer.byteLength(name) > 127 || /[\s/\0]/.test(name)) {
    throw new TypeError(`"${String(name)}" cannot be the name of a link`);
  }
}

/** A message that came in: its type, and what follows the header. */
export interface ReceivedMessage {
  type: number;
  body: Buffer;
}

/** Cuts what the addon hands over into messages. */
export function* messagesIn(bytes: Buffer): Generator<ReceivedMessage> {
  for (let at = 0; at + HEADER_BYTES <= bytes.length; ) {
    const length = bytes.readUInt32LE(at);
    if (length < HEADER_BYTES || at + length > bytes.length) return;
    yield { type: bytes.readUInt16LE(at + 4), body: bytes.subarray(at + HEADER_BYTES, at + length) };
    at += (length + 3) & ~3;
  }
}

/** The attributes in `bytes` from `start` on, by their types. Of several of one type the last counts. */
export function attributesIn(bytes: Buffer, start = 0): Map<number, Buffer> {
  const attributes = new Map<number, Buffer>();
  for (let at = start; at + 4 <= bytes.length; ) {
    const length = bytes.readUInt16LE(at);
    if (length < 4 || at + length > bytes.length) break;
    attributes.set(bytes.readUInt16LE(at + 2) & ATTRIBUTE_TYPE, bytes.subarray(at + 4, at + length));
    at += (length + 3) & ~3;
  }
  return attributes;
}

/** A text without the NUL that ends it. */
export function textOf(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString('utf8', 0, end < 0 ? bytes.length : end);
}
