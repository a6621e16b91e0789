import { ApiaryError } from '@apiary/std';
import type { HeaderFault, Identity } from '../core/index.js';
import { identityFault } from '../core/index.js';

/** What is left to do for a manager that cannot go on with what it has. */
export const RECOVERY_ADVICE =
  'Restore this manager from a backup, or, if the cluster has other managers, remove this one there, remove its data ' +
  'root here, and let it join again';

/** The same for data of another cluster or member. */
export const FOREIGN_ADVICE =
  "Point to this manager's own data root, or remove what is there and join the cluster again";

/** A file or directory of the log is not as it was written, and what is in it cannot be trusted. */
export class DamagedFileError extends ApiaryError {
  /** @param what what is wrong, in words that follow the path */
  constructor(
    readonly path: string,
    what: string,
  ) {
    super('failed-precondition', `${path} ${what}. ${RECOVERY_ADVICE}`);
  }

  /** Damage at a known place in a file. */
  static at(path: string, offset: number, what: string): DamagedFileError {
    return new DamagedFileError(path, `is damaged at byte ${offset}: ${what}`);
  }
}

/**
 * Hands back a header that is whole and meant for `identity`.
 *
 * @throws DamagedFileError when it is damaged; ApiaryError `failed-precondition` when it is somebody else's
 */
export function acceptHeader<H extends { identity: Identity }>(
  path: string,
  header: H | HeaderFault,
  identity: Identity,
): H {
  if ('fault' in header) {
    if (header.offset !== undefined) throw DamagedFileError.at(path, header.offset, header.fault);
    throw new ApiaryError('failed-precondition', `${path} ${header.fault}`);
  }
  const foreign = identityFault(identity, header.identity);
  if (foreign !== undefined) throw new ApiaryError('failed-precondition', `${path} ${foreign}. ${FOREIGN_ADVICE}`);
  return header;
}
