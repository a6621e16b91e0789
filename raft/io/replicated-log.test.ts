import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ApiaryError, SeededRng, VirtualClock } from '@apiary/std';
import fc from 'fast-check';
import t from 'tap';
import type { Leadership } from '../core/index.js';
import { noPeers, ReplicatedLog, type ReplicatedLogOptions } from './index.js';
import { Ledger, LOG_CONFORMANCE } from './log-conformance.js';
import { SimulatedDisk } from './simulated-disk.js';

// On a machine that is busy with other tests.
t.setTimeout(120_000);

const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');

type Options = Pick<ReplicatedLogOptions, 'directory'> & Partial<ReplicatedLogOptions>;

/** The log of the only member of a cluster. Time stands still: it needs none. */
function newLog(options: Options): ReplicatedLog {
  const identity = { clusterId: 'c1', memberId: 'm1' };
  const rng = new SeededRng(1);
  return new ReplicatedLog({
    identity,
    start: 'bootstrap',
    transport: noPeers(),
    clock: new VirtualClock(),
    rng,
    ...options,
  });
}

async function opened(options: Options): Promise<{ log: ReplicatedLog; ledger: Ledger }> {
  const log = newLog(options);
  const ledger = new Ledger();
  await log.open(ledger);
  return { log, ledger };
}

async function failure(promise: Promise<unknown>): Promise<ApiaryError> {
  const outcome = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.ok(outcome instanceof ApiaryError, String(outcome));
  return outcome;
}

/** A logger that keeps what it is told, and can be waited on. */
function listener() {
  const told: string[] = [];
  let wake = () => {};
  const keep = (_fields: object, message: string) => {
    told.push(message);
    wake();
  };
  const until = async (message: string) => {
    while (!told.includes(message)) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  return { told, until, logger: { info: keep, warn: keep } };
}

const snapshotsIn = (directory: string) => fs.readdirSync(join(directory, 'snapshots'));
const segmentsIn = (directory: string) => fs.readdirSync(join(directory, 'wal'));

for (const { name, run } of LOG_CONFORMANCE) {
  t.test(name, async (t) => {
    const maxEntryBytes = 2 * 1024 * 1024;
    const options = {
      directory: join(t.testdir(), 'raft'),
      snapshots: { everyEntries: 90 },
      segmentBytes: 8192,
      node: { maxEntryBytes },
    };
    await run({ newLog: () => newLog(options), maxEntryBytes, cleanUp: async () => {} });
  });
}

t.test('snapshots bound what is kept and what is replayed', async (t) => {
  const directory = join(t.testdir(), 'raft');
  const options = { directory, snapshots: { everyEntries: 100 }, segmentBytes: 4096 };
  const { log } = await opened(options);
  for (let batch = 0; batch < 100; batch++)
    await Promise.all(Array.from({ length: 50 }, (_, i) => log.propose(bytes(`entry ${batch * 50 + i}`))));
  await log.close();
  t.equal(snapshotsIn(directory).length, 3);
  t.ok(segmentsIn(directory).length < 15, `${segmentsIn(directory).length} segments`);
  const again = await opened(options);
  t.equal(again.ledger.restores, 1);
  t.ok(again.ledger.applies < 250, `${again.ledger.applies} entries replayed`);
  t.same(
    again.ledger.texts,
    Array.from({ length: 5000 }, (_, i) => `entry ${i}`),
  );
  await again.log.close();
  for (const name of fs.readdirSync(directory, { recursive: true, encoding: 'utf8' })) {
    const stat = fs.statSync(join(directory, name));
    t.equal(stat.mode & 0o777, stat.isDirectory() ? 0o700 : 0o600, name);
  }
});

t.test('bytes bring a snapshot about too', async (t) => {
  const directory = join(t.testdir(), 'raft');
  const { logger, until } = listener();
  const { log } = await opened({ directory, snapshots: { everyBytes: 10_000 }, logger });
  for (let i = 0; i < 11; i++) await log.propose(new Uint8Array(1000));
  await until('snapshot taken');
  await log.close();
  const refusal = { code: 'unavailable', message: 'this node stops being a manager now: ask another' };
  await t.rejects(log.propose(bytes('late')), refusal, 'in words for whoever asked the manager, without its folders');
  t.same(snapshotsIn(directory), ['0000000000000012.snapshot']);
});

t.test('what is kept can be changed while the log runs', async (t) => {
  const directory = join(t.testdir(), 'raft');
  const { log } = await opened({ directory, snapshots: { everyEntries: 1_000 } });
  for (let i = 0; i < 20; i++) await log.propose(bytes(`entry ${i}`));
  t.same(snapshotsIn(directory), []);
  log.configureSnapshots({ everyEntries: 10, keepEntries: 2_000, keepOld: 5 });
  for (let i = 20; i < 200; i++) await log.propose(bytes(`entry ${i}`));
  await log.close();
  t.equal(snapshotsIn(directory).length, 6);
  const again = await opened({ directory });
  t.same(
    again.ledger.texts,
    Array.from({ length: 200 }, (_, i) => `entry ${i}`),
  );
  await again.log.close();
});

/** A log with two snapshots, entries after them, and 30 entries in all. */
async function withTwoSnapshots(directory: string): Promise<string[]> {
  for (let round = 0; round < 3; round++) {
    const { logger, until } = listener();
    const { log } = await opened({
      directory,
      snapshots: { everyEntries: round < 2 ? 10 : 100 },
      segmentBytes: 512,
      logger,
    });
    for (let i = 0; i < 10; i++) await log.propose(bytes(`entry ${round * 10 + i}`));
    if (round < 2) await until('snapshot taken');
    await log.close();
  }
  return Array.from({ length: 30 }, (_, i) => `entry ${i}`);
}

t.test('a snapshot damaged at any byte or cut short refuses with its name', async (t) => {
  const directory = join(t.testdir(), 'raft');
  await withTwoSnapshots(directory);
  const path = join(directory, 'snapshots', snapshotsIn(directory).at(-1) ?? '');
  const whole = fs.readFileSync(path);
  const refused = async (content: Uint8Array) => {
    fs.writeFileSync(path, content);
    const error = await failure(opened({ directory }));
    assert.equal(error.code, 'failed-precondition');
    assert.ok(error.message.startsWith(`${path} is damaged at byte `), error.message);
  };
  for (let at = 0; at < whole.length; at += 7) {
    const damaged = Buffer.from(whole);
    damaged[at] = (damaged[at] ?? 0) ^ 0x10;
    await refused(damaged);
    await refused(whole.subarray(0, at));
  }
  await refused(Buffer.concat([whole, Buffer.from([0])]));
  fs.writeFileSync(path, whole);
  const { log, ledger } = await opened({ directory });
  t.equal(ledger.texts.length, 30);
  await log.close();
});

t.test('a log that has lost what it must have had refuses to open', async (t) => {
  const base = t.testdir();
  const refused = async (name: string, spoil: (directory: string) => void, message: RegExp) => {
    const directory = join(base, name);
    await withTwoSnapshots(directory);
    spoil(directory);
    const error = await failure(opened({ directory }));
    t.equal(error.code, 'failed-precondition');
    t.match(error.message, message);
    t.ok(error.message.startsWith(directory), error.message);
  };
  const remove = (directory: string, folder: string, from: number, to?: number) => {
    for (const name of fs.readdirSync(join(directory, folder)).slice(from, to))
      fs.unlinkSync(join(directory, folder, name));
  };
  await refused('no-wal', (d) => remove(d, 'wal', 0), /wal has no log in it, though there are snapshots beside it/);
  await refused('begin', (d) => remove(d, 'wal', 0, -1), /begins with entry \d+, and .*: what was between is missing/);
  await refused('no-snapshots', (d) => remove(d, 'snapshots', 0), /snapshots misses the snapshot of entry \d+/);
  await refused('middle', (d) => remove(d, 'wal', 1, 2), /\.wal is missing, and the log goes on after it/);
});

t.test('a member that has lost all it had does not begin anew', async (t) => {
  const directory = join(t.testdir(), 'raft');
  t.match(await failure(opened({ directory, start: 'resume' })), {
    code: 'failed-precondition',
    message:
      /raft: the log of this manager is missing\. Restore this manager from a backup, or, .* remove this one there, .* let it join/,
  });
  t.notOk(fs.existsSync(directory));
  const first = await opened({ directory });
  await first.log.propose(bytes('x'));
  await first.log.close();
  const { log, ledger } = await opened({ directory, start: 'resume' });
  t.same(ledger.texts, ['x']);
  await log.close();
});

t.test('data of another cluster is refused', async (t) => {
  const directory = join(t.testdir(), 'raft');
  const identity = { clusterId: 'ours', memberId: 'm1' };
  const { log } = await opened({ directory, identity });
  await log.close();
  t.match(await failure(opened({ directory, identity: { clusterId: 'theirs', memberId: 'm1' } })), {
    code: 'failed-precondition',
    message: /belongs to cluster "ours", not to "theirs"/,
  });
});

t.test('while a snapshot is drawn entries are applied, and it is of the state as it was', async (t) => {
  const { logger, until } = listener();
  const { log, ledger } = await opened({
    directory: join(t.testdir(), 'raft'),
    snapshots: { everyEntries: 5 },
    logger,
  });
  // Pieces of this size are each written on their own, so that appends and syncs go on in between; the ledger itself
  // refuses an entry while it is being drawn.
  const large = 'x'.repeat(300_000);
  const indexes = await Promise.all(Array.from({ length: 23 }, (_, i) => log.propose(bytes(`${i} ${large}`))));
  await until('snapshot taken');
  t.same(
    ledger.entries.map(({ index }) => index),
    indexes,
  );
  await log.barrier();
  await log.close();
});

t.test('a state machine that cannot apply an entry ends the log', async (t) => {
  const log = newLog({ directory: join(t.testdir(), 'raft') });
  const ledger = new Ledger();
  const apply = ledger.apply.bind(ledger);
  ledger.apply = (index, entry) => {
    if (entry.length === 3) throw new Error('cannot apply that');
    apply(index, entry);
  };
  await log.open(ledger);
  await log.propose(bytes('ok'));
  const later = [failure(log.propose(bytes('bad'))), failure(log.propose(bytes('after')))];
  for (const error of await Promise.all(later)) t.match(error, { code: 'internal', message: 'cannot apply that' });
  t.match(await failure(log.propose(bytes('x'))), { code: 'internal' });
  t.equal(log.leadership.role, 'follower');
  t.same(ledger.texts, ['ok']);
  await log.close();
});

t.test('a disk that fails beyond repair ends the leadership; a full one only refuses', async (t) => {
  const disk = new SimulatedDisk(new SeededRng(3));
  const { log, ledger } = await opened({ directory: '/raft', files: disk.mount(), segmentBytes: 4096 });
  const heard: Leadership[] = [];
  log.onLeadership((leadership) => heard.push(leadership));
  disk.capacityBytes = 6000;
  const outcomes = await Promise.allSettled(
    Array.from({ length: 20 }, (_, i) => log.propose(new Uint8Array(900).fill(i))),
  );
  t.ok(outcomes.some(({ status }) => status === 'rejected'));
  const before = ledger.texts.length;
  t.match(await failure(log.propose(new Uint8Array(9000))), {
    code: 'resource-exhausted',
    message: /\/raft\/wal: .*ENOSPC/,
  });
  disk.capacityBytes = Number.POSITIVE_INFINITY;
  await log.propose(bytes('fits again'));
  t.equal(ledger.texts.length, before + 1);
  t.equal(log.leadership.role, 'leader');
  disk.failingSyncs = 1;
  disk.failingTruncates = 1;
  t.match(await failure(log.propose(bytes('x'))), { code: 'unavailable' });
  t.match(heard, [{ role: 'follower' }]);
  t.match(await failure(log.barrier()), { code: 'unavailable' });
  await log.close();
});

interface Round {
  entries: number;
  /** After so many disk operations it stops. */
  operations: number;
  isPowerCut: boolean;
  capacityBytes: number;
}

type Answer = 'acknowledged' | 'refused' | 'unknown';

const round: fc.Arbitrary<Round> = fc.record({
  entries: fc.nat(60),
  operations: fc.integer({ min: 1, max: 150 }),
  isPowerCut: fc.boolean(),
  capacityBytes: fc.oneof(
    { weight: 3, arbitrary: fc.constant(Number.POSITIVE_INFINITY) },
    { weight: 1, arbitrary: fc.integer({ min: 2000, max: 60_000 }) },
  ),
});

t.test('wherever it ends, by kill or power cut, all acknowledged entries are there, in order, once', async () => {
  const rounds = fc.array(round, { minLength: 1, maxLength: 6 });
  await fc.assert(fc.asyncProperty(fc.integer(), rounds, crashRounds), { numRuns: 300 });
});

async function crashRounds(seed: number, rounds: Round[]): Promise<void> {
  const disk = new SimulatedDisk(new SeededRng(seed));
  const options = () => ({
    directory: '/raft',
    files: disk.mount(),
    segmentBytes: 2048,
    snapshots: { everyEntries: 12 },
  });
  let expected: string[] = [];
  for (const [i, { entries, operations, isPowerCut, capacityBytes }] of rounds.entries()) {
    const answers = new Map<string, Answer>();
    const process = options();
    let isOver = false;
    const run = async () => {
      const { log, ledger } = await opened(process);
      assert.deepEqual(ledger.texts, expected);
      // What it had still to hear when it was stopped, it hears afterwards.
      if (isOver) return;
      disk.capacityBytes = capacityBytes;
      await proposeAll(log, i, entries, answers);
    };
    await Promise.race([disk.stopAfter(operations), run()]);
    isOver = true;
    disk.capacityBytes = Number.POSITIVE_INFINITY;
    if (isPowerCut) disk.cutPower();
    const { log, ledger } = await opened(options());
    await log.close();
    checkAgainst(ledger.texts, expected, answers);
    expected = ledger.texts;
  }
}

async function proposeAll(
  log: ReplicatedLog,
  round: number,
  count: number,
  answers: Map<string, Answer>,
): Promise<void> {
  for (let i = 0; i < count; i++) {
    const text = `${round}.${i} `.padEnd(20 + (i % 7) * 40, '.');
    answers.set(text, 'unknown');
    const answered = log.propose(bytes(text)).then(
      () => answers.set(text, 'acknowledged'),
      (error: ApiaryError) => answers.set(text, error.code === 'resource-exhausted' ? 'refused' : 'unknown'),
    );
    // Some wait for their answer; some only let time pass, so that a write is on its way when the next one comes.
    if (i % 7 === 0) await answered;
    else if (i % 2 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await log.barrier();
}

/** The oracle: what was there before, then some of what was proposed, in its order, with all that was acknowledged. */
function checkAgainst(found: string[], before: string[], answers: Map<string, Answer>): void {
  assert.deepEqual(found.slice(0, before.length), before);
  const added = new Set(found.slice(before.length));
  assert.deepEqual(
    found.slice(before.length),
    [...answers.keys()].filter((text) => added.has(text)),
  );
  for (const [text, answer] of answers) {
    assert.ok(answer !== 'acknowledged' || added.has(text), `${text} was acknowledged and is lost`);
    assert.ok(answer !== 'refused' || !added.has(text), `${text} was refused and is there`);
  }
}

/** Proposes without end, 32 at a time, and prints `index text` of what is acknowledged. */
const WRITER = `
  const [io, conformance, directory, round] = process.argv.slice(1);
  const { noPeers, ReplicatedLog } = await import(io);
  const { Ledger } = await import(conformance);
  const { SeededRng, VirtualClock } = await import('@apiary/std');
  const log = new ReplicatedLog({
    directory,
    identity: { clusterId: 'c1', memberId: 'm1' },
    start: 'bootstrap',
    transport: noPeers(),
    clock: new VirtualClock(),
    rng: new SeededRng(round),
    segmentBytes: 16384,
    snapshots: { everyEntries: 150 },
  });
  await log.open(new Ledger());
  let serial = 0;
  const client = async () => {
    for (;;) {
      const text = round + ':' + serial++ + ' '.repeat(serial % 300);
      const index = await log.propose(Buffer.from(text));
      process.stdout.write(index + ' ' + text.trim() + ';\\n');
    }
  };
  await Promise.all(Array.from({ length: 32 }, client));
`;

t.test('kill -9 at any moment loses nothing that was acknowledged, and doubles nothing', async (t) => {
  const directory = join(t.testdir(), 'raft');
  const rng = new SeededRng(9);
  const acknowledged = new Map<number, string>();
  for (let round = 0; round < 8; round++) {
    const modules = ['./index.js', './log-conformance.js'].map((name) => new URL(name, import.meta.url).href);
    const writer = spawn(
      process.execPath,
      ['--input-type=module', '-e', WRITER, ...modules, directory, String(round)],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    let left = 1 + rng.below(1500);
    for await (const line of createInterface({ input: writer.stdout })) {
      // A line that the kill cut short has no semicolon.
      const [, index, text] = /^(\d+) (\d+:\d+);$/.exec(line) ?? [];
      if (index !== undefined && text !== undefined) acknowledged.set(Number(index), text);
      if (--left === 0) writer.kill('SIGKILL');
    }
    if (writer.exitCode === null && writer.signalCode === null) await once(writer, 'exit');
    t.equal(writer.signalCode, 'SIGKILL');
    const { log, ledger } = await opened({ directory, segmentBytes: 16384, snapshots: { everyEntries: 150 } });
    const found = new Map(ledger.entries.map(({ index, text }) => [index, text.trim()]));
    for (const [index, text] of acknowledged) if (found.get(index) !== text) t.fail(`entry ${index} "${text}" is lost`);
    t.equal(new Set(found.values()).size, found.size, 'no text is there twice');
    await log.close();
  }
  t.ok(acknowledged.size > 8, `${acknowledged.size} acknowledged`);
});

t.test(
  'a full disk refuses with a clear error and loses nothing; with space again, it goes on',
  { skip: process.getuid?.() === 0 ? false : 'needs root, to mount a small tmpfs' },
  async (t) => {
    const mount = fs.mkdtempSync(join(tmpdir(), 'apiary-full-disk-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', mount]);
    t.teardown(() => {
      execFileSync('umount', [mount]);
      fs.rmdirSync(mount);
    });
    const ballast = join(mount, 'ballast');
    fs.writeFileSync(ballast, new Uint8Array(512 * 1024));
    const directory = join(mount, 'raft');
    const options = { directory, segmentBytes: 64 * 1024 };
    const { log, ledger } = await opened(options);
    const acknowledged: string[] = [];
    let refused: unknown;
    for (let i = 0; refused === undefined; i++) {
      const texts = Array.from({ length: 8 }, (_, k) => `${i}.${k} `.padEnd(1000, 'x'));
      const outcomes = await Promise.allSettled(texts.map((text) => log.propose(bytes(text))));
      outcomes.forEach((outcome, k) => {
        if (outcome.status === 'fulfilled') acknowledged.push(texts[k] ?? '');
        else refused = outcome.reason;
      });
    }
    t.match(refused, {
      code: 'resource-exhausted',
      message: /raft\/wal: the disk refused a write \(ENOSPC.*Free space/,
    });
    for (let i = 0; i < 20; i++)
      t.match(await failure(log.propose(new Uint8Array(200_000))), { code: 'resource-exhausted' });
    t.same(ledger.texts, acknowledged);
    t.equal(log.leadership.role, 'leader');

    fs.unlinkSync(ballast);
    for (let i = 0; i < 50; i++) {
      await log.propose(bytes(`after ${i}`));
      acknowledged.push(`after ${i}`);
    }
    t.same(ledger.texts, acknowledged);
    await log.close();
    const again = await opened(options);
    t.same(again.ledger.texts, acknowledged);
    await again.log.close();
  },
);
