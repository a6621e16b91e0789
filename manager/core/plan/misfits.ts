import { isTerminal, rankOf } from '@apiary/api/model';
import { NodeUsageSum } from '../store/node-usage.js';
import type { NodeRecord, SpecVersion, TaskRecord } from '../store/records.js';
import type { View } from '../store/view.js';

/** Docker's words, of its constraint enforcer; it has the same for resources. */
const CONSTRAINTS_NOT_MET = 'assigned node no longer meets constraints';
const TOO_LITTLE_LEFT = 'assigned node no longer has the resources that the task reserves';

/** What is asked of a pass. */
interface Pass {
  readonly view: View;
  node(id: string): NodeRecord | undefined;
  specOf(task: TaskRecord): SpecVersion;
  satisfiesConstraints(node: NodeRecord, spec: SpecVersion): boolean;
}

/**
 * Tasks that their nodes took and would not take any more: its labels, its role or its engine have changed, or it has less
 * than it had. As with Docker, those on a node that is paused stay.
 */
export class Misfits {
  readonly #pass: Pass;
  readonly #tooMany = new Map<string, ReadonlySet<string>>();

  constructor(pass: Pass) {
    this.#pass = pass;
  }

  /**
   * Why a task may not stay on the node that it was given to; undefined when it may. O(1) but for a node that has too
   * little.
   */
  reasonOf(task: TaskRecord): string | undefined {
    const node = task.nodeId === undefined ? undefined : this.#pass.node(task.nodeId);
    if (node === undefined || (node.spec.Availability ?? 'active') !== 'active') return undefined;
    if (!this.#pass.satisfiesConstraints(node, this.#pass.specOf(task))) return CONSTRAINTS_NOT_MET;
    return this.#tooManyOn(node).has(task.id) ? TOO_LITTLE_LEFT : undefined;
  }

  /** Those for which there is no room once the ones that came before them have theirs: no more than have to go. */
  #tooManyOn(node: NodeRecord): ReadonlySet<string> {
    const known = this.#tooMany.get(node.id);
    if (known !== undefined) return known;
    const tooMany = new Set<string>();
    this.#tooMany.set(node.id, tooMany);
    const { view } = this.#pass;
    const { description } = node;
    if (description === undefined || !view.usageOfNode(node.id).exceeds(description.Resources)) return tooMany;
    const kept = new NodeUsageSum();
    for (const task of view.tasksOfNode(node.id).filter(isToRun).sort(oldestFirst)) {
      const demand = view.demand(task.serviceId, task.specVersion);
      kept.count(task, demand, 1);
      if (!kept.exceeds(description.Resources)) continue;
      kept.count(task, demand, -1);
      tooMany.add(task.id);
    }
    return tooMany;
  }
}

/** One that was told to end makes room by itself. */
function isToRun(task: TaskRecord): boolean {
  return rankOf(task.desiredState) <= rankOf('running') && !isTerminal(task.status.state);
}

function oldestFirst(a: TaskRecord, b: TaskRecord): number {
  return a.meta.createdAtMs - b.meta.createdAtMs || (a.id < b.id ? -1 : 1);
}
