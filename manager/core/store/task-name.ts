import type { TaskRecord } from './records.js';

/** A task's name: `web.1.<task id>`, and `web.<node id>.<task id>` for one of a global service. */
export function taskName(
  { id, slot, nodeId }: Pick<TaskRecord, 'id' | 'slot' | 'nodeId'>,
  serviceName: string,
): string {
  return `${serviceName}.${slot === 0 ? (nodeId ?? '') : slot}.${id}`;
}
