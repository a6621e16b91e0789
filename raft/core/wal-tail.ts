import type { Seal } from './wal-record.js';
import { readFrame } from './wal-record.js';

/**
 * What the end of the newest segment means, from the first offset where no sound record begins:
 * `clean`: nothing was written there; `torn`: a write that nobody was told of was cut short, it may be dropped;
 * `damaged`: what was once durable is broken, `proofOffset` is where a sound record shows that.
 */
export type TailVerdict = { kind: 'clean' } | { kind: 'torn' } | { kind: 'damaged'; proofOffset: number };

/** The smallest piece that a disk writes whole. */
const SECTOR_BYTES = 512;

/**
 * Tells a torn write from damage.
 *
 * At most one batch is ever written and not yet synced. A disk writes its sectors in any order, so after a power cut
 * sound records of that batch may follow a broken one. Hence:
 *
 * - nothing sound follows: torn.
 * - a sound record follows whose `durable` is past the break: it was written after the broken bytes were synced: damaged.
 * - only records of the broken one's own batch follow: torn if a whole sector between is missing, that is, still holds
 *   the zeros of its allocation; else the bytes were all written once, and were changed since: damaged.
 *
 * What cannot be told is damage to the very last record: it looks like a write cut short, and is dropped.
 *
 * @param tail   the segment's bytes from the break to the end of the file
 * @param offset the break's offset in the segment, a multiple of 8
 */
export function judgeTail(tail: DataView, offset: number, seal: Seal): TailVerdict {
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
  if (firstSound === undefined || missesSector(tail, offset, firstSound)) return { kind: 'torn' };
  return { kind: 'damaged', proofOffset: offset + firstSound };
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
