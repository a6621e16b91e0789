import { genericSupply, isTerminal, type NodeDescription, rankOf } from '@apiary/api/model';
import type { SpecVersion, TaskRecord } from './records.js';

/** What a task takes from its node while it is not over. CPU in nano-CPUs, memory in bytes. */
export interface Demand {
  nanoCpus: number;
  memoryBytes: number;
  /** Host-mode ports, as `80/tcp`. */
  hostPorts: readonly string[];
  /** How many pieces of each kind of generic resource: which ones is settled when a node is found. */
  generic: readonly { kind: string; count: number }[];
}

export function demandOf(spec: SpecVersion): Demand {
  const reservations = spec.template.Resources?.Reservations;
  const hostPorts = (spec.endpoint?.Ports ?? []).filter((port) => port.PublishMode === 'host' && port.PublishedPort);
  return {
    nanoCpus: reservations?.NanoCPUs ?? 0,
    memoryBytes: reservations?.MemoryBytes ?? 0,
    generic: [...genericSupply(reservations?.GenericResources ?? []).values()]
      .map((asked) => ({ kind: asked.kind, count: 'count' in asked ? asked.count : asked.names.length }))
      .filter(({ count }) => count > 0),
    hostPorts: hostPorts.map((port) => `${port.PublishedPort}/${port.Protocol ?? 'tcp'}`),
  };
}

/** What the tasks of a node take of it, added up; or a difference to such a sum. Whole numbers: no sum drifts. */
export interface NodeUsage {
  readonly nanoCpus: number;
  readonly memoryBytes: number;
  /** How many tasks the node is meant to run. */
  readonly tasks: number;
  /** How many tasks hold the host port. */
  holdersOf(hostPort: string): number;
  /** How many pieces of a kind of generic resource are claimed: of the one with this name, when one is given. */
  claimed(kind: string, name?: string): number;
  /** How many tasks of the service the node is meant to run. */
  tasksOf(serviceId: string): number;
  /** Whether more is taken than there is: of CPU, of memory, or of a kind of generic resource. */
  exceeds(resources: NodeDescription['Resources']): boolean;
}

/** What decides whether, and how, a task counts on its node. */
export type Counted = Pick<TaskRecord, 'serviceId' | 'desiredState' | 'status' | 'genericResources'>;

export class NodeUsageSum implements NodeUsage {
  #nanoCpus = 0;
  #memoryBytes = 0;
  #tasks = 0;
  readonly #hostPorts = new Map<string, number>();
  readonly #tasksByService = new Map<string, number>();
  readonly #claims = new Map<string, number>();

  get nanoCpus(): number {
    return this.#nanoCpus;
  }

  get memoryBytes(): number {
    return this.#memoryBytes;
  }

  get tasks(): number {
    return this.#tasks;
  }

  /** Whether nothing is taken. */
  get isEmpty(): boolean {
    const counted = [this.#hostPorts, this.#tasksByService, this.#claims];
    return this.#nanoCpus === 0 && this.#memoryBytes === 0 && counted.every(({ size }) => size === 0);
  }

  holdersOf(hostPort: string): number {
    return this.#hostPorts.get(hostPort) ?? 0;
  }

  claimed(kind: string, name?: string): number {
    return this.#claims.get(claimKey(kind, name)) ?? 0;
  }

  tasksOf(serviceId: string): number {
    return this.#tasksByService.get(serviceId) ?? 0;
  }

  exceeds({ NanoCPUs = 0, MemoryBytes = 0, GenericResources = [] }: NodeDescription['Resources']): boolean {
    if (this.#nanoCpus > NanoCPUs || this.#memoryBytes > MemoryBytes) return true;
    if (this.#claims.size === 0) return false;
    const supplies = genericSupply(GenericResources);
    return [...this.#claims].some(([key, taken]) => {
      const [kind = '', name] = key.split('\n');
      const supply = supplies.get(kind) ?? { kind, count: 0 };
      if (name === undefined) return taken > ('count' in supply ? supply.count : 0);
      return taken > ('names' in supply && supply.names.includes(name) ? 1 : 0);
    });
  }

  /**
   * Counts a task in (`sign` 1) or out (-1), from its assignment until it is over. One that has been told to end holds
   * what it took until it has, but is no longer among the tasks that the node is meant to run.
   */
  count(task: Counted, demand: Demand, sign: 1 | -1): void {
    if (isTerminal(task.status.state) || rankOf(task.status.state) < rankOf('assigned')) return;
    this.#nanoCpus += sign * demand.nanoCpus;
    this.#memoryBytes += sign * demand.memoryBytes;
    for (const port of demand.hostPorts) addTo(this.#hostPorts, port, sign);
    for (const claim of genericSupply(task.genericResources ?? []).values()) {
      if ('count' in claim) addTo(this.#claims, claimKey(claim.kind), sign * claim.count);
      else for (const name of claim.names) addTo(this.#claims, claimKey(claim.kind, name), sign);
    }
    if (rankOf(task.desiredState) > rankOf('running')) return;
    this.#tasks += sign;
    addTo(this.#tasksByService, task.serviceId, sign);
  }
}

/** No kind has a line break in it. */
function claimKey(kind: string, name?: string): string {
  return name === undefined ? kind : `${kind}\n${name}`;
}

function addTo(counts: Map<string, number>, key: string, by: number): void {
  const count = (counts.get(key) ?? 0) + by;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
}
