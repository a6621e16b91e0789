import type { FileSystem, OpenFile } from '@apiary/raft/io';

/** A folder in memory: fast, and every input begins with the same one. */
export class MemoryFiles implements FileSystem {
  /** By path; what is open keeps its content under another name. */
  readonly #files: Map<string, { bytes: Uint8Array }>;

  constructor(files: ReadonlyMap<string, Uint8Array> = new Map()) {
    this.#files = new Map([...files].map(([path, bytes]) => [path, { bytes }]));
  }

  get files(): ReadonlyMap<string, Uint8Array> {
    return new Map([...this.#files].map(([path, { bytes }]) => [path, bytes]));
  }

  async makeDirectory(): Promise<void> {}

  list(directory: string): string[] {
    const prefix = `${directory}/`;
    const names = [...this.#files.keys()].flatMap((path) => {
      const name = path.slice(prefix.length);
      return path.startsWith(prefix) && !name.includes('/') ? name : [];
    });
    return names.sort();
  }

  open(path: string): OpenFile {
    const file = this.#files.get(path);
    if (file === undefined) throw Object.assign(new Error(`no such file: ${path}`), { code: 'ENOENT' });
    return {
      size: () => file.bytes.length,
      read: (target, position) => {
        const bytes = file.bytes.subarray(position, position + target.length);
        target.set(bytes);
        return bytes.length;
      },
      write: async (bytes, position) => {
        const whole = new Uint8Array(Math.max(file.bytes.length, position + bytes.length));
        whole.set(file.bytes);
        whole.set(bytes, position);
        file.bytes = whole;
      },
      truncate: async (length) => {
        file.bytes = file.bytes.slice(0, length);
      },
      sync: async () => {},
      close: async () => {},
    };
  }

  async create(path: string): Promise<OpenFile> {
    this.#files.set(path, { bytes: new Uint8Array() });
    return this.open(path);
  }

  async rename(from: string, to: string): Promise<void> {
    const file = this.#files.get(from);
    if (file !== undefined) this.#files.set(to, file);
    this.#files.delete(from);
  }

  async remove(path: string): Promise<void> {
    this.#files.delete(path);
  }

  async syncDirectory(): Promise<void> {}
}
