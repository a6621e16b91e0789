import { ApiaryError } from '@apiary/std';
import type { Position } from '../core/index.js';
import { MemberStorage, type MemberStorageOptions } from './member-storage.js';

/**
 * Makes the log of a cluster with one member, which goes on from a state that came from elsewhere: a backup.
 *
 * @param state  as `StateMachine.restore` takes it: the state after the entry at that place
 * @throws ApiaryError `failed-precondition` when there is a log already; the system's error, or that of `state`
 */
export async function seedLog(
  options: Omit<MemberStorageOptions, 'bootstrap'> & Required<Pick<MemberStorageOptions, 'identity'>>,
  { index, term }: Position,
  state: Iterable<Uint8Array>,
): Promise<void> {
  const { directory, identity } = options;
  const { storage, initial } = await MemberStorage.open(options);
  try {
    if (initial.snapshot.index > 0 || initial.entries.length > 0)
      throw new ApiaryError('failed-precondition', `${directory} holds a log already: point to another directory`);
    await storage.saveSnapshot({ index, term, membership: { voters: [identity.memberId], learners: [] } }, state);
    await storage.write({ snapshot: undefined, entries: [], hardState: { term, vote: '', commit: index } });
  } finally {
    await storage.close();
  }
}
