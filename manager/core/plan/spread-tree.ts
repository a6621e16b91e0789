import { attributeOf } from './constraint.js';
import { Heap } from './heap.js';
import type { NodeLoad } from './node-load.js';

/** A node that may take tasks of the group. */
export interface Candidate {
  load: NodeLoad;
  /** Recent failures of the service there, when they are many enough to matter; else 0. */
  failures: number;
  tie: number;
  /** Whether it takes a task: one that does not still counts for its branches. */
  isOpen: boolean;
}

/** A candidate with what it is ordered by, which is looked up once and counted on. */
interface Leaf {
  load: NodeLoad;
  failures: number;
  /** Tasks of the service there, and tasks at all. */
  ofService: number;
  tasks: number;
  tie: number;
}

interface Branch {
  name: string;
  /** Tasks of the service on the branch's nodes, those that take no more included. */
  tasks: number;
  branches: Map<string, Branch>;
  /** Branches that may yet take a task, the emptiest first. */
  open: Heap<Branch>;
  leaves: Heap<Leaf>;
}

/**
 * The nodes of a cluster as the spread preferences divide them: at each level a task goes to the branch with the
 * fewest tasks of its service, and at the end to the node with the fewest, then the one with the fewest tasks at all.
 */
export class SpreadTree {
  readonly #serviceId: string;
  readonly #keys: readonly string[];
  readonly #root: Branch;

  /** @param keys  what to spread over, the coarsest first: `node.labels.datacenter`, ... */
  constructor(serviceId: string, keys: readonly string[]) {
    this.#serviceId = serviceId;
    this.#keys = keys;
    this.#root = this.#newBranch('');
  }

  add(candidate: Candidate): void {
    const ofService = candidate.load.tasksOf(this.#serviceId);
    let branch = this.#root;
    for (const key of this.#keys) {
      const name = attributeOf(candidate.load.node, key) ?? '';
      let child = branch.branches.get(name);
      if (child === undefined) {
        child = this.#newBranch(name);
        branch.branches.set(name, child);
      }
      child.tasks += ofService;
      branch = child;
    }
    if (!candidate.isOpen) return;
    const { load, failures, tie } = candidate;
    branch.leaves.push({ load, failures, ofService, tasks: load.tasks, tie });
  }

  /** To be called once, after the last node was added. */
  seal(branch: Branch = this.#root): void {
    for (const child of branch.branches.values()) {
      this.seal(child);
      if (isOpen(child)) branch.open.push(child);
    }
  }

  /**
   * Finds the best node for one task. O(log nodes).
   *
   * @param put  puts the task there, and tells whether the node takes another one
   * @returns undefined when no node takes a task any more
   */
  place(put: (load: NodeLoad) => boolean, branch: Branch = this.#root): NodeLoad | undefined {
    const child = branch.open.first();
    if (child !== undefined) {
      const load = this.place(put, child);
      child.tasks++;
      if (isOpen(child)) branch.open.reorderFirst();
      else branch.open.dropFirst();
      return load;
    }
    const best = branch.leaves.first();
    if (best === undefined) return undefined;
    const takesMore = put(best.load);
    best.ofService++;
    best.tasks++;
    if (takesMore) branch.leaves.reorderFirst();
    else branch.leaves.dropFirst();
    return best.load;
  }

  #newBranch(name: string): Branch {
    return {
      name,
      tasks: 0,
      branches: new Map(),
      open: new Heap<Branch>((a, b) => (a.tasks === b.tasks ? a.name < b.name : a.tasks < b.tasks)),
      leaves: new Heap<Leaf>(isBefore),
    };
  }
}

function isBefore(a: Leaf, b: Leaf): boolean {
  if (a.failures !== b.failures) return a.failures < b.failures;
  if (a.ofService !== b.ofService) return a.ofService < b.ofService;
  return a.tasks === b.tasks ? a.tie < b.tie : a.tasks < b.tasks;
}

function isOpen(branch: Branch): boolean {
  return branch.open.first() !== undefined || branch.leaves.first() !== undefined;
}
