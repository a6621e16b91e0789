import { isTerminal, rankOf, type TaskStatus } from '@apiary/api/model';
import type { ServiceRecord, TaskRecord, Touched, View } from '@apiary/manager/core';
import { demand } from '../raft/oracle.js';
import { Availability } from './availability.js';
import type { HollowContainer, HollowEngine } from './hollow-engine.js';
import { checkAddresses, checkRunningAddresses } from './network-oracle.js';

/** What is remembered of a task, also when the managers have long forgotten it. */
interface KnownTask {
  id: string;
  serviceId: string;
  serviceName: string;
  /** A slot, or for a service that has a task on each node, the node. */
  place: string;
  nodeId: string | undefined;
  nanoCpus: number;
  memoryBytes: number;
  hostPorts: string[];
  /** How many may run in one place at a time: two where the order of updates is start-first. */
  most: number;
  toldToStopAtMs: number | undefined;
}

interface Resources {
  NanoCPUs?: number;
  MemoryBytes?: number;
}

/** A node that was down still runs what it ran: so long it has to hear of its end, and to bring that about. */
const LINGER_MS = 30_000;
/** A plan that was made before its node shrank may be committed so long after: its leader may have stood still meanwhile. */
const LATE_PLAN_MS = 10_000;
/** A replacement waits so long for its predecessor to end, and no longer. */
const PATIENCE_MS = 60_000;

/**
 * Watches what the managers commit and what really runs, and says when that cannot be: two tasks in one place, a
 * node with more than it has, a task that ended though its container runs, an update that took too much away.
 */
export class Oracle {
  /** An entry was applied for the first time, and nothing was wrong with it. */
  onApplied: (view: View, touched: Touched) => void = () => {};
  leaderships = 0;
  containers = 0;
  readonly #nowMs: () => number;
  readonly #engines: HollowEngine[] = [];
  readonly #tasks = new Map<string, KnownTask>();
  /** When each node was last not ready, or not there. */
  readonly #awayAtMs = new Map<string, number>();
  readonly #away = new Set<string>();
  readonly #startFirst = new Set<string>();
  /** By node, the tasks that it had when it was looked at last. */
  readonly #assigned = new Map<string, ReadonlySet<string>>();
  /** By node, what it has, and what it had before it shrank last. */
  readonly #resources = new Map<string, Resources>();
  readonly #shrunk = new Map<string, { from: Resources; atMs: number }>();
  readonly #availability: Availability;
  /** As each service was when it was looked at last. */
  readonly #services = new Map<string, ServiceRecord>();
  #view: View | undefined;
  #checkedIndex = 0;

  constructor({ nowMs, tell }: { nowMs: () => number; tell: (words: string) => void }) {
    this.#nowMs = nowMs;
    this.#availability = new Availability(tell);
  }

  get entries(): number {
    return this.#checkedIndex;
  }

  watch(engine: HollowEngine): void {
    this.#engines.push(engine);
  }

  nameOf(taskId: string): string {
    const task = this.#tasks.get(taskId);
    return task === undefined ? taskId : `${task.serviceName}.${task.place.slice(0, 5)}.${taskId.slice(0, 5)}`;
  }

  /** An entry was applied: looked at where that happens first. */
  applied(view: View, touched: Touched): void {
    if (view.appliedIndex <= this.#checkedIndex) return;
    this.#checkedIndex = view.appliedIndex;
    this.#view = view;
    for (const id of touched.nodes) {
      this.#noteAbsence(id, view.node(id)?.status.state === 'ready');
      this.#noteResources(id, view.node(id)?.description?.Resources);
    }
    for (const id of touched.services) {
      this.#noteOrder(view, id);
      this.#checkNotUndone(view, id);
    }
    for (const id of touched.tasks) this.#look(view, id);
    for (const id of touched.taskServices) this.#checkPlaces(view, id);
    for (const id of touched.assignments) this.#checkNode(view, id);
    if (touched.tasks.size > 0 || touched.services.size > 0) checkAddresses(view);
    this.#availability.applied(view, touched);
    this.onApplied(view, touched);
  }

  /** A container's process runs from now on. */
  started(engine: HollowEngine, container: HollowContainer): void {
    const task = this.#tasks.get(container.taskId);
    demand(task !== undefined, `${engine.host} runs a task that was never committed: ${container.name}`);
    demand(task.nodeId === container.nodeId, `${engine.host} runs ${container.name}, which is another node's`);
    this.containers++;
    this.#checkRunningTogether(task);
    this.#checkRunningOn(engine, container.nodeId);
    checkRunningAddresses(this.#engines, container, (taskId) => {
      const other = this.#tasks.get(taskId);
      return other === undefined || this.#isBeyondReach(other);
    });
  }

  /** Also what merely goes on for too long is seen, when it is looked at now and then. */
  checkRunning(): void {
    for (const engine of this.#engines) {
      for (const { taskId } of engine.running) {
        const task = this.#tasks.get(taskId);
        if (task !== undefined) this.#checkRunningTogether(task);
      }
    }
  }

  #noteAbsence(nodeId: string, isReady: boolean): void {
    if (!isReady || this.#away.has(nodeId)) this.#awayAtMs.set(nodeId, this.#nowMs());
    if (isReady) this.#away.delete(nodeId);
    else this.#away.add(nodeId);
  }

  #noteResources(nodeId: string, has: Resources | undefined): void {
    const had = this.#resources.get(nodeId);
    if (has === undefined) this.#resources.delete(nodeId);
    else this.#resources.set(nodeId, has);
    const isLess = (has?.NanoCPUs ?? 0) < (had?.NanoCPUs ?? 0);
    if (had !== undefined && isLess) this.#shrunk.set(nodeId, { from: had, atMs: this.#nowMs() });
  }

  #noteOrder(view: View, serviceId: string): void {
    const spec = view.service(serviceId)?.spec;
    const orders = [spec?.UpdateConfig?.Order, spec?.RollbackConfig?.Order];
    if (orders.includes('start-first')) this.#startFirst.add(serviceId);
  }

  /** What was asked for is not undone by what the managers made of the spec before it. */
  #checkNotUndone(view: View, id: string): void {
    const [before, after] = [this.#services.get(id), view.service(id)];
    if (after === undefined) this.#services.delete(id);
    else this.#services.set(id, after);
    const [was, is] = [before?.update, after?.update];
    if (before === undefined || after === undefined || is === undefined) return;
    const name = after.spec.Name;
    const isEnded = is.state !== was?.state && is.state !== 'updating' && is.state !== 'rollback_started';
    demand(
      !isEnded || is.startedAtMs === was?.startedAtMs,
      `the end of an update of ${name} that was superseded is noted`,
    );
    const isGivenUp =
      was?.state === 'updating' && is.state === 'rollback_started' && is.startedAtMs === was.startedAtMs;
    demand(
      !isGivenUp || JSON.stringify(after.spec) === JSON.stringify(before.previous?.spec),
      `an update of ${name} is rolled back that was not the last one`,
    );
  }

  #look(view: View, id: string): void {
    const record = view.task(id);
    const known = this.#tasks.get(id);
    const task = record === undefined ? known : this.#remember(view, record, known);
    if (task?.nodeId === undefined) return;
    const runs = this.#engines.some(({ running }) => running.some(({ taskId }) => taskId === id));
    if (!runs) return;
    const isNodeGone = view.node(task.nodeId) === undefined;
    demand(record !== undefined || isNodeGone, `${this.nameOf(id)} was deleted, though its container runs`);
    const isOver = record !== undefined && isTerminal(record.status.state) && record.status.state !== 'orphaned';
    demand(!isOver || isNodeGone, `${this.nameOf(id)} is ${record?.status.state}, though its container runs`);
  }

  #remember(view: View, record: TaskRecord, known: KnownTask | undefined): KnownTask {
    const { id, serviceId, specVersion, slot, nodeId, desiredState } = record;
    const { Mode } = view.service(serviceId)?.spec ?? {};
    const isPerNode = Mode?.Global !== undefined || Mode?.GlobalJob !== undefined;
    const spec = view.spec(serviceId, specVersion);
    const reserved = spec.template.Resources?.Reservations;
    const isToStop = rankOf(desiredState) > rankOf('running');
    const task: KnownTask = {
      id,
      serviceId,
      serviceName: spec.serviceName,
      place: known?.place ?? (isPerNode ? (nodeId ?? '') : String(slot)),
      nodeId,
      nanoCpus: reserved?.NanoCPUs ?? 0,
      memoryBytes: reserved?.MemoryBytes ?? 0,
      hostPorts: (spec.endpoint?.Ports ?? []).flatMap(({ PublishMode, PublishedPort }) =>
        PublishMode === 'host' ? String(PublishedPort) : [],
      ),
      most: this.#startFirst.has(serviceId) ? 2 : 1,
      toldToStopAtMs: isToStop ? (known?.toldToStopAtMs ?? this.#nowMs()) : undefined,
    };
    this.#tasks.set(id, task);
    return task;
  }

  /** As the managers mean it: never more live tasks in one place than the order of updates allows. */
  #checkPlaces(view: View, serviceId: string): void {
    const service = view.service(serviceId);
    if (service === undefined) return;
    const most = this.#startFirst.has(serviceId) ? 2 : 1;
    const live = new Map<string, number>();
    let jobs = 0;
    for (const task of view.tasksOfService(serviceId)) {
      if (rankOf(task.desiredState) > rankOf('running') || isTerminal(task.status.state)) continue;
      const place = this.#tasks.get(task.id)?.place ?? '';
      live.set(place, (live.get(place) ?? 0) + 1);
      if (task.jobIteration === service.job?.iteration) jobs++;
      const count = live.get(place) ?? 0;
      demand(count <= most, `${service.spec.Name} has ${count} live tasks in place ${place}`);
    }
    const concurrent = service.spec.Mode?.ReplicatedJob?.MaxConcurrent;
    if (concurrent !== undefined) {
      demand(jobs <= concurrent, `${service.spec.Name} has ${jobs} tasks under way; ${concurrent} may be`);
    }
  }

  /** As the managers mean it: no node has more assigned than it has, nor a host port twice. */
  #checkNode(view: View, nodeId: string): void {
    const node = view.node(nodeId);
    const has = node?.description?.Resources;
    if (has === undefined) return;
    const tasks = view.tasksOfNode(nodeId).filter(({ status }) => isHeld(status));
    const known = tasks.flatMap(({ id }) => this.#tasks.get(id) ?? []);
    const before = this.#assigned.get(nodeId);
    this.#assigned.set(nodeId, new Set(known.map(({ id }) => id)));
    // What a node was given before it shrank is there until it has ended; nothing comes to it meanwhile.
    if (known.every(({ id }) => before?.has(id))) return;
    const shrunk = this.#shrunk.get(nodeId);
    const isRecent = shrunk !== undefined && this.#nowMs() - shrunk.atMs < LATE_PLAN_MS;
    this.#checkSum(`node ${nodeId}`, isRecent ? shrunk.from : has, known);
  }

  #checkRunningOn(engine: HollowEngine, nodeId: string): void {
    const tasks = engine.running
      .filter((container) => container.nodeId === nodeId)
      .flatMap(({ taskId }) => this.#tasks.get(taskId) ?? []);
    this.#checkSum(engine.host, engine.most, tasks);
  }

  #checkSum(where: string, has: Resources, tasks: readonly KnownTask[]): void {
    const cpus = tasks.reduce((sum, { nanoCpus }) => sum + nanoCpus, 0);
    const memory = tasks.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0);
    demand(cpus <= (has.NanoCPUs ?? 0), `${where} has ${cpus} nano-CPUs in use, of ${has.NanoCPUs}`);
    demand(memory <= (has.MemoryBytes ?? 0), `${where} has ${memory} bytes of memory in use, of ${has.MemoryBytes}`);
    const ports = tasks.flatMap(({ hostPorts }) => hostPorts);
    demand(new Set(ports).size === ports.length, `${where} has a host port in use twice: ${ports.join(' ')}`);
  }

  /** What really runs: never two in one place, but for what nobody could stop. */
  #checkRunningTogether(task: KnownTask): void {
    const together: KnownTask[] = [];
    for (const engine of this.#engines) {
      for (const { taskId } of engine.running) {
        const other = this.#tasks.get(taskId);
        if (other === undefined || other.serviceId !== task.serviceId || other.place !== task.place) continue;
        if (!this.#isBeyondReach(other)) together.push(other);
      }
    }
    const names = together.map(({ id, nodeId }) => `${this.nameOf(id)} on ${nodeId?.slice(0, 5)}`).join(', ');
    demand(together.length <= task.most, `in one place run ${names}`);
  }

  /** Whether the managers could not know, or had waited in vain, that the task still runs. */
  #isBeyondReach({ nodeId = '', toldToStopAtMs }: KnownTask): boolean {
    const nowMs = this.#nowMs();
    const node = this.#view?.node(nodeId);
    if (node?.status.state !== 'ready') return true;
    if (toldToStopAtMs === undefined) return false;
    if (nowMs - toldToStopAtMs >= PATIENCE_MS) return true;
    return nowMs - (this.#awayAtMs.get(nodeId) ?? Number.NEGATIVE_INFINITY) < LINGER_MS;
  }
}

function isHeld(status: TaskStatus): boolean {
  return rankOf(status.state) >= rankOf('assigned') && !isTerminal(status.state);
}
