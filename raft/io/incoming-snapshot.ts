import { randomBytes } from 'node:crypto';
import { ApiaryError } from '@apiary/std';
import { DamagedFileError } from './damaged-file.js';
import { FileCipher, KEY_BYTES, SEALED_EXTRA_BYTES } from './file-cipher.js';
import type { FileSystem, OpenFile } from './file-system.js';
import { unframed } from './snapshot-stream.js';

/**
 * What was received of a snapshot so far, in a file: a snapshot need not fit into memory. It is of use to this process
 * only, so it is encrypted with a key that is nowhere else, whatever the other files are.
 */
export class IncomingSnapshot {
  readonly path: string;
  readonly #files: FileSystem;
  readonly #file: OpenFile;
  readonly #cipher = new FileCipher(randomBytes(KEY_BYTES), new Uint8Array(0), new Uint8Array(0), randomBytes);
  /** Where each chunk stands in the stream and in the file, and how long it is. */
  readonly #chunks: { offset: number; at: number; length: number }[] = [];
  #streamBytes = 0;
  #fileBytes = 0;

  private constructor(files: FileSystem, file: OpenFile, path: string) {
    this.#files = files;
    this.#file = file;
    this.path = path;
  }

  static async create(files: FileSystem, path: string): Promise<IncomingSnapshot> {
    return new IncomingSnapshot(files, await files.create(path), path);
  }

  /**
   * Keeps the stream's next bytes.
   *
   * @throws ApiaryError `failed-precondition` when they do not go on where those before ended; the system's error:
   *   then they may be given again
   */
  async write(data: Uint8Array, offset: number): Promise<void> {
    if (offset !== this.#streamBytes)
      throw new ApiaryError('failed-precondition', `${this.path}: byte ${offset} came after byte ${this.#streamBytes}`);
    const at = this.#fileBytes;
    await this.#file.write(this.#cipher.seal(data, contextOf(offset)), at);
    this.#chunks.push({ offset, at, length: data.length + SEALED_EXTRA_BYTES });
    this.#streamBytes = offset + data.length;
    this.#fileBytes = at + data.length + SEALED_EXTRA_BYTES;
  }

  /**
   * The pieces of the snapshot, read while they are drawn.
   *
   * @throws DamagedFileError when they are not whole
   */
  *pieces(): Generator<Uint8Array> {
    for (const piece of unframed(this.#stream())) {
      if (piece === undefined) throw DamagedFileError.at(this.path, this.#fileBytes, 'its last piece is cut short');
      yield piece;
    }
  }

  /** What is there of it goes at the next start. */
  async close(): Promise<void> {
    await this.#file.close();
  }

  async remove(): Promise<void> {
    await this.close();
    await this.#files.remove(this.path);
  }

  *#stream(): Generator<Uint8Array> {
    for (const { offset, at, length } of this.#chunks) {
      const sealed = new Uint8Array(length);
      this.#file.read(sealed, at);
      const data = this.#cipher.open(sealed, contextOf(offset));
      if (data === undefined) throw DamagedFileError.at(this.path, at, 'it was changed since it was received');
      yield data;
    }
  }
}

function contextOf(offset: number): Uint8Array {
  return Buffer.from(`byte ${offset}`);
}
