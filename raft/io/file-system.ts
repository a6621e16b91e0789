import fs from 'node:fs';
import { dirname } from 'node:path';
import { systemCodeOf } from '@apiary/std';
import { syncDirectory } from '@apiary/std/io';

/**
 * The disk, as a port: what the log needs of it and no more. Writes are asynchronous, since a slow disk must not hold
 * up heartbeats; reads are not, since they happen while a log is opened, before anything is served.
 * Failures are the system's own errors (`ENOSPC`, `EIO`, ...).
 */
export interface FileSystem {
  /** Makes a directory and those above it, for the owner only, durably; nothing happens if it is there. */
  makeDirectory(path: string): Promise<void>;
  /** The names in a directory, sorted. */
  list(directory: string): string[];
  /** Opens an existing file. */
  open(path: string): OpenFile;
  /** Opens a new, empty file, for the owner only. What was there under that name is gone. */
  create(path: string): Promise<OpenFile>;
  rename(from: string, to: string): Promise<void>;
  /** Removes a file; nothing happens if there is none. */
  remove(path: string): Promise<void>;
  /** Makes what was created, renamed and removed in a directory durable. */
  syncDirectory(path: string): Promise<void>;
}

export interface OpenFile {
  size(): number;
  /** Fills `target` from `position` on. @returns how many bytes there were */
  read(target: Uint8Array, position: number): number;
  /** Writes all of `bytes`; when it fails, any part of them may have been written. */
  write(bytes: Uint8Array, position: number): Promise<void>;
  /** Cuts the file off at `length`. */
  truncate(length: number): Promise<void>;
  /** Makes the content durable, with as much of the metadata as it takes to read it back. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** The real disk. */
export class NodeFileSystem implements FileSystem {
  async makeDirectory(path: string): Promise<void> {
    const made = await fs.promises.mkdir(path, { recursive: true, mode: 0o700 });
    if (made === undefined) return;
    // From the new directory up to the one that had been there: each name is kept by the directory above it.
    for (let at = path; at !== dirname(made); at = dirname(at)) await this.syncDirectory(dirname(at));
  }

  list(directory: string): string[] {
    return fs.readdirSync(directory).sort();
  }

  open(path: string): OpenFile {
    return new NodeFile(fs.openSync(path, 'r+'));
  }

  async create(path: string): Promise<OpenFile> {
    return new NodeFile(await result<number>((done) => fs.open(path, 'w+', 0o600, done)));
  }

  async rename(from: string, to: string): Promise<void> {
    await fs.promises.rename(from, to);
  }

  async remove(path: string): Promise<void> {
    await fs.promises.unlink(path).catch((error: unknown) => {
      if (systemCodeOf(error) !== 'ENOENT') throw error;
    });
  }

  syncDirectory(path: string): Promise<void> {
    return syncDirectory(path);
  }
}

/** On bare descriptors and callbacks: with `fs.promises` a small durable write takes a quarter longer. */
class NodeFile implements OpenFile {
  readonly #descriptor: number;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  size(): number {
    return fs.fstatSync(this.#descriptor).size;
  }

  read(target: Uint8Array, position: number): number {
    let done = 0;
    while (done < target.length) {
      const count = fs.readSync(this.#descriptor, target, done, target.length - done, position + done);
      if (count === 0) break;
      done += count;
    }
    return done;
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    let done = 0;
    while (done < bytes.length) {
      const from = done;
      done += await result<number>((settle) =>
        fs.write(this.#descriptor, bytes, from, bytes.length - from, position + from, settle),
      );
    }
  }

  async truncate(length: number): Promise<void> {
    await result<void>((settle) => fs.ftruncate(this.#descriptor, length, settle));
  }

  async sync(): Promise<void> {
    await result<void>((settle) => fs.fdatasync(this.#descriptor, settle));
  }

  async close(): Promise<void> {
    await result<void>((settle) => fs.close(this.#descriptor, settle));
  }
}

function result<T>(start: (done: (error: Error | null, value?: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, value) => (error === null ? resolve(value as T) : reject(error)));
  });
}
