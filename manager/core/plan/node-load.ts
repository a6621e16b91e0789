import { type Counted, type Demand, type NodeUsage, NodeUsageSum } from '../store/node-usage.js';
import type { NodeRecord } from '../store/records.js';
import type { Draft } from './draft.js';

/** What a node has left, and what runs on it: as committed, and as this pass goes on to fill it. */
export class NodeLoad {
  readonly node: NodeRecord;
  readonly #committed: NodeUsage;
  readonly #change: NodeUsageSum;

  /** @param change  how this pass differs from what is committed; is added to */
  constructor(node: NodeRecord, committed: NodeUsage, change: NodeUsageSum) {
    this.node = node;
    this.#committed = committed;
    this.#change = change;
  }

  /** How many tasks the node is meant to run. */
  get tasks(): number {
    return this.#committed.tasks + this.#change.tasks;
  }

  tasksOf(serviceId: string): number {
    return this.#committed.tasksOf(serviceId) + this.#change.tasksOf(serviceId);
  }

  hasResources(demand: Demand): boolean {
    const { NanoCPUs = 0, MemoryBytes = 0 } = this.node.description?.Resources ?? {};
    return (
      this.#committed.nanoCpus + this.#change.nanoCpus + demand.nanoCpus <= NanoCPUs &&
      this.#committed.memoryBytes + this.#change.memoryBytes + demand.memoryBytes <= MemoryBytes
    );
  }

  hasHostPorts(demand: Demand): boolean {
    return demand.hostPorts.every((port) => this.#committed.holdersOf(port) + this.#change.holdersOf(port) === 0);
  }

  /** Puts one more task of the service on the node. */
  add(serviceId: string, demand: Demand): void {
    const assigned: Counted = {
      serviceId,
      desiredState: 'running',
      status: { state: 'assigned', atMs: 0, message: '' },
    };
    this.#change.count(assigned, demand, 1);
  }
}

/** The load of every node as the pass has decided so far. O(tasks that the pass has changed), once. */
export class NodeLoads {
  readonly #draft: Draft;
  readonly #changes = new Map<string, NodeUsageSum>();
  readonly #known = new Map<string, NodeLoad>();

  constructor(draft: Draft) {
    this.#draft = draft;
    for (const id of draft.changedTaskIds()) {
      const committed = draft.view.task(id);
      if (committed?.nodeId === undefined) continue;
      const demand = draft.view.demand(committed.serviceId, committed.specVersion);
      const change = this.#changeOf(committed.nodeId);
      change.count(committed, demand, -1);
      if (!draft.isDeleted(id)) change.count(draft.current(committed), demand, 1);
    }
  }

  of(node: NodeRecord): NodeLoad {
    let load = this.#known.get(node.id);
    if (load === undefined) {
      load = new NodeLoad(node, this.#draft.view.usageOfNode(node.id), this.#changeOf(node.id));
      this.#known.set(node.id, load);
    }
    return load;
  }

  #changeOf(nodeId: string): NodeUsageSum {
    let change = this.#changes.get(nodeId);
    if (change === undefined) {
      change = new NodeUsageSum();
      this.#changes.set(nodeId, change);
    }
    return change;
  }
}
