import { join } from 'node:path';
import { ApiaryError, systemCodeOf } from '@apiary/std';
import { DamagedFileError, RECOVERY_ADVICE } from './damaged-file.js';
import type { FileSystem } from './file-system.js';

/**
 * How a member begins. `bootstrap`: as the first of a new cluster, with a vote. `join`: with nothing, until a leader
 * sends it what there is. `resume`: with what it had. The first two also go on with what is there, if anything is.
 */
export type Start = 'bootstrap' | 'join' | 'resume';

/**
 * Refuses to begin anew where there was something: a member that forgot what it had acknowledged would break the
 * others' promises.
 *
 * @throws ApiaryError `failed-precondition` when the log is gone
 */
export function checkStart(files: FileSystem, directory: string, start: Start): void {
  const hasLog = namesIn(files, join(directory, 'wal')).some((name) => name.endsWith('.wal'));
  if (hasLog) return;
  if (namesIn(files, join(directory, 'snapshots')).some((name) => name.endsWith('.snapshot')))
    throw new DamagedFileError(join(directory, 'wal'), 'has no log in it, though there are snapshots beside it');
  if (start !== 'resume') return;
  throw new ApiaryError('failed-precondition', `${directory}: the log of this manager is missing. ${RECOVERY_ADVICE}`);
}

function namesIn(files: FileSystem, directory: string): string[] {
  try {
    return files.list(directory);
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return [];
    throw error;
  }
}
