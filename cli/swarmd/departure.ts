import { leaveAsManager } from '@apiary/manager/core';
import type { Manager } from '@apiary/manager/io';
import { ApiaryError, type Clock, messageOf } from '@apiary/std';
import { within } from './deadline.js';
import type { Place } from './place.js';

/** For how long a manager that leaves by force waits for the others to take it out of the managers' log. */
export const RESIGNATION_TIMEOUT_MS = 10_000;

/**
 * Has a manager that leaves taken out of the managers' log, so that those who stay do not count on it.
 *
 * @returns what it means for the others that this could not be done; undefined when it was, or nobody else is there
 * @throws ApiaryError `failed-precondition` without `force`, in Docker's words, with what leaving would cost
 */
export async function resign(
  place: Place,
  manager: Manager,
  { force, clock }: { force: boolean; clock: Clock },
): Promise<string | undefined> {
  const { nodeId: id } = place.file;
  const late = `the other managers did not take this node out within ${RESIGNATION_TIMEOUT_MS / 1000} s`;
  try {
    await within(clock, RESIGNATION_TIMEOUT_MS, late, requestAndWait(place, manager, force));
    return undefined;
  } catch (error) {
    if (!(error instanceof ApiaryError)) throw error;
    if (!force) throw error.code === 'unavailable' ? unknownCost(error) : error;
    return error.code === 'not-found' ? undefined : costOfGoing(id, messageOf(error));
  }
}

async function requestAndWait(place: Place, manager: Manager, force: boolean): Promise<void> {
  const { nodeId: id } = place.file;
  const { isLast } = await manager.replica.submit((view) => leaveAsManager(view, { id, force }));
  if (!isLast) await takenOut(place, manager);
}

/** Resolves once this node's own copy of the state says so, or the leader does: whichever comes first. */
function takenOut(place: Place, { replica }: Manager): Promise<void> {
  const { nodeId } = place.file;
  return new Promise((resolve) => {
    const look = () => {
      if (place.told !== 'worker' && replica.view.node(nodeId)?.role === 'manager') return;
      for (const end of listening) end();
      resolve();
    };
    const listening = [place.onTold(look), replica.subscribe(look)];
    look();
  });
}

/** Docker's words for a manager that has no leader to ask. */
function unknownCost(cause: ApiaryError): ApiaryError {
  return new ApiaryError(
    'failed-precondition',
    'You are attempting to leave the swarm on a node that is participating as a manager. ' +
      'Doing so may lose the consensus of your cluster. ' +
      'The only way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. ' +
      'Use `--force` to suppress this message.',
    { cause },
  );
}

function costOfGoing(id: string, why: string): string {
  return (
    `this node left without being taken out of the managers (${why}): the others still count it as one that is down. ` +
    `Once more than half of the managers are online, run "swarmctl node demote --force ${id}" and ` +
    `"swarmctl node rm --force ${id}" on one of them`
  );
}
