import type { FileSystem, OpenFile } from '@apiary/raft/io';

/** A disk of which every operation takes virtual time: `wait` resolves when its turn has come. */
export class TimedFiles implements FileSystem {
  readonly #inner: FileSystem;
  readonly #wait: () => Promise<void>;

  constructor(inner: FileSystem, wait: () => Promise<void>) {
    this.#inner = inner;
    this.#wait = wait;
  }

  async makeDirectory(path: string): Promise<void> {
    await this.#wait();
    await this.#inner.makeDirectory(path);
  }

  list(directory: string): string[] {
    return this.#inner.list(directory);
  }

  open(path: string): OpenFile {
    return new TimedFile(this.#inner.open(path), this.#wait);
  }

  async create(path: string): Promise<OpenFile> {
    await this.#wait();
    return new TimedFile(await this.#inner.create(path), this.#wait);
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#wait();
    await this.#inner.rename(from, to);
  }

  async remove(path: string): Promise<void> {
    await this.#wait();
    await this.#inner.remove(path);
  }

  async syncDirectory(path: string): Promise<void> {
    await this.#wait();
    await this.#inner.syncDirectory(path);
  }
}

class TimedFile implements OpenFile {
  readonly #inner: OpenFile;
  readonly #wait: () => Promise<void>;

  constructor(inner: OpenFile, wait: () => Promise<void>) {
    this.#inner = inner;
    this.#wait = wait;
  }

  size(): number {
    return this.#inner.size();
  }

  read(target: Uint8Array, position: number): number {
    return this.#inner.read(target, position);
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    // What the caller does with its buffer meanwhile is its own affair.
    await this.#wait();
    await this.#inner.write(bytes, position);
  }

  async truncate(length: number): Promise<void> {
    await this.#wait();
    await this.#inner.truncate(length);
  }

  async sync(): Promise<void> {
    await this.#wait();
    await this.#inner.sync();
  }

  async close(): Promise<void> {
    await this.#inner.close();
  }
}
