import { type GenericResource, rankOf } from '@apiary/api/model';
import { SeededRng } from '@apiary/std';
import type { Demand } from '../store/node-usage.js';
import type { NetworkAddress, SpecVersion, TaskRecord } from '../store/records.js';
import { waitsFor } from './dependencies.js';
import type { Draft, NewTask } from './draft.js';
import { explainRefusals, type Filter, filtersOf, refusing } from './filters.js';
import { NodeLoads } from './node-load.js';
import { FAILURES_TO_AVOID, recentFailures } from './recent-failures.js';
import { SpreadTree } from './spread-tree.js';

/** Tasks of one spec version that need a node: a node that refuses one for its spec refuses them all. */
interface TaskGroup {
  spec: SpecVersion;
  waitingSinceMs: number;
  tasks: Waiting[];
}

type Waiting = { kind: 'new'; task: NewTask } | { kind: 'pending'; task: TaskRecord };

const ASSIGNED = 'scheduler assigned task to node';
const CONFIRMED = 'scheduler confirmed task can run on preassigned node';

/**
 * Gives nodes to the tasks that have none: those made in this pass, and all that are pending. They are tried in every
 * pass, for whatever may have freed what they wait for. Where there was too little before, each service gets one of its
 * tasks placed before any gets the rest, and the one that lacks the largest share of its tasks comes first; then those
 * that wait longest.
 */
export function schedule(draft: Draft): void {
  const groups = collect(draft);
  if (groups.length === 0) return;
  const loads = new NodeLoads(draft);
  for (const group of [...inShortage(draft, groups), ...groups]) {
    const awaited = waitsFor(draft, group.spec);
    if (awaited !== undefined) {
      for (const waiting of group.tasks) postpone(draft, waiting, awaited);
      continue;
    }
    const demand = draft.view.demand(group.spec.serviceId, group.spec.version);
    const filters = filtersOf(draft.view, group.spec, (node) => draft.satisfiesConstraints(node, group.spec));
    confirmPreassigned(draft, group, demand, filters, loads);
    spread(draft, group, demand, filters, loads);
  }
}

/** One task of each group, taken out of it: what is scarce is shared out before it is used up. */
function inShortage(draft: Draft, groups: readonly TaskGroup[]): TaskGroup[] {
  const isScarce = groups.some(({ tasks }) => tasks.some(({ kind }) => kind === 'pending'));
  if (!isScarce || groups.length === 1) return [];
  const lacking = ({ spec, tasks }: TaskGroup): number => {
    const { Mode } = draft.view.service(spec.serviceId)?.spec ?? {};
    return tasks.length / Math.max(1, Mode?.Replicated?.Replicas ?? tasks.length);
  };
  const shares = new Map(groups.map((group) => [group, lacking(group)]));
  return [...groups]
    .sort((a, b) => (shares.get(b) ?? 0) - (shares.get(a) ?? 0))
    .map((group) => ({ ...group, tasks: group.tasks.splice(0, 1) }));
}

function collect(draft: Draft): TaskGroup[] {
  const groups = new Map<string, TaskGroup>();
  const add = (waiting: Waiting, sinceMs: number): void => {
    const { serviceId, specVersion } = waiting.task;
    const key = `${serviceId}/${specVersion}`;
    let group = groups.get(key);
    if (group === undefined) {
      group = { spec: draft.view.spec(serviceId, specVersion), waitingSinceMs: sinceMs, tasks: [] };
      groups.set(key, group);
    }
    group.waitingSinceMs = Math.min(group.waitingSinceMs, sinceMs);
    group.tasks.push(waiting);
  };
  for (const committed of draft.view.pendingTasks()) {
    const task = draft.current(committed);
    if (draft.isDeleted(task.id) || rankOf(task.desiredState) > rankOf('running')) continue;
    // A service that is gone takes its tasks with it as soon as a pass looks at it.
    if (draft.view.service(task.serviceId) !== undefined) add({ kind: 'pending', task }, task.meta.createdAtMs);
  }
  for (const task of draft.created) add({ kind: 'new', task }, draft.nowMs);
  const order = (group: TaskGroup): string => `${group.spec.serviceId}/${group.spec.version}`;
  return [...groups.values()].sort((a, b) => a.waitingSinceMs - b.waitingSinceMs || (order(a) < order(b) ? -1 : 1));
}

/** A global service's task has its node already: it only has to fit there. */
function confirmPreassigned(
  draft: Draft,
  group: TaskGroup,
  demand: Demand,
  filters: readonly Filter[],
  loads: NodeLoads,
): void {
  for (const waiting of group.tasks) {
    const node = waiting.task.nodeId === undefined ? undefined : draft.node(waiting.task.nodeId);
    if (node === undefined) continue;
    const load = loads.of(node);
    const refusals = explainRefusals(filters, [load]);
    if (refusals !== '') {
      postpone(draft, waiting, refusals);
      continue;
    }
    const shortage = draft.allocation.shortageOf(group.spec);
    if (shortage !== undefined) {
      postpone(draft, waiting, shortage);
      continue;
    }
    assign(draft, waiting, node.id, {
      message: CONFIRMED,
      genericResources: load.add(group.spec.serviceId, demand),
      networks: draft.allocation.take(group.spec),
    });
  }
}

function spread(draft: Draft, group: TaskGroup, demand: Demand, filters: readonly Filter[], loads: NodeLoads): void {
  const { serviceId } = group.spec;
  for (const one of group.tasks) placeWherePreferred(draft, one, group.spec, filters, loads);
  const waiting = group.tasks.filter(({ task }) => task.nodeId === undefined);
  if (waiting.length === 0) return;
  const failures = recentFailures(draft, serviceId);
  const keys = (group.spec.template.Placement?.Preferences ?? []).map(({ Spread }) => Spread?.SpreadDescriptor ?? '');
  const tree = new SpreadTree(serviceId, keys);
  // The system's own randomness is dear, and nothing here is a secret.
  const ties = new SeededRng(draft.rng.below(2 ** 32));
  const candidates = draft.view.nodes().map((node) => loads.of(node));
  for (const load of candidates) {
    const failed = failures.get(load.node.id) ?? 0;
    tree.add({
      load,
      failures: failed >= FAILURES_TO_AVOID ? failed : 0,
      tie: ties.below(2 ** 30),
      isOpen: refusing(filters, load) === undefined,
    });
  }
  tree.seal();
  let refusal: string | undefined;
  for (const one of waiting) {
    const shortage = draft.allocation.shortageOf(group.spec);
    if (shortage !== undefined) {
      postpone(draft, one, shortage);
      continue;
    }
    const load = tree.place((chosen) => {
      assign(draft, one, chosen.node.id, {
        message: ASSIGNED,
        genericResources: chosen.add(serviceId, demand),
        networks: draft.allocation.take(group.spec),
      });
      return refusing(filters, chosen) === undefined;
    });
    if (load !== undefined) continue;
    refusal ??= noSuitableNode(explainRefusals(filters, candidates));
    postpone(draft, one, refusal);
  }
}

/** A task that is moved goes where it was to be moved, if there is still room. */
function placeWherePreferred(
  draft: Draft,
  one: Waiting,
  spec: SpecVersion,
  filters: readonly Filter[],
  loads: NodeLoads,
): void {
  const nodeId = one.kind === 'new' && one.task.nodeId === undefined ? draft.preferred.get(one.task.id) : undefined;
  const node = nodeId === undefined ? undefined : draft.node(nodeId);
  if (node === undefined) return;
  const load = loads.of(node);
  if (refusing(filters, load) !== undefined || draft.allocation.shortageOf(spec) !== undefined) return;
  assign(draft, one, node.id, {
    message: ASSIGNED,
    genericResources: load.add(spec.serviceId, draft.view.demand(spec.serviceId, spec.version)),
    networks: draft.allocation.take(spec),
  });
}

function noSuitableNode(refusals: string): string {
  return refusals === '' ? 'no suitable node' : `no suitable node (${refusals})`;
}

interface Assignment {
  message: string;
  genericResources: GenericResource[];
  networks: NetworkAddress[] | undefined;
}

function assign(draft: Draft, waiting: Waiting, nodeId: string, given: Assignment): void {
  const { message, genericResources, networks } = given;
  const status = { state: 'assigned' as const, atMs: draft.nowMs, message };
  const claims = {
    ...(genericResources.length > 0 && { genericResources }),
    ...(networks !== undefined && { networks }),
  };
  if (waiting.kind === 'pending') {
    draft.add({ type: 'task-assign', id: waiting.task.id, nodeId, status, ...claims });
    return;
  }
  Object.assign(waiting.task, { nodeId, status }, claims);
}

/** Writes down why the task has to wait: only what is new, or each pass would be an entry in the log. */
function postpone(draft: Draft, { kind, task }: Waiting, err: string): void {
  if (task.status.err === err) return;
  if (kind === 'pending')
    draft.add({ type: 'task-status', id: task.id, status: { ...task.status, atMs: draft.nowMs, err } });
  else task.status = { ...task.status, err };
}
