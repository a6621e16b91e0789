import type { DesiredState } from '@apiary/api/model';
import { isTerminal, rankOf } from '@apiary/api/model';
import { newId, type Rng } from '@apiary/std';
import type { Change } from '../store/change.js';
import type { NodeRecord, ServiceRecord, SpecVersion, TaskRecord } from '../store/records.js';
import { sameButForConstraints } from '../store/spec-comparison.js';
import type { View } from '../store/view.js';
import { Allocation } from './allocation.js';
import { constraintTest } from './constraint.js';
import { Misfits } from './misfits.js';
import type { Plan } from './plan-types.js';

/** A node that is down for so long is not waited for any more. Source: SwarmKit's dispatcher. */
const ORPHAN_AFTER_MS = 24 * 3_600_000;

export type NewTask = Omit<TaskRecord, 'meta'>;

/**
 * What one pass has decided so far, over the committed state that it started from: later steps of the pass see what
 * earlier ones decided. But for what may stay on its node: that is asked of the committed state alone.
 */
export class Draft {
  readonly view: View;
  readonly nowMs: number;
  readonly rng: Rng;
  /** Tasks made in this pass. The scheduler gives them their nodes before they become changes. */
  readonly created: NewTask[] = [];
  readonly allocation: Allocation;
  readonly misfits: Misfits;
  /** By the id of a task made in this pass, the node that it was made for, if there is room. */
  readonly preferred = new Map<string, string>();
  readonly #destinations = new Map<string, string>();
  readonly #serviceChanges: Change[] = [];
  readonly #taskChanges: Change[] = [];
  readonly #tasks = new Map<string, TaskRecord>();
  readonly #deleted = new Set<string>();
  readonly #wakes = new Map<string, number>();
  readonly #nodeWakes = new Map<string, number>();
  readonly #nodes = new Map<string, NodeRecord | undefined>();
  readonly #constraints = new Map<SpecVersion, ((node: NodeRecord) => boolean)[]>();
  readonly #alike = new Map<SpecVersion, Map<SpecVersion, boolean>>();

  constructor(view: View, nowMs: number, rng: Rng) {
    this.view = view;
    this.nowMs = nowMs;
    this.rng = rng;
    this.allocation = new Allocation(view);
    this.misfits = new Misfits(this);
  }

  /** A committed task as this pass has changed it. */
  current(task: TaskRecord): TaskRecord {
    return this.#tasks.get(task.id) ?? task;
  }

  /** Ids of the committed tasks that this pass has changed or deleted. */
  changedTaskIds(): Set<string> {
    return new Set([...this.#tasks.keys(), ...this.#deleted]);
  }

  isDeleted(taskId: string): boolean {
    return this.#deleted.has(taskId);
  }

  node(id: string): NodeRecord | undefined {
    if (!this.#nodes.has(id)) this.#nodes.set(id, this.view.node(id));
    return this.#nodes.get(id);
  }

  /** Whether a node satisfies the placement constraints of a spec version. */
  satisfiesConstraints(node: NodeRecord, spec: SpecVersion): boolean {
    let tests = this.#constraints.get(spec);
    if (tests === undefined) {
      tests = (spec.template.Placement?.Constraints ?? []).map(constraintTest);
      this.#constraints.set(spec, tests);
    }
    for (const test of tests) if (!test(node)) return false;
    return true;
  }

  /**
   * Whether a task is as the spec version asks for: made from it, or from one that differs in its constraints only, on
   * a node that satisfies the new ones too. As with Docker, such a task is not updated.
   */
  isOf(task: TaskRecord, specVersion: number): boolean {
    if (task.specVersion === specVersion) return true;
    const node = task.nodeId === undefined ? undefined : this.node(task.nodeId);
    if (node === undefined) return false;
    const wanted = this.view.spec(task.serviceId, specVersion);
    return this.#areAlike(this.specOf(task), wanted) && this.satisfiesConstraints(node, wanted);
  }

  #areAlike(a: SpecVersion, b: SpecVersion): boolean {
    let known = this.#alike.get(a);
    if (known === undefined) {
      known = new Map();
      this.#alike.set(a, known);
    }
    let answer = known.get(b);
    if (answer === undefined) {
      answer = sameButForConstraints(a, b);
      known.set(b, answer);
    }
    return answer;
  }

  specOf(task: TaskRecord): SpecVersion {
    return this.view.spec(task.serviceId, task.specVersion);
  }

  /** Gives a service the addresses and ports that it lacks, and takes those back that it does not ask for any more. */
  allocate(serviceId: string): void {
    const service = this.view.service(serviceId);
    const endpoint = service === undefined ? undefined : this.allocation.endpointFor(service);
    if (endpoint !== undefined) this.#serviceChanges.push({ type: 'service-endpoint', id: serviceId, endpoint });
  }

  updateService(service: ServiceRecord, update: NonNullable<ServiceRecord['update']>): ServiceRecord {
    const { id, meta } = service;
    this.#serviceChanges.push({ type: 'service-update', id, update, ifVersion: meta.version });
    return { ...service, update };
  }

  /** Puts the service's previous spec back, and with it the spec version that its tasks had. */
  rollBack(
    service: ServiceRecord,
    previous: NonNullable<ServiceRecord['previous']>,
    update: NonNullable<ServiceRecord['update']>,
  ): ServiceRecord {
    const { id, meta } = service;
    const ifVersion = meta.version;
    this.#serviceChanges.push({ type: 'service-spec', id, ...previous, previous: 'drop', update, ifVersion });
    const { previous: _, ...rest } = service;
    return { ...rest, spec: previous.spec, specVersion: previous.specVersion, update };
  }

  endRebalance({ id, meta }: ServiceRecord): void {
    this.#serviceChanges.push({ type: 'service-rebalance', id, ifVersion: meta.version });
  }

  /** Has a task leave its node for another, as soon as the one that takes its place allows. */
  move(task: TaskRecord, toNodeId: string): void {
    this.#taskChanges.push({ type: 'task-move', id: task.id });
    this.#destinations.set(task.id, toNodeId);
    this.#put({ ...task, isToMove: true });
  }

  /** @param reason  why it is told to end, where that is its node's doing */
  setDesired(task: TaskRecord, desiredState: DesiredState, reason?: string): TaskRecord {
    if (rankOf(task.desiredState) >= rankOf(desiredState)) return task;
    const endReason = reason === undefined ? {} : { endReason: reason };
    this.#taskChanges.push({ type: 'task-desired', id: task.id, desiredState, ...endReason });
    const { startAtMs: _, ...rest } = task;
    return this.#put({ ...rest, desiredState, ...endReason });
  }

  /** Ends a task that should not run: one that no agent was ever given is over at once. */
  stop(task: TaskRecord): TaskRecord {
    if (isTerminal(task.status.state)) return this.setDesired(task, 'shutdown');
    if (isDispatched(task)) return this.setDesired(task, 'shutdown', this.misfits.reasonOf(task));
    return this.#end(task, 'shutdown', 'superseded before it had a node');
  }

  /** Gets rid of a task, its history included: at once where no agent has to answer first. */
  remove(task: TaskRecord): TaskRecord | undefined {
    const over = !isDispatched(task) || isTerminal(task.status.state) || this.isAbandoned(task);
    if (!over) return this.setDesired(task, 'remove');
    this.delete(task);
    return undefined;
  }

  /**
   * Whether nobody is expected to tell how a task ends: its node was removed, or has been down for too long. Of one that
   * is not down for so long yet, asks to look again when it would be.
   */
  isAbandoned(task: TaskRecord): boolean {
    if (task.nodeId === undefined) return false;
    const atMs = this.#abandonedAtMs(task.nodeId);
    if (atMs === undefined || atMs <= this.nowMs) return atMs !== undefined;
    this.wake(task.serviceId, atMs);
    return false;
  }

  /**
   * Whether nobody is expected to tell what is on the node: it was removed, or has been down for too long. Of one that is
   * not down for so long yet, asks to look again when it would be.
   */
  isLost(nodeId: string): boolean {
    const atMs = this.#abandonedAtMs(nodeId);
    if (atMs === undefined || atMs <= this.nowMs) return atMs !== undefined;
    this.#nodeWakes.set(nodeId, atMs);
    return false;
  }

  /** Undefined for a node that is there. */
  #abandonedAtMs(nodeId: string): number | undefined {
    const node = this.node(nodeId);
    if (node === undefined) return 0;
    if (node.status.state !== 'down' || node.downSinceMs === undefined) return undefined;
    return node.downSinceMs + ORPHAN_AFTER_MS;
  }

  /** Ends an abandoned task. Should its node come back after all, it is told to stop what is left of it. */
  orphan(task: TaskRecord): TaskRecord {
    const isNodeGone = this.node(task.nodeId ?? '') === undefined;
    const what = isNodeGone ? 'a node that has been deleted' : 'a node that has been down for 24 hours';
    return this.#end(task, 'orphaned', `Task belonged to ${what}`);
  }

  delete(task: TaskRecord): void {
    this.#taskChanges.push({ type: 'task-delete', id: task.id });
    this.#deleted.add(task.id);
  }

  create(
    service: ServiceRecord,
    place: { slot: number; nodeId?: string },
    run: Pick<TaskRecord, 'specVersion' | 'startAtMs' | 'jobIteration' | 'restarts'> & {
      desiredState: 'ready' | 'running';
    },
    instead?: TaskRecord,
  ): void {
    const id = newId(this.rng);
    const destination = instead && this.#destinations.get(instead.id);
    if (destination !== undefined) this.preferred.set(id, destination);
    this.created.push({
      id,
      serviceId: service.id,
      specVersion: run.specVersion,
      slot: place.slot,
      ...(place.nodeId === undefined ? {} : { nodeId: place.nodeId }),
      desiredState: run.desiredState,
      status: { state: 'pending', atMs: this.nowMs, message: 'pending task scheduling' },
      ...(run.startAtMs === undefined ? {} : { startAtMs: run.startAtMs }),
      ...(run.jobIteration === undefined ? {} : { jobIteration: run.jobIteration }),
      restarts: run.restarts,
    });
  }

  add(change: Change): void {
    this.#taskChanges.push(change);
  }

  /** Asks to look at the service again at `atMs`, though nothing else may have happened. */
  wake(serviceId: string, atMs: number): void {
    const earlier = this.#wakes.get(serviceId);
    if (earlier === undefined || atMs < earlier) this.#wakes.set(serviceId, atMs);
  }

  finish(): Plan {
    return {
      changes: [
        ...this.#serviceChanges,
        // Before what is deleted: a spec version is forgotten with its last task.
        ...this.created.map((task): Change => ({ type: 'task-create', task })),
        ...this.#taskChanges.filter((change) => change.type === 'task-delete' || !this.#isOfDeleted(change)),
      ],
      wakes: [...this.#wakes].map(([serviceId, atMs]) => ({ serviceId, atMs })),
      nodeWakes: [...this.#nodeWakes].map(([nodeId, atMs]) => ({ nodeId, atMs })),
    };
  }

  #isOfDeleted(change: Change): boolean {
    return 'id' in change && this.#deleted.has(change.id);
  }

  #end(task: TaskRecord, state: 'shutdown' | 'orphaned', message: string): TaskRecord {
    const { err: _, ...before } = task.status;
    const status = { ...before, state, atMs: this.nowMs, message };
    this.#taskChanges.push({ type: 'task-status', id: task.id, status });
    return this.setDesired(this.#put({ ...task, status, endedAtMs: this.nowMs }), 'shutdown');
  }

  #put(task: TaskRecord): TaskRecord {
    this.#tasks.set(task.id, task);
    return task;
  }
}

/** Whether an agent may have been given the task. A task of a global service has its node long before. */
export function isDispatched(task: { status: TaskRecord['status'] }): boolean {
  return rankOf(task.status.state) >= rankOf('assigned');
}
