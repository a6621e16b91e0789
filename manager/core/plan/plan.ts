import type { Rng } from '@apiary/std';
import type { ServiceRecord } from '../store/records.js';
import type { View } from '../store/view.js';
import { notRotated } from '../trust/root-rotation.js';
import { Draft } from './draft.js';
import { orchestrate } from './orchestrate.js';
import type { Dirty, Plan } from './plan-types.js';
import { rebalance } from './rebalance.js';
import { schedule } from './schedule.js';

/**
 * One pass from intent to placement: what tasks there should be, what each of them should do, and where it runs.
 *
 * Looks at what is, never at what happened: what its own changes leave to do, such as to keep a task for which another
 * made room in the same pass, the next one finds, and a new leader goes on where the last one stopped.
 *
 * @param view   committed state
 * @param dirty  which services and nodes to look at. Pending tasks are tried again whatever it says
 * @param nowMs  the leader's clock, milliseconds since the epoch
 * @param rng    for ids, and for choosing between equals
 * @returns changes for one entry, and for each service or node that was looked at at most one time to look again: it
 *          takes the place of what an earlier pass said of that one
 */
export function plan(view: View, dirty: Dirty, nowMs: number, rng: Rng): Plan {
  const draft = new Draft(view, nowMs, rng);
  const services = servicesToLookAt(view, dirty);
  for (const serviceId of rebalance(draft)) services.add(serviceId);
  const serviceIds = [...services].sort();
  for (const serviceId of serviceIds) orchestrate(draft, serviceId);
  for (const serviceId of serviceIds) draft.allocate(serviceId);
  schedule(draft);
  dropAbandoned(draft, dirty);
  finishRootRotation(draft);
  return draft.finish();
}

/** Containers that are no tasks give back their addresses as tasks do, when their node has been down for too long. */
function dropAbandoned(draft: Draft, dirty: Dirty): void {
  const { view } = draft;
  for (const nodeId of dirty.all ? view.nodes().map(({ id }) => id) : [...dirty.nodes].sort()) {
    if (!draft.isLost(nodeId)) continue;
    for (const { id } of view.attachmentsOfNode(nodeId)) draft.add({ type: 'attachment-delete', id });
  }
}

/** The old root goes once the last node has a certificate of the new one. */
function finishRootRotation(draft: Draft): void {
  const rotation = draft.view.cluster()?.rootRotation;
  if (rotation === undefined || notRotated(draft.view, rotation).length > 0) return;
  draft.add({ type: 'root-rotation-finish' });
}

function servicesToLookAt(view: View, dirty: Dirty): Set<string> {
  const ids = new Set(dirty.services);
  if (dirty.all) {
    for (const service of view.services()) ids.add(service.id);
    // Tasks whose service is gone are not found through a service.
    for (const task of view.tasks()) ids.add(task.serviceId);
  } else if (dirty.nodes.size > 0) {
    for (const nodeId of dirty.nodes) for (const task of view.tasksOfNode(nodeId)) ids.add(task.serviceId);
    for (const { id, spec } of view.services()) {
      if (spec.Mode?.Global !== undefined || spec.Mode?.GlobalJob !== undefined) ids.add(id);
    }
  }
  // What has ended since may let a task stay whose successor waits for another node: that one goes then.
  for (const { serviceId } of view.pendingTasks()) if (startsFirst(view.service(serviceId))) ids.add(serviceId);
  return ids;
}

function startsFirst(service: ServiceRecord | undefined): boolean {
  const { UpdateConfig, RollbackConfig } = service?.spec ?? {};
  return [UpdateConfig, RollbackConfig].some((config) => config?.Order === 'start-first');
}
