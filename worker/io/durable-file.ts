import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Puts a file, for its owner alone, in the place of an older one: that one or the new one is there, whenever the machine stops. */
export async function replaceFile(path: string, text: string): Promise<void> {
  const aside = `${path}.new`;
  // What a stop has left may be anybody's to read.
  await rm(aside, { force: true });
  const file = await open(aside, 'wx', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(aside, path);
  await syncDirectory(dirname(path));
}

/** What was renamed or removed in the directory stays so. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
