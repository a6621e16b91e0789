import { setTimeout } from 'node:timers/promises';
import { ApiaryError } from '@apiary/std';
import { isOverlay } from '../../core/engine-api/index.js';
import { notAttachable } from '../../core/requests/index.js';
import type { NetworkRecord } from '../../core/store/records.js';
import type { ApiContext } from './context.js';

/** How long the engine may take to have a network that was just made. */
const MOST_LOOKS = 100;
const LOOK_PERIOD_MS = 50;

/**
 * The name of the cluster's network that is meant, once the engine has one of that name; undefined when none of the cluster's is.
 *
 * @throws ApiaryError `permission-denied` in Docker's words for one that is not attachable
 */
export async function attachableName(context: ApiContext, reference: string): Promise<string | undefined> {
  if (!context.node.status().controlAvailable) return undefined;
  // As far as it is known here: a container that only runs here must not wait for a leader.
  const networks = context.node.replica().view.networks().filter(isOverlay);
  const network = networks.find(({ id, spec }) => id === reference || spec.Name === reference);
  if (network === undefined) return undefined;
  await untilOfEngine(context, network);
  return network.spec.Name;
}

/**
 * Waits until the engine has a network of the cluster as one of its own.
 *
 * @throws ApiaryError `permission-denied` in Docker's words when it is not attachable; `unavailable` when the engine does not get it
 */
export async function untilOfEngine({ engine }: ApiContext, { spec, kind }: NetworkRecord): Promise<void> {
  const { Name, Attachable = false } = spec;
  const has = async () => (await engine.object(`/networks/${encodeURIComponent(Name)}`)) !== undefined;
  if (kind !== 'overlay' || !Attachable) {
    if (await has()) return;
    const words = `Could not attach to network ${Name}: rpc error: code = PermissionDenied desc = ${notAttachable(Name).message}`;
    throw new ApiaryError('permission-denied', words);
  }
  for (let looks = 1; !(await has()); looks++) {
    if (looks >= MOST_LOOKS) {
      const words = `network ${Name} is of the cluster, and this node's engine has not got it: swarmd's log says why`;
      throw new ApiaryError('unavailable', words);
    }
    await setTimeout(LOOK_PERIOD_MS);
  }
}

/** @throws ApiaryError `not-found` in Docker's words, whose engine asks a manager for a network that it has not got itself */
export async function refuseUnknown({ engine }: ApiContext, name: string): Promise<void> {
  if (!(await engine.lacks(`/networks/${encodeURIComponent(name)}`))) return;
  const words = `Could not attach to network ${name}: rpc error: code = NotFound desc = network ${name} not found`;
  throw new ApiaryError('not-found', words);
}
