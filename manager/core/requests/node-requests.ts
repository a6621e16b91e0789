import type { NodeSpec } from '@apiary/api/model';
import { ApiaryError } from '@apiary/std';
import type { Guard } from '../store/change.js';
import { effectiveRole, isWantedManager } from '../store/node-role.js';
import type { Departure, NodeRecord } from '../store/records.js';
import type { View } from '../store/view.js';
import type { Decision } from './decision.js';
import { costOfRemoval, LAST_MANAGER, quorumRefusal } from './manager-removal.js';
import { invalid } from './refusal.js';

/**
 * Puts a new spec in the place of a node's spec. A changed `Role` is a wish: the leader then makes the node a member
 * of the managers' log or takes it out.
 *
 * @param request.version  the `meta.version` that the caller has seen
 * @param request.force    demote a manager although those left would be no quorum
 * @throws ApiaryError `not-found`, `invalid-argument`, `out-of-sequence`; `failed-precondition` for the demotion of the
 *   last manager, without `force` for one that would lose the quorum, and for the promotion of a former manager that
 *   has yet to hear that it is a worker
 */
export function updateNode(
  view: View,
  request: { id: string; version: number; spec: NodeSpec; force?: boolean },
): Decision<string> {
  const node = nodeOf(view, request.id);
  const { spec, version, force = false } = request;
  if (spec.Role === undefined) throw invalid('invalid Role: ""');
  if (spec.Availability === undefined) throw invalid('invalid Availability: ""');
  if (node.meta.version !== version) throw new ApiaryError('out-of-sequence', 'update out of sequence');
  const isDemotion = node.role === 'manager' && spec.Role === 'worker' && isWantedManager(node);
  if (effectiveRole(node) === 'worker' && spec.Role === 'manager') refuseUnheardOf(view, node);
  const guards = isDemotion ? checkDemotion(view, node, force) : [];
  const isRemoval = node.departure?.isRemoval ?? false;
  const departure = force && spec.Role === 'worker' ? { isForced: true, isRemoval } : undefined;
  return changeSpec(node, spec, { departure, guards });
}

/**
 * One that was put out of the managers while it was away still has its old log. It gives that up once it hears that it
 * is a worker; wanted as a manager before that, it would go on with it.
 */
function refuseUnheardOf(view: View, { id, status }: NodeRecord): void {
  if (status.state === 'ready' || view.cluster()?.excluded?.[id] === undefined) return;
  throw new ApiaryError(
    'failed-precondition',
    `node ${id} was a manager and is away since before it became a worker: promote it once it is back`,
  );
}

/**
 * Takes a node out of the cluster. The planner ends what runs there and makes it run elsewhere. A manager's record
 * goes a moment after this is committed, with its membership.
 *
 * @param request.force  also a node that is up, and a manager, even at the price of the quorum
 * @throws ApiaryError `not-found`; `failed-precondition` for the last manager, and without `force` for a manager that
 *   was not demoted, and for a node that is up
 */
export function removeNode(view: View, request: { id: string; force: boolean }): Decision<string> {
  const node = nodeOf(view, request.id);
  const { force } = request;
  let guards: Guard[] = [];
  if (node.role === 'manager' && isWantedManager(node)) {
    if (!force || costOfRemoval(view, node.id).isLast) {
      throw new ApiaryError(
        'failed-precondition',
        `node ${node.id} is a cluster manager and is a member of the raft cluster. ` +
          'It must be demoted to worker before removal',
      );
    }
    guards = checkDemotion(view, node, true);
  }
  if (node.status.state === 'ready' && !force) {
    throw new ApiaryError('failed-precondition', `node ${node.id} is not down and can't be removed`);
  }
  const removal = removalOf(node, force);
  return { ...removal, guards: [...removal.guards, ...guards], result: node.id };
}

/**
 * What takes a node out: its record at once, or that of a manager together with its membership.
 *
 * @param isForced  a manager also at the price of the quorum
 */
export function removalOf(node: NodeRecord, isForced: boolean): Pick<Decision<unknown>, 'guards' | 'changes'> {
  if (node.role === 'manager') {
    const departure = { isForced: isForced || (node.departure?.isForced ?? false), isRemoval: true };
    return changeSpec(node, { ...node.spec, Role: 'worker' }, { departure });
  }
  return {
    guards: [{ type: 'unchanged', kind: 'node', id: node.id, version: node.meta.version }],
    changes: [{ type: 'node-delete', id: node.id }],
  };
}

/**
 * What a manager asks for that leaves: to be taken out of the managers' log. Its record stays, as a worker's.
 *
 * @param request.force  leave whatever it costs
 * @returns whether it is the last manager: then nothing is changed, for the cluster ends with it
 * @throws ApiaryError `failed-precondition` without `force`, in Docker's words; `not-found`
 */
export function leaveAsManager(view: View, request: { id: string; force: boolean }): Decision<{ isLast: boolean }> {
  const node = nodeOf(view, request.id);
  if (effectiveRole(node) === 'worker') return { guards: [], changes: [], result: { isLast: false } };
  const cost = costOfRemoval(view, node.id);
  if (!request.force) throw leaveRefusal(cost);
  if (cost.isLast) return { guards: [], changes: [], result: { isLast: true } };
  const departure = { isForced: true, isRemoval: node.departure?.isRemoval ?? false };
  const { guards } = cost;
  return { ...changeSpec(node, { ...node.spec, Role: 'worker' }, { departure, guards }), result: { isLast: false } };
}

/** Docker has no other end for these words than `--force`, which they name. */
function leaveRefusal({ isLast, losesQuorum, reachable, left }: ReturnType<typeof costOfRemoval>): ApiaryError {
  let words = 'You are attempting to leave the swarm on a node that is participating as a manager. ';
  if (isLast) {
    words += 'Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message.';
    return new ApiaryError('failed-precondition', words);
  }
  if (losesQuorum) {
    words +=
      `Removing this node leaves ${reachable} managers out of ${left + 1}. ` +
      'Without a Raft quorum your swarm will be inaccessible. ';
  }
  words +=
    'The only way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. ' +
    'Use `--force` to suppress this message.';
  return new ApiaryError('failed-precondition', words);
}

/**
 * Records where a manager is reached now.
 *
 * @param request.managerAddr  `HOST:PORT`
 * @throws ApiaryError `not-found`
 */
export function setManagerAddr(view: View, request: { id: string; managerAddr: string }): Decision<string> {
  const { id, managerAddr } = request;
  const node = nodeOf(view, id);
  const isKnown = node.managerAddr === managerAddr;
  return { guards: [], changes: isKnown ? [] : [{ type: 'node-manager-addr', id, managerAddr }], result: id };
}

/** @returns what must still hold where the demotion lands */
function checkDemotion(view: View, node: NodeRecord, force: boolean): Guard[] {
  const cost = costOfRemoval(view, node.id);
  if (cost.isLast) throw new ApiaryError('failed-precondition', LAST_MANAGER);
  if (cost.losesQuorum && !force) throw quorumRefusal(cost);
  return cost.guards;
}

function changeSpec(
  { id, meta }: NodeRecord,
  spec: NodeSpec,
  { departure, guards = [] }: { departure?: Departure | undefined; guards?: Guard[] },
): Decision<string> {
  return {
    guards: [{ type: 'unchanged', kind: 'node', id, version: meta.version }, ...guards],
    changes: [{ type: 'node-spec', id, spec, ...(departure !== undefined && { departure }) }],
    result: id,
  };
}

function nodeOf(view: View, id: string): NodeRecord {
  const node = view.node(id);
  if (node === undefined) throw new ApiaryError('not-found', `node ${id} not found`);
  return node;
}
