import { ApiaryError } from '@apiary/std';

/**
 * Frames as gRPC carries them (`Frame` in api/proto/raft.proto): items, each with its length before it. They are put
 * together and taken apart here and not by generated code, which would copy all that they hold twice more.
 */

/** How items become bytes, and bytes items. */
export interface ItemCodec<T> {
  bytesOf(item: T): number;
  write(item: T, target: Uint8Array, at: number): void;
}

export interface Frame {
  data: Uint8Array;
  /** The item goes on in the next frame. */
  continues: boolean;
}

/** What a frame is filled up to: well below what a gRPC server accepts as one message. */
export const MAX_FRAME_BYTES = 1024 * 1024;
/** The largest item: an entry at its limit (16 MiB), and room for what is around it. */
const MAX_ITEM_BYTES = 20 * 1024 * 1024;
const LENGTH_BYTES = 4;
/** Protobuf's tags of the fields: number and wire type. */
const DATA_TAG = (1 << 3) | 2;
const CONTINUES_TAG = (2 << 3) | 0;

/** How many bytes an item takes in a frame. */
export function framedBytes<T>(item: T, codec: ItemCodec<T>): number {
  return LENGTH_BYTES + codec.bytesOf(item);
}

/**
 * Puts items into a frame; one that is too large, which must be alone, into several.
 *
 * @param bytes  what the items take: the sum of `framedBytes`
 * @returns frames as protobuf, to be sent in this order
 */
export function encodeFrames<T>(items: readonly T[], bytes: number, codec: ItemCodec<T>): Buffer[] {
  if (bytes <= MAX_FRAME_BYTES) {
    const { frame, at } = emptyFrame(bytes, false);
    writeItems(items, codec, frame, at);
    return [frame];
  }
  const whole = Buffer.allocUnsafe(bytes);
  writeItems(items, codec, whole, 0);
  const frames: Buffer[] = [];
  for (let from = 0; from < bytes; from += MAX_FRAME_BYTES) {
    const part = whole.subarray(from, from + MAX_FRAME_BYTES);
    const { frame, at } = emptyFrame(part.length, from + part.length < bytes);
    frame.set(part, at);
    frames.push(frame);
  }
  return frames;
}

function writeItems<T>(items: readonly T[], codec: ItemCodec<T>, target: Buffer, from: number): void {
  let at = from;
  for (const item of items) {
    const length = codec.bytesOf(item);
    target.writeUInt32LE(length, at);
    codec.write(item, target, at + LENGTH_BYTES);
    at += LENGTH_BYTES + length;
  }
}

/** A frame with room for `dataBytes` from `at` on. */
function emptyFrame(dataBytes: number, continues: boolean): { frame: Buffer; at: number } {
  const head = [DATA_TAG];
  let rest = dataBytes;
  for (; rest > 0x7f; rest = Math.floor(rest / 0x80)) head.push((rest & 0x7f) | 0x80);
  head.push(rest);
  const tail = continues ? [CONTINUES_TAG, 1] : [];
  const frame = Buffer.allocUnsafe(head.length + dataBytes + tail.length);
  frame.set(head, 0);
  frame.set(tail, head.length + dataBytes);
  return { frame, at: head.length };
}

/**
 * Reads a frame's protobuf. Its data is a part of `bytes`, or of a copy when `bytes` lie in something much larger,
 * which would stay in memory for as long as an entry of the frame does.
 *
 * @throws ApiaryError `invalid-argument` when it is none
 */
export function decodeFrame(bytes: Buffer): Frame {
  const own = bytes.buffer.byteLength > 2 * bytes.length ? new Uint8Array(bytes) : bytes;
  if (own.length === 0) return { data: own, continues: false };
  let length = 0;
  let at = 1;
  for (let scale = 1; ; scale *= 0x80) {
    const byte = own[at++];
    if (own[0] !== DATA_TAG || byte === undefined || scale > 0x80 ** 4) throw malformed('it does not begin with data');
    length += (byte & 0x7f) * scale;
    if (byte < 0x80) break;
  }
  const tail = own.subarray(at + length);
  if (own.length - at < length) throw malformed('it is cut short');
  if (tail.length > 0 && (tail.length !== 2 || tail[0] !== CONTINUES_TAG || tail[1] !== 1)) {
    throw malformed('something unknown follows its data');
  }
  return { data: own.subarray(at, at + length), continues: tail.length > 0 };
}

/** Takes items out of frames that come one after the other. */
export class FrameReader {
  #parts: Uint8Array[] = [];
  #bytes = 0;

  /**
   * The items that are complete with `frame`: parts of its data, where they do not span frames.
   *
   * @throws ApiaryError `invalid-argument` when it makes no sense after what came before
   */
  items({ data, continues }: Frame): Uint8Array[] {
    this.#bytes += data.length;
    if (this.#bytes > MAX_ITEM_BYTES) {
      throw new ApiaryError('invalid-argument', `malformed frame: its item is larger than ${MAX_ITEM_BYTES} bytes`);
    }
    this.#parts.push(data);
    if (continues) return [];
    const whole = this.#parts.length === 1 ? data : Buffer.concat(this.#parts);
    this.#parts = [];
    this.#bytes = 0;
    return split(whole);
  }
}

function split(data: Uint8Array): Uint8Array[] {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const items: Uint8Array[] = [];
  for (let at = 0; at < data.length; ) {
    if (data.length - at < LENGTH_BYTES) throw malformed('an item is cut short');
    const from = at + LENGTH_BYTES;
    at = from + view.getUint32(at, true);
    if (at > data.length) throw malformed('an item is cut short');
    items.push(data.subarray(from, at));
  }
  return items;
}

function malformed(why: string): ApiaryError {
  return new ApiaryError('invalid-argument', `malformed frame between managers: ${why}`);
}
