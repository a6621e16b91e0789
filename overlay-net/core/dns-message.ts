import { addressBytes } from './ip-bytes.js';

/** The parts of DNS that a server for names of a cluster needs: RFC 1035, and RFC 6891 for larger answers. */

const HEADER_BYTES = 12;
const CLASS_INTERNET = 1;
const LONGEST_NAME = 255;
const LONGEST_LABEL = 63;
const LARGEST_MESSAGE = 65_535;
/** What every resolver takes by UDP, and what is sent at most to one that says it takes more: it fits one packet. */
const UDP_BYTES = { least: 512, most: 1_400 } as const;
/** A name is never remembered: it may stand for something else at once. */
const TTL_SECONDS = 0;

export const TYPES = { A: 1, PTR: 12, AAAA: 28, OPT: 41 } as const;
export const RESPONSE_CODES = { noError: 0, serverFailure: 2, noSuchName: 3, refused: 5 } as const;

export interface DnsQuery {
  id: number;
  name: string;
  type: number;
  isRecursionDesired: boolean;
  /** The question as it was sent: name, type and class. */
  question: Uint8Array;
  /** How much the asker takes by UDP. */
  udpBytes: number;
  hasOptions: boolean;
}

/** @returns undefined for what is no query with one question about the Internet: there is nobody to answer to */
export function readQuery(message: Uint8Array): DnsQuery | undefined {
  if (message.length < HEADER_BYTES) return undefined;
  const view = new DataView(message.buffer, message.byteOffset, message.length);
  const flags = view.getUint16(2);
  // A response, or another operation than a query.
  if ((flags & 0xf800) !== 0 || view.getUint16(4) !== 1) return undefined;
  const named = readName(message, HEADER_BYTES);
  if (named === undefined || named.end + 4 > message.length) return undefined;
  if (view.getUint16(named.end + 2) !== CLASS_INTERNET) return undefined;
  const end = named.end + 4;
  const options =
    view.getUint16(6) + view.getUint16(8) === 0 && view.getUint16(10) > 0 ? optionsAt(view, end) : undefined;
  return {
    id: view.getUint16(0),
    name: named.name,
    type: view.getUint16(named.end),
    isRecursionDesired: (flags & 0x0100) !== 0,
    question: message.subarray(HEADER_BYTES, end),
    udpBytes: Math.max(UDP_BYTES.least, Math.min(options ?? UDP_BYTES.least, UDP_BYTES.most)),
    hasOptions: options !== undefined,
  };
}

/** A question's name, which nothing stands before that it could point to. */
function readName(message: Uint8Array, start: number): { name: string; end: number } | undefined {
  let name = '';
  let at = start;
  while (at - start <= LONGEST_NAME) {
    const length = message[at];
    if (length === undefined || length > LONGEST_LABEL || at + length >= message.length) return undefined;
    if (length === 0) return { name, end: at + 1 };
    if (name !== '') name += '.';
    for (let i = 1; i <= length; i++) name += String.fromCharCode(message[at + i] ?? 0);
    at += length + 1;
  }
  return undefined;
}

/** The size that an OPT record says; undefined when there is none in this place. */
function optionsAt(view: DataView, at: number): number | undefined {
  if (at + 11 > view.byteLength || view.getUint8(at) !== 0 || view.getUint16(at + 1) !== TYPES.OPT) return undefined;
  return view.getUint16(at + 3);
}

export interface DnsAnswer {
  code: number;
  /** All of one family. */
  addresses?: readonly string[];
  names?: readonly string[];
}

/**
 * An answer's message.
 *
 * @param mostBytes  when not all fits, it has what does, and says that there is more
 */
export function writeAnswer(
  query: DnsQuery,
  { code, addresses = [], names = [] }: DnsAnswer,
  mostBytes: number,
): Uint8Array {
  const records = addresses.length > 0 ? addresses.map(addressBytes) : names.map(nameBytes);
  const ofAddresses = addresses[0]?.includes(':') ? TYPES.AAAA : TYPES.A;
  const type = addresses.length > 0 ? ofAddresses : TYPES.PTR;
  const optionBytes = query.hasOptions ? 11 : 0;
  const room = Math.min(mostBytes, LARGEST_MESSAGE) - HEADER_BYTES - query.question.length - optionBytes;
  let bytes = 0;
  let count = 0;
  for (const { length } of records) {
    if (bytes + 12 + length > room) break;
    bytes += 12 + length;
    count++;
  }
  const message = new Uint8Array(HEADER_BYTES + query.question.length + bytes + optionBytes);
  const view = new DataView(message.buffer);
  view.setUint16(0, query.id);
  // A response, of who should know, that also asks others.
  const truncated = count < records.length ? 0x0200 : 0;
  view.setUint16(2, 0x8480 | truncated | (query.isRecursionDesired ? 0x0100 : 0) | code);
  view.setUint16(4, 1);
  view.setUint16(6, count);
  view.setUint16(10, query.hasOptions ? 1 : 0);
  message.set(query.question, HEADER_BYTES);
  let at = HEADER_BYTES + query.question.length;
  for (const record of records.slice(0, count)) {
    // The name is the question's.
    view.setUint16(at, 0xc000 | HEADER_BYTES);
    view.setUint16(at + 2, type);
    view.setUint16(at + 4, CLASS_INTERNET);
    view.setUint32(at + 6, TTL_SECONDS);
    view.setUint16(at + 10, record.length);
    message.set(record, at + 12);
    at += 12 + record.length;
  }
  if (query.hasOptions) {
    view.setUint16(at + 1, TYPES.OPT);
    view.setUint16(at + 3, UDP_BYTES.most);
  }
  return message;
}

function nameBytes(name: string): Uint8Array {
  const labels = name.split('.').map((label) => label.slice(0, LONGEST_LABEL));
  return Uint8Array.from([
    ...labels.flatMap((label) => [label.length, ...Array.from(label, (char) => char.charCodeAt(0) & 0xff)]),
    0,
  ]);
}

/** Whether a message answers a query: its number, and its question, as it was sent. */
export function isAnswerTo(message: Uint8Array, id: number, question: Uint8Array): boolean {
  const end = HEADER_BYTES + question.length;
  if (message.length < end || ((message[0] ?? 0) << 8) + (message[1] ?? 0) !== id) return false;
  if (((message[2] ?? 0) & 0x80) === 0) return false;
  return question.every((byte, i) => byte === message[HEADER_BYTES + i]);
}

/** The same message with another number. */
export function withId(message: Uint8Array, id: number): Uint8Array {
  const copy = message.slice();
  copy[0] = id >> 8;
  copy[1] = id & 0xff;
  return copy;
}
