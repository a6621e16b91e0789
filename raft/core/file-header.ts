import { invariant } from '@apiary/std';
import { bytesOf, getAscii, getUint64, putAscii, putUint64, viewOf } from './binary.js';
import type { Checksum } from './checksum.js';

/** Whose data a file is; each at most 32 characters, '' when not said. */
export interface Identity {
  clusterId: string;
  memberId: string;
}

/** With what a file's content is encrypted. */
export interface FileEncryption {
  /** Of the key that the file's own key is derived from: 16 hexadecimal digits. */
  keyId: string;
  /** What the file's own key is derived with: `FILE_SALT_BYTES` random bytes, of this file alone. */
  fileSalt: Uint8Array;
}

/** First bytes of a log segment. */
export interface SegmentHeader {
  identity: Identity;
  /** Undefined when the content is in clear. */
  encryption: FileEncryption | undefined;
  /** 1 for the first segment of a log, then counting. */
  sequence: number;
  /** Where the log stood when the segment was begun: the index that the next new entry would get. */
  firstIndex: number;
  /** crc of the last record of the segment before; in the first one, of nothing: 0. */
  chainStart: number;
  /** What the CRCs of this segment's records begin with: a random number. */
  salt: number;
}

/** First bytes of a snapshot file: it holds the state after entry `index`, which is of `term`. */
export interface SnapshotHeader {
  identity: Identity;
  /** Undefined when the content is in clear. */
  encryption: FileEncryption | undefined;
  index: number;
  term: number;
}

/**
 * Both headers are 128 bytes: 0 magic (8 ASCII), 8 format version, 12 salt, 16 sequence or index, 24 first index or
 * term, 32 chain start, 36 key id (zeros when the content is in clear), 44 file salt, 60 cluster id, 92 member id,
 * 124 CRC32C of the first 124. Little-endian.
 */
export const FILE_HEADER_BYTES = 128;
export const FILE_SALT_BYTES = 16;
const FORMAT_VERSION = 2;
const KEY_ID_AT = 36;
const FILE_SALT_AT = 44;
const SEGMENT_MAGIC = 'APIARYWL';
const SNAPSHOT_MAGIC = 'APIARYSN';
const CRC_AT = 124;

/** A header that is no sound one of this version: what is wrong with it. */
export interface HeaderFault {
  fault: string;
  /** The byte at which it is damaged; without one it is sound, but of another version. */
  offset?: number;
}

export function encodeSegmentHeader(header: SegmentHeader, checksum: Checksum): Uint8Array {
  const bytes = new Uint8Array(FILE_HEADER_BYTES);
  const view = viewOf(bytes);
  view.setUint32(12, header.salt, true);
  putUint64(view, 16, header.sequence);
  putUint64(view, 24, header.firstIndex);
  view.setUint32(32, header.chainStart, true);
  return finish(bytes, SEGMENT_MAGIC, header, checksum);
}

export function decodeSegmentHeader(bytes: Uint8Array, checksum: Checksum): SegmentHeader | HeaderFault {
  const common = readCommon(bytes, SEGMENT_MAGIC, checksum);
  if ('fault' in common) return common;
  const view = viewOf(bytes);
  return {
    ...common,
    sequence: getUint64(view, 16),
    firstIndex: getUint64(view, 24),
    chainStart: view.getUint32(32, true),
    salt: view.getUint32(12, true),
  };
}

export function encodeSnapshotHeader(header: SnapshotHeader, checksum: Checksum): Uint8Array {
  const bytes = new Uint8Array(FILE_HEADER_BYTES);
  const view = viewOf(bytes);
  putUint64(view, 16, header.index);
  putUint64(view, 24, header.term);
  return finish(bytes, SNAPSHOT_MAGIC, header, checksum);
}

export function decodeSnapshotHeader(bytes: Uint8Array, checksum: Checksum): SnapshotHeader | HeaderFault {
  const common = readCommon(bytes, SNAPSHOT_MAGIC, checksum);
  if ('fault' in common) return common;
  const view = viewOf(bytes);
  return { ...common, index: getUint64(view, 16), term: getUint64(view, 24) };
}

/** Says how `found` is not `expected`, or undefined; what either does not say is not compared. */
export function identityFault(expected: Identity, found: Identity): string | undefined {
  const differs = (a: string, b: string) => a !== '' && b !== '' && a !== b;
  if (differs(expected.clusterId, found.clusterId))
    return `belongs to cluster "${found.clusterId}", not to "${expected.clusterId}"`;
  if (differs(expected.memberId, found.memberId))
    return `belongs to member "${found.memberId}", not to "${expected.memberId}"`;
  return undefined;
}

type Common = Pick<SegmentHeader, 'identity' | 'encryption'>;

function finish(bytes: Uint8Array, magic: string, { identity, encryption }: Common, checksum: Checksum): Uint8Array {
  const view = viewOf(bytes);
  if (encryption !== undefined) {
    const { keyId, fileSalt } = encryption;
    invariant(/^[0-9a-f]{16}$/.test(keyId) && fileSalt.length === FILE_SALT_BYTES, `key id ${keyId}`);
    for (let i = 0; i < 8; i++) view.setUint8(KEY_ID_AT + i, Number.parseInt(keyId.slice(2 * i, 2 * i + 2), 16));
    bytes.set(fileSalt, FILE_SALT_AT);
  }
  putAscii(view, 0, 8, magic);
  view.setUint32(8, FORMAT_VERSION, true);
  putAscii(view, 60, 32, identity.clusterId);
  putAscii(view, 92, 32, identity.memberId);
  view.setUint32(CRC_AT, checksum(bytesOf(view, 0, CRC_AT), 0), true);
  return bytes;
}

function readCommon(bytes: Uint8Array, magic: string, checksum: Checksum): Common | HeaderFault {
  if (bytes.length < FILE_HEADER_BYTES) return { fault: 'its header is cut short', offset: bytes.length };
  const view = viewOf(bytes);
  if (getAscii(view, 0, 8) !== magic) return { fault: `it does not begin with ${magic}`, offset: 0 };
  const crc = checksum(bytesOf(view, 0, CRC_AT), 0);
  if (crc !== view.getUint32(CRC_AT, true)) return { fault: 'the checksum of its header is wrong', offset: 0 };
  const version = view.getUint32(8, true);
  if (version !== FORMAT_VERSION)
    return {
      fault: `is of format version ${version}, and this program reads version ${FORMAT_VERSION}: run the one that wrote it`,
    };
  return {
    identity: { clusterId: getAscii(view, 60, 32), memberId: getAscii(view, 92, 32) },
    encryption: readEncryption(bytes),
  };
}

function readEncryption(bytes: Uint8Array): FileEncryption | undefined {
  const id = bytes.subarray(KEY_ID_AT, KEY_ID_AT + 8);
  if (id.every((byte) => byte === 0)) return undefined;
  const keyId = Array.from(id, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return { keyId, fileSalt: bytes.slice(FILE_SALT_AT, FILE_SALT_AT + FILE_SALT_BYTES) };
}
