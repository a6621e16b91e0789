import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { ApiaryError } from '@apiary/std';
import type { Logger } from 'pino';

/** As dockerd's. */
export const DEFAULT_SOCKET_GROUP = 'docker';

/**
 * The id of the group whose members may use the daemon's socket, by getent(1), which asks wherever the host has its groups
 * from. There need not be one of the default name: then it is the group that the daemon runs in.
 *
 * @param name  a name or an id; undefined for the default
 * @throws ApiaryError `invalid-argument` for one that was asked for, and that there is not
 */
export async function socketGroupId(name: string | undefined, logger: Logger): Promise<number | undefined> {
  if (name !== undefined && /^\d+$/.test(name)) return Number(name);
  const asked = name ?? DEFAULT_SOCKET_GROUP;
  const id = await groupIdOf(asked);
  if (id !== undefined) return id;
  if (name === undefined) {
    logger.info({ group: asked }, 'there is no such group: the socket is for the group that this daemon runs in');
    return undefined;
  }
  throw new ApiaryError('invalid-argument', `--group ${name}: there is no such group: create it, or name another`);
}

async function groupIdOf(name: string): Promise<number | undefined> {
  try {
    const { stdout } = await promisify(execFile)('getent', ['group', name]);
    const id = Number(stdout.trim().split(':')[2]);
    return Number.isSafeInteger(id) ? id : undefined;
  } catch {
    // It ends with a status when there is none, and cannot be run where there is no libc that has it.
    return undefined;
  }
}
