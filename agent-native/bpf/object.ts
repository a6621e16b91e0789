import { unlink } from 'node:fs/promises';
import { binding, type NativeBpfObject } from '../binding.js';
import { KernelError, rethrow } from '../kernel-error.js';

/** The kinds of objects, as the addon numbers them. */
export const KIND = { map: 0, program: 1, link: 2 } as const;

/** A map, a program or a link: a descriptor until it is closed, or until nobody holds it any more. */
export abstract class BpfObject {
  /** The kernel's number of it, good for as long as it exists. */
  readonly id: number;
  readonly #kind: number;
  /** For the addon's functions alone. */
  readonly handle: object;

  protected constructor(kind: number, native: NativeBpfObject) {
    this.id = native.id;
    this.handle = native.handle;
    this.#kind = kind;
  }

  /**
   * Gives it a name in a BPF file system, so that it outlives this process.
   *
   * @throws KernelError: `EEXIST` when there is such a file, `EPERM` on another file system
   */
  async pin(path: string): Promise<void> {
    await nativeCall(() => binding.bpfPin(this.#kind, this.handle, path));
  }

  /** Lets go of it, after what is under way. What is pinned, attached or used by others stays. Idempotent. */
  close(): void {
    binding.bpfClose(this.handle);
  }
}

/** Calls the addon: its refusals become KernelErrors, wrong arguments reject like everything else. */
export async function nativeCall<Result>(call: () => Promise<Result>): Promise<Result> {
  return await call().catch((error) => rethrow(error));
}

/** Takes the name away that pin() gave. @throws KernelError: `ENOENT` when there is none */
export async function unpin(path: string): Promise<void> {
  await unlink(path).catch((error: NodeJS.ErrnoException) => {
    throw typeof error.errno === 'number' ? new KernelError(-error.errno, `unpin ${path}`, '') : error;
  });
}

/** The numbers of all maps, programs or links that exist. */
export async function bpfIds(kind: keyof typeof KIND): Promise<number[]> {
  if (!Object.hasOwn(KIND, kind)) throw new TypeError(`"${String(kind)}" is no kind of BPF object`);
  return await nativeCall(() => binding.bpfIds(KIND[kind]));
}

/** Names of maps and programs: the kernel takes 15 of letters, digits, dots and underscores. */
export function checkBpfName(name: string): string {
  if (!/^[\w.]{0,15}$/.test(name)) {
    throw new TypeError(`"${name}" cannot name a BPF object: 15 letters, digits, dots and underscores at most`);
  }
  return name;
}

/** The number of a name in a table. */
export function lookUp<Name extends string>(table: Readonly<Record<Name, number>>, name: Name, what: string): number {
  if (!Object.hasOwn(table, name)) {
    throw new TypeError(`${what} "${String(name)}" is unknown; known are ${Object.keys(table).join(', ')}`);
  }
  return table[name];
}
