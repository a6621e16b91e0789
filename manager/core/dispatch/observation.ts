import { isTerminal, type NodeDescription, rankOf, type TaskStatus } from '@apiary/api/model';
import type { Change } from '../store/change.js';
import { effectiveRole } from '../store/node-role.js';
import type { NodeRecord } from '../store/records.js';
import type { View } from '../store/view.js';

/** Something that the dispatcher learned of a node, in its session or by its silence. */
export type Observation =
  | { type: 'status'; nodeId: string; status: NodeRecord['status'] }
  | { type: 'description'; nodeId: string; description: NodeDescription }
  | { type: 'manager-addr'; nodeId: string; managerAddr: string }
  | { type: 'wireguard-key'; nodeId: string; wireguardKey: string }
  | { type: 'data-path-addr'; nodeId: string; dataPathAddr: string }
  | { type: 'ipv6-addresses'; nodeId: string; ipv6Addresses: string }
  | { type: 'tasks'; nodeId: string; updates: { taskId: string; status: TaskStatus }[] };

/**
 * Turns observations, in the order in which they were made, into the changes that record them: the last word on each
 * node and task, and nothing that is known already. Tasks that are gone or are another node's are passed over, and so
 * is whatever would take a task's state back. The outcome is that of recording one observation at a time.
 */
export function changesOf(view: View, observations: Observation[]): Change[] {
  const statuses = new Map<string, NodeRecord['status']>();
  const descriptions = new Map<string, NodeDescription>();
  const managerAddrs = new Map<string, string>();
  const wireguardKeys = new Map<string, string>();
  const dataPathAddrs = new Map<string, string>();
  const ipv6Addresses = new Map<string, string>();
  const tasks = new Map<string, TaskStatus[]>();
  for (const observation of observations) {
    if (observation.type === 'status') statuses.set(observation.nodeId, observation.status);
    else if (observation.type === 'description') descriptions.set(observation.nodeId, observation.description);
    else if (observation.type === 'wireguard-key') wireguardKeys.set(observation.nodeId, observation.wireguardKey);
    else if (observation.type === 'data-path-addr') dataPathAddrs.set(observation.nodeId, observation.dataPathAddr);
    else if (observation.type === 'ipv6-addresses') ipv6Addresses.set(observation.nodeId, observation.ipv6Addresses);
    else if (observation.type === 'manager-addr') managerAddrs.set(observation.nodeId, observation.managerAddr);
    else {
      for (const { taskId, status } of observation.updates) {
        const task = view.task(taskId);
        if (task === undefined || task.nodeId !== observation.nodeId) continue;
        const steps = tasks.get(taskId) ?? [];
        const last = steps.at(-1);
        const news = newsOf(last ?? task.status, status);
        if (news === undefined) continue;
        // That a task ran is on record also when it has ended meanwhile.
        const isRunOver = last?.state === 'running' && news.state !== 'running';
        tasks.set(taskId, isRunOver ? [last, news] : [news]);
      }
    }
  }
  const changes: Change[] = [];
  for (const [id, description] of descriptions) {
    const node = view.node(id);
    if (node !== undefined && !same(node.description, description)) {
      changes.push({ type: 'node-description', id, description });
    }
  }
  for (const [id, managerAddr] of managerAddrs) {
    const node = view.node(id);
    // A node that is to be a worker may still have a manager running for a moment.
    if (node === undefined || effectiveRole(node) === 'worker' || node.managerAddr === managerAddr) continue;
    changes.push({ type: 'node-manager-addr', id, managerAddr });
  }
  for (const [id, wireguardKey] of wireguardKeys) {
    const node = view.node(id);
    if (node === undefined || (node.wireguardKey ?? '') === wireguardKey) continue;
    changes.push({ type: 'node-wireguard-key', id, wireguardKey });
  }
  for (const [id, dataPathAddr] of dataPathAddrs) {
    const node = view.node(id);
    if (node === undefined || (node.dataPathAddr ?? '') === dataPathAddr) continue;
    changes.push({ type: 'node-data-path-addr', id, dataPathAddr });
  }
  for (const [id, addresses] of ipv6Addresses) {
    const node = view.node(id);
    if (node === undefined || (node.ipv6Addresses ?? '') === addresses) continue;
    changes.push({ type: 'node-ipv6-addresses', id, ipv6Addresses: addresses });
  }
  for (const [id, status] of statuses) {
    const node = view.node(id);
    if (node !== undefined && !same(node.status, status)) changes.push({ type: 'node-status', id, status });
  }
  for (const [id, steps] of tasks) for (const status of steps) changes.push({ type: 'task-status', id, status });
  return changes;
}

/**
 * What an agent's report tells of a task that is not known yet: its status from now on, or undefined. An agent speaks
 * for a task from its acceptance to its end; the states before are the manager's to give, and so are `remove` and
 * `orphaned`.
 */
function newsOf(known: TaskStatus, reported: TaskStatus): TaskStatus | undefined {
  const rank = rankOf(reported.state);
  if (rank <= rankOf('assigned') || rank > rankOf('rejected') || isTerminal(known.state)) return undefined;
  let news = reported;
  if (rank < rankOf(known.state)) {
    // An agent that was restarted while its engine is away does not know how far the task was, but what is wrong now.
    if (reported.err === undefined) return undefined;
    news = { ...known, atMs: reported.atMs, err: reported.err };
  }
  return same({ ...known, atMs: 0 }, { ...news, atMs: 0 }) ? undefined : news;
}

/** Whether two JSON values are equal. A key that is undefined is one that is not there. */
function same(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  const left: Record<string, unknown> = { ...a };
  const right: Record<string, unknown> = { ...b };
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  return [...new Set([...Object.keys(left), ...Object.keys(right)])].every((key) => same(left[key], right[key]));
}
