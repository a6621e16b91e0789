import { type ContentKind, isTerminal, rankOf } from '@apiary/api/model';
import { contentPins } from '../store/content-pins.js';
import type { ContentRecord } from '../store/records.js';
import type { View } from '../store/view.js';

export interface NeededContent {
  kind: ContentKind;
  record: ContentRecord;
}

/**
 * The secrets and configs that a node's tasks need, by the ids of their versions: of those tasks that run, or are to.
 * One that is gone is not among them. O(tasks of the node).
 */
export function neededContents(view: View, nodeId: string): Map<string, NeededContent> {
  const needed = new Map<string, NeededContent>();
  const specKeys = new Set<string>();
  for (const { serviceId, specVersion, status, desiredState } of view.tasksOfNode(nodeId)) {
    if (rankOf(status.state) < rankOf('assigned') || isTerminal(status.state)) continue;
    if (rankOf(desiredState) > rankOf('complete')) continue;
    const specKey = `${serviceId}/${specVersion}`;
    if (specKeys.has(specKey)) continue;
    specKeys.add(specKey);
    for (const { kind, id } of contentPins(view.spec(serviceId, specVersion))) {
      const record = view.content(kind, id);
      if (record !== undefined) needed.set(id, { kind, record });
    }
  }
  return needed;
}
