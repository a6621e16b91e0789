/**
 * The one call that the bench makes, on both sides of the wire: `Put` of etcd's gRPC API, its messages written by hand
 * (two byte strings in, a revision out), so that etcd and our members are driven by the very same client.
 * Source: etcd's rpc.proto (PutRequest: key = 1, value = 2; PutResponse: header = 1, in it revision = 3), gRPC over HTTP/2.
 */

export const PUT_PATH = '/etcdserverpb.KV/Put';

const LENGTH_DELIMITED = 2;
/** Of a gRPC message: a byte that says uncompressed, and the length in four. */
const FRAME_BYTES = 5;

/** A request with its gRPC frame. Keys and values are shorter than 16 KiB. */
export function putRequest(key: Buffer, value: Buffer): Buffer {
  return framed([...field(1, key), ...field(2, value)]);
}

/** Key and value of a framed request. */
export function readPutRequest(message: Buffer): { key: Buffer; value: Buffer } {
  const found: { key: Buffer; value: Buffer } = { key: Buffer.alloc(0), value: Buffer.alloc(0) };
  let at = FRAME_BYTES;
  while (at < message.length) {
    const tag = message[at] ?? 0;
    const [length, start] = readVarint(message, at + 1);
    const bytes = message.subarray(start, start + length);
    if (tag >> 3 === 1) found.key = bytes;
    else found.value = bytes;
    at = start + length;
  }
  return found;
}

export function putResponse(revision: number): Buffer {
  const header = Buffer.concat([Buffer.from([3 << 3]), varint(revision)]);
  return framed(field(1, header));
}

function field(number: number, bytes: Buffer): Buffer[] {
  return [Buffer.from([(number << 3) | LENGTH_DELIMITED]), varint(bytes.length), bytes];
}

function framed(parts: readonly Buffer[]): Buffer {
  const head = Buffer.alloc(FRAME_BYTES);
  head.writeUInt32BE(
    parts.reduce((sum, part) => sum + part.length, 0),
    1,
  );
  return Buffer.concat([head, ...parts]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let left = value;
  while (left >= 0x80) {
    bytes.push((left % 0x80) | 0x80);
    left = Math.floor(left / 0x80);
  }
  return Buffer.from([...bytes, left]);
}

function readVarint(bytes: Buffer, from: number): [value: number, next: number] {
  let value = 0;
  let scale = 1;
  for (let at = from; ; at++) {
    const byte = bytes[at] ?? 0;
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return [value, at + 1];
    scale *= 0x80;
  }
}
