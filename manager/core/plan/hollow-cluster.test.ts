import {
  type GenericResource,
  isTerminal,
  type NodeDescription,
  rankOf,
  type ServiceSpec,
  type TaskState,
} from '@apiary/api/model';
import { invariant, SeededRng } from '@apiary/std';
import t from 'tap';
import type { Change } from '../store/change.js';
import type { NodeRecord, ServiceRecord, TaskRecord } from '../store/records.js';
import { sameForTasks } from '../store/spec-comparison.js';
import { Store } from '../store/store.js';
import { plan } from './plan.js';

/** What the tasks of an image do. */
export interface Behaviour {
  /** It cannot be pulled. */
  missing?: true;
  /** It runs for so long, then exits so. Without end when undefined. */
  exits?: { afterMs: number; code: number };
}

interface HollowNode {
  /** The link to the managers is there. */
  linked: boolean;
  /** What the engine really does, whether or not the managers know. */
  containers: Map<string, { state: TaskState; sinceMs: number; told: boolean }>;
}

const TICK_MS = 100;
const DOWN_AFTER_MS = 3_000;
const NEXT: Partial<Record<TaskState, TaskState>> = {
  assigned: 'preparing',
  preparing: 'ready',
  ready: 'starting',
  starting: 'running',
};

/**
 * A cluster with one manager's store and plan pass, hollow engines, and virtual time: everything follows from the
 * seed. Each node brings each of its tasks one state further a tick, sometimes later.
 */
export class HollowCluster {
  readonly store = new Store();
  readonly rng: SeededRng;
  nowMs = 1_000_000;
  /** By image. What is not named runs without end. */
  readonly images = new Map<string, Behaviour>();
  /** Of 100 steps that an engine could take, how many it leaves for a later tick. */
  slowness = 0;
  entries = 0;
  /** Called after every pass. */
  check: () => void = () => {};
  readonly #nodes = new Map<string, HollowNode>();
  readonly #lostAtMs = new Map<string, number>();
  readonly #dirty = { all: true, services: new Set<string>(), nodes: new Set<string>() };
  readonly #wakes = new Map<string, number>();
  readonly #nodeWakes = new Map<string, number>();

  constructor(seed = 1) {
    this.rng = new SeededRng(seed);
  }

  addNode(id: string, has: Partial<Resources> & { labels?: Record<string, string> } = {}): void {
    this.#nodes.set(id, { linked: true, containers: new Map() });
    const node: Omit<NodeRecord, 'meta'> = {
      id,
      spec: { Role: 'worker', Availability: 'active', Labels: has.labels ?? {} },
      role: 'worker',
      description: {
        Hostname: id,
        Platform: { Architecture: 'x86_64', OS: 'linux' },
        Resources: {
          NanoCPUs: has.NanoCPUs ?? 64e9,
          MemoryBytes: has.MemoryBytes ?? 2 ** 40,
          ...(has.GenericResources && { GenericResources: has.GenericResources }),
        },
        Engine: { EngineVersion: '28.2.2', Plugins: [] },
      },
      status: { state: 'ready', message: '', addr: '10.0.0.1' },
    };
    this.commit({ type: 'node-create', node });
  }

  setNode(id: string, spec: Partial<NodeRecord['spec']>): void {
    const node = this.store.node(id);
    if (node !== undefined) this.commit({ type: 'node-spec', id, spec: { ...node.spec, ...spec } });
  }

  /** The node's agent says that it is another machine than it was. */
  describe(id: string, change: (description: NodeDescription) => NodeDescription): void {
    const description = this.store.node(id)?.description;
    if (description !== undefined) this.commit({ type: 'node-description', id, description: change(description) });
  }

  /** As `describe`, of what it has. */
  resize(id: string, resources: Partial<Resources>): void {
    this.describe(id, (before) => ({ ...before, Resources: { ...before.Resources, ...resources } }));
  }

  unlink(id: string): void {
    const node = this.#nodes.get(id);
    if (node === undefined || !node.linked) return;
    node.linked = false;
    this.#lostAtMs.set(id, this.nowMs);
  }

  link(id: string): void {
    const node = this.#nodes.get(id);
    const record = this.store.node(id);
    if (node === undefined || record === undefined || node.linked) return;
    node.linked = true;
    this.#lostAtMs.delete(id);
    this.commit({ type: 'node-status', id, status: { ...record.status, state: 'ready' } });
  }

  /** The host is gone for good, with what ran there. */
  deleteNode(id: string): void {
    this.#nodes.delete(id);
    this.commit({ type: 'node-delete', id });
  }

  isLinked(id: string): boolean {
    return this.#nodes.get(id)?.linked ?? false;
  }

  createService(id: string, spec: Partial<ServiceSpec> & { image?: string; replicas?: number } = {}): void {
    this.commit({ type: 'service-create', id, spec: specOf(id, spec) });
  }

  updateService(id: string, change: (spec: ServiceSpec) => ServiceSpec): void {
    const service = this.service(id);
    const spec = change(service.spec);
    if (sameForTasks(service.spec, spec)) {
      const { update } = service;
      this.commit({ type: 'service-spec', id, spec, previous: 'keep-as-previous', ...(update && { update }) });
    } else {
      const update = { state: 'updating' as const, startedAtMs: this.nowMs, message: 'update in progress' };
      this.commit({ type: 'service-spec', id, spec, previous: 'keep-as-previous', update });
    }
  }

  setImage(id: string, image: string): void {
    this.updateService(id, (spec) => ({
      ...spec,
      TaskTemplate: { ...spec.TaskTemplate, ContainerSpec: { Image: image } },
    }));
  }

  scale(id: string, replicas: number): void {
    this.updateService(id, (spec) => ({ ...spec, Mode: { Replicated: { Replicas: replicas } } }));
  }

  service(id: string): ServiceRecord {
    const service = this.store.service(id);
    invariant(service, `no service ${id}`);
    return service;
  }

  tasks(serviceId: string): TaskRecord[] {
    return this.store.tasksOfService(serviceId);
  }

  /** Tasks that should run and were seen running. */
  running(serviceId: string): TaskRecord[] {
    return this.tasks(serviceId).filter((task) => task.desiredState === 'running' && task.status.state === 'running');
  }

  /** Ids of the tasks whose containers really run somewhere. */
  containersRunning(): string[] {
    const ids: string[] = [];
    for (const { containers } of this.#nodes.values()) {
      for (const [id, { state }] of containers) if (state === 'running') ids.push(id);
    }
    return ids.sort();
  }

  /** What the container of a running task does of itself. */
  exit(taskId: string, code: number): void {
    for (const { containers } of this.#nodes.values()) {
      const container = containers.get(taskId);
      if (container !== undefined) Object.assign(container, { state: code === 0 ? 'complete' : 'failed', told: false });
    }
  }

  commit(...changes: Change[]): void {
    const { touched } = this.store.apply(this.store.appliedIndex + 1, { atMs: this.nowMs, guards: [], changes });
    for (const id of [...touched.services, ...touched.taskServices]) this.#dirty.services.add(id);
    for (const id of touched.nodes) this.#dirty.nodes.add(id);
  }

  /** A new leader knows only what is committed. */
  forget(): void {
    this.#dirty.all = true;
    this.#wakes.clear();
    this.#nodeWakes.clear();
  }

  /** Plans and commits until there is nothing to do. */
  settle(): void {
    for (let passes = 0; ; passes++) {
      invariant(passes < 20, `the pass finds something to do for ever: ${JSON.stringify(this.#dirty.services)}`);
      const dirty = {
        all: this.#dirty.all,
        services: new Set(this.#dirty.services),
        nodes: new Set(this.#dirty.nodes),
      };
      Object.assign(this.#dirty, { all: false });
      this.#dirty.services.clear();
      this.#dirty.nodes.clear();
      const { changes, wakes, nodeWakes } = plan(this.store, dirty, this.nowMs, this.rng);
      for (const id of dirty.services) this.#wakes.delete(id);
      for (const id of dirty.nodes) this.#nodeWakes.delete(id);
      for (const { serviceId, atMs } of wakes) {
        invariant(atMs > this.nowMs, `service ${serviceId} asks to be woken at once`);
        this.#wakes.set(serviceId, atMs);
      }
      for (const { nodeId, atMs } of nodeWakes) {
        invariant(atMs > this.nowMs, `node ${nodeId} asks to be woken at once`);
        this.#nodeWakes.set(nodeId, atMs);
      }
      if (changes.length === 0) {
        if (passes > 0) this.#checkSettled();
        return;
      }
      this.entries++;
      this.commit(...changes);
      this.check();
    }
  }

  /** Where a pass over what has changed finds nothing to do, one over everything finds nothing either. */
  #checkSettled(): void {
    const { changes } = plan(
      this.store,
      { all: true, services: new Set(), nodes: new Set() },
      this.nowMs,
      new SeededRng(1),
    );
    // Why a task waits was said before the pass gave away what was still free then.
    const decided = changes.filter((change) => change.type !== 'task-status' || change.status.state !== 'pending');
    invariant(decided.length === 0, `not settled: ${JSON.stringify(decided)}`);
  }

  run(durationMs: number): void {
    this.settle();
    for (const endMs = this.nowMs + durationMs; this.nowMs < endMs; ) {
      this.nowMs += TICK_MS;
      this.#detectLost();
      for (const [id, node] of this.#nodes) this.#stepNode(id, node);
      for (const [serviceId, atMs] of this.#wakes) if (atMs <= this.nowMs) this.#dirty.services.add(serviceId);
      for (const [nodeId, atMs] of this.#nodeWakes) if (atMs <= this.nowMs) this.#dirty.nodes.add(nodeId);
      this.settle();
    }
  }

  /** Lets time pass until `condition` holds. @throws InvariantError when it does not within `limitMs` */
  runUntil(condition: () => boolean, limitMs: number): void {
    const endMs = this.nowMs + limitMs;
    this.settle();
    while (!condition()) {
      invariant(this.nowMs < endMs, `not reached within ${limitMs} ms`);
      this.run(TICK_MS);
    }
  }

  #detectLost(): void {
    for (const [id, atMs] of this.#lostAtMs) {
      const record = this.store.node(id);
      if (record === undefined || record.status.state === 'down' || atMs + DOWN_AFTER_MS > this.nowMs) continue;
      this.commit({ type: 'node-status', id, status: { ...record.status, state: 'down' } });
    }
  }

  #stepNode(id: string, node: HollowNode): void {
    const known = new Map(this.store.tasksOfNode(id).map((task) => [task.id, task]));
    if (node.linked) {
      for (const containerId of node.containers.keys())
        if (!known.has(containerId)) node.containers.delete(containerId);
      for (const task of known.values()) {
        if (task.status.state === 'pending' || node.containers.has(task.id)) continue;
        node.containers.set(task.id, { state: task.status.state, sinceMs: this.nowMs, told: true });
      }
    }
    for (const [taskId, container] of node.containers) {
      const task = known.get(taskId);
      const next = this.#nextState(container, task, node.linked);
      if (next !== undefined && this.rng.below(100) >= this.slowness) {
        Object.assign(container, { state: next, sinceMs: this.nowMs, told: false });
      }
      if (!node.linked || container.told || task === undefined) continue;
      container.told = true;
      const status = { state: container.state, atMs: this.nowMs, message: '' };
      this.commit({ type: 'task-status', id: taskId, status });
    }
  }

  #nextState(
    container: { state: TaskState; sinceMs: number },
    task: TaskRecord | undefined,
    linked: boolean,
  ): TaskState | undefined {
    if (isTerminal(container.state)) return undefined;
    if (linked && task !== undefined && rankOf(task.desiredState) > rankOf('running')) return 'shutdown';
    const behaviour = task === undefined ? {} : this.#behaviourOf(task);
    if (container.state === 'running') {
      const { exits } = behaviour;
      if (exits === undefined || container.sinceMs + exits.afterMs > this.nowMs) return undefined;
      return exits.code === 0 ? 'complete' : 'failed';
    }
    if (container.state === 'preparing' && behaviour.missing) return 'rejected';
    if (container.state === 'ready' && (!linked || task?.desiredState !== 'running')) return undefined;
    return NEXT[container.state];
  }

  #behaviourOf(task: TaskRecord): Behaviour {
    const image = this.store.spec(task.serviceId, task.specVersion).template.ContainerSpec?.Image;
    return this.images.get(image ?? '') ?? {};
  }
}

interface Resources {
  NanoCPUs: number;
  MemoryBytes: number;
  GenericResources: GenericResource[];
}

function specOf(id: string, spec: Partial<ServiceSpec> & { image?: string; replicas?: number }): ServiceSpec {
  const { image = 'app:1', replicas = 1, TaskTemplate, ...rest } = spec;
  return {
    Name: id,
    TaskTemplate: { ContainerSpec: { Image: image }, ...TaskTemplate },
    Mode: { Replicated: { Replicas: replicas } },
    ...rest,
  };
}

t.test('a hollow engine brings a task through Docker’s states, one entry of the plan in all', async (t) => {
  const cluster = new HollowCluster();
  cluster.addNode('h1');
  cluster.createService('web');
  const seen: string[] = [];
  for (let i = 0; i < 6; i++) {
    cluster.run(i === 0 ? 0 : TICK_MS);
    seen.push(...cluster.tasks('web').map((task) => task.status.state));
  }
  t.same(seen, ['assigned', 'preparing', 'ready', 'starting', 'running', 'running']);
  t.equal(cluster.entries, 1);
});
