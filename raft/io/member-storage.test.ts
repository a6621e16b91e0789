import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Entry, Membership, SnapshotMeta } from '../core/index.js';
import { NodeFileSystem, type OpenFile } from './file-system.js';
import { MemberStorage } from './index.js';

const membership: Membership = { voters: ['a', 'b'], learners: ['c'] };
const command = (index: number, term: number): Entry => ({
  type: 'command',
  index,
  term,
  data: Buffer.from(`entry ${index} of term ${term}`),
});
const text = (pieces: Iterable<Uint8Array> | undefined): string => Buffer.concat([...(pieces ?? [])]).toString();
const nothing = { snapshot: undefined, entries: [], hardState: undefined };

/** A folder on the real disk. */
function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'apiary-member-'));
  t.teardown(() => rmSync(path, { recursive: true }));
  return path;
}

t.test('a member finds after a start what was made durable before', async (t) => {
  const directory = folder(t);
  const first = await MemberStorage.open({ directory, bootstrap: membership });
  t.match(first.initial, { hardState: { term: 1, commit: 1 }, entries: [{ type: 'membership', membership }] });
  t.equal(first.state, undefined);
  await first.storage.write({ ...nothing, entries: [command(2, 2), command(3, 2)] });
  const hardState = { term: 3, vote: 'b', commit: 2 };
  await first.storage.write({ ...nothing, entries: [command(3, 3)], hardState });
  await first.storage.close();
  const second = await MemberStorage.open({ directory, bootstrap: membership });
  t.same(second.initial.hardState, hardState);
  t.same(second.initial.entries.slice(1), [command(2, 2), command(3, 3)]);
  await second.storage.close();
});

t.test('a snapshot carries its membership, and spares the entries before it', async (t) => {
  const directory = folder(t);
  const { storage } = await MemberStorage.open({ directory, bootstrap: { voters: ['a'], learners: [] } });
  await storage.write({ ...nothing, entries: [command(2, 1), command(3, 1)] });
  const snapshot = { index: 2, term: 1, membership };
  t.equal(await storage.saveSnapshot(snapshot, [Buffer.from('the '), Buffer.from('state')]), true);
  await storage.close();
  const { initial, state, storage: again } = await MemberStorage.open({ directory });
  t.same([initial.snapshot, initial.entries, text(state)], [snapshot, [command(3, 1)], 'the state']);
  await again.close();
});

t.test('a snapshot goes to another member in pieces of any size, and takes the place of its log', async (t) => {
  const sender = await MemberStorage.open({ directory: folder(t), bootstrap: membership });
  const snapshot: SnapshotMeta = { index: 1, term: 1, membership };
  const pieces = ['', 'one', 'x'.repeat(1000), 'two'].map((piece) => Buffer.from(piece));
  await sender.storage.saveSnapshot(snapshot, pieces);
  const received = { ...snapshot, index: 5, term: 4 };
  for (const maxBytes of [1, 7, 64, 1 << 20]) {
    const directory = folder(t);
    const { storage } = await MemberStorage.open({ directory, bootstrap: membership });
    // Of another leader, and longer than the snapshot: none of it may follow.
    const others = [2, 3, 4, 5, 6, 7].map((index) => command(index, 2));
    await storage.write({ ...nothing, entries: others });
    for (let offset = 0, isLast = false; !isLast; ) {
      const chunk = sender.storage.readChunk('b', snapshot, offset, maxBytes);
      if (chunk === undefined) throw new Error('the snapshot is gone');
      await storage.storeChunk({
        type: 'snapshot-chunk',
        from: 'a',
        to: 'b',
        term: 4,
        snapshot: received,
        offset,
        ...chunk,
      });
      ({ isLast } = chunk);
      offset += chunk.data.length;
    }
    t.equal(text(storage.stateOf(received)), text(pieces));
    await storage.write({ ...nothing, snapshot: received, hardState: { term: 4, vote: '', commit: 5 } });
    await storage.close();
    const { initial, state, storage: again } = await MemberStorage.open({ directory });
    t.same([initial.snapshot, initial.entries, text(state)], [received, [], text(pieces)], `pieces of ${maxBytes}`);
    await again.close();
  }
  t.equal(sender.storage.readChunk('b', { ...snapshot, index: 9 }, 0, 10), undefined);
  await sender.storage.close();
});

t.test('a snapshot that another takes the place of, while a piece of it is written, is in nobody’s way', async (t) => {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  let begin = () => {};
  const isWriting = new Promise<void>((resolve) => {
    begin = resolve;
  });
  class SlowFiles extends NodeFileSystem {
    override async create(path: string): Promise<OpenFile> {
      const file = await super.create(path);
      const { write } = file;
      if (!path.endsWith('-old')) return file;
      file.write = async (bytes, position) => {
        begin();
        await opened;
        await write.call(file, bytes, position);
      };
      return file;
    }
  }
  const { storage } = await MemberStorage.open({ directory: folder(t), files: new SlowFiles() });
  const snapshot: SnapshotMeta = { index: 5, term: 4, membership };
  const chunk = { type: 'snapshot-chunk' as const, to: 'b', term: 4, snapshot, offset: 0 };
  const data = streamOf('', 'state');
  const first = storage.storeChunk({ ...chunk, from: 'old', data: data.subarray(0, 5), isLast: false });
  await isWriting;
  const second = storage.storeChunk({ ...chunk, from: 'new', data, isLast: true });
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  open();
  await Promise.all([first, second]);
  t.equal(text(storage.stateOf(snapshot)), 'state');
  await storage.close();
});

t.test('a snapshot whose sending is begun anew, or ends half-way, keeps no file open', async (t) => {
  const directory = folder(t);
  const { storage } = await MemberStorage.open({ directory, bootstrap: membership });
  const snapshot: SnapshotMeta = { index: 1, term: 1, membership };
  await storage.saveSnapshot(snapshot, [Buffer.from('state'), Buffer.from('more')]);
  for (let i = 0; i < 20; i++) storage.readChunk('b', snapshot, 0, 7);
  const keeps = (most: number) => filesOpenIn(join(directory, 'snapshots')) <= most;
  // Files are closed in the background.
  while (!keeps(1)) await new Promise((resolve) => setImmediate(resolve));
  const received = { ...snapshot, index: 9 };
  const chunk = { type: 'snapshot-chunk' as const, from: 'a', to: 'b', term: 4, snapshot: received, offset: 0 };
  await storage.storeChunk({ ...chunk, data: new Uint8Array(7), isLast: false });
  await storage.close();
  while (filesOpenIn(directory) > 0) await new Promise((resolve) => setImmediate(resolve));
  t.pass('none is left');
});

/** Of this process. */
function filesOpenIn(directory: string): number {
  const paths = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return '';
    }
  });
  return paths.filter((path) => path.startsWith(directory)).length;
}

/** As `SnapshotStream` frames pieces. */
function streamOf(...pieces: string[]): Buffer {
  return Buffer.concat(
    pieces.map((piece) => {
      const framed = Buffer.alloc(4 + piece.length, piece);
      framed.fill(piece, 4).writeUInt32LE(piece.length);
      return framed;
    }),
  );
}

t.test('a snapshot without its beginning is not taken', async (t) => {
  const { storage } = await MemberStorage.open({ directory: folder(t) });
  const snapshot: SnapshotMeta = { index: 5, term: 4, membership };
  const chunk = { type: 'snapshot-chunk' as const, from: 'a', to: 'b', term: 4, snapshot, offset: 3, isLast: true };
  await t.rejects(storage.storeChunk({ ...chunk, data: new Uint8Array(1) }), /its beginning was never received/);
  await storage.close();
});

t.test('a damaged or missing snapshot refuses to start, and says what to do', async (t) => {
  const directory = folder(t);
  const { storage } = await MemberStorage.open({ directory, bootstrap: membership });
  await storage.saveSnapshot({ index: 1, term: 1, membership }, [Buffer.from('state')]);
  await storage.close();
  const [name = ''] = readdirSync(join(directory, 'snapshots'));
  const path = join(directory, 'snapshots', name);
  const bytes = readFileSync(path);
  bytes[140] = (bytes[140] ?? 0) ^ 1;
  writeFileSync(path, bytes);
  await t.rejects(MemberStorage.open({ directory }), /snapshot is damaged at byte 128: .*let it join again/);
  rmSync(path);
  await t.rejects(MemberStorage.open({ directory }), /misses the snapshot of entry 1\. /);
});
