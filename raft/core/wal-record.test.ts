import assert from 'node:assert/strict';
import { crc32c } from '@node-rs/crc32';
import fc from 'fast-check';
import t from 'tap';
import type { Seal, WalRecord } from './index.js';
import {
  bytesOf,
  decodeRecord,
  decodeSegmentHeader,
  decodeSnapshotHeader,
  encodedBytes,
  encodeRecord,
  encodeSegmentHeader,
  encodeSnapshotHeader,
  judgeTail,
  readFrame,
  viewOf,
} from './index.js';

const SEAL: Seal = { checksum: crc32c, salt: 0x5eed };

const number = fc.oneof(fc.nat(1000), fc.maxSafeNat());
const record: fc.Arbitrary<WalRecord> = fc.oneof(
  fc.record({
    type: fc.constant('entry' as const),
    index: number,
    term: number,
    data: fc.uint8Array({ maxLength: 2000, size: 'max' }),
  }),
  fc.record({
    type: fc.constant('hard-state' as const),
    term: number,
    vote: fc.stringMatching(/^[0-9a-z]{0,32}$/),
    commit: number,
  }),
  fc.record({ type: fc.constant('snapshot' as const), index: number, term: number }),
);

/** A record without what only its memory differs in. */
function plain(each: WalRecord | undefined): unknown {
  return each?.type === 'entry' ? { ...each, data: [...each.data] } : { ...each };
}

/** Batches as they lie in a segment from `offset` on, each synced before the next is written. */
function layOut(batches: WalRecord[][], offset: number, room = 0) {
  const length = batches.flat().reduce((sum, each) => sum + encodedBytes(each), 0);
  const bytes = new Uint8Array(length + room);
  const starts: { at: number; batch: number; previous: number }[] = [];
  let at = 0;
  let crc = 7;
  batches.forEach((batch, i) => {
    const durable = offset + at;
    for (const each of batch) {
      starts.push({ at, batch: i, previous: crc });
      crc = encodeRecord(viewOf(bytes), at, each, SEAL, crc, durable);
      at += encodedBytes(each);
    }
  });
  return { bytes, starts };
}

t.test('records come back as they were written, whatever lay there before', async () => {
  fc.assert(
    fc.property(fc.array(record, { minLength: 1, maxLength: 8 }), fc.nat(255), (records, old) => {
      const bytes = new Uint8Array(records.reduce((sum, each) => sum + encodedBytes(each), 0)).fill(old);
      const view = viewOf(bytes);
      let at = 0;
      let crc = 1;
      for (const each of records) {
        crc = encodeRecord(view, at, each, SEAL, crc, 0);
        at += encodedBytes(each);
      }
      at = 0;
      for (const each of records) {
        const frame = readFrame(view, at, at, SEAL);
        if (frame === undefined) throw new Error(`no record at ${at}`);
        assert.deepEqual(plain(decodeRecord(view, at, frame)), plain(each));
        at += frame.bytes;
      }
    }),
    { numRuns: 100 },
  );
});

t.test('no flipped bit of a record goes unnoticed, and no other segment’s record is taken for ours', async (t) => {
  const entry: WalRecord = { type: 'entry', index: 5, term: 2, data: new Uint8Array(13).fill(9) };
  const bytes = new Uint8Array(encodedBytes(entry));
  encodeRecord(viewOf(bytes), 0, entry, SEAL, 0xabcdef, 64);
  t.ok(readFrame(viewOf(bytes), 0, 64, SEAL));
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const copy = bytes.slice();
    copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    if (readFrame(viewOf(copy), 0, 64, SEAL) !== undefined) t.fail(`bit ${bit}`);
  }
  t.equal(readFrame(viewOf(bytes), 0, 64, { ...SEAL, salt: 1 }), undefined);
  t.equal(readFrame(viewOf(bytes.subarray(0, -1)), 0, 64, SEAL), undefined);
});

t.test('a record of a later version is sound but not decoded', async (t) => {
  const entry: WalRecord = { type: 'snapshot', index: 5, term: 2 };
  const view = viewOf(new Uint8Array(encodedBytes(entry)));
  encodeRecord(view, 0, entry, SEAL, 0, 0);
  for (const [at, value] of [
    [16, 9],
    [17, 1],
  ] as const) {
    const copy = viewOf(bytesOf(view, 0, view.byteLength).slice());
    copy.setUint8(at, value);
    copy.setUint32(0, crc32c(bytesOf(copy, 4, copy.byteLength), SEAL.salt), true);
    const frame = readFrame(copy, 0, 0, SEAL);
    t.ok(frame);
    t.equal(frame && decodeRecord(copy, 0, frame), undefined);
  }
});

const batches = fc.array(fc.array(record, { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 4 });
const offset = fc.nat(500).map((n) => 128 + 8 * n);

t.test('a batch of which a power cut lost any sectors is torn, never damaged', async () => {
  fc.assert(
    fc.property(
      fc.array(record, { minLength: 1, maxLength: 12 }),
      offset,
      fc.infiniteStream(fc.boolean()),
      (batch, offset, lost) => {
        const { bytes, starts } = layOut([batch], offset, 700);
        for (let at = -(offset % 512); at < bytes.length; at += 512)
          if (lost.next().value) bytes.fill(0, Math.max(0, at), Math.max(0, at + 512));
        const broken = starts.find(({ at }) => readFrame(viewOf(bytes), at, offset + at, SEAL) === undefined);
        if (broken === undefined) return true;
        const verdict = judgeTail(viewOf(bytes.subarray(broken.at)), offset + broken.at, SEAL, broken.previous);
        return verdict.kind !== 'damaged';
      },
    ),
    { numRuns: 500 },
  );
});

t.test('a changed byte before the last record is damage, in the last batch too', async () => {
  fc.assert(
    fc.property(batches, offset, fc.nat(), fc.integer({ min: 1, max: 255 }), (batches, offset, where, flip) => {
      const { bytes, starts } = layOut(batches, offset, 64);
      const last = starts.at(-1)?.at ?? 0;
      if (last === 0) return true;
      const position = where % last;
      bytes[position] = (bytes[position] ?? 0) ^ flip;
      const broken = starts.findLast(({ at }) => at <= position);
      if (broken === undefined) return false;
      const verdict = judgeTail(viewOf(bytes.subarray(broken.at)), offset + broken.at, SEAL, broken.previous);
      // A record with a whole sector of zeros in it looks like one that misses a sector.
      if (verdict.kind === 'torn') return broken.batch === batches.length - 1 && hasZeroRun(batches.flat());
      return verdict.kind === 'damaged' && (verdict.proofOffset ?? 0) > offset + broken.at;
    }),
    { numRuns: 500 },
  );
});

function hasZeroRun(records: WalRecord[]): boolean {
  return records.some((each) => each.type === 'entry' && Buffer.from(each.data).includes(Buffer.alloc(200)));
}

t.test('the end of a segment: zeros are clean, a record cut short is torn', async (t) => {
  const data = new Uint8Array(700).fill(1);
  const { bytes } = layOut([[{ type: 'entry', index: 1, term: 1, data }]], 128);
  t.same(judgeTail(viewOf(new Uint8Array(1000)), 128, SEAL, 7), { kind: 'clean' });
  t.same(judgeTail(viewOf(new Uint8Array(0)), 128, SEAL, 7), { kind: 'clean' });
  for (let length = 1; length < bytes.length; length++) {
    const kind = judgeTail(viewOf(bytes.slice(0, length)), 128, SEAL, 7).kind;
    if (kind === 'damaged') t.fail(`cut at ${length}`);
  }
});

t.test('file headers come back as written, and say how they are not sound', async (t) => {
  const identity = { clusterId: 'c1', memberId: 'm1' };
  const encryption = { keyId: '00ff5eed12345678', fileSalt: new Uint8Array(16).fill(9) };
  const segment = { identity, encryption, sequence: 3, firstIndex: 2 ** 40, chainStart: 0xffffffff, salt: 0xfffffffe };
  const snapshot = { identity, encryption: undefined, index: 2 ** 50, term: 8 };
  t.same(decodeSegmentHeader(encodeSegmentHeader(segment, crc32c), crc32c), segment);
  t.same(decodeSnapshotHeader(encodeSnapshotHeader(snapshot, crc32c), crc32c), snapshot);
  const bytes = encodeSegmentHeader(segment, crc32c);
  t.match(decodeSnapshotHeader(bytes, crc32c), { fault: /does not begin with APIARYSN/, offset: 0 });
  t.match(decodeSegmentHeader(bytes.subarray(0, 100), crc32c), { fault: /cut short/, offset: 100 });
  const newer = bytes.slice();
  viewOf(newer).setUint32(8, 3, true);
  t.match(decodeSegmentHeader(newer, crc32c), { fault: /checksum/, offset: 0 });
  viewOf(newer).setUint32(124, crc32c(newer.subarray(0, 124), 0), true);
  t.match(decodeSegmentHeader(newer, crc32c), { fault: /format version 3/, offset: undefined });
});
