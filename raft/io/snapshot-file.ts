import { join } from 'node:path';
import { ApiaryError } from '@apiary/std';
import { crc32c } from '@node-rs/crc32';
import type { Identity, SnapshotHeader } from '../core/index.js';
import { decodeSnapshotHeader, encodeSnapshotHeader, FILE_HEADER_BYTES, viewOf } from '../core/index.js';
import { acceptHeader, DamagedFileError } from './damaged-file.js';
import type { FileSystem, OpenFile } from './file-system.js';
import type { Logger } from './logger.js';

/**
 * A snapshot on disk: the header, then each piece as length and CRC32C (4 bytes each, little-endian, the CRC begun with
 * that of the piece before) and its bytes, then length 0xffffffff and the CRC of nothing, which ends the chain.
 */
const PIECE_HEAD_BYTES = 8;
const END_MARK = 0xffff_ffff;
const MAX_PIECE_BYTES = 64 * 1024 * 1024;
/** Pieces are gathered up to this size before they are written. */
const WRITE_BYTES = 256 * 1024;
/** Synced in steps, so that the log's own syncs never wait behind a whole snapshot. */
const SYNC_BYTES = 8 * 1024 * 1024;

export interface SnapshotInfo {
  path: string;
  index: number;
}

/** A snapshot whose every byte has been checked. */
export interface Snapshot extends SnapshotHeader {
  path: string;
  bytes: number;
  /** Read from disk while they are drawn. */
  pieces: Iterable<Uint8Array>;
}

/** The snapshots of one log, in a directory of their own. */
export class SnapshotStore {
  readonly #files: FileSystem;
  readonly #directory: string;
  readonly #identity: Identity;

  private constructor(files: FileSystem, directory: string, identity: Identity) {
    this.#files = files;
    this.#directory = directory;
    this.#identity = identity;
  }

  /** Makes the directory if it is missing, and removes what an interrupted `write` left. */
  static async open(files: FileSystem, directory: string, identity: Identity): Promise<SnapshotStore> {
    await files.makeDirectory(directory);
    for (const name of files.list(directory)) if (name.endsWith('.tmp')) await files.remove(join(directory, name));
    await files.syncDirectory(directory);
    return new SnapshotStore(files, directory, identity);
  }

  /** What is there, newest first. */
  list(): SnapshotInfo[] {
    const found: SnapshotInfo[] = [];
    for (const name of this.#files.list(this.#directory)) {
      const match = /^(\d{16})\.snapshot$/.exec(name);
      if (match !== null) found.push({ path: join(this.#directory, name), index: Number(match[1]) });
    }
    return found.reverse();
  }

  /**
   * Writes a snapshot aside, syncs it, and only then gives it its name. Pieces are drawn as the disk takes them.
   *
   * @returns the file's size in bytes
   * @throws the system's error, or that of `pieces`; then nothing is left of it
   */
  async write(index: number, term: number, pieces: Iterable<Uint8Array>): Promise<number> {
    const path = join(this.#directory, `${String(index).padStart(16, '0')}.snapshot`);
    const file = await this.#files.create(`${path}.tmp`);
    try {
      let bytes: number;
      try {
        const header = encodeSnapshotHeader({ identity: this.#identity, index, term }, crc32c);
        bytes = await writePieces(file, header, pieces);
        await file.sync();
      } finally {
        await file.close();
      }
      await this.#files.rename(`${path}.tmp`, path);
      await this.#files.syncDirectory(this.#directory);
      return bytes;
    } catch (error) {
      await this.#files.remove(`${path}.tmp`).catch(() => {});
      throw error;
    }
  }

  /**
   * Checks a whole snapshot file, and gives its content.
   *
   * @throws ApiaryError `failed-precondition`, with file and offset
   */
  read({ path, index }: SnapshotInfo): Snapshot {
    let bytes = FILE_HEADER_BYTES;
    let header: SnapshotHeader;
    const file = this.#files.open(path);
    try {
      header = this.#readHeader(file, path);
      if (header.index !== index) throw DamagedFileError.at(path, 16, `it is of entry ${header.index} by its header`);
      for (const piece of readPieces(file, path)) bytes += PIECE_HEAD_BYTES + piece.length;
    } finally {
      close(file);
    }
    const files = this.#files;
    const pieces = {
      *[Symbol.iterator]() {
        const again = files.open(path);
        try {
          yield* readPieces(again, path);
        } finally {
          close(again);
        }
      },
    };
    return { ...header, path, bytes: bytes + PIECE_HEAD_BYTES, pieces };
  }

  /**
   * The newest snapshot that is sound. A damaged one is passed over, with a warning, if the log still holds every
   * entry after an older one; it then keeps its bytes for whoever wants to look, as `*.damaged`.
   *
   * @param reaches whether the log holds every entry after that index; 0 stands for the empty state
   * @returns       undefined when there is none, and none is needed
   * @throws ApiaryError `failed-precondition` of the newest damaged one, when nothing older will do
   */
  async newest(reaches: (index: number) => boolean, logger: Logger): Promise<Snapshot | undefined> {
    const damaged: DamagedFileError[] = [];
    let sound: Snapshot | undefined;
    for (const info of this.list()) {
      try {
        sound = this.read(info);
        break;
      } catch (error) {
        if (!(error instanceof DamagedFileError)) throw error;
        damaged.push(error);
      }
    }
    const [newest] = damaged;
    if (newest === undefined) return sound;
    const index = sound?.index ?? 0;
    if (!reaches(index)) throw newest;
    for (const { path, message } of damaged) {
      await this.#files.rename(path, `${path}.damaged`);
      logger.warn(
        { file: `${path}.damaged`, error: message, index },
        'a snapshot is damaged: passed over, the log reaches back',
      );
    }
    await this.#files.syncDirectory(this.#directory);
    return sound;
  }

  /** Removes all but the newest `keep`. @returns those that are left, newest first */
  async purge(keep: number): Promise<SnapshotInfo[]> {
    const found = this.list();
    const old = found.slice(keep);
    for (const { path } of old) await this.#files.remove(path);
    if (old.length > 0) await this.#files.syncDirectory(this.#directory);
    return found.slice(0, keep);
  }

  #readHeader(file: OpenFile, path: string): SnapshotHeader {
    const bytes = new Uint8Array(FILE_HEADER_BYTES);
    const header = decodeSnapshotHeader(bytes.subarray(0, file.read(bytes, 0)), crc32c);
    return acceptHeader(path, header, this.#identity);
  }
}

async function writePieces(file: OpenFile, header: Uint8Array, pieces: Iterable<Uint8Array>): Promise<number> {
  let crc = crc32c(header, 0);
  let offset = 0;
  let synced = 0;
  let gathered: Uint8Array[] = [header];
  let gatheredBytes = header.length;
  const flush = async () => {
    await file.write(Buffer.concat(gathered), offset);
    offset += gatheredBytes;
    gathered = [];
    gatheredBytes = 0;
    if (offset - synced < SYNC_BYTES) return;
    await file.sync();
    synced = offset;
  };
  for (const piece of pieces) {
    if (piece.length > MAX_PIECE_BYTES)
      throw new ApiaryError(
        'internal',
        `a snapshot's piece of ${piece.length} bytes is over the ${MAX_PIECE_BYTES} allowed`,
      );
    crc = crc32c(piece, crc);
    gathered.push(pieceHead(piece.length, crc), piece);
    gatheredBytes += PIECE_HEAD_BYTES + piece.length;
    if (gatheredBytes >= WRITE_BYTES) await flush();
  }
  gathered.push(pieceHead(END_MARK, crc));
  gatheredBytes += PIECE_HEAD_BYTES;
  await flush();
  return offset;
}

function pieceHead(length: number, crc: number): Uint8Array {
  const head = new Uint8Array(PIECE_HEAD_BYTES);
  const view = viewOf(head);
  view.setUint32(0, length, true);
  view.setUint32(4, crc, true);
  return head;
}

function* readPieces(file: OpenFile, path: string): Generator<Uint8Array> {
  const size = file.size();
  const header = new Uint8Array(FILE_HEADER_BYTES);
  file.read(header, 0);
  let crc = crc32c(header, 0);
  const head = new Uint8Array(PIECE_HEAD_BYTES);
  const view = viewOf(head);
  for (let offset = FILE_HEADER_BYTES; ; ) {
    if (file.read(head, offset) < PIECE_HEAD_BYTES) throw DamagedFileError.at(path, offset, 'it is cut short');
    const length = view.getUint32(0, true);
    if (length === END_MARK && view.getUint32(4, true) === crc && offset + PIECE_HEAD_BYTES === size) return;
    if (length > Math.min(MAX_PIECE_BYTES, size - offset - PIECE_HEAD_BYTES))
      throw DamagedFileError.at(path, offset, 'no sound piece begins there');
    const piece = new Uint8Array(length);
    file.read(piece, offset + PIECE_HEAD_BYTES);
    crc = crc32c(piece, crc);
    if (crc !== view.getUint32(4, true)) throw DamagedFileError.at(path, offset, 'the checksum of its piece is wrong');
    yield piece;
    offset += PIECE_HEAD_BYTES + length;
  }
}

function close(file: OpenFile): void {
  // Nothing was written: a close that fails loses nothing.
  file.close().catch(() => {});
}
