import { mkdir, open, readdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { KernelError, mountTmpfs, unmount } from '@apiary/agent-native';
import { systemCodeOf } from '@apiary/std';

/** One file to be mounted. */
export interface MountedFile {
  data: Uint8Array;
  uid: number;
  gid: number;
  mode: number;
}

const PAGE_BYTES = 4096;
/** Beside the files: what the file system keeps for its folder. */
const SPARE_PAGES = 4;
const ZEROS = Buffer.alloc(64 * 1024);

/**
 * Mounts a file system in memory at `directory`, no larger than it has to be, and writes the files, by the names `0`,
 * `1`, ... What was mounted there before is wiped. When it fails, nothing is left.
 *
 * @param owner  whom the folder is for: nobody else can look into it
 */
export async function mountFiles(
  directory: string,
  files: readonly MountedFile[],
  owner: { uid: number; gid: number },
): Promise<void> {
  await wipe(directory);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  try {
    const pages = files.reduce((sum, { data }) => sum + Math.ceil(data.length / PAGE_BYTES) + 1, SPARE_PAGES);
    await mountInMemory(directory, { sizeBytes: pages * PAGE_BYTES, inodes: files.length + SPARE_PAGES, ...owner });
    for (const [i, file] of files.entries()) await writeWhole(join(directory, String(i)), file);
  } catch (error) {
    await wipe(directory);
    throw error;
  }
}

/**
 * Overwrites what was mounted at `directory` with zeros, and takes it away. Nothing there: nothing done.
 *
 * @throws KernelError when it cannot be unmounted
 */
export async function wipe(directory: string): Promise<void> {
  try {
    // A process that was killed between two steps may have left two of them, or none.
    do {
      for (const name of await readdir(directory)) await overwrite(join(directory, name));
    } while (await unmountOne(directory));
    await rmdir(directory);
  } catch (error) {
    if (systemCodeOf(error) !== 'ENOENT') throw error;
  }
}

async function mountInMemory(
  target: string,
  limits: { sizeBytes: number; inodes: number; uid: number; gid: number },
): Promise<void> {
  const options = { target, ...limits, mode: 0o700, flags: ['nosuid', 'nodev', 'noexec'] as const };
  try {
    await mountTmpfs({ ...options, isNoSwap: true });
  } catch (error) {
    // Before Linux 6.4, which can keep it out of swap.
    if (!(error instanceof KernelError) || error.code !== 'EINVAL') throw error;
    await mountTmpfs(options);
  }
}

async function writeWhole(path: string, { data, uid, gid, mode }: MountedFile): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    for (let at = 0; at < data.length; ) at += (await file.write(data, at)).bytesWritten;
    await file.chown(uid, gid);
    await file.chmod(mode);
  } finally {
    await file.close();
  }
}

async function overwrite(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const { size } = await file.stat();
    for (let at = 0; at < size; ) {
      at += (await file.write(ZEROS, 0, Math.min(ZEROS.length, size - at), at)).bytesWritten;
    }
  } finally {
    await file.close();
  }
}

/** @returns whether something was mounted there */
async function unmountOne(directory: string): Promise<boolean> {
  try {
    // A container that is still there in some other namespace does not keep it from going here.
    await unmount(directory, { flags: ['detach', 'nofollow'] });
    return true;
  } catch (error) {
    if (error instanceof KernelError && error.code === 'EINVAL') return false;
    throw error;
  }
}
