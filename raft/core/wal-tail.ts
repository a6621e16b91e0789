import type { Seal } from './wal-record.js';
import { claimedBytes, RECORD_HEADER_BYTES, readFrame } from './wal-record.js';

/**
 * What the end of the newest segment means, from the first offset where no sound record begins:
 * `clean`: nothing was written there; `torn`: a write that nobody was told of was cut short, it may be dropped;
 * `damaged`: what was once written whole is broken; `proofOffset` is where a sound record shows that, undefined when the
 * broken one itself does.
 */
export type TailVerdict = { kind: 'clean' } | { kind: 'torn' } | { kind: 'damaged'; proofOffset: number | undefined };

/** The smallest piece that a disk writes whole. */
const SECTOR_BYTES = 512;

/**
 * Tells a torn write from damage.
 *
 * At most one batch is ever written and not yet synced. A disk writes its sectors in any order, so after a power cut
 * sound records of that batch may follow a broken one. Hence:
 *
 * - nothing sound follows: torn, unless the broken record's head fits its place and no part of what it announces is
 *   missing: then all of it was written, and was changed since: damaged.
 * - a sound record follows whose `durable` is past the break: it was written after the broken bytes were synced: damaged.
 * - only records of the broken one's own batch follow: torn if a whole sector between is missing, that is, still holds
 *   the zeros of its allocation; else the bytes were all written once, and were changed since: damaged.
 *
 * What cannot be told is damage to the head of the very last record, or, of its payload, one that looks like zeros left
 * out: it looks like a write cut short, and is dropped.
 *
 * @param tail     the segment's bytes from the break to the end of the file
 * @param offset   the break's offset in the segment, a multiple of 8
 * @param previous the crc of the last sound record
 */
export function judgeTail(tail: DataView, offset: number, seal: Seal, previous: number): TailVerdict {
  if (isZero(tail, 0, tail.byteLength)) return { kind: 'clean' };
  let firstSound: number | undefined;
  for (let at = 8; at < tail.byteLength; ) {
    const frame = readFrame(tail, at, offset + at, seal);
    if (frame === undefined) {
      at += 8;
      continue;
    }
    if (frame.durable > offset) return { kind: 'damaged', proofOffset: frame.offset };
    firstSound ??= at;
    at += frame.bytes;
  }
  if (firstSound === undefined)
    return isAllThere(tail, offset, previous) ? { kind: 'damaged', proofOffset: undefined } : { kind: 'torn' };
  if (missesSector(tail, offset, firstSound)) return { kind: 'torn' };
  return { kind: 'damaged', proofOffset: offset + firstSound };
}

/** Whether the broken record's head is as it was written, and neither its end nor a sector of it is still zeros. */
function isAllThere(tail: DataView, offset: number, previous: number): boolean {
  if (tail.byteLength < RECORD_HEADER_BYTES) return false;
  const bytes = claimedBytes(tail, 0);
  if (bytes === undefined || bytes > tail.byteLength) return false;
  const end = RECORD_HEADER_BYTES + tail.getUint32(8, true);
  if (tail.getUint32(4, true) !== previous || tail.getUint32(12, true) > offset) return false;
  return tail.getUint8(end - 1) !== 0 && !missesSector(tail, offset, end);
}

/** Whether a sector that ends at or before `end` holds only zeros from the break on. */
function missesSector(tail: DataView, offset: number, end: number): boolean {
  let from = 0;
  let to = SECTOR_BYTES - (offset % SECTOR_BYTES);
  while (to <= end) {
    if (isZero(tail, from, to)) return true;
    from = to;
    to += SECTOR_BYTES;
  }
  return false;
}

function isZero(view: DataView, from: number, to: number): boolean {
  let at = from;
  for (; at + 4 <= to; at += 4) if (view.getUint32(at) !== 0) return false;
  for (; at < to; at++) if (view.getUint8(at) !== 0) return false;
  return true;
}
