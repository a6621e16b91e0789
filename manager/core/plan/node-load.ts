import { isTerminal, rankOf } from '@apiary/api/model';
import type { NodeRecord } from '../store/records.js';
import type { Demand, Demands } from './demand.js';
import { type Draft, isDispatched } from './draft.js';

/** What a node has left, and what runs on it: as committed, and as this pass goes on to fill it. */
export class NodeLoad {
  readonly node: NodeRecord;
  #nanoCpusFree: number;
  #memoryBytesFree: number;
  readonly #hostPorts = new Set<string>();
  readonly #tasksOfService = new Map<string, number>();
  #tasks = 0;

  constructor(node: NodeRecord) {
    this.node = node;
    this.#nanoCpusFree = node.description?.Resources.NanoCPUs ?? 0;
    this.#memoryBytesFree = node.description?.Resources.MemoryBytes ?? 0;
  }

  /** How many tasks the node is meant to run. */
  get tasks(): number {
    return this.#tasks;
  }

  tasksOf(serviceId: string): number {
    return this.#tasksOfService.get(serviceId) ?? 0;
  }

  hasResources(demand: Demand): boolean {
    return demand.nanoCpus <= this.#nanoCpusFree && demand.memoryBytes <= this.#memoryBytesFree;
  }

  hasHostPorts(demand: Demand): boolean {
    return demand.hostPorts.every((port) => !this.#hostPorts.has(port));
  }

  /** @param meantToRun  false for a task that has been told to end: until it has, it holds what it took */
  add(serviceId: string, demand: Demand, meantToRun: boolean): void {
    this.#nanoCpusFree -= demand.nanoCpus;
    this.#memoryBytesFree -= demand.memoryBytes;
    for (const port of demand.hostPorts) this.#hostPorts.add(port);
    if (!meantToRun) return;
    this.#tasks++;
    this.#tasksOfService.set(serviceId, this.tasksOf(serviceId) + 1);
  }
}

/** The load of every node that the pass has asked for: O(tasks on the node), once. */
export class NodeLoads {
  readonly #draft: Draft;
  readonly #demands: Demands;
  readonly #known = new Map<string, NodeLoad>();

  constructor(draft: Draft, demands: Demands) {
    this.#draft = draft;
    this.#demands = demands;
  }

  of(node: NodeRecord): NodeLoad {
    const known = this.#known.get(node.id);
    if (known !== undefined) return known;
    const load = new NodeLoad(node);
    for (const committed of this.#draft.view.tasksOfNode(node.id)) {
      if (this.#draft.isDeleted(committed.id)) continue;
      const task = this.#draft.current(committed);
      if (isTerminal(task.status.state) || !isDispatched(task)) continue;
      const meantToRun = rankOf(task.desiredState) <= rankOf('running');
      load.add(task.serviceId, this.#demands.of(task.serviceId, task.specVersion), meantToRun);
    }
    this.#known.set(node.id, load);
    return load;
  }
}
