import type { ServiceRecord } from '../store/records.js';
import type { Draft } from './draft.js';
import { emptySlot, isLost, type Slot } from './slot.js';

/**
 * Which nodes a global service is to have a task on: those that are up, not drained, and satisfy its constraints.
 * On one that is paused, or not known to be ready, what is there stays and nothing is added.
 */
export function chooseNodes(service: ServiceRecord, slots: ReadonlyMap<number | string, Slot>, draft: Draft): Slot[] {
  const spec = draft.view.spec(service.id, service.specVersion);
  const chosen: Slot[] = [];
  for (const node of draft.view.nodes()) {
    if (isLost(node) || node.spec.Availability === 'drain' || !draft.satisfiesConstraints(node, spec)) continue;
    const frozen = node.status.state !== 'ready' || node.spec.Availability === 'pause';
    const slot = slots.get(node.id) ?? emptySlot(0, node.id);
    slot.frozen = frozen;
    chosen.push(slot);
  }
  return chosen;
}
