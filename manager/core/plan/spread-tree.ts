import { attributeOf } from './constraint.js';
import { Heap } from './heap.js';
import type { NodeLoad } from './node-load.js';

/** A node that would take a task of the group, with what it is ordered by. */
interface Candidate {
  load: NodeLoad;
  /** Recent failures of the service there, when they are many enough to matter; else 0. */
  failures: number;
  tie: number;
}

interface Branch {
  name: string;
  /** Tasks of the service on the branch's nodes, those that take no more included. */
  tasks: number;
  branches: Map<string, Branch>;
  /** Branches that may yet take a task, the emptiest first. */
  open: Heap<Branch>;
  candidates: Heap<Candidate>;
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

  /** @param open  whether the node takes a task: one that does not still counts for its branches */
  add(candidate: Candidate, open: boolean): void {
    let branch = this.#root;
    for (const key of this.#keys) {
      const name = attributeOf(candidate.load.node, key) ?? '';
      let child = branch.branches.get(name);
      if (child === undefined) {
        child = this.#newBranch(name);
        branch.branches.set(name, child);
      }
      child.tasks += candidate.load.tasksOf(this.#serviceId);
      branch = child;
    }
    if (open) branch.candidates.push(candidate);
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
    const best = branch.candidates.first();
    if (best === undefined) return undefined;
    if (put(best.load)) branch.candidates.reorderFirst();
    else branch.candidates.dropFirst();
    return best.load;
  }

  #newBranch(name: string): Branch {
    return {
      name,
      tasks: 0,
      branches: new Map(),
      open: new Heap<Branch>((a, b) => (a.tasks === b.tasks ? a.name < b.name : a.tasks < b.tasks)),
      candidates: new Heap<Candidate>((a, b) => this.#order(a, b) < 0),
    };
  }

  #order(a: Candidate, b: Candidate): number {
    return (
      a.failures - b.failures ||
      a.load.tasksOf(this.#serviceId) - b.load.tasksOf(this.#serviceId) ||
      a.load.tasks - b.load.tasks ||
      a.tie - b.tie
    );
  }
}

function isOpen(branch: Branch): boolean {
  return branch.open.first() !== undefined || branch.candidates.first() !== undefined;
}
