import assert from 'node:assert/strict';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ApiaryError, SeededRng } from '@apiary/std';
import fc from 'fast-check';
import t from 'tap';
import type { EntryRecord, WalRecord } from '../core/index.js';
import { FILE_HEADER_BYTES, viewOf } from '../core/index.js';
import { KeyRing } from './key-ring.js';
import { SimulatedDisk } from './simulated-disk.js';
import type { WalOptions } from './wal.js';
import { WriteAheadLog } from './wal.js';

// On a machine that is busy with other tests.
t.setTimeout(120_000);

const NAME = '0000000000000001.wal';

const entry = (index: number, data: string | Uint8Array = `entry ${index}`, term = 1): EntryRecord => ({
  type: 'entry',
  index,
  term,
  data: typeof data === 'string' ? Buffer.from(data) : data,
});

/** The entries after `after` that the log was opened with: `index/term data`. */
function told(wal: WriteAheadLog, after = 0): string[] {
  return [...(wal.recovered?.entries(after) ?? [])].map(
    ({ index, term, data }) => `${index}/${term} ${Buffer.from(data)}`,
  );
}

/** A log of 20 batches, one entry each, and the offsets of its records. */
async function written(directory: string, count = 20): Promise<number[]> {
  const wal = await WriteAheadLog.open({ directory });
  for (let i = 1; i <= count; i++) await wal.append([entry(i)]);
  await wal.close();
  const offsets: number[] = [];
  const bytes = viewOf(fs.readFileSync(join(directory, NAME)));
  for (let at = FILE_HEADER_BYTES; bytes.getUint8(at + 16) !== 0; at += (20 + bytes.getUint32(at + 8, true) + 7) & ~7)
    offsets.push(at);
  assert.equal(offsets.length, count);
  return offsets;
}

async function failure(promise: Promise<unknown>): Promise<ApiaryError> {
  const outcome = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.ok(outcome instanceof ApiaryError, String(outcome));
  return outcome;
}

t.test('what was appended is read back, across segments, with the newest hard state and snapshot', async (t) => {
  const directory = join(t.testdir(), 'wal');
  const wal = await WriteAheadLog.open({ directory, segmentBytes: 512 });
  await Promise.all([
    wal.append([{ type: 'hard-state', term: 3, vote: 'm1', commit: 0 }]),
    ...Array.from({ length: 30 }, (_, i) => wal.append([entry(i + 1)])),
  ]);
  for (let i = 31; i <= 60; i++) await wal.append([entry(i), { type: 'hard-state', term: 3, vote: 'm1', commit: i }]);
  await wal.append([{ type: 'snapshot', index: 50, term: 1 }]);
  t.equal(wal.lastIndex, 60);
  await wal.close();
  t.ok(fs.readdirSync(directory).length > 5);
  for (const name of fs.readdirSync(directory)) t.equal(fs.statSync(join(directory, name)).mode & 0o777, 0o600);
  t.equal(fs.statSync(directory).mode & 0o777, 0o700);

  const again = await WriteAheadLog.open({ directory, segmentBytes: 512 });
  t.same(again.hardState, { type: 'hard-state', term: 3, vote: 'm1', commit: 60 });
  t.same(again.snapshot, { type: 'snapshot', index: 50, term: 1 });
  t.same(told(again, 57), ['58/1 entry 58', '59/1 entry 59', '60/1 entry 60']);
  t.equal(told(again).length, 60);

  const removed = await again.purgeThrough(50);
  t.ok(removed > 3);
  await again.append([entry(61)]);
  await again.close();
  const purged = await WriteAheadLog.open({ directory });
  t.ok((purged.recovered?.firstIndex ?? 0) > 30 && (purged.recovered?.firstIndex ?? 99) <= 51);
  t.same(told(purged, 59), ['60/1 entry 60', '61/1 entry 61']);
  t.equal(purged.hardState.commit, 60);
  await purged.close();
});

t.test('an entry with an index that is there replaces it and what follows', async (t) => {
  const directory = join(t.testdir(), 'wal');
  const wal = await WriteAheadLog.open({ directory, segmentBytes: 256 });
  for (let i = 1; i <= 6; i++) await wal.append([entry(i, `a${i}`)]);
  await wal.append([entry(4, 'b4', 2), entry(5, 'b5', 2)]);
  await wal.append([entry(5, 'c5', 3)]);
  t.equal(wal.lastIndex, 5);
  t.throws(() => wal.append([entry(7)]), /entry 7 cannot follow entry 5/);
  await wal.close();
  const again = await WriteAheadLog.open({ directory });
  t.same(told(again), ['1/1 a1', '2/1 a2', '3/1 a3', '4/2 b4', '5/3 c5']);
  await again.close();
});

t.test('a last record cut at any byte, or missing its end, is dropped, and the log goes on', async (t) => {
  const base = t.testdir();
  const offsets = await written(join(base, 'whole'));
  const bytes = fs.readFileSync(join(base, 'whole', NAME));
  const [start = 0] = offsets.slice(-1);
  const end = start + 48;
  for (let cut = start; cut < end; cut++) {
    for (const tail of ['cut', 'zeros']) {
      const directory = join(base, `${tail}-${cut}`);
      fs.mkdirSync(directory);
      const damaged = tail === 'cut' ? bytes.subarray(0, cut) : Buffer.from(bytes).fill(0, cut);
      fs.writeFileSync(join(directory, NAME), damaged);
      const wal = await WriteAheadLog.open({ directory });
      // The last bytes of a record are padding: zeros there are what was written.
      const isWhole = tail === 'zeros' && cut >= start + 20 + 16 + 'entry 20'.length;
      assert.equal(wal.lastIndex, isWhole ? 20 : 19, directory);
      await wal.append([entry(wal.lastIndex + 1, 'after')]);
      await wal.close();
      const again = await WriteAheadLog.open({ directory });
      assert.equal(told(again).at(-1), isWhole ? '21/1 after' : '20/1 after');
      assert.equal(told(again).length, isWhole ? 21 : 20);
      await again.close();
    }
  }
});

t.test('a flipped bit before the last record refuses to open, with file and offset, and changes nothing', async (t) => {
  const directory = join(t.testdir(), 'wal');
  const offsets = await written(directory);
  const path = join(directory, NAME);
  const bytes = fs.readFileSync(path);
  const rng = new SeededRng(1);
  for (const [i, start] of offsets.slice(0, -1).entries()) {
    const length = (offsets[i + 1] ?? 0) - start;
    // Every field of the header, and somewhere in the payload.
    for (const at of [0, 4, 8, 10, 12, 16, 17, 18, 20 + rng.below(length - 20)]) {
      const damaged = Buffer.from(bytes);
      damaged[start + at] = (damaged[start + at] ?? 0) ^ (1 << rng.below(8));
      fs.writeFileSync(path, damaged);
      const error = await failure(WriteAheadLog.open({ directory }));
      assert.equal(error.code, 'failed-precondition');
      assert.ok(error.message.startsWith(`${path} is damaged at byte ${start}: `), error.message);
      assert.match(error.message, /Restore this manager from a backup/);
      assert.ok(fs.readFileSync(path).equals(damaged));
    }
  }
  fs.writeFileSync(path, Buffer.from(bytes).fill(0, offsets[7], offsets[9]));
  t.match(await failure(WriteAheadLog.open({ directory })), { message: new RegExp(`damaged at byte ${offsets[7]}:`) });
  fs.writeFileSync(path, Buffer.concat([bytes.subarray(0, 40), Buffer.from([1]), bytes.subarray(41)]));
  t.match(await failure(WriteAheadLog.open({ directory })), {
    message: /damaged at byte 0: the checksum of its header/,
  });
});

t.test('damage to segments before the newest, also a missing one, refuses to open', async (t) => {
  const directory = join(t.testdir(), 'wal');
  const wal = await WriteAheadLog.open({ directory, segmentBytes: 256 });
  for (let i = 1; i <= 30; i++) await wal.append([entry(i)]);
  await wal.close();
  const path = join(directory, '0000000000000002.wal');
  const bytes = fs.readFileSync(path);
  const refusedWith = async (pattern: RegExp) => {
    const error = await failure(WriteAheadLog.open({ directory }));
    t.match(error.message, pattern);
    t.ok(error.message.startsWith(path), error.message);
  };
  const last = Buffer.from(bytes);
  last[bytes.length - 9] = (last[bytes.length - 9] ?? 0) ^ 1;
  fs.writeFileSync(path, last);
  await refusedWith(/damaged at byte \d+: no sound record is there, and the log goes on/);
  fs.writeFileSync(path, bytes.subarray(0, bytes.length - 48));
  await refusedWith(/damaged at byte \d+: records are missing there/);
  fs.copyFileSync(join(directory, '0000000000000003.wal'), path);
  await refusedWith(/it is segment 3 by its header/);
  fs.unlinkSync(path);
  await refusedWith(/is missing, and the log goes on after it/);
  fs.writeFileSync(path, bytes);
  const again = await WriteAheadLog.open({ directory });
  t.equal(told(again).length, 30);
  await again.close();
});

t.test('the log of another cluster or member, or of a newer version, is refused', async (t) => {
  const directory = join(t.testdir(), 'wal');
  const mine = { clusterId: 'c1', memberId: 'm1' };
  await (await WriteAheadLog.open({ directory, identity: mine })).close();
  await (await WriteAheadLog.open({ directory, identity: mine })).close();
  const other = (identity: WalOptions['identity']) => failure(WriteAheadLog.open({ directory, identity }));
  t.match(await other({ clusterId: 'c2', memberId: 'm1' }), { message: /belongs to cluster "c1", not to "c2"/ });
  t.match(await other({ clusterId: 'c1', memberId: 'm2' }), { message: /belongs to member "m1", not to "m2"/ });
});

t.test('what is appended at the same time shares a sync, in order', async (t) => {
  const disk = new SimulatedDisk(new SeededRng(1));
  const wal = await WriteAheadLog.open({ directory: '/wal', files: disk.mount() });
  disk.syncs = 0;
  const order: number[] = [];
  await Promise.all(Array.from({ length: 100 }, (_, i) => wal.append([entry(i + 1)]).then(() => order.push(i))));
  t.equal(disk.syncs, 1);
  t.same(
    order,
    [...order].sort((a, b) => a - b),
  );
  await wal.close();
  t.match(await failure(wal.append([entry(101)])), { code: 'unavailable' });
});

t.test(
  'a failed sync refuses what waits, cuts it off, and the log goes on; if cutting fails too, it is over',
  async (t) => {
    const disk = new SimulatedDisk(new SeededRng(1));
    const wal = await WriteAheadLog.open({ directory: '/wal', files: disk.mount() });
    await wal.append([entry(1)]);
    disk.failingSyncs = 1;
    const first = failure(wal.append([entry(2, 'lost')]));
    const second = failure(wal.append([entry(3, 'lost too')]));
    t.match(await first, { code: 'resource-exhausted', message: /\/wal: the disk refused a write \(EIO/ });
    t.match(await second, { code: 'resource-exhausted' });
    t.equal(wal.lastIndex, 1);
    await wal.append([entry(2, 'kept')]);
    disk.failingSyncs = 1;
    disk.failingTruncates = 1;
    t.match(await failure(wal.append([entry(3)])), { code: 'unavailable', message: /could not be taken back/ });
    t.match(await failure(wal.append([entry(3)])), { code: 'unavailable' });
    await wal.close();
    const again = await WriteAheadLog.open({ directory: '/wal', files: disk.mount() });
    t.same(told(again).slice(0, 2), ['1/1 entry 1', '2/1 kept']);
    await again.close();
  },
);

t.test('what a failed sync left unsynced is durable once it was read again', async (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const disk = new SimulatedDisk(new SeededRng(seed));
    const wal = await WriteAheadLog.open({ directory: '/wal', files: disk.mount() });
    disk.failingSyncs = 1;
    disk.failingTruncates = 1;
    await failure(wal.append([entry(1, 'x'.repeat(2000))]));
    const found = told(await WriteAheadLog.open({ directory: '/wal', files: disk.mount() }));
    disk.cutPower();
    const later = told(await WriteAheadLog.open({ directory: '/wal', files: disk.mount() }));
    t.same(later, found);
  }
});

t.test('records in a torn write do not come back behind a shorter one', async (t) => {
  const directory = join(t.testdir(), 'wal');
  const wal = await WriteAheadLog.open({ directory, segmentBytes: 1024 });
  await wal.append([entry(1)]);
  await wal.append([entry(2, new Uint8Array(6000)), entry(3, 'x'.repeat(6000))]);
  await wal.close();
  const path = join(directory, NAME);
  const bytes = fs.readFileSync(path);
  // The first sectors of the second batch never reached the disk.
  fs.writeFileSync(path, bytes.fill(0, FILE_HEADER_BYTES + 48, 1024));
  for (let index = 2; index <= 3; index++) {
    const again = await WriteAheadLog.open({ directory, segmentBytes: 1024 });
    t.equal(again.lastIndex, index - 1);
    await again.append([entry(index, 'short')]);
    await again.close();
  }
});

/**
 * What the log must hold, kept by the simplest means: the batches as they were asked for, and how far they were
 * acknowledged.
 */
type Step =
  | { kind: 'append'; sizes: number[] }
  | { kind: 'replace'; back: number }
  | { kind: 'commit' }
  | { kind: 'settle' };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('append' as const),
      sizes: fc.array(fc.nat(900), { minLength: 1, maxLength: 5 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('replace' as const), back: fc.nat(6) }) },
  { weight: 2, arbitrary: fc.constant({ kind: 'commit' as const }) },
  { weight: 4, arbitrary: fc.constant({ kind: 'settle' as const }) },
);

t.test(
  'wherever the process or the power ends: all that was acknowledged is there, and nothing that was not asked for',
  async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer(),
        fc.boolean(),
        fc.array(
          fc.tuple(fc.array(step, { maxLength: 25 }), fc.integer({ min: 1, max: 120 }), fc.boolean(), fc.boolean()),
          {
            minLength: 1,
            maxLength: 5,
          },
        ),
        crashRounds,
      ),
      { numRuns: 1000 },
    );
  },
);

async function crashRounds(
  seed: number,
  isEncrypted: boolean,
  rounds: [Step[], number, boolean, boolean][],
): Promise<void> {
  const disk = new SimulatedDisk(new SeededRng(seed));
  const options = async () => {
    const files = disk.mount();
    const ring = { directory: '/ring', identity: { clusterId: '', memberId: '' }, files };
    const keys = isEncrypted ? await KeyRing.open(ring, false) : undefined;
    return { directory: '/wal', files, keys, segmentBytes: 4096 };
  };
  let states: string[][] = [[]];
  for (const [steps, operations, isKill, isCutAfterwards] of rounds) {
    const process = await options();
    await Promise.race([disk.stopAfter(operations), driven(process, steps, states)]);
    if (!isKill) disk.cutPower();
    const wal = await WriteAheadLog.open(await options());
    const found = told(wal);
    // The state must be one that was asked for, and none before the last acknowledged one.
    assert.ok(
      states.some((state) => JSON.stringify(state) === JSON.stringify(found)),
      `found ${found.length} entries; possible were ${states.map((state) => state.length)}`,
    );
    states = [found];
    await wal.close();
    // What was read once must still be there after a power cut, though a killed process had not synced it.
    if (isCutAfterwards) disk.cutPower();
  }
}

/** Runs steps; `states` begins with the last acknowledged state, and has all later ones that were asked for. */
async function driven(options: WalOptions, steps: Step[], states: string[][]): Promise<void> {
  const wal = await WriteAheadLog.open(options);
  const term = wal.hardState.term + 1;
  let model = states[0] ?? [];
  const waiting: Promise<void>[] = [];
  const append = (records: WalRecord[]) => {
    for (const record of records) {
      if (record.type !== 'entry') continue;
      model = [...model.slice(0, record.index - 1), `${record.index}/${record.term} ${Buffer.from(record.data)}`];
      states.push(model);
    }
    const reached = model;
    waiting.push(
      wal.append(records).then(() => {
        states.splice(0, states.indexOf(reached));
      }),
    );
  };
  for (const each of steps) {
    if (each.kind === 'append')
      append(each.sizes.map((size, i) => entry(wal.lastIndex + 1 + i, `${size}`.padEnd(size, 'x'), term)));
    else if (each.kind === 'replace') append([entry(Math.max(1, wal.lastIndex - each.back), 'replaced', term)]);
    else if (each.kind === 'commit') append([{ type: 'hard-state', term, vote: '', commit: wal.lastIndex }]);
    else await Promise.all(waiting);
  }
  await Promise.all(waiting);
  await wal.close();
}

t.test('a directory that cannot be written says so', async (t) => {
  const directory = fs.mkdtempSync(join(tmpdir(), 'wal-'));
  t.teardown(() => fs.rmSync(directory, { recursive: true }));
  fs.writeFileSync(join(directory, 'file'), '');
  await t.rejects(WriteAheadLog.open({ directory: join(directory, 'file', 'wal') }), /ENOTDIR/);
});
