import type { Rebalance, ServiceRecord, TaskRecord } from '../store/records.js';
import { BalanceTree } from './balance-tree.js';
import { type Draft, isDispatched } from './draft.js';
import { filtersOf, refusing } from './filters.js';
import { NodeLoads } from './node-load.js';
import { FAILURES_TO_AVOID, recentFailures } from './recent-failures.js';
import { endedByItself, restartsOf } from './restart.js';
import { groupBySlot, isLive, isRunning, isStopping, type Slot } from './slot.js';

/** For so long a task that was to move may wait for a node, when others took the place that it was moved for. */
const PATIENCE_MS = 10_000;

/**
 * Chooses the next tasks to move of the services that are rebalanced: a task moves where that makes the service's own
 * spread more even, by its preferences first, or leaves that as it is and evens out the load of the nodes. Every move
 * makes it strictly better, so that it ends. A service where a moved task does not come to run is left as it is.
 *
 * @returns ids of the services that have to be looked at for it
 */
export function rebalance(draft: Draft): string[] {
  const moved: string[] = [];
  const loads = new NodeLoads(draft);
  let isClusterBusy = false;
  for (const service of draft.view.rebalancing()) {
    const { rebalance: asked } = service;
    if (asked === undefined || (asked.isOfCluster && isClusterBusy)) continue;
    const outcome = rebalanceService(draft, service, asked, loads);
    if (outcome === 'moved') moved.push(service.id);
    if (asked.isOfCluster && outcome !== 'over') isClusterBusy = true;
  }
  return moved;
}

function rebalanceService(
  draft: Draft,
  service: ServiceRecord,
  { most }: Rebalance,
  loads: NodeLoads,
): 'moved' | 'under-way' | 'over' {
  const slots = [...groupBySlot(draft.view.tasksOfService(service.id), false).values()];
  const moves = slots.map((slot) => moveOf(slot, draft));
  const underWay = moves.filter((move) => move === 'under-way').length;
  const hasFailed = moves.includes('failed') || !mayBeRebalanced(draft, service);
  const chosen = hasFailed ? 0 : chooseMoves(draft, service, slots, most - underWay, loads);
  if (chosen > 0) return 'moved';
  if (underWay > 0 && !hasFailed) return 'under-way';
  draft.endRebalance(service);
  return 'over';
}

/** Whether a service's tasks may be moved at all: those that are never started again would be lost by it. */
export function mayBeRebalanced(draft: Pick<Draft, 'view'>, { id, spec, specVersion, update }: ServiceRecord): boolean {
  if (spec.Mode?.Global !== undefined || spec.Mode?.GlobalJob !== undefined || spec.Mode?.ReplicatedJob !== undefined) {
    return false;
  }
  // An update places its tasks anew as it is.
  if (update?.state === 'updating' || update?.state === 'rollback_started') return false;
  return restartsOf(draft.view.spec(id, specVersion).template.RestartPolicy).condition !== 'none';
}

/** How the last move in a slot goes: it is over once the task that came for it has run. */
function moveOf(slot: Slot, draft: Draft): 'none' | 'under-way' | 'failed' {
  const at = slot.tasks.findIndex((task) => task.isToMove === true);
  const mover = slot.tasks[at];
  if (mover === undefined) return 'none';
  const newer = slot.tasks.slice(0, at);
  const [newest] = newer;
  // Not what an update put beside it before it was to move, and that failed.
  const successors = newer.filter(({ specVersion }) => specVersion === newest?.specVersion);
  if (newest === undefined || successors.some(({ runningAtMs }) => runningAtMs !== undefined)) {
    return isLive(mover) || isStopping(mover, draft) ? 'under-way' : 'none';
  }
  if (successors.some(endedByItself)) return 'failed';
  if (isDispatched(newest)) return 'under-way';
  const giveUpAtMs = newest.meta.createdAtMs + PATIENCE_MS;
  if (giveUpAtMs <= draft.nowMs) return 'failed';
  draft.wake(newest.serviceId, giveUpAtMs);
  return 'under-way';
}

/** @returns how many tasks were told to move, `room` at most */
function chooseMoves(
  draft: Draft,
  service: ServiceRecord,
  slots: readonly Slot[],
  room: number,
  loads: NodeLoads,
): number {
  if (room <= 0) return 0;
  const movable = new Map<string, TaskRecord[]>();
  const leaving = new Map<string, number>();
  for (const slot of slots) {
    const live = slot.tasks.filter(isLive);
    for (const { isToMove, nodeId = '' } of live) if (isToMove) leaving.set(nodeId, (leaving.get(nodeId) ?? 0) + 1);
    const [task] = live;
    if (task?.nodeId === undefined || live.length > 1 || !isRunning(task) || task.isToMove === true) continue;
    movable.set(task.nodeId, [...(movable.get(task.nodeId) ?? []), task]);
  }
  const spec = draft.view.spec(service.id, service.specVersion);
  const demand = draft.view.demand(service.id, service.specVersion);
  const filters = filtersOf(draft.view, spec, (node) => draft.satisfiesConstraints(node, spec));
  const keys = (spec.template.Placement?.Preferences ?? []).map(({ Spread }) => Spread?.SpreadDescriptor ?? '');
  const failures = recentFailures(draft, service.id);
  const tree = new BalanceTree(service.id, keys);
  for (const node of draft.view.nodes()) {
    const load = loads.of(node);
    const isOpen = (failures.get(node.id) ?? 0) < FAILURES_TO_AVOID && refusing(filters, load) === undefined;
    tree.add({ load, isOpen, movable: movable.get(node.id)?.length ?? 0, leaving: leaving.get(node.id) ?? 0 });
  }
  let chosen = 0;
  for (; chosen < room; chosen++) {
    const move = tree.next();
    const task = move && movable.get(move.from.load.node.id)?.pop();
    if (move === undefined || task === undefined) break;
    const { load } = move.to;
    draft.move(task, load.node.id);
    load.add(service.id, demand);
    move.to.isOpen = refusing(filters, load) === undefined;
  }
  return chosen;
}
