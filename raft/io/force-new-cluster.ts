import { ApiaryError } from '@apiary/std';
import type { InitialState } from '../core/index.js';
import { NodeFileSystem } from './file-system.js';
import { MemberStorage, type MemberStorageOptions, type Opened } from './member-storage.js';
import { checkStart } from './start-check.js';

/**
 * Terms that are left out when a cluster goes on from one member, or from a backup. The others may have a majority all the
 * same and come back: at the same place, in the term that they elect their leader in, there must not be another entry.
 */
export const TERMS_LEFT_OUT = 1_000_000;

/**
 * Makes a member that does not run the only one of its cluster: for when the majority is lost for good.
 *
 * All that is durable here is kept, also what nobody knows to be committed. etcd and SwarmKit drop what lies beyond the
 * commit index on disk; but that index lags behind, here on purpose, and an entry that was acknowledged a moment before
 * the others were lost lies beyond it. What was never acknowledged may have happened, as whoever asked for it was told.
 * It is what an election would do in which only this member votes.
 *
 * The membership of this member alone is the next entry, of a term that nobody has led. A stop before that entry is
 * durable leaves the old cluster, with at most a newer term; one after it, the new one.
 *
 * @param dataOf  what the state machine hears with that entry, by the state and the entries after it
 * @returns       the index of that entry
 * @throws ApiaryError as `MemberStorage.open`; `failed-precondition` when there is no state to go on with
 */
export async function forceNewCluster(
  options: Omit<MemberStorageOptions, 'bootstrap'> & Required<Pick<MemberStorageOptions, 'identity'>>,
  dataOf: (initial: InitialState, state: Opened['state']) => Uint8Array,
): Promise<number> {
  const { directory, identity, files = new NodeFileSystem() } = options;
  checkStart(files, directory, 'resume');
  const { storage, initial, state } = await MemberStorage.open({ ...options, files });
  try {
    const { hardState, snapshot, entries } = initial;
    const last = entries.at(-1) ?? snapshot;
    if (last.index === 0)
      throw new ApiaryError(
        'failed-precondition',
        `${directory}: this manager has not received the state of the cluster yet: there is nothing to go on with. ` +
          'Use another manager, or restore a backup',
      );
    const data = dataOf(initial, state);
    const term = Math.max(hardState.term, last.term) + TERMS_LEFT_OUT;
    const { memberId } = identity;
    const nothing = { snapshot: undefined, entries: [], hardState: undefined };
    await storage.write({ ...nothing, hardState: { ...hardState, term, vote: memberId } });
    const membership = { voters: [memberId], learners: [] };
    const entry = { type: 'membership' as const, index: last.index + 1, term, membership, data };
    await storage.write({ ...nothing, entries: [entry] });
    return entry.index;
  } finally {
    await storage.close();
  }
}
