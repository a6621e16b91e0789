import { ApiaryError, invariant } from '@apiary/std';

/**
 * The part of DER (ITU-T X.690) that certificates and certificate requests are made of: one-byte tags, definite
 * lengths of minimal form. What is read may come from anybody, so all else is refused.
 */

export const DER_TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  objectIdentifier: 0x06,
  printableString: 0x13,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

export interface DerValue {
  tag: number;
  content: Uint8Array;
  /** Tag, length and content, as they were read. */
  whole: Uint8Array;
}

/** One value: `contents` one after the other, under a tag. */
export function der(tag: number, ...contents: Uint8Array[]): Uint8Array {
  const content = concatenate(contents);
  return concatenate([Uint8Array.of(tag), lengthOf(content.length), content]);
}

/** An INTEGER that is not negative, from its big-endian magnitude. */
export function derUnsigned(magnitude: Uint8Array): Uint8Array {
  let start = 0;
  while (start < magnitude.length - 1 && magnitude[start] === 0) start++;
  const trimmed = magnitude.subarray(start);
  const signBit = (trimmed[0] ?? 0) >= 0x80;
  return der(DER_TAG.integer, signBit ? concatenate([Uint8Array.of(0), trimmed]) : trimmed);
}

/** @param dotted  `1.2.840.10045.2.1` */
export function derOid(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes: number[] = [];
  for (const arc of [first * 40 + second, ...rest]) {
    const groups = [arc % 128];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) groups.unshift((left % 128) | 0x80);
    bytes.push(...groups);
  }
  return der(DER_TAG.objectIdentifier, Uint8Array.from(bytes));
}

/** A BIT STRING of whole bytes. */
export function derBits(bytes: Uint8Array): Uint8Array {
  return der(DER_TAG.bitString, Uint8Array.of(0), bytes);
}

/** The bytes of ASCII text. */
export function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => {
    const code = character.charCodeAt(0);
    invariant(character.length === 1 && code < 0x80, `not ASCII: ${JSON.stringify(text)}`);
    return code;
  });
}

/**
 * Reads the values that fill `bytes`.
 *
 * @throws ApiaryError `invalid-argument` when it is not DER
 */
export function readDer(bytes: Uint8Array): DerValue[] {
  const values: DerValue[] = [];
  let at = 0;
  while (at < bytes.length) {
    const value = readAt(bytes, at);
    values.push(value);
    at += value.whole.length;
  }
  return values;
}

/** Reads one value of `tag` that fills `bytes`, and what is in it. @throws ApiaryError `invalid-argument` */
export function readInside(bytes: Uint8Array, tag: number): DerValue[] {
  const [value, ...rest] = readDer(bytes);
  if (value === undefined || rest.length > 0 || value.tag !== tag) throw malformed(`no single value of tag ${tag}`);
  return readDer(value.content);
}

/** The bytes of a BIT STRING that has whole bytes. @throws ApiaryError `invalid-argument` */
export function readBits(value: DerValue | undefined): Uint8Array {
  if (value?.tag !== DER_TAG.bitString || value.content[0] !== 0) throw malformed('no bit string of whole bytes');
  return value.content.subarray(1);
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

function readAt(bytes: Uint8Array, at: number): DerValue {
  const tag = bytes[at] ?? 0;
  if ((tag & 0x1f) === 0x1f) throw malformed('a tag of several bytes');
  const first = bytes[at + 1];
  if (first === undefined) throw malformed('cut off');
  let length = first;
  let contentAt = at + 2;
  if (first >= 0x80) {
    const size = first - 0x80;
    if (size === 0 || size > 4) throw malformed('a length of no definite or of too large a form');
    length = 0;
    for (let i = 0; i < size; i++) length = length * 256 + (bytes[contentAt + i] ?? 0);
    if (length < 0x80 || length < 256 ** (size - 1)) throw malformed('a length that is not minimal');
    contentAt += size;
  }
  const endAt = contentAt + length;
  if (endAt > bytes.length) throw malformed('cut off');
  return { tag, content: bytes.subarray(contentAt, endAt), whole: bytes.subarray(at, endAt) };
}

function lengthOf(length: number): Uint8Array {
  if (length < 0x80) return Uint8Array.of(length);
  const bytes: number[] = [];
  for (let left = length; left > 0; left = Math.floor(left / 256)) bytes.unshift(left % 256);
  return Uint8Array.of(0x80 + bytes.length, ...bytes);
}

function concatenate(parts: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function malformed(what: string): ApiaryError {
  return new ApiaryError('invalid-argument', `malformed DER: ${what}`);
}
