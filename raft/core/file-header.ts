import { bytesOf, getAscii, getUint64, putAscii, putUint64, viewOf } from './binary.js';
import type { Checksum } from './checksum.js';

/** Whose data a file is; each at most 32 characters, '' when not said. */
export interface Identity {
  clusterId: string;
  memberId: string;
}

/** First bytes of a log segment. */
export interface SegmentHeader {
  identity: Identity;
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
  index: number;
  term: number;
}

/**
 * Both headers are 128 bytes: 0 magic (8 ASCII), 8 format version, 12 salt, 16 sequence or index, 24 first index or
 * term, 32 chain start, 36 zeros, 60 cluster id, 92 member id, 124 CRC32C of the first 124. Little-endian.
 */
export const FILE_HEADER_BYTES = 128;
const FORMAT_VERSION = 1;
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
  return finish(bytes, SEGMENT_MAGIC, header.identity, checksum);
}

export function decodeSegmentHeader(bytes: Uint8Array, checksum: Checksum): SegmentHeader | HeaderFault {
  const identity = readIdentity(bytes, SEGMENT_MAGIC, checksum);
  if ('fault' in identity) return identity;
  const view = viewOf(bytes);
  return {
    identity,
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
  return finish(bytes, SNAPSHOT_MAGIC, header.identity, checksum);
}

export function decodeSnapshotHeader(bytes: Uint8Array, checksum: Checksum): SnapshotHeader | HeaderFault {
  const identity = readIdentity(bytes, SNAPSHOT_MAGIC, checksum);
  if ('fault' in identity) return identity;
  const view = viewOf(bytes);
  return { identity, index: getUint64(view, 16), term: getUint64(view, 24) };
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

function finish(bytes: Uint8Array, magic: string, identity: Identity, checksum: Checksum): Uint8Array {
  const view = viewOf(bytes);
  putAscii(view, 0, 8, magic);
  view.setUint32(8, FORMAT_VERSION, true);
  putAscii(view, 60, 32, identity.clusterId);
  putAscii(view, 92, 32, identity.memberId);
  view.setUint32(CRC_AT, checksum(bytesOf(view, 0, CRC_AT), 0), true);
  return bytes;
}

function readIdentity(bytes: Uint8Array, magic: string, checksum: Checksum): Identity | HeaderFault {
  if (bytes.length < FILE_HEADER_BYTES) return { fault: 'its header is cut short', offset: bytes.length };
  const view = viewOf(bytes);
  if (getAscii(view, 0, 8) !== magic) return { fault: `it does not begin with ${magic}`, offset: 0 };
  const crc = checksum(bytesOf(view, 0, CRC_AT), 0);
  if (crc !== view.getUint32(CRC_AT, true)) return { fault: 'the checksum of its header is wrong', offset: 0 };
  const version = view.getUint32(8, true);
  if (version !== FORMAT_VERSION)
    return {
      fault: `is of format version ${version}, and this program reads version ${FORMAT_VERSION}: run the other one`,
    };
  return { clusterId: getAscii(view, 60, 32), memberId: getAscii(view, 92, 32) };
}
