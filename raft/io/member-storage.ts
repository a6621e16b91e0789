import { join } from 'node:path';
import { ApiaryError, invariant, type Sealing } from '@apiary/std';
import type {
  Entry,
  Identity,
  InitialState,
  Membership,
  Persist,
  SnapshotChunk,
  SnapshotMeta,
  WalRecord,
} from '../core/index.js';
import { decodeEntry, decodeMembership, encodeEntry, encodeMembership, NO_MEMBERSHIP } from '../core/index.js';
import { DamagedFileError } from './damaged-file.js';
import type { FileSystem } from './file-system.js';
import { NodeFileSystem } from './file-system.js';
import { IncomingSnapshot } from './incoming-snapshot.js';
import { KeyRing, type KeyRingOptions } from './key-ring.js';
import type { Logger } from './logger.js';
import { silentLogger } from './logger.js';
import { SnapshotStore } from './snapshot-file.js';
import { SnapshotStream } from './snapshot-stream.js';
import { WriteAheadLog } from './wal.js';

export interface MemberStorageOptions {
  /** Made when missing, for the owner only. Holds `wal/`, `snapshots/` and `incoming/`. */
  directory: string;
  /** Written into each file; the data of another cluster or member is refused. */
  identity?: Identity;
  /** Of a new cluster, in each of its first members: they begin with it as their first entry. */
  bootstrap?: Membership;
  segmentBytes?: number;
  /** Encrypts all files, with a key of this member that `keys.json` in the directory holds; undefined: in clear. */
  keys?: Pick<KeyRingOptions, 'sealing' | 'random' | 'now'> | undefined;
  files?: FileSystem;
  logger?: Logger;
}

/** What a member begins with after a start. */
export interface Opened {
  storage: MemberStorage;
  initial: InitialState;
  /** The state of `initial.snapshot`; undefined without one. */
  state: Iterable<Uint8Array> | undefined;
}

/** A received snapshot, the newest of our own, and the one before, which may still be on its way to somebody. */
const SNAPSHOTS_KEPT = 3;

/** What a member of a cluster keeps on disk: a write-ahead log, and snapshots that carry their membership. */
export class MemberStorage {
  readonly #files: FileSystem;
  readonly #directory: string;
  readonly #wal: WriteAheadLog;
  readonly #snapshots: SnapshotStore;
  readonly #keys: KeyRing | undefined;
  /** Of the newest snapshot that the log was told of. */
  #snapshotIndex: number;
  readonly #outgoing = new Map<string, SnapshotStream>();
  #incoming: IncomingSnapshot | undefined;
  /** Pieces, one after the other: the first of another snapshot may come while one is being written. */
  #storing: Promise<void> = Promise.resolve();

  private constructor(
    { files, directory, keys }: { files: FileSystem; directory: string; keys: KeyRing | undefined },
    wal: WriteAheadLog,
    snapshots: SnapshotStore,
  ) {
    this.#files = files;
    this.#directory = directory;
    this.#wal = wal;
    this.#snapshots = snapshots;
    this.#keys = keys;
    this.#snapshotIndex = wal.snapshot.index;
  }

  /**
   * Reads and checks all that is there.
   *
   * @throws ApiaryError `failed-precondition` when something is damaged, missing, or of another cluster or member
   */
  static async open(options: MemberStorageOptions): Promise<Opened> {
    const { directory, bootstrap, segmentBytes } = options;
    const { identity = { clusterId: '', memberId: '' }, files = new NodeFileSystem(), logger = silentLogger } = options;
    const keys = options.keys && (await openKeys(options.keys, { directory, identity, files }));
    const snapshots = await SnapshotStore.open(files, join(directory, 'snapshots'), identity, keys);
    await files.makeDirectory(join(directory, 'incoming'));
    for (const name of files.list(join(directory, 'incoming'))) await files.remove(join(directory, 'incoming', name));
    const walOptions = { directory: join(directory, 'wal'), identity, keys, files, logger };
    const wal = await WriteAheadLog.open(segmentBytes === undefined ? walOptions : { ...walOptions, segmentBytes });
    const storage = new MemberStorage({ files, directory, keys }, wal, snapshots);
    try {
      const isNew = bootstrap !== undefined && wal.lastIndex === 0;
      const { state, snapshot } = storage.#newestSnapshot();
      const entries = isNew ? await storage.#bootstrap(bootstrap) : storage.#entriesAfter(snapshot);
      const { term, vote, commit } = wal.hardState;
      const last = entries.at(-1) ?? snapshot;
      if (last.index < commit)
        throw new DamagedFileError(
          walOptions.directory,
          `ends with entry ${last.index}, though entry ${commit} was committed`,
        );
      await storage.#forgetKeys();
      return { storage, initial: { hardState: { term, vote, commit }, snapshot, entries }, state };
    } catch (error) {
      await wal.close();
      throw error;
    }
  }

  /**
   * Makes what a Ready has to persist durable, after all that was given before.
   *
   * @throws ApiaryError as `WriteAheadLog.append`: then nothing of it was kept, nor of what was given after it
   */
  write({ snapshot, entries, hardState }: Persist): Promise<void> {
    const records: WalRecord[] = [];
    if (snapshot !== undefined) {
      const { index, term } = snapshot;
      // An entry without content cuts off what cannot follow the snapshot, should a crash come between the two.
      if (this.#wal.lastIndex >= index) records.push({ type: 'entry', index, term, data: new Uint8Array(0) });
      records.push({ type: 'snapshot', index, term });
      this.#snapshotIndex = index;
    }
    for (const entry of entries) {
      records.push({ type: 'entry', index: entry.index, term: entry.term, data: encodeEntry(entry) });
    }
    if (hardState !== undefined) records.push({ type: 'hard-state', ...hardState });
    return this.#wal.append(records);
  }

  /**
   * Keeps a snapshot of the own state, and drops what it makes superfluous. Pieces are drawn as the disk takes them.
   *
   * @param keepOld  snapshots that stay besides the newest; two always do
   * @returns false when a received one has overtaken it: then it counts for nothing
   */
  async saveSnapshot(meta: SnapshotMeta, pieces: Iterable<Uint8Array>, keepOld = 0): Promise<boolean> {
    await this.#snapshots.write(meta.index, meta.term, withMembership(meta, pieces));
    if (this.#snapshotIndex > meta.index) return false;
    this.#snapshotIndex = meta.index;
    await this.#wal.append([{ type: 'snapshot', index: meta.index, term: meta.term }]);
    await this.#snapshots.purge(Math.max(SNAPSHOTS_KEPT, 1 + keepOld));
    await this.#wal.purgeThrough(meta.index);
    await this.#forgetKeys();
    return true;
  }

  /** The state of a snapshot that was received and is durable. */
  stateOf({ index }: SnapshotMeta): Iterable<Uint8Array> {
    const info = this.#snapshots.list().find((each) => each.index === index);
    invariant(info !== undefined, `the snapshot of entry ${index} is gone`);
    return afterFirst(this.#snapshots.read(info).pieces);
  }

  /**
   * A piece of a snapshot for another member, of at most `maxBytes`. Asked for in order it is read once.
   *
   * @returns undefined when there is no such snapshot any more
   */
  readChunk(
    to: string,
    { index }: SnapshotMeta,
    offset: number,
    maxBytes: number,
  ): { data: Uint8Array; isLast: boolean } | undefined {
    let stream = this.#outgoing.get(to);
    if (stream === undefined || stream.index !== index || stream.offset !== offset) {
      this.#endOutgoing(to);
      const info = this.#snapshots.list().find((each) => each.index === index);
      if (info === undefined) return undefined;
      stream = new SnapshotStream(index, this.#snapshots.read(info).pieces);
      stream.skip(offset);
      this.#outgoing.set(to, stream);
    }
    const chunk = stream.take(maxBytes);
    if (chunk.isLast) this.#endOutgoing(to);
    return chunk;
  }

  /** Stores a piece that another member sent; with the last one the whole snapshot is checked, durable and named. */
  storeChunk(chunk: SnapshotChunk): Promise<void> {
    const stored = this.#storing.then(() => this.#storeChunk(chunk));
    this.#storing = stored.catch(() => undefined);
    return stored;
  }

  async #storeChunk({ from, snapshot, offset, data, isLast }: SnapshotChunk): Promise<void> {
    const path = join(this.#directory, 'incoming', `${snapshot.index}-${snapshot.term}-${from}`);
    if (offset === 0) {
      await this.#dropIncoming();
      this.#incoming = await IncomingSnapshot.create(this.#files, path);
    }
    const incoming = this.#incoming;
    if (incoming === undefined || incoming.path !== path)
      throw new ApiaryError('failed-precondition', `${path}: its beginning was never received`);
    await incoming.write(data, offset);
    if (!isLast) return;
    const pieces = incoming.pieces();
    await this.#snapshots.write(snapshot.index, snapshot.term, withMembership(snapshot, afterFirst(pieces)));
    await this.#dropIncoming();
  }

  /**
   * Makes a new key, durably. What is written from now on has it; the one before is forgotten once a snapshot has made
   * all superfluous that needs it: take one.
   *
   * @returns the new key's id
   * @throws ApiaryError `failed-precondition` when the files are in clear; otherwise as `WriteAheadLog.append`, or the
   *   system's error: the new key then counts from the next segment on
   */
  async rotateKey(): Promise<string> {
    const id = await this.#ring().rotate();
    await this.#wal.startSegment();
    return id;
  }

  /** Seals the key file from now on, or no more. @throws as `rotateKey` does */
  async sealKeys(sealing: Sealing | undefined): Promise<void> {
    await this.#ring().reseal(sealing);
  }

  /** As `KeyRing.currentMadeAtMs`; undefined in clear, too. */
  get keyMadeAtMs(): number | undefined {
    return this.#keys?.currentMadeAtMs;
  }

  /** The ids of the keys that are kept, the current one first. */
  get keyIds(): string[] {
    return this.#keys === undefined ? [] : [this.#keys.currentId, ...this.#keys.formerIds];
  }

  async close(): Promise<void> {
    for (const to of this.#outgoing.keys()) this.#endOutgoing(to);
    await this.#storing;
    await this.#incoming?.close();
    await this.#wal.close();
  }

  /** What is read of a snapshot half-way keeps its file open. */
  #endOutgoing(to: string): void {
    this.#outgoing.get(to)?.end();
    this.#outgoing.delete(to);
  }

  async #dropIncoming(): Promise<void> {
    const incoming = this.#incoming;
    this.#incoming = undefined;
    await incoming?.remove();
  }

  #ring(): KeyRing {
    if (this.#keys !== undefined) return this.#keys;
    throw new ApiaryError('failed-precondition', `${this.#directory} is not encrypted: it has no keys`);
  }

  /** Removes the snapshots that only hold up a former key, and forgets the keys that nothing needs any more. */
  async #forgetKeys(): Promise<void> {
    const keys = this.#keys;
    if (keys === undefined || keys.formerIds.length === 0) return;
    for (const info of this.#snapshots.list()) {
      const isOld = this.#snapshots.keyIdOf(info) !== keys.currentId;
      // One that is newer than the log's was received, and the log is about to be told of it.
      if (isOld && info.index < this.#snapshotIndex) await this.#snapshots.remove(info);
    }
    await keys.retain(new Set([...this.#wal.keyIds(), ...this.#snapshots.keyIds()]));
  }

  async #bootstrap(membership: Membership): Promise<Entry[]> {
    const entry: Entry = { type: 'membership', index: 1, term: 1, membership, data: new Uint8Array(0) };
    await this.write({ snapshot: undefined, entries: [entry], hardState: { term: 1, vote: '', commit: 1 } });
    return [entry];
  }

  /** The one that the log was told of: a newer file may not fit what the log has after it. */
  #newestSnapshot(): { snapshot: SnapshotMeta; state: Iterable<Uint8Array> | undefined } {
    const { index, term } = this.#wal.snapshot;
    if (index === 0) return { snapshot: { index: 0, term: 0, membership: NO_MEMBERSHIP }, state: undefined };
    const info = this.#snapshots.list().find((each) => each.index === index);
    if (info === undefined)
      throw new DamagedFileError(join(this.#directory, 'snapshots'), `misses the snapshot of entry ${index}`);
    const { pieces } = this.#snapshots.read(info);
    const [head] = pieces;
    if (head === undefined) throw DamagedFileError.at(info.path, 0, 'it has no membership');
    const { membership } = decodeMembership(head);
    return { snapshot: { index, term, membership }, state: afterFirst(pieces) };
  }

  #entriesAfter({ index }: SnapshotMeta): Entry[] {
    const { recovered } = this.#wal;
    if (recovered !== undefined && recovered.firstIndex > index + 1)
      throw new DamagedFileError(
        join(this.#directory, 'wal'),
        `begins with entry ${recovered.firstIndex}, and the snapshot is of entry ${index}: what was between is missing`,
      );
    const entries: Entry[] = [];
    for (const record of recovered?.entries(index) ?? []) {
      if (record.data.length === 0) break;
      entries.push(decodeEntry(record, record.data));
    }
    return entries;
  }
}

function* withMembership({ membership }: SnapshotMeta, pieces: Iterable<Uint8Array>): Generator<Uint8Array> {
  yield encodeMembership(membership);
  yield* pieces;
}

function* afterFirst(pieces: Iterable<Uint8Array>): Generator<Uint8Array> {
  let isFirst = true;
  for (const piece of pieces) {
    if (!isFirst) yield piece;
    isFirst = false;
  }
}

/** A new key is made only where nothing is encrypted yet. */
async function openKeys(
  given: Pick<KeyRingOptions, 'sealing' | 'random' | 'now'>,
  { directory, identity, files }: Pick<KeyRingOptions, 'directory' | 'identity' | 'files'>,
): Promise<KeyRing> {
  let isNeeded = false;
  for (const [folder, suffix] of [
    ['wal', '.wal'],
    ['snapshots', '.snapshot'],
  ] as const) {
    await files.makeDirectory(join(directory, folder));
    if (files.list(join(directory, folder)).some((name) => name.endsWith(suffix))) isNeeded = true;
  }
  return KeyRing.open({ ...given, directory, identity, files }, isNeeded);
}
