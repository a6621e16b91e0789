import { attributeOf } from './constraint.js';
import type { NodeLoad } from './node-load.js';

/** A node as a rebalance sees it. */
export interface Place {
  load: NodeLoad;
  /** Whether it would take a task of the service. */
  isOpen: boolean;
  /** How many tasks of the service may be moved away from it. */
  movable: number;
  /** How many still run there that are about to be elsewhere: these are counted there already. */
  leaving: number;
}

interface Leaf extends Place {
  branch: Branch;
  ofService: number;
  tasks: number;
}

interface Branch {
  name: string;
  parent: Branch | undefined;
  /** Tasks of the service on the branch's nodes. */
  tasks: number;
  branches: Map<string, Branch>;
  leaves: Leaf[];
}

/** The nodes of a cluster as a service's spread preferences divide them, with what may move from where to where. */
export class BalanceTree {
  readonly #serviceId: string;
  readonly #keys: readonly string[];
  readonly #root = newBranch('', undefined);

  /** @param keys  what the service spreads over, the coarsest first */
  constructor(serviceId: string, keys: readonly string[]) {
    this.#serviceId = serviceId;
    this.#keys = keys;
  }

  add(place: Place): void {
    const { load, leaving } = place;
    let branch = this.#root;
    for (const key of this.#keys) {
      const name = attributeOf(load.node, key) ?? '';
      let child = branch.branches.get(name);
      if (child === undefined) {
        child = newBranch(name, branch);
        branch.branches.set(name, child);
      }
      branch = child;
    }
    const ofService = load.tasksOf(this.#serviceId) - leaving;
    const leaf: Leaf = { ...place, branch, ofService, tasks: load.tasks - leaving };
    branch.leaves.push(leaf);
    count(leaf, leaf.ofService);
  }

  /**
   * The next move that makes the spread better, which is then counted as made; undefined when there is none. The sum of
   * the squares of the branches' tasks, level by level, then of the nodes' tasks of the service, then of their tasks at
   * all, gets smaller with every one. O(nodes).
   */
  next(branch: Branch = this.#root): { from: Leaf; to: Leaf } | undefined {
    const move = branch.branches.size > 0 ? betweenBranches(branch) : betweenNodes(branch);
    if (move !== undefined) {
      made(move);
      return move;
    }
    for (const child of byName(branch)) {
      const within = this.next(child);
      if (within !== undefined) return within;
    }
    return undefined;
  }
}

function newBranch(name: string, parent: Branch | undefined): Branch {
  return { name, parent, tasks: 0, branches: new Map(), leaves: [] };
}

function betweenBranches(branch: Branch): { from: Leaf; to: Leaf } | undefined {
  let fullest: { branch: Branch; leaf: Leaf } | undefined;
  let emptiest: { branch: Branch; leaf: Leaf } | undefined;
  for (const child of byName(branch)) {
    const from = fullestLeaf(child);
    if (from !== undefined && (fullest === undefined || child.tasks > fullest.branch.tasks)) {
      fullest = { branch: child, leaf: from };
    }
    const to = emptiestLeaf(child);
    if (to !== undefined && (emptiest === undefined || child.tasks < emptiest.branch.tasks)) {
      emptiest = { branch: child, leaf: to };
    }
  }
  if (fullest === undefined || emptiest === undefined) return undefined;
  if (fullest.branch.tasks - emptiest.branch.tasks < 2) return undefined;
  return { from: fullest.leaf, to: emptiest.leaf };
}

function betweenNodes(branch: Branch): { from: Leaf; to: Leaf } | undefined {
  const from = fullestLeaf(branch);
  const to = emptiestLeaf(branch);
  if (from === undefined || to === undefined) return undefined;
  const difference = from.ofService - to.ofService;
  // One more here than there is as even as one more there than here: then it is the load that counts.
  const isBetter = difference >= 2 || (difference === 1 && from.tasks - to.tasks >= 2);
  return isBetter ? { from, to } : undefined;
}

/** Where a task is best taken from: in the fullest branch at each level, from the fullest node. */
function fullestLeaf(branch: Branch): Leaf | undefined {
  const leaves = branch.leaves.filter(({ movable }) => movable > 0);
  const children = byName(branch).sort((a, b) => b.tasks - a.tasks);
  for (const child of children) {
    const leaf = fullestLeaf(child);
    if (leaf !== undefined) return leaf;
  }
  return leaves.reduce<Leaf | undefined>((best, leaf) => (best && !isFuller(leaf, best) ? best : leaf), undefined);
}

function emptiestLeaf(branch: Branch): Leaf | undefined {
  const leaves = branch.leaves.filter(({ isOpen }) => isOpen);
  const children = byName(branch).sort((a, b) => a.tasks - b.tasks);
  for (const child of children) {
    const leaf = emptiestLeaf(child);
    if (leaf !== undefined) return leaf;
  }
  return leaves.reduce<Leaf | undefined>((best, leaf) => (best && !isFuller(best, leaf) ? best : leaf), undefined);
}

function isFuller(a: Leaf, b: Leaf): boolean {
  return a.ofService === b.ofService ? a.tasks > b.tasks : a.ofService > b.ofService;
}

/** As every leader has them: a map iterates in the order in which its branches first came. */
function byName(branch: Branch): Branch[] {
  return [...branch.branches.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

function made({ from, to }: { from: Leaf; to: Leaf }): void {
  from.movable--;
  from.ofService--;
  from.tasks--;
  count(from, -1);
  to.ofService++;
  to.tasks++;
  count(to, 1);
}

function count(leaf: Leaf, by: number): void {
  for (let branch: Branch | undefined = leaf.branch; branch !== undefined; branch = branch.parent) branch.tasks += by;
}
