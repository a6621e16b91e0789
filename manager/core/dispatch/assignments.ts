import { type DesiredState, rankOf } from '@apiary/api/model';
import type { NetworkRecord, SpecVersion, TaskRecord } from '../store/records.js';
import type { View } from '../store/view.js';

/** What a session's agent has been told so far. */
export interface Sent {
  /** By task id, the desired state that was sent last. */
  tasks: ReadonlyMap<string, DesiredState>;
  /** The specs that the agent keeps, those that a task of it points at: versions by service. */
  specs: ReadonlyMap<string, ReadonlySet<number>>;
  /** The networks that a task of it is on. */
  networks: ReadonlySet<string>;
}

/** What a node should have, in full or as the difference to what was sent before. */
export interface Assignments {
  complete: boolean;
  specs: SpecVersion[];
  tasks: Pick<
    TaskRecord,
    'id' | 'serviceId' | 'specVersion' | 'slot' | 'desiredState' | 'status' | 'genericResources' | 'networks'
  >[];
  removedTaskIds: string[];
  /** Those that the agent has not been told of. */
  networks: NetworkRecord[];
}

/**
 * Finds what an agent has still to be told. A task is its node's from its assignment until it is deleted, so that
 * the container of one that has ended stays for its logs. A spec is sent once, for as long as a task points at it.
 * O(tasks of the node).
 *
 * @param sent  undefined at the start of a session: everything is told
 * @returns     `assignments` is undefined when there is nothing to tell
 */
export function assignmentsFor(
  view: View,
  nodeId: string,
  sent: Sent | undefined,
): { assignments: Assignments | undefined; sent: Sent } {
  const tasks = view.tasksOfNode(nodeId).filter((task) => rankOf(task.status.state) >= rankOf('assigned'));
  const now = {
    tasks: new Map<string, DesiredState>(),
    specs: new Map<string, Set<number>>(),
    networks: new Set<string>(),
  };
  const assignments: Assignments = {
    complete: sent === undefined,
    specs: [],
    tasks: [],
    removedTaskIds: [],
    networks: [],
  };
  for (const task of tasks) {
    const { serviceId, specVersion } = task;
    now.tasks.set(task.id, task.desiredState);
    let versions = now.specs.get(serviceId);
    if (versions === undefined) {
      versions = new Set();
      now.specs.set(serviceId, versions);
    }
    if (!versions.has(specVersion)) {
      versions.add(specVersion);
      if (!sent?.specs.get(serviceId)?.has(specVersion)) assignments.specs.push(view.spec(serviceId, specVersion));
    }
    for (const { networkId } of task.networks ?? []) {
      if (now.networks.has(networkId)) continue;
      now.networks.add(networkId);
      const network = sent?.networks.has(networkId) ? undefined : view.network(networkId);
      if (network !== undefined) assignments.networks.push(network);
    }
    if (sent?.tasks.get(task.id) !== task.desiredState) assignments.tasks.push(task);
  }
  for (const id of sent?.tasks.keys() ?? []) if (!now.tasks.has(id)) assignments.removedTaskIds.push(id);
  const isNews = assignments.complete || assignments.tasks.length > 0 || assignments.removedTaskIds.length > 0;
  return { assignments: isNews ? assignments : undefined, sent: now };
}
