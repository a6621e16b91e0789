import { join } from 'node:path';
import { crc32c } from '@node-rs/crc32';
import type { Identity, SnapshotHeader } from '../core/index.js';
import { decodeSnapshotHeader, encodeSnapshotHeader, FILE_HEADER_BYTES } from '../core/index.js';
import { acceptHeader, DamagedFileError } from './damaged-file.js';
import type { FileCipher } from './file-cipher.js';
import type { FileSystem, OpenFile } from './file-system.js';
import { cipherOf, type KeyRing } from './key-ring.js';
import { readPieces, writePieces } from './snapshot-pieces.js';

export interface SnapshotInfo {
  path: string;
  index: number;
}

/** What a file is opened with. */
interface Opener {
  files: FileSystem;
  identity: Identity;
  /** Undefined: snapshots are in clear. */
  keys: KeyRing | undefined;
}

/** A snapshot whose every byte has been checked. */
export interface Snapshot extends SnapshotHeader {
  path: string;
  /** Read from disk while they are drawn. */
  pieces: Iterable<Uint8Array>;
}

/** The snapshots of one log, in a directory of their own. */
export class SnapshotStore {
  readonly #files: FileSystem;
  readonly #directory: string;
  readonly #opener: Opener;
  /** Of the files that are being written. */
  readonly #newKeyIds: string[] = [];

  private constructor(opener: Opener, directory: string) {
    this.#files = opener.files;
    this.#directory = directory;
    this.#opener = opener;
  }

  /** Makes the directory if it is missing, and removes what an interrupted `write` left. */
  static async open(
    files: FileSystem,
    directory: string,
    identity: Identity,
    keys?: KeyRing | undefined,
  ): Promise<SnapshotStore> {
    await files.makeDirectory(directory);
    for (const name of files.list(directory)) if (name.endsWith('.tmp')) await files.remove(join(directory, name));
    await files.syncDirectory(directory);
    return new SnapshotStore({ files, identity, keys }, directory);
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
    const { identity, keys } = this.#opener;
    const encryption = keys?.newFile();
    const header = encodeSnapshotHeader({ identity, encryption, index, term }, crc32c);
    const cipher = encryption && keys?.cipherOf(path, encryption, header);
    const newKeyId = encryption?.keyId ?? '';
    this.#newKeyIds.push(newKeyId);
    try {
      return await this.#write(path, header, pieces, cipher);
    } finally {
      this.#newKeyIds.splice(this.#newKeyIds.indexOf(newKeyId), 1);
    }
  }

  async #write(
    path: string,
    header: Uint8Array,
    pieces: Iterable<Uint8Array>,
    cipher: FileCipher | undefined,
  ): Promise<number> {
    const file = await this.#files.create(`${path}.tmp`);
    try {
      let bytes: number;
      try {
        bytes = await writePieces(file, header, pieces, cipher);
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
    let opened: { header: SnapshotHeader; cipher: FileCipher | undefined };
    const file = this.#files.open(path);
    try {
      opened = this.#readHeader(file, path);
      if (opened.header.index !== index)
        throw DamagedFileError.at(path, 16, `it is of entry ${opened.header.index} by its header`);
      for (const _ of readPieces(file, path, opened.cipher));
    } finally {
      close(file);
    }
    const { header, cipher } = opened;
    const files = this.#files;
    const pieces = {
      *[Symbol.iterator]() {
        const again = files.open(path);
        try {
          yield* readPieces(again, path, cipher);
        } finally {
          close(again);
        }
      },
    };
    return { ...header, path, pieces };
  }

  /** Removes all but the newest `keep`. */
  async purge(keep: number): Promise<void> {
    const old = this.list().slice(keep);
    for (const { path } of old) await this.#files.remove(path);
    if (old.length > 0) await this.#files.syncDirectory(this.#directory);
  }

  /** The id of the key that a snapshot needs; undefined when it is in clear. */
  keyIdOf({ path }: SnapshotInfo): string | undefined {
    const file = this.#files.open(path);
    try {
      return this.#readHeader(file, path).header.encryption?.keyId;
    } finally {
      close(file);
    }
  }

  /** The ids of the keys that the snapshots need, those being written too. */
  keyIds(): string[] {
    const ids = this.list().map((info) => this.keyIdOf(info));
    return [...ids.filter((id) => id !== undefined), ...this.#newKeyIds];
  }

  async remove({ path }: SnapshotInfo): Promise<void> {
    await this.#files.remove(path);
    await this.#files.syncDirectory(this.#directory);
  }

  #readHeader(file: OpenFile, path: string): { header: SnapshotHeader; cipher: FileCipher | undefined } {
    const { identity, keys } = this.#opener;
    const buffer = new Uint8Array(FILE_HEADER_BYTES);
    const bytes = buffer.subarray(0, file.read(buffer, 0));
    const header = acceptHeader(path, decodeSnapshotHeader(bytes, crc32c), identity);
    return { header, cipher: cipherOf(path, header.encryption, bytes, keys) };
  }
}

function close(file: OpenFile): void {
  // Nothing was written: a close that fails loses nothing.
  file.close().catch(() => {});
}
