import { dirname } from 'node:path';
import type { Rng } from '@apiary/std';
import type { FileSystem, OpenFile } from './file-system.js';

const SECTOR_BYTES = 512;

/**
 * A disk in memory that fails as real ones do, from a seed: a power cut keeps any sectors of what was not synced and
 * loses the others, and keeps any first part of what was done to a directory; a full disk writes part of what it was
 * given; a failed sync drops what it was to write, and the next one does not write it either.
 */
export class SimulatedDisk {
  /** Writes are refused with ENOSPC beyond so much in all files. */
  capacityBytes = Number.POSITIVE_INFINITY;
  /** So many of the next syncs of a file fail with EIO. */
  failingSyncs = 0;
  /** So many of the next truncations fail with EIO. */
  failingTruncates = 0;
  /** Successful syncs of a file so far. */
  syncs = 0;
  readonly rng: Rng;
  /** By path. */
  readonly directories = new Map<string, Directory>();
  #mount: Mount | undefined;
  #operationsLeft = Number.POSITIVE_INFINITY;
  #onStop: () => void = () => {};

  constructor(rng: Rng) {
    this.rng = rng;
  }

  /** The disk, for a new process. There is one at a time: calls of those before never end. */
  mount(): FileSystem {
    this.#operationsLeft = Number.POSITIVE_INFINITY;
    this.#mount = new Mount(this);
    return this.#mount;
  }

  /** Stops the process in its `operations`-th write, sync or directory change from now. @returns when it has */
  stopAfter(operations: number): Promise<void> {
    this.#operationsLeft = operations;
    return new Promise((resolve) => {
      this.#onStop = resolve;
    });
  }

  /** Ends the process, and loses what a power cut loses. */
  cutPower(): void {
    this.#mount = undefined;
    for (const directory of this.directories.values()) directory.lose(this.rng);
  }

  /** Counts down to the stop; then `half` is what is still done of the operation, and it never ends. */
  async operation(mount: Mount, half?: () => void): Promise<void> {
    // Some take a while: others may get in between.
    if (this.rng.below(2) === 0) await new Promise((resolve) => setImmediate(resolve));
    if (mount === this.#mount && --this.#operationsLeft > 0) return;
    if (mount === this.#mount && this.#operationsLeft === 0) {
      half?.();
      this.#onStop();
    }
    await new Promise(() => {});
  }

  usedBytes(): number {
    return [...this.directories.values()].reduce((sum, directory) => sum + directory.usedBytes(), 0);
  }
}

/** What one process sees of the disk. */
class Mount implements FileSystem {
  readonly #disk: SimulatedDisk;

  constructor(disk: SimulatedDisk) {
    this.#disk = disk;
  }

  async makeDirectory(path: string): Promise<void> {
    if (!this.#disk.directories.has(path)) this.#disk.directories.set(path, new Directory());
  }

  list(directory: string): string[] {
    return [...this.#directory(directory).names.keys()].map((path) => path.slice(directory.length + 1)).sort();
  }

  open(path: string): OpenFile {
    return new SimulatedFile(this.#disk, this, this.#inode(path));
  }

  async create(path: string): Promise<OpenFile> {
    await this.#disk.operation(this);
    const inode = new Inode();
    this.#directory(dirname(path)).change({ set: path, inode });
    return new SimulatedFile(this.#disk, this, inode);
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#disk.operation(this);
    this.#directory(dirname(from)).change({ set: to, inode: this.#inode(from), remove: from });
  }

  async remove(path: string): Promise<void> {
    await this.#disk.operation(this);
    const directory = this.#directory(dirname(path));
    if (directory.names.has(path)) directory.change({ remove: path });
  }

  async syncDirectory(path: string): Promise<void> {
    await this.#disk.operation(this);
    this.#directory(path).sync();
  }

  #directory(path: string): Directory {
    const directory = this.#disk.directories.get(path);
    if (directory === undefined) throw systemError('ENOENT', `no such directory: ${path}`);
    return directory;
  }

  #inode(path: string): Inode {
    const inode = this.#directory(dirname(path)).names.get(path);
    if (inode === undefined) throw systemError('ENOENT', `no such file: ${path}`);
    return inode;
  }
}

interface NameChange {
  set?: string;
  inode?: Inode;
  remove?: string;
}

class Directory {
  names = new Map<string, Inode>();
  #durable = new Map<string, Inode>();
  #pending: NameChange[] = [];

  change(change: NameChange): void {
    apply(this.names, change);
    this.#pending.push(change);
  }

  sync(): void {
    for (const change of this.#pending.splice(0)) apply(this.#durable, change);
  }

  usedBytes(): number {
    return [...this.names.values()].reduce((sum, inode) => sum + inode.size, 0);
  }

  lose(rng: Rng): void {
    this.#pending.length = rng.below(this.#pending.length + 1);
    this.sync();
    this.names = new Map(this.#durable);
    for (const inode of this.names.values()) inode.lose(rng);
  }
}

function apply(names: Map<string, Inode>, { set, inode, remove }: NameChange): void {
  if (remove !== undefined) names.delete(remove);
  if (set !== undefined && inode !== undefined) names.set(set, inode);
}

/** A file's content as it is seen, and as it is on the platter. */
class Inode {
  size = 0;
  #seen = new Uint8Array(0);
  #platter = new Uint8Array(0);
  #dirtyFrom = Number.POSITIVE_INFINITY;
  #dirtyTo = 0;

  current(): Uint8Array {
    return this.#seen.subarray(0, this.size);
  }

  write(bytes: Uint8Array, position: number): void {
    if (bytes.length === 0) return;
    const end = position + bytes.length;
    if (end > this.#seen.length) this.#seen = resized(this.#seen, Math.max(end, 2 * this.#seen.length));
    this.#seen.set(bytes, position);
    this.#dirtyFrom = Math.min(this.#dirtyFrom, position, this.size);
    this.#dirtyTo = Math.max(this.#dirtyTo, end);
    this.size = Math.max(this.size, end);
  }

  truncate(length: number): void {
    this.#seen.fill(0, length);
    this.size = Math.min(this.size, length);
  }

  sync(): void {
    this.#platter = resized(this.#platter, this.size);
    const to = Math.min(this.#dirtyTo, this.size);
    if (this.#dirtyFrom < to) this.#platter.set(this.#seen.subarray(this.#dirtyFrom, to), this.#dirtyFrom);
    this.forgetDirty();
  }

  forgetDirty(): void {
    this.#dirtyFrom = Number.POSITIVE_INFINITY;
    this.#dirtyTo = 0;
  }

  lose(rng: Rng): void {
    const seen = this.current();
    const survivor = resized(this.#platter, rng.below(2) === 0 ? seen.length : this.#platter.length);
    for (let at = 0; at < Math.min(survivor.length, seen.length); at += SECTOR_BYTES) {
      const sector = seen.subarray(at, Math.min(at + SECTOR_BYTES, survivor.length));
      if (rng.below(2) === 0) survivor.set(sector, at);
    }
    this.#seen = survivor;
    this.#platter = survivor.slice();
    this.size = survivor.length;
    this.forgetDirty();
  }
}

class SimulatedFile implements OpenFile {
  readonly #disk: SimulatedDisk;
  readonly #mount: Mount;
  readonly #inode: Inode;

  constructor(disk: SimulatedDisk, mount: Mount, inode: Inode) {
    this.#disk = disk;
    this.#mount = mount;
    this.#inode = inode;
  }

  size(): number {
    return this.#inode.size;
  }

  read(target: Uint8Array, position: number): number {
    const found = this.#inode.current().subarray(position, position + target.length);
    target.set(found);
    return found.length;
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    const { rng, capacityBytes } = this.#disk;
    const growth = Math.max(0, position + bytes.length - this.#inode.size);
    const room = Math.max(0, capacityBytes - this.#disk.usedBytes());
    const fitting = growth <= room ? bytes.length : Math.max(0, bytes.length - growth + room);
    const half = () => this.#inode.write(bytes.subarray(0, rng.below(fitting + 1)), position);
    await this.#disk.operation(this.#mount, half);
    this.#inode.write(bytes.subarray(0, fitting), position);
    if (fitting < bytes.length) throw systemError('ENOSPC', 'no space left on device');
  }

  async truncate(length: number): Promise<void> {
    await this.#disk.operation(this.#mount);
    if (this.#disk.failingTruncates > 0) {
      this.#disk.failingTruncates--;
      throw systemError('EIO', 'i/o error');
    }
    this.#inode.truncate(length);
  }

  async sync(): Promise<void> {
    await this.#disk.operation(this.#mount);
    if (this.#disk.failingSyncs > 0) {
      this.#disk.failingSyncs--;
      this.#inode.forgetDirty();
      throw systemError('EIO', 'i/o error');
    }
    this.#disk.syncs++;
    this.#inode.sync();
  }

  async close(): Promise<void> {}
}

function resized(bytes: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const result = new Uint8Array(length);
  result.set(bytes.subarray(0, length));
  return result;
}

function systemError(code: string, message: string): Error {
  return Object.assign(new Error(`${code}: ${message}`), { code });
}
