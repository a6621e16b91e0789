import { isTerminal, rankOf, type ServiceSpec } from '@apiary/api/model';
import type { ServiceRecord, TaskRecord, Touched, View } from '@apiary/manager/core';
import { demand } from '../raft/oracle.js';

/** What has run for less may not have been seen by a plan that was under way. */
const UNSEEN_MS = 200;

/** A slot in which something ran once. */
interface SlotState {
  /** The task by which it serves. */
  servedBy: string | undefined;
  /** Why it does not serve: something broke, or an update took the task away that did, of which so many may be at once. */
  lack: { why: 'fault' } | { why: 'update'; parallelism: number } | undefined;
}

/**
 * Follows which slots of each service are of use. An update may take away no more of them at once than its parallelism
 * says, whoever leads; start-first, none at all before the next task has passed.
 */
export class Availability {
  readonly #services = new Map<string, Map<number, SlotState>>();
  readonly #tell: (words: string) => void;

  constructor(tell: (words: string) => void) {
    this.#tell = tell;
  }

  applied(view: View, touched: Touched): void {
    const ids = new Set([...touched.services, ...touched.taskServices]);
    for (const nodeId of touched.nodes) for (const { serviceId } of view.tasksOfNode(nodeId)) ids.add(serviceId);
    for (const id of ids) {
      const service = view.service(id);
      if (service?.spec.Mode?.Replicated === undefined) this.#services.delete(id);
      else this.#follow(view, service, service.spec.Mode.Replicated.Replicas ?? 1);
    }
  }

  #follow(view: View, service: ServiceRecord, replicas: number): void {
    const slots = this.#services.get(service.id) ?? new Map<number, SlotState>();
    this.#services.set(service.id, slots);
    const tasks = new Map<number, TaskRecord[]>();
    for (const task of view.tasksOfService(service.id)) tasks.set(task.slot, [...(tasks.get(task.slot) ?? []), task]);
    const wanted = new Set([...tasks].filter(([, each]) => each.some(isMeant)).map(([slot]) => slot));
    for (const [slot, each] of tasks) {
      const serving = each.find((task) => serves(view, service, task));
      if (serving !== undefined) slots.set(slot, { servedBy: serving.id, lack: undefined });
    }
    for (const [slot, state] of slots) {
      const each = tasks.get(slot) ?? [];
      if (each.some((task) => serves(view, service, task))) continue;
      // Scaled down.
      if (!wanted.has(slot) && wanted.size >= replicas) slots.delete(slot);
      else this.#lacks(view, service, slot, state, each);
    }
    this.#check(service, slots);
  }

  #lacks(view: View, service: ServiceRecord, slot: number, state: SlotState, tasks: readonly TaskRecord[]): void {
    if (state.lack === undefined) {
      const before = tasks.find(({ id }) => id === state.servedBy);
      state.lack =
        before !== undefined && wasFine(view, service, before) ? this.#taken(service, slot, before) : { why: 'fault' };
    }
    const isBroken = tasks.some((task) =>
      // Lost with its node, it would serve no more either.
      task.id === state.servedBy
        ? task.status.state === 'orphaned'
        : endedByItself(task) || (isMeant(task) && !isWell(view, service, task)),
    );
    if (isBroken) state.lack = { why: 'fault' };
  }

  #taken({ spec, update, previous }: ServiceRecord, slot: number, task: TaskRecord): NonNullable<SlotState['lack']> {
    // Where it may run may have changed.
    if ([spec, previous?.spec].some((each) => (each?.TaskTemplate.Placement?.Constraints ?? []).length > 0)) {
      return { why: 'fault' };
    }
    const config = configOf({ spec, ...(update && { update }) });
    const isEarly = config?.Order === 'start-first';
    // Its node would not take it any more.
    if (!isEarly && task.endReason !== undefined) return { why: 'fault' };
    demand(
      !isEarly,
      `${spec.Name}.${slot}: ${task.id.slice(0, 5)} was told to stop before the next one has passed (${update?.state})`,
    );
    this.#tell(`${spec.Name}.${slot} is taken away by its update (${update?.state})`);
    return { why: 'update', parallelism: parallelismOf(config) };
  }

  #check({ spec }: ServiceRecord, slots: ReadonlyMap<number, SlotState>): void {
    const taken = [...slots.values()].flatMap(({ lack }) => (lack?.why === 'update' ? lack.parallelism : []));
    const most = Math.max(0, ...taken);
    demand(taken.length <= most, `${spec.Name}: ${taken.length} tasks are taken away at once; ${most} may be`);
  }
}

function parallelismOf(config: ServiceSpec['UpdateConfig']): number {
  if (config === undefined) return 1;
  return config.Parallelism ? config.Parallelism : Number.POSITIVE_INFINITY;
}

/** By what policy tasks are replaced now, also those that have to leave their nodes. */
function configOf({ spec, update }: Pick<ServiceRecord, 'spec' | 'update'>): ServiceSpec['UpdateConfig'] {
  const isRollback = update?.state === 'rollback_started' || update?.state === 'rollback_paused';
  return isRollback ? spec.RollbackConfig : spec.UpdateConfig;
}

function isMeant(task: TaskRecord): boolean {
  return rankOf(task.desiredState) <= rankOf('running') && !isTerminal(task.status.state);
}

function serves(view: View, service: ServiceRecord, task: TaskRecord): boolean {
  return task.desiredState === 'running' && task.status.state === 'running' && isWell(view, service, task);
}

/**
 * Whether nothing is wrong with the task's node; one that has none yet only waits. A node that is drained serves until
 * another does where the service starts first.
 */
function isWell(view: View, service: ServiceRecord, { nodeId }: TaskRecord): boolean {
  if (nodeId === undefined) return true;
  const node = view.node(nodeId);
  if (node?.status.state !== 'ready') return false;
  return node.spec.Availability !== 'drain' || configOf(service)?.Order === 'start-first';
}

/** Whether a task that served would serve still, had it not been told to stop. */
function wasFine(view: View, service: ServiceRecord, task: TaskRecord): boolean {
  // A plan that was under way when the task began to run did not know.
  const servedMs = task.meta.updatedAtMs - (task.runningAtMs ?? 0);
  return isWell(view, service, task) && !endedByItself(task) && servedMs >= UNSEEN_MS;
}

function endedByItself({ status }: TaskRecord): boolean {
  return status.state === 'complete' || status.state === 'failed' || status.state === 'rejected';
}
