import { ApiaryError } from '@apiary/std';
import { mayBeRebalanced } from '../plan/rebalance.js';
import type { Rebalance, ServiceRecord } from '../store/records.js';
import type { View } from '../store/view.js';
import type { Decision } from './decision.js';
import { invalid } from './refusal.js';

/**
 * Spreads a service's tasks anew over the nodes, some at a time.
 *
 * @param request.most  how many tasks may be on the way at once; 0 ends a rebalance, and what is on the way gets there
 * @throws ApiaryError `not-found`; `invalid-argument` for `most`; `failed-precondition` for a service that is no
 *   replicated one, that never starts a task again, or that is being updated
 */
export function rebalanceService(view: View, { id, most }: { id: string; most: number }): Decision<string> {
  const service = view.service(id);
  if (service === undefined) throw new ApiaryError('not-found', `service ${id} not found`);
  checkMost(most);
  if (most > 0 && !mayBeRebalanced({ view }, service)) {
    throw new ApiaryError(
      'failed-precondition',
      `service ${service.spec.Name ?? id} cannot be rebalanced: it has to be replicated, not under an update, ` +
        'and its restart condition must not be none, for its tasks are stopped and started elsewhere',
    );
  }
  return decided([service], { most, isOfCluster: false }, id);
}

/**
 * Spreads the tasks of all services anew that can be, one service after the other.
 *
 * @param request.most  as for one service; it holds for all of them together
 * @returns how many services
 * @throws ApiaryError `invalid-argument` for `most`
 */
export function rebalanceNodes(view: View, { most }: { most: number }): Decision<number> {
  checkMost(most);
  const services =
    most === 0 ? view.rebalancing() : view.services().filter((service) => mayBeRebalanced({ view }, service));
  return decided(services, { most, isOfCluster: true }, services.length);
}

function checkMost(most: number): void {
  if (!Number.isSafeInteger(most) || most < 0) throw invalid(`parallelism: expected 0 or more, got ${most}`);
}

function decided<R>(services: readonly ServiceRecord[], rebalance: Rebalance, result: R): Decision<R> {
  const asked = rebalance.most === 0 ? {} : { rebalance };
  return {
    guards: [],
    changes: services.map(({ id }) => ({ type: 'service-rebalance', id, ...asked })),
    result,
  };
}
