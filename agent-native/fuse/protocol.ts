/**
 * As much of the FUSE protocol (linux/fuse.h, 7.31) as a folder of symbolic links needs. Little-endian. Offsets are
 * those of the C structures there.
 */

export const OPCODE = {
  lookup: 1,
  forget: 2,
  getattr: 3,
  readlink: 5,
  statfs: 17,
  init: 26,
  opendir: 27,
  readdir: 28,
  releasedir: 29,
  interrupt: 36,
  destroy: 38,
  batchForget: 42,
} as const;

/** The folder itself. */
export const ROOT_NODE = 1n;

const IN_HEADER_BYTES = 40;
const OUT_HEADER_BYTES = 16;
const ENTRY_HEAD_BYTES = 40;
const ATTRIBUTES_BYTES = 88;
const INIT_OUT_BYTES = 64;
const STATFS_BYTES = 80;
const OPEN_OUT_BYTES = 16;
const FORGET_ONE_BYTES = 16;
const MAJOR = 7;
const MINOR = 31;
const MAX_WRITE_BYTES = 4096;
const MAX_BACKGROUND = 64;
/** FUSE_PARALLEL_DIROPS: one lookup does not wait for another. */
const FLAGS = 1 << 18;

const S_IFDIR = 0o040000;
const S_IFLNK = 0o120000;

export interface FuseRequest {
  opcode: number;
  /** Goes back with the answer. */
  unique: bigint;
  node: bigint;
  /** Of the process that asks, in our own pid namespace; 0 when it is in none below it. */
  pid: number;
  body: Buffer;
}

/** @returns undefined for what is too short to be a request */
export function readRequest(bytes: Buffer): FuseRequest | undefined {
  if (bytes.length < IN_HEADER_BYTES || bytes.readUInt32LE(0) !== bytes.length) return undefined;
  return {
    opcode: bytes.readUInt32LE(4),
    unique: bytes.readBigUInt64LE(8),
    node: bytes.readBigUInt64LE(16),
    pid: bytes.readUInt32LE(32),
    body: bytes.subarray(IN_HEADER_BYTES),
  };
}

/** An answer; `errno` positive, 0 for success. */
export function answer(unique: bigint, body: Uint8Array, errno = 0): Buffer {
  const bytes = Buffer.alloc(OUT_HEADER_BYTES + body.length);
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeInt32LE(-errno, 4);
  bytes.writeBigUInt64LE(unique, 8);
  bytes.set(body, OUT_HEADER_BYTES);
  return bytes;
}

/** The name that a lookup asks for. */
export function nameOf({ body }: FuseRequest): string {
  const end = body.indexOf(0);
  return body.toString('utf8', 0, end < 0 ? body.length : end);
}

/** The nodes that the kernel forgets. */
export function forgottenNodes({ opcode, node, body }: FuseRequest): bigint[] {
  if (opcode === OPCODE.forget) return [node];
  const count = body.length < 8 ? 0 : body.readUInt32LE(0);
  const nodes: bigint[] = [];
  for (let at = 8; nodes.length < count && at + FORGET_ONE_BYTES <= body.length; at += FORGET_ONE_BYTES) {
    nodes.push(body.readBigUInt64LE(at));
  }
  return nodes;
}

export function initBody(): Buffer {
  const body = Buffer.alloc(INIT_OUT_BYTES);
  body.writeUInt32LE(MAJOR, 0);
  body.writeUInt32LE(MINOR, 4);
  body.writeUInt32LE(FLAGS, 12);
  body.writeUInt16LE(MAX_BACKGROUND, 16);
  body.writeUInt16LE(MAX_BACKGROUND, 18);
  body.writeUInt32LE(MAX_WRITE_BYTES, 20);
  body.writeUInt32LE(1, 24);
  return body;
}

/** A symbolic link that is valid for this one lookup: the next one asks again. */
export function linkEntryBody(node: bigint): Buffer {
  const body = Buffer.alloc(ENTRY_HEAD_BYTES + ATTRIBUTES_BYTES);
  body.writeBigUInt64LE(node, 0);
  putAttributes(body, ENTRY_HEAD_BYTES, node);
  return body;
}

export function attributesBody(node: bigint): Buffer {
  const head = 16;
  const body = Buffer.alloc(head + ATTRIBUTES_BYTES);
  putAttributes(body, head, node);
  return body;
}

/** A handle of no meaning. */
export function openBody(): Buffer {
  return Buffer.alloc(OPEN_OUT_BYTES);
}

export function statfsBody(): Buffer {
  return Buffer.alloc(STATFS_BYTES);
}

function putAttributes(body: Buffer, at: number, node: bigint): void {
  body.writeBigUInt64LE(node, at);
  body.writeUInt32LE(node === ROOT_NODE ? S_IFDIR | 0o755 : S_IFLNK | 0o777, at + 60);
  body.writeUInt32LE(1, at + 64);
}
