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
 * the container of one that has ended stays for its logs. A spec is sent once, for as long as a task points at it; so is a
 * network, and who was told of one that is removed is told of the tasks that are left without it.
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
    const gone: string[] = [];
    for (const { networkId } of task.networks ?? []) {
      if (now.networks.has(networkId)) continue;
      const network = view.network(networkId);
      if (network === undefined) gone.push(networkId);
      else now.networks.add(networkId);
      if (network !== undefined && !sent?.networks.has(networkId)) assignments.networks.push(network);
    }
    const isNews = sent?.tasks.get(task.id) !== task.desiredState || gone.some((id) => sent?.networks.has(id));
    if (isNews) assignments.tasks.push(gone.length === 0 ? task : without(task, gone));
  }
  for (const id of sent?.tasks.keys() ?? []) if (!now.tasks.has(id)) assignments.removedTaskIds.push(id);
  const isAny = assignments.complete || assignments.tasks.length > 0 || assignments.removedTaskIds.length > 0;
  return { assignments: isAny ? assignments : undefined, sent: now };
}

/** A task that has ended is kept for its logs, longer than the networks may be that it was on. */
function without(task: TaskRecord, gone: readonly string[]): TaskRecord {
  return { ...task, networks: (task.networks ?? []).filter(({ networkId }) => !gone.includes(networkId)) };
}
