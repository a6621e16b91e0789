import { type GenericResource, type GenericSupply, genericSupply } from '@apiary/api/model';
import { type Counted, type Demand, type NodeUsage, NodeUsageSum } from '../store/node-usage.js';
import type { NodeRecord } from '../store/records.js';
import type { Draft } from './draft.js';

/** What a node has left, and what runs on it: as committed, and as this pass goes on to fill it. */
export class NodeLoad {
  readonly node: NodeRecord;
  readonly #committed: NodeUsage;
  readonly #change: NodeUsageSum;
  #supply: Map<string, GenericSupply> | undefined;

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

  get freeNanoCpus(): number {
    return (this.node.description?.Resources.NanoCPUs ?? 0) - this.#committed.nanoCpus - this.#change.nanoCpus;
  }

  get freeMemoryBytes(): number {
    return (this.node.description?.Resources.MemoryBytes ?? 0) - this.#committed.memoryBytes - this.#change.memoryBytes;
  }

  /** What is left of a kind of generic resource: how many pieces, or the names of those. */
  freeGeneric(kind: string): GenericSupply {
    this.#supply ??= genericSupply(this.node.description?.Resources.GenericResources ?? []);
    const supply = this.#supply.get(kind) ?? { kind, count: 0 };
    const claimed = (name?: string): number => this.#committed.claimed(kind, name) + this.#change.claimed(kind, name);
    if ('count' in supply) return { kind, count: supply.count - claimed() };
    return { kind, names: supply.names.filter((name) => claimed(name) === 0) };
  }

  hasResources(demand: Demand): boolean {
    return (
      demand.nanoCpus <= this.freeNanoCpus &&
      demand.memoryBytes <= this.freeMemoryBytes &&
      demand.generic.every(({ kind, count }) => count <= pieces(this.freeGeneric(kind)))
    );
  }

  hasHostPorts(ports: readonly string[]): boolean {
    return ports.every((port) => this.#committed.holdersOf(port) + this.#change.holdersOf(port) === 0);
  }

  /**
   * Puts one more task of the service on the node, which has what the task demands.
   *
   * @returns the generic resources that are the task's from now on
   */
  add(serviceId: string, demand: Demand): GenericResource[] {
    const genericResources = demand.generic.flatMap((asked) => this.#claim(asked));
    const assigned: Counted = {
      serviceId,
      genericResources,
      desiredState: 'running',
      status: { state: 'assigned', atMs: 0, message: '' },
    };
    this.#change.count(assigned, demand, 1);
    return genericResources;
  }

  #claim({ kind, count }: { kind: string; count: number }): GenericResource[] {
    const free = this.freeGeneric(kind);
    if ('count' in free) return [{ DiscreteResourceSpec: { Kind: kind, Value: count } }];
    return free.names.slice(0, count).map((name) => ({ NamedResourceSpec: { Kind: kind, Value: name } }));
  }
}

/** How many pieces there are. */
export function pieces(supply: GenericSupply): number {
  return 'count' in supply ? supply.count : supply.names.length;
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
