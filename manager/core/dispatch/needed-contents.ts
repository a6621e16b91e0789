import { isTerminal, rankOf, registryAuthId } from '@apiary/api/model';
import { contentPins } from '../store/content-pins.js';
import type { View } from '../store/view.js';

export interface NeededContent {
  /** In base64. */
  data: string;
  /** It is expanded for each task. */
  isTemplate: boolean;
}

/**
 * What a node's tasks need that is sealed on its way, by id: secrets and configs by those of their versions, and what
 * images are pulled with. Of those tasks that run, or are to. What is gone is not among it. O(tasks of the node).
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
    const spec = view.spec(serviceId, specVersion);
    if (spec.registryAuth !== undefined) {
      needed.set(registryAuthId(serviceId, specVersion), { data: spec.registryAuth, isTemplate: false });
    }
    for (const { kind, id } of contentPins(spec)) {
      const record = view.content(kind, id);
      if (record === undefined) continue;
      needed.set(id, { data: record.spec.Data ?? '', isTemplate: record.spec.Templating !== undefined });
    }
  }
  return needed;
}
