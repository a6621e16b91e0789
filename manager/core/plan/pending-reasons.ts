import { rankOf } from '@apiary/api/model';
import { NodeUsageSum } from '../store/node-usage.js';
import type { NodeRecord, SpecVersion, TaskRecord } from '../store/records.js';
import type { View } from '../store/view.js';
import { constraintTest } from './constraint.js';
import { type Filter, filtersOf, refusing } from './filters.js';
import { NodeLoad } from './node-load.js';
import { nodeCount } from './refusal-words.js';

/** Why no node takes a task. */
export interface Refusal {
  /** Every node is counted in one of these: `2 nodes: insufficient memory (need 4 GiB, largest free 1.5 GiB on h2)`. */
  reasons: string[];
  /** Docker's words for it, which the task's status has, leave out what there is too little of. */
  isVague: boolean;
}

/**
 * Why tasks wait for a node, as of the moment that it is asked: what is free changes with every task, and would be an
 * entry of the log each time if it were written down. O(nodes) for each spec version that is asked for, once.
 */
export class PendingReasons {
  readonly #view: View;
  readonly #known = new Map<string, Refusal | undefined>();
  #loads: NodeLoad[] | undefined;

  constructor(view: View) {
    this.#view = view;
  }

  /** @returns undefined for a task that waits for no node, or gets one at any moment */
  of(task: TaskRecord): Refusal | undefined {
    const { serviceId, specVersion, nodeId = '' } = task;
    if (rankOf(task.status.state) >= rankOf('assigned') || rankOf(task.desiredState) > rankOf('running'))
      return undefined;
    const key = `${serviceId}/${specVersion}/${nodeId}`;
    if (!this.#known.has(key)) this.#known.set(key, this.#explain(this.#view.spec(serviceId, specVersion), nodeId));
    return this.#known.get(key);
  }

  /** @param nodeId  the only node where a task of a global service may be; empty for any */
  #explain(spec: SpecVersion, nodeId: string): Refusal | undefined {
    this.#loads ??= this.#view
      .nodes()
      .map((node) => new NodeLoad(node, this.#view.usageOfNode(node.id), new NodeUsageSum()));
    const loads = nodeId === '' ? this.#loads : this.#loads.filter(({ node }) => node.id === nodeId);
    const tests = (spec.template.Placement?.Constraints ?? []).map(constraintTest);
    const satisfies = (node: NodeRecord): boolean => tests.every((test) => test(node));
    const filters = filtersOf(this.#view, spec, satisfies);
    const groups = new Map<string, { filter: Filter; reason: string; loads: NodeLoad[] }>();
    for (const load of loads) {
      const filter = refusing(filters, load);
      if (filter === undefined) return undefined;
      const reason = filter.reason(load);
      const key = `${filters.indexOf(filter)} ${reason}`;
      const group = groups.get(key) ?? { filter, reason, loads: [] };
      group.loads.push(load);
      groups.set(key, group);
    }
    const told = [...groups.values()].sort((a, b) => b.loads.length - a.loads.length);
    return {
      reasons: told.map(({ filter, reason, loads: refused }) => {
        return `${nodeCount(refused.length)}: ${filter.detail?.(refused) ?? reason}`;
      }),
      isVague: told.some(({ filter }) => filter.isVague === true),
    };
  }
}
