import { isTerminal } from '@apiary/api/model';
import type { ServiceRecord, TaskRecord } from '../store/records.js';
import { type Draft, isDispatched } from './draft.js';
import { chooseNodes } from './global.js';
import { historyLimit, trimHistory } from './history.js';
import { orchestrateJob } from './job.js';
import { begin, reconcileSlot } from './reconcile.js';
import { chooseSlots } from './replicated.js';
import { advance, Rollout } from './rollout.js';
import { groupBySlot, isLive, isLost, isRunning, refresh, type Slot } from './slot.js';

/** Decides which tasks one service is to have, and what each of them is to do. Where they run comes later. */
export function orchestrate(draft: Draft, serviceId: string): void {
  const service = draft.view.service(serviceId);
  const tasks = draft.view.tasksOfService(serviceId).map((task) => draft.current(task));
  if (service === undefined) {
    for (const task of tasks) draft.remove(task);
    return;
  }
  const faced = tasks.map((task) => faceNode(draft, task)).filter((task) => task !== undefined);
  if (service.job !== undefined) {
    orchestrateJob(draft, service, service.job, faced);
    return;
  }
  const slots = groupBySlot(faced, service.spec.Mode?.Global !== undefined);
  const [current, chosen] = follow(draft, service, slots);
  const rollout = new Rollout(current, draft);
  dropOthers(draft, rollout, slots, new Set(chosen));
  reconcileAll(draft, rollout, chosen);
}

/** What became of the task's node decides first: a node that is gone or down runs nothing that counts. */
function faceNode(draft: Draft, task: TaskRecord): TaskRecord | undefined {
  if (task.desiredState === 'remove') return draft.remove(task);
  if (!isLive(task) && !isDispatched(task)) return draft.stop(task);
  if (task.nodeId === undefined) return task;
  const node = draft.node(task.nodeId);
  if (isDispatched(task) && !isTerminal(task.status.state) && draft.isAbandoned(task)) return draft.orphan(task);
  if (!isLive(task)) return task;
  return isLost(node) ? draft.stop(task) : task;
}

/** Moves the update on and chooses the slots to have: again after a roll-back, which brings another spec. */
function follow(
  draft: Draft,
  service: ServiceRecord,
  slots: ReadonlyMap<number | string, Slot>,
): [ServiceRecord, Slot[]] {
  const isGlobal = service.spec.Mode?.Global !== undefined;
  const chosen = isGlobal ? chooseNodes(service, slots, draft) : chooseSlots(service, slots);
  const current = advance(draft, service, chosen);
  return current.spec === service.spec ? [current, chosen] : follow(draft, current, slots);
}

/** Slots that are too many go with their history; so does what ran on a node that is gone. */
function dropOthers(
  draft: Draft,
  rollout: Rollout,
  slots: ReadonlyMap<number | string, Slot>,
  chosen: ReadonlySet<Slot>,
): void {
  const limit = historyLimit(draft);
  for (const slot of slots.values()) {
    if (chosen.has(slot)) continue;
    if (slot.nodeId === undefined || draft.node(slot.nodeId) === undefined) {
      for (const task of slot.tasks) draft.remove(task);
      continue;
    }
    for (const task of slot.tasks) draft.stop(task);
    refresh(slot, draft);
    trimHistory(draft, rollout, slot, limit, 0);
  }
}

function reconcileAll(draft: Draft, rollout: Rollout, slots: readonly Slot[]): void {
  const limit = historyLimit(draft);
  const toBegin: Slot[] = [];
  const madeBefore = new Map<Slot, number>();
  let taken = 0;
  for (const slot of slots) {
    const before = draft.created.length;
    const outcome = reconcileSlot(draft, rollout, slot);
    if (outcome === 'taken') taken++;
    if (outcome === 'to-begin') toBegin.push(slot);
    madeBefore.set(slot, draft.created.length - before);
  }
  // Slots that serve nobody cost no availability, so they come first.
  const serves = (slot: Slot): number => (slot.tasks.some((task) => isLive(task) && isRunning(task)) ? 1 : 0);
  toBegin.sort((a, b) => serves(a) - serves(b));
  for (const slot of toBegin.slice(0, Math.max(0, rollout.policy.parallelism - taken))) {
    begin(draft, rollout, slot);
    madeBefore.set(slot, 1);
  }
  for (const slot of slots) trimHistory(draft, rollout, slot, limit, madeBefore.get(slot) ?? 0);
}
