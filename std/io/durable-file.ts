import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

export interface ReplacementOptions {
  /** What it is called until all of it is on disk, in the folder of `path`. Of each name there is one writer at a time. */
  aside?: string;
  /** Is called before it gets its name: what it throws leaves everything as it was. */
  mayReplace?: () => void;
}

/**
 * Puts a file, for its owner alone, in the place of what `path` names: that or all of the new one is there, whenever the
 * machine stops. What cannot be written leaves nothing behind; what a stop leaves, the next one puts away.
 *
 * @param write  writes the file's content
 * @returns      what `write` did
 * @throws       what the disk refuses, with the system's `code`, and whatever `write` throws
 */
export async function replaceFile<T>(
  path: string,
  write: (file: FileHandle) => Promise<T>,
  { aside = `${path}.new`, mayReplace = () => {} }: ReplacementOptions = {},
): Promise<T> {
  // What a stop has left may be anybody's to read.
  await rm(aside, { force: true });
  try {
    const written = await writeSynced(aside, write);
    mayReplace();
    await rename(aside, path);
    await syncDirectory(dirname(path));
    return written;
  } catch (error) {
    await rm(aside, { force: true });
    throw error;
  }
}

async function writeSynced<T>(path: string, write: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await open(path, 'wx', 0o600);
  try {
    const written = await write(file);
    await file.sync();
    return written;
  } finally {
    await file.close();
  }
}

/** What was made, renamed or removed in the directory stays so. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
