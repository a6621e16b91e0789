import assert from 'node:assert/strict';
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ApiaryError, type Sealing, SeededRng, VirtualClock } from '@apiary/std';
import { crc32c } from '@node-rs/crc32';
import t, { type Test } from 'tap';
import { type Entry, FILE_HEADER_BYTES, type Membership, type SnapshotMeta, viewOf } from '../core/index.js';
import { DamagedFileError, MemberStorage, type MemberStorageOptions, noPeers, ReplicatedLog } from './index.js';
import { Ledger } from './log-conformance.js';
import { SimulatedDisk } from './simulated-disk.js';

// On a machine that is busy with other tests.
t.setTimeout(120_000);

const membership: Membership = { voters: ['m1'], learners: [] };
const identity = { clusterId: 'c1', memberId: 'm1' };
const nothing = { snapshot: undefined, entries: [], hardState: undefined };
const text = (pieces: Iterable<Uint8Array> | undefined): string => Buffer.concat([...(pieces ?? [])]).toString();
const command = (index: number, data = `plain entry ${index}`): Entry => ({
  type: 'command',
  index,
  term: 1,
  data: Buffer.from(data),
});

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'apiary-encryption-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function open(directory: string, options: Partial<MemberStorageOptions> = {}) {
  return MemberStorage.open({ directory, identity, bootstrap: membership, keys: {}, ...options });
}

/** The commands that a member finds after a start. */
async function found(directory: string, options: Partial<MemberStorageOptions> = {}): Promise<string[]> {
  const { storage, initial } = await open(directory, { bootstrap: undefined, ...options } as typeof options);
  await storage.close();
  return initial.entries.flatMap((entry) => (entry.type === 'command' ? [Buffer.from(entry.data).toString()] : []));
}

/** All files below `directory`, with their paths from there. */
function filesIn(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((each) => each.isFile())
    .map((each) => join(each.parentPath, each.name))
    .sort();
}

async function refused(promise: Promise<unknown>): Promise<ApiaryError> {
  const error = await promise.then(
    () => new Error('it was not refused'),
    (error: unknown) => error,
  );
  assert.ok(error instanceof ApiaryError, String(error));
  return error;
}

/** A log of the entries 2 to 9 in three batches, with a snapshot of entry 3. */
async function written(directory: string, options: Partial<MemberStorageOptions> = {}): Promise<void> {
  const { storage } = await open(directory, options);
  await storage.write({ ...nothing, entries: [command(2), command(3)] });
  await storage.write({ ...nothing, entries: [4, 5, 6].map((index) => command(index)) });
  await storage.saveSnapshot({ index: 3, term: 1, membership }, [Buffer.from('plain state of 3')]);
  await storage.write({ ...nothing, entries: [7, 8, 9].map((index) => command(index)) });
  await storage.close();
}

t.test('nothing on disk is in clear but heads and names, and all of it is for the owner alone', async (t) => {
  const directory = folder(t);
  await written(directory);
  const { storage } = await open(directory);
  const chunk = { type: 'snapshot-chunk' as const, from: 'm2', to: 'm1', term: 4, offset: 0, isLast: false };
  const snapshot: SnapshotMeta = { index: 20, term: 4, membership };
  await storage.storeChunk({ ...chunk, snapshot, data: Buffer.from('plain piece') });
  const paths = filesIn(directory);
  t.equal(paths.length, 4, paths.join(' '));
  for (const path of paths) {
    t.notOk(readFileSync(path).includes('plain'), path);
    t.equal(statSync(path).mode & 0o777, 0o600, path);
  }
  await storage.close();
  t.same(
    await found(directory),
    [4, 5, 6, 7, 8, 9].map((index) => `plain entry ${index}`),
  );
});

/** What `written` makes, on a disk in memory, whose files can be set at will. */
async function writtenInMemory() {
  const disk = new SimulatedDisk(new SeededRng(1));
  await written('/raft', { files: disk.mount() });
  const files = ['/raft/wal', '/raft/snapshots'].flatMap((path) => [...(disk.directories.get(path)?.names ?? [])]);
  return {
    files: files.map(([path, inode]) => ({
      path,
      bytes: inode.current().slice(),
      set: (bytes: Uint8Array) => {
        inode.truncate(0);
        inode.write(bytes, 0);
      },
    })),
    /** Undefined when it is refused, with words that name the file. */
    found: (path = '/raft') =>
      found('/raft', { files: disk.mount() }).catch((error: unknown) => {
        assert.ok(error instanceof ApiaryError && error.code === 'failed-precondition', String(error));
        assert.ok(error.message.startsWith(path), error.message);
        return undefined;
      }),
  };
}

t.test('whatever byte is changed: refused or torn off, and never read as something else', async (t) => {
  const { files, found } = await writtenInMemory();
  const sound = await found();
  t.equal(sound?.length, 6);
  let torn = 0;
  for (const { path, bytes, set } of files) {
    const end = bytes.findLastIndex((byte) => byte !== 0);
    for (let at = 0; at <= end; at++) {
      const damaged = bytes.slice();
      damaged[at] = (damaged[at] ?? 0) ^ (1 << (at % 8));
      set(damaged);
      const entries = await found(path);
      if (entries === undefined) continue;
      torn++;
      assert.deepEqual(entries, sound?.slice(0, 3), `byte ${at} of ${path}`);
    }
    set(bytes);
  }
  // Only the head of the last batch looks like a write that was cut short.
  t.ok(torn > 0 && torn <= 20, `${torn} changes looked like a torn write`);
  t.same(await found(), sound);
});

t.test('a log cut off at any byte ends with a whole batch, or is refused', async (t) => {
  const { files, found } = await writtenInMemory();
  const sound = (await found()) ?? [];
  // Without the record of the snapshot the log tells of nothing that it does not have: all of it is there.
  const before = ['plain entry 2', 'plain entry 3', ...sound.slice(0, 3)];
  const possible = [sound, sound.slice(0, 3), before, before.slice(0, 2), []].map((state) => JSON.stringify(state));
  for (const { path, bytes, set } of files) {
    const isLog = path.endsWith('.wal');
    const end = bytes.findLastIndex((byte) => byte !== 0) + 1;
    for (let length = isLog ? end : end - 1; length >= 0; length--) {
      set(bytes.subarray(0, length));
      const entries = await found(isLog ? '/raft' : path);
      const isRight = isLog && possible.includes(JSON.stringify(entries));
      assert.ok(entries === undefined || isRight, `${path} cut to ${length}: ${entries}`);
    }
    set(bytes);
  }
  t.same(await found(), sound);
});

/** Mends the checksum of the frame at `at`, as somebody would who wants to deceive. */
function forgeChecksum(bytes: Buffer, at: number): void {
  const view = viewOf(bytes);
  const end = at + ((20 + view.getUint32(at + 8, true) + 7) & ~7);
  view.setUint32(at, crc32c(bytes.subarray(at + 4, end), view.getUint32(12, true)), true);
}

t.test('what was changed and given a fitting checksum is refused all the same', async (t) => {
  const directory = folder(t);
  await written(directory);
  const path = join(directory, 'wal', '0000000000000001.wal');
  const bytes = readFileSync(path);
  const last = [FILE_HEADER_BYTES];
  for (let at = FILE_HEADER_BYTES; viewOf(bytes).getUint32(at + 8, true) !== 0; ) {
    last.push(at);
    at += (20 + viewOf(bytes).getUint32(at + 8, true) + 7) & ~7;
  }
  const at = last.at(-1) ?? 0;
  for (const change of [4, 20, 40, 60]) {
    const forged = Buffer.from(bytes);
    forged[at + change] = (forged[at + change] ?? 0) ^ 1;
    forgeChecksum(forged, at);
    writeFileSync(path, forged);
    const { message } = await refused(found(directory));
    t.match(message, /wal is damaged at byte \d+: /);
  }
  // The segment as it was, under the head of another one.
  const forged = Buffer.from(bytes);
  forged[100] = (forged[100] ?? 0) ^ 1;
  viewOf(forged).setUint32(124, crc32c(forged.subarray(0, 124), 0), true);
  writeFileSync(path, forged);
  await t.rejects(open(directory, { identity: { clusterId: '', memberId: '' } }), /was not encrypted by this manager/);
  writeFileSync(path, bytes);

  const [name = ''] = readdirSync(join(directory, 'snapshots'));
  const snapshot = join(directory, 'snapshots', name);
  const whole = readFileSync(snapshot);
  // Its only piece taken away: the end follows the head at once.
  const [first, second] = [0, 1].map((number) => pieceAt(whole, number));
  const end = Buffer.from(whole.subarray(second?.end));
  const cut = Buffer.concat([whole.subarray(0, first?.start), end]);
  let crc = crc32c(cut.subarray(0, FILE_HEADER_BYTES), 0);
  crc = crc32c(cut.subarray(FILE_HEADER_BYTES + 8), crc);
  viewOf(cut).setUint32(FILE_HEADER_BYTES + 4, crc, true);
  writeFileSync(snapshot, cut);
  await t.rejects(open(directory), /snapshot is damaged at byte 128: what is there was not encrypted/);
});

function pieceAt(bytes: Buffer, number: number): { start: number; end: number } {
  let start = FILE_HEADER_BYTES;
  for (let i = 0; ; i++) {
    const end = start + 8 + viewOf(bytes).getUint32(start, true);
    if (i === number) return { start, end };
    start = end;
  }
}

t.test('a new key is used at once, and the old one is forgotten when a snapshot has made it superfluous', async (t) => {
  const directory = folder(t);
  const { storage } = await open(directory);
  await storage.write({ ...nothing, entries: [command(2)] });
  const [first] = storage.keyIds;
  await storage.saveSnapshot({ index: 2, term: 1, membership }, [Buffer.from('state of 2')]);
  const second = await storage.rotateKey();
  t.same(storage.keyIds, [second, first]);
  await storage.write({ ...nothing, entries: [command(3), command(4)] });
  t.same(JSON.parse(readFileSync(join(directory, 'keys.json'), 'utf8')).keys.length, 2);
  t.equal(readdirSync(join(directory, 'wal')).length, 2);
  // An entry of the old segment is still needed: so is its key.
  t.equal(await storage.saveSnapshot({ index: 4, term: 1, membership }, [Buffer.from('state of 4')]), true);
  t.same(storage.keyIds, [second]);
  t.same(readdirSync(join(directory, 'snapshots')), ['0000000000000004.snapshot']);
  await storage.write({ ...nothing, entries: [command(5)] });
  await storage.close();
  t.equal(statSync(join(directory, 'keys.json')).mode & 0o777, 0o600);
  const again = await open(directory);
  t.same(again.storage.keyIds, [second]);
  t.same([text(again.state), again.initial.entries], ['state of 4', [command(5)]]);
  // A key that comes while a snapshot is received or written under the one before.
  const pieces = (function* () {
    yield Buffer.from('state of 5');
  })();
  const saving = again.storage.saveSnapshot({ index: 5, term: 1, membership }, pieces);
  const rotating = [again.storage.rotateKey(), again.storage.rotateKey()];
  await Promise.all([saving, ...rotating]);
  await again.storage.close();
  t.same(await found(directory), []);
});

t.test('a key that was made and not used yet counts after a restart', async (t) => {
  for (let operations = 1; operations < 40; operations++) {
    const disk = new SimulatedDisk(new SeededRng(operations));
    const options = () => ({ files: disk.mount() });
    const first = await open('/raft', options());
    await first.storage.write({ ...nothing, entries: [command(2)] });
    const [old] = first.storage.keyIds;
    void disk.stopAfter(operations);
    let rotated: string | undefined;
    const work = async () => {
      rotated = await first.storage.rotateKey();
      await first.storage.write({ ...nothing, entries: [command(3)] });
      await first.storage.saveSnapshot({ index: 3, term: 1, membership }, [Buffer.from('state')]);
    };
    await Promise.race([work(), disk.stopAfter(operations)]);
    disk.cutPower();
    const { storage, initial } = await open('/raft', options());
    t.ok(rotated === undefined || storage.keyIds[0] === rotated || storage.keyIds[0] !== old);
    const last = initial.entries.at(-1)?.index ?? initial.snapshot.index;
    await storage.write({ ...nothing, entries: [command(last + 1)] });
    await storage.close();
    const again = await open('/raft', options());
    assert.equal(again.initial.entries.at(-1)?.index, last + 1, `stopped after ${operations}`);
    await again.storage.close();
  }
});

t.test('no nonce comes twice under one key, whatever fails and starts again', async (t) => {
  const disk = new SimulatedDisk(new SeededRng(3));
  const seen = new Set<string>();
  const look = () => {
    for (const [path, inode] of disk.directories.get('/raft/wal')?.names ?? []) {
      const bytes = inode.current();
      const salt = Buffer.from(bytes.subarray(44, 60)).toString('hex');
      for (let at = FILE_HEADER_BYTES; at + 20 < bytes.length && (bytes[at + 16] ?? 0) !== 0; ) {
        const nonce = Buffer.from(bytes.subarray(at + 20, at + 32)).toString('hex');
        const frame = Buffer.from(bytes.subarray(at + 32, at + 20 + viewOf(bytes).getUint32(at + 8, true)));
        seen.add(`${path} ${salt} ${nonce} ${frame.toString('hex')}`);
        at += (20 + viewOf(bytes).getUint32(at + 8, true) + 7) & ~7;
      }
    }
  };
  let index = 1;
  for (let start = 0; start < 10; start++) {
    const { storage, initial } = await open('/raft', { files: disk.mount() });
    index = initial.entries.at(-1)?.index ?? 0;
    for (let i = 0; i < 5; i++) {
      disk.failingSyncs = i % 2;
      const writing = storage.write({ ...nothing, entries: [command(index + 1, `try ${start} ${i}`)] });
      await writing.then(
        () => index++,
        () => {},
      );
      look();
    }
    await storage.close();
  }
  const nonces = new Map<string, number>();
  for (const each of seen) {
    const nonce = each.split(' ').slice(0, 3).join(' ');
    nonces.set(nonce, (nonces.get(nonce) ?? 0) + 1);
  }
  t.ok(seen.size > 30, `${seen.size} frames`);
  t.same(
    [...nonces.values()].filter((count) => count > 1),
    [],
  );
});

t.test('a snapshot goes from one key to another, and can be gone on with at any byte', async (t) => {
  const sender = await open(folder(t));
  const snapshot: SnapshotMeta = { index: 1, term: 1, membership };
  const pieces = ['', 'one', 'x'.repeat(1000), 'two'].map((piece) => Buffer.from(piece));
  await sender.storage.saveSnapshot(snapshot, pieces);
  const directory = folder(t);
  const receiver = await open(directory, { identity: { clusterId: 'c1', memberId: 'm2' } });
  const received = { ...snapshot, index: 5, term: 4 };
  const chunk = { type: 'snapshot-chunk' as const, from: 'm1', to: 'm2', term: 4, snapshot: received };
  let data = Buffer.alloc(0);
  for (let isLast = false; !isLast; ) {
    // Asked for twice, as when the first was lost, and with the key changed in between.
    sender.storage.readChunk('m2', snapshot, data.length, 100);
    await sender.storage.rotateKey();
    const piece = sender.storage.readChunk('m2', snapshot, data.length, 100);
    assert.ok(piece);
    await receiver.storage.storeChunk({ ...chunk, offset: data.length, ...piece });
    data = Buffer.concat([data, piece.data]);
    ({ isLast } = piece);
  }
  t.equal(text(receiver.storage.stateOf(received)), text(pieces));
  t.ok(data.includes('one'), 'on the way it is in clear, inside the connection');
  t.notSame(sender.storage.keyIds[0], receiver.storage.keyIds[0]);
  await t.rejects(
    receiver.storage.storeChunk({ ...chunk, snapshot: { ...received, index: 6 }, offset: 3, isLast: true, data }),
    /its beginning was never received/,
  );
  await sender.storage.close();
  await receiver.storage.close();
});

t.test('a missing, damaged, foreign, newer or wrong key file is named, with the way back', async (t) => {
  const directory = folder(t);
  await written(directory);
  const path = join(directory, 'keys.json');
  const good = readFileSync(path, 'utf8');
  const says = async (content: string | undefined, pattern: RegExp) => {
    if (content === undefined) rmSync(path);
    else writeFileSync(path, content);
    const { message, code } = await refused(open(directory));
    t.equal(code, 'failed-precondition');
    t.match(message, pattern);
    t.match(message, 'keys.json');
  };
  await says(undefined, /keys.json is missing, and without it nothing beside it can be read\. .*let it join again/);
  t.notOk(readdirSync(directory).includes('keys.json'), 'no new key is made for files that it would not open');
  await says('', /keys.json is damaged: /);
  await says(good.replace('"c1"', '"c2"'), /belongs to cluster "c2", not to "c1"/);
  await says(good.replace('"version": 1', '"version": 2'), /is of format version 2/);
  await says('{"version":1,"clusterId":"c1","memberId":"m1","keys":[]}', /it holds no key/);
  const other = folder(t);
  await written(other);
  await says(
    readFileSync(join(other, 'keys.json'), 'utf8'),
    /is encrypted with key [0-9a-f]{16}, which .*keys.json lacks/,
  );
  for (let at = 0; at < good.length; at++) {
    const damaged = Buffer.from(good);
    damaged[at] = (damaged[at] ?? 0) ^ 1;
    writeFileSync(path, damaged);
    await found(directory).then(
      // Spaces, or the four bits of base64 that say nothing.
      (entries) => assert.equal(entries.length, 6),
      (error: unknown) => assert.ok(error instanceof ApiaryError && error.message.includes('keys.json'), String(error)),
    );
  }
  writeFileSync(path, good);
  await t.rejects(open(directory, { keys: undefined }), /is encrypted: open it with its keys/);
  t.equal((await found(directory)).length, 6);

  const clear = folder(t);
  await (await open(clear, { keys: undefined })).storage.close();
  cpSync(path, join(clear, 'keys.json'));
  const error = await refused(open(clear));
  t.ok(error instanceof DamagedFileError);
  t.match(error.message, /wal is not encrypted, though .*keys.json is there/);
});

/** As an operator's key would be used. */
function sealingBy(key: Uint8Array): Sealing {
  return {
    seal: (content) => {
      const nonce = randomBytes(12);
      const cipher = createCipheriv('aes-256-gcm', key, nonce);
      const sealed = [nonce, cipher.update(content), cipher.final(), cipher.getAuthTag()];
      return Buffer.concat(sealed);
    },
    open: (sealed) => {
      const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, 12));
      decipher.setAuthTag(sealed.subarray(-16));
      try {
        return Buffer.concat([decipher.update(sealed.subarray(12, -16)), decipher.final()]);
      } catch {
        throw new ApiaryError('failed-precondition', 'the key does not fit');
      }
    },
  };
}

t.test('the keys can be sealed by another key, by another one later, and no more', async (t) => {
  const directory = folder(t);
  const [one, other] = [sealingBy(randomBytes(32)), sealingBy(randomBytes(32))];
  const { storage } = await open(directory, { keys: { sealing: one } });
  await storage.write({ ...nothing, entries: [command(2, 'kept')] });
  t.notMatch(readFileSync(join(directory, 'keys.json'), 'utf8'), storage.keyIds[0] ?? '');
  await storage.close();
  await t.rejects(open(directory), /keys.json is sealed: it takes the key that it was sealed with/);
  await t.rejects(open(directory, { keys: { sealing: other } }), /the key does not fit/);
  const again = await open(directory, { keys: { sealing: one } });
  await again.storage.sealKeys(other);
  await again.storage.rotateKey();
  await again.storage.close();
  t.same(await found(directory, { keys: { sealing: other } }), ['kept']);
  const last = await open(directory, { keys: { sealing: other } });
  await last.storage.sealKeys(undefined);
  await last.storage.close();
  t.same(await found(directory), ['kept']);
  const clear = await open(folder(t), { keys: undefined });
  await t.rejects(clear.storage.rotateKey(), /is not encrypted: it has no keys/);
  await clear.storage.close();
});

t.test('a key file that was being written when the power went is as it was, or new', async (t) => {
  const directory = folder(t);
  await written(directory);
  cpSync(join(directory, 'keys.json'), join(directory, 'keys.json.tmp'));
  t.equal((await found(directory)).length, 6);
  t.notOk(readdirSync(directory).includes('keys.json.tmp'));
  // An interrupted start: a key, and nothing that has it yet.
  const fresh = folder(t);
  await (await open(fresh)).storage.close();
  rmSync(join(fresh, 'wal'), { recursive: true });
  rmSync(join(fresh, 'snapshots'), { recursive: true });
  t.same(await found(fresh), []);
});

t.test('a running log changes its key under load, and leaves nothing of the old one', async (t) => {
  const directory = folder(t);
  const newLog = () =>
    new ReplicatedLog({
      directory,
      identity,
      start: 'bootstrap',
      transport: noPeers(),
      clock,
      rng: new SeededRng(1),
      keys: {},
    });
  let clock = new VirtualClock(1_000_000);
  const keyIds = () => JSON.parse(readFileSync(join(directory, 'keys.json'), 'utf8')).keys.map(({ id = '' }) => id);
  const log = newLog();
  await t.rejects(log.rotateKey(), /the log is not open/);
  await log.open(new Ledger());
  const [first] = keyIds();
  t.equal(log.keyMadeAtMs, 1_000_000);
  const writing = Array.from({ length: 200 }, (_, i) => log.propose(Buffer.from(`entry ${i}`)));
  const second = await log.rotateKey();
  await Promise.all(writing);
  // Twice with nothing between: the snapshot of the same entry is taken anew.
  const third = await log.rotateKey();
  const fourth = await log.rotateKey();
  t.equal(new Set([first, second, third, fourth]).size, 4);
  t.same(keyIds(), [fourth]);
  await log.close();
  const ledger = new Ledger();
  clock = new VirtualClock(2_000_000);
  const again = newLog();
  await again.open(ledger);
  t.equal(ledger.entries.length, 200);
  t.equal(again.keyMadeAtMs, 1_000_000, 'how old a key is outlives a restart');
  await again.rotateKey();
  t.equal(again.keyMadeAtMs, 2_000_000);
  await again.close();
});
