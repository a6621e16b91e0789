import type { ServiceRecord } from '../store/records.js';
import { emptySlot, isLive, isRunning, type Slot } from './slot.js';

/**
 * Which of a replicated service's slots are to be, by Docker's rule: when there are too many, those go first in which
 * nothing runs, then those on the nodes that run most of the service, so that what is left stays balanced. When there
 * are too few, the lowest free numbers are taken.
 */
export function chooseSlots(service: ServiceRecord, slots: ReadonlyMap<number | string, Slot>): Slot[] {
  const replicas = service.spec.Mode?.Replicated?.Replicas ?? 1;
  const occupied = [...slots.values()].filter((slot) => slot.tasks.length > 0).sort((a, b) => a.number - b.number);
  if (occupied.length > replicas) {
    return keepBalanced(occupied)
      .slice(0, replicas)
      .sort((a, b) => a.number - b.number);
  }
  const chosen = [...occupied];
  const taken = new Set(occupied.map((slot) => slot.number));
  for (let number = 1; chosen.length < replicas; number++) {
    if (!taken.has(number)) chosen.push(slots.get(number) ?? emptySlot(number));
  }
  return chosen.sort((a, b) => a.number - b.number);
}

/** Sorted by what is to be kept: each node's first slot, each node's second, ..., then those that run nothing. */
function keepBalanced(slots: readonly Slot[]): Slot[] {
  const onNode = new Map<string, number>();
  const ranked = slots.map((slot) => {
    const nodeId = slot.tasks.find((task) => isLive(task) && isRunning(task))?.nodeId;
    if (nodeId === undefined) return { slot, rank: Number.POSITIVE_INFINITY };
    const rank = onNode.get(nodeId) ?? 0;
    onNode.set(nodeId, rank + 1);
    return { slot, rank };
  });
  return ranked
    .sort((a, b) => (a.rank === b.rank ? a.slot.number - b.slot.number : a.rank - b.rank))
    .map(({ slot }) => slot);
}
