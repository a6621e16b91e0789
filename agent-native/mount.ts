import { binding } from './binding.js';
import { rethrow } from './kernel-error.js';
import { type NamespaceRef, namespacePath } from './namespace.js';

/** Flags of mount(2), by the names that mount(8) has for them. */
const MOUNT_FLAGS = {
  ro: 1,
  nosuid: 2,
  nodev: 4,
  noexec: 8,
  sync: 16,
  remount: 32,
  mand: 64,
  dirsync: 128,
  nosymfollow: 256,
  noatime: 1024,
  nodiratime: 2048,
  bind: 4096,
  move: 8192,
  rec: 16384,
  silent: 32768,
  unbindable: 1 << 17,
  private: 1 << 18,
  slave: 1 << 19,
  shared: 1 << 20,
  relatime: 1 << 21,
  strictatime: 1 << 24,
  lazytime: 1 << 25,
} as const;

const UNMOUNT_FLAGS = { force: 1, detach: 2, expire: 4, nofollow: 8 } as const;

export type MountFlag = keyof typeof MOUNT_FLAGS;
export type UnmountFlag = keyof typeof UNMOUNT_FLAGS;

export interface MountOptions {
  /** What to mount: a device, a folder or file to bind, or a name of no meaning. */
  source?: string;
  target: string;
  /** `tmpfs`, `bpf`, `overlay`, ...; left out for bind, move, remount and propagation. */
  type?: string;
  flags?: readonly MountFlag[];
  /** The file system's own options, with commas. */
  data?: string;
  /** The mount namespace in which source and target are looked up. */
  namespace?: NamespaceRef;
}

/**
 * Mounts. A bind with restrictions (`bind` with `ro`, `nosuid`, ...) is two steps to the kernel, which would ignore them
 * in the first; when the second is refused, the mount is taken away again.
 *
 * @throws KernelError
 */
export async function mount(options: MountOptions): Promise<void> {
  const { source, target, type, data, namespace } = options;
  const flags = flagsOf(options.flags ?? [], MOUNT_FLAGS);
  const { bind, rec, remount, silent } = MOUNT_FLAGS;
  const isRestrictedBind = (flags & bind) !== 0 && (flags & remount) === 0 && (flags & ~(bind | rec | silent)) !== 0;
  const first = isRestrictedBind ? flags & (bind | rec | silent) : flags;
  const then = isRestrictedBind ? (flags & ~rec) | remount : 0;
  await binding
    .mount(source, target, type, first, then, data, namespace && namespacePath(namespace, 'mnt'))
    .catch((error) => rethrow(error));
}

/** Unmounts what is on top at `target`. `nofollow` refuses a symbolic link; `detach` does not wait for users. */
export async function unmount(
  target: string,
  options: { flags?: readonly UnmountFlag[]; namespace?: NamespaceRef } = {},
): Promise<void> {
  const flags = flagsOf(options.flags ?? [], UNMOUNT_FLAGS);
  await binding
    .unmount(target, flags, options.namespace && namespacePath(options.namespace, 'mnt'))
    .catch((error) => rethrow(error));
}

export interface TmpfsOptions {
  target: string;
  /** At most this many bytes of contents; without it the kernel takes half of the memory. */
  sizeBytes?: number;
  inodes?: number;
  /** Of its root folder: `0o700`. */
  mode?: number;
  uid?: number;
  gid?: number;
  /** Never written to swap (Linux 6.4; refused with `EINVAL` before). */
  isNoSwap?: boolean;
  flags?: readonly MountFlag[];
  namespace?: NamespaceRef;
}

/** Mounts a file system in memory. */
export async function mountTmpfs(options: TmpfsOptions): Promise<void> {
  const { target, sizeBytes, inodes, mode, uid, gid, isNoSwap, flags, namespace } = options;
  const data = [
    ...number('size', sizeBytes),
    ...number('nr_inodes', inodes),
    ...number('mode', mode, 8),
    ...number('uid', uid),
    ...number('gid', gid),
    ...(isNoSwap ? ['noswap'] : []),
  ].join(',');
  await mount({ source: 'tmpfs', target, type: 'tmpfs', flags, data, namespace });
}

function number(name: string, value: number | undefined, radix = 10): string[] {
  if (value === undefined) return [];
  if (!Number.isSafeInteger(value) || value < 0)
    throw new TypeError(`tmpfs ${name} must be a whole number, not ${value}`);
  return [`${name}=${value.toString(radix)}`];
}

function flagsOf<Name extends string>(names: readonly Name[], known: Readonly<Record<Name, number>>): number {
  let flags = 0;
  for (const name of names) {
    if (!Object.hasOwn(known, name)) {
      throw new TypeError(`unknown flag "${name}"; known are ${Object.keys(known).join(', ')}`);
    }
    flags |= known[name];
  }
  return flags >>> 0;
}
