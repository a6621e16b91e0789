import { rankOf, type Service, type Task, type UpdateState } from '@apiary/api/model';
import { shortId, taskError } from '../table/human.js';
import { isJob, isOfThisRun, jobProgressOf } from './job.js';

/** One line of the progress shown, known by its id: a later one with the same id takes its place. */
export interface ProgressLine {
  id: string;
  text: string;
  /** Drawn as a bar. */
  bar?: { current: number; total: number };
}

export type Outcome = { kind: 'converged' } | { kind: 'failed'; message: string } | { kind: 'timed-out' };

/** A service with its tasks at one moment, and which of these are made from the spec that it has now. */
export interface Snapshot {
  service: Service;
  tasks: readonly Task[];
  isCurrent: (task: Task) => boolean;
}

export interface ConvergenceOptions {
  /** The service as the user named it. */
  name: string;
  /** How long nothing may get on before it is given up; 0: for ever. */
  timeoutMs: number;
  /** The user asked for a rollback, so that one that ends well is no failure. */
  rollbackAsked: boolean;
  nowMs: number;
}

export interface Step {
  lines: ProgressLine[];
  /** Undefined while it is not decided. */
  outcome: Outcome | undefined;
  /** When to look again, should no other snapshot come before. */
  againAtMs: number;
}

/** Where the states of a task stand on a bar. */
const BAR_STATES = ['new', 'allocated', 'pending', 'assigned', 'accepted', 'preparing', 'ready', 'starting', 'running'];
/** The longest of them, to which the others are padded. */
const STATE_WIDTH = 9;
/** With more tasks than these only their number is shown. */
const MOST_BARS = 20;
/** How long tasks must stay running, where the service's own update monitor does not say. */
const MONITOR_MS = 5_000;
/** An error's characters that fit on a narrow terminal's line. */
const ERROR_WIDTH = 75;

/**
 * Follows a service until all its tasks run and have done so for its monitoring period, as Docker's command line does;
 * what Docker has not is the end of patience: a deadline that every step forward moves on.
 *
 * Feed it snapshots and the time; it answers with the lines that changed and, at last, the outcome.
 */
export class Convergence {
  /** The place of a slot (or a node) among the lines, from 1. */
  readonly #places = new Map<string, number>();
  /** The furthest state that any current task of a slot has reached: it grows with every step forward. */
  readonly #furthest = new Map<string, number>();
  #started = false;
  #allRan = false;
  /** Of a job. */
  #completed = 0;
  #convergedAtMs: number | undefined;
  #progressAtMs: number;
  #updateState: UpdateState | undefined;
  #last: Snapshot | undefined;

  constructor(readonly options: ConvergenceOptions) {
    this.#progressAtMs = options.nowMs;
  }

  /** @param snapshot  undefined when only time has passed */
  observe(snapshot: Snapshot | undefined, nowMs: number): Step {
    this.#last = snapshot ?? this.#last;
    const lines: ProgressLine[] = [];
    if (this.#last === undefined) return this.#waiting(lines, nowMs);
    const failure = this.#updateStatus(this.#last.service, lines);
    if (failure !== undefined) return { lines, outcome: { kind: 'failed', message: failure }, againAtMs: nowMs };
    if (isJob(this.#last.service)) return this.#job(this.#last, lines, nowMs);
    const converged = this.#tasks(this.#last, lines, nowMs);
    return converged ? this.#verifying(lines, nowMs) : this.#waiting(lines, nowMs);
  }

  /** When it last got on. */
  get progressAtMs(): number {
    return this.#progressAtMs;
  }

  /** Why the service is not where it should be: each error of its current tasks, and of how many. */
  reasons(): string[] {
    if (this.#last === undefined) return ['nothing was heard of it'];
    const { service, tasks, isCurrent } = this.#last;
    const current = tasks.filter((task) => (isJob(service) ? isOfThisRun(service, task) : isCurrent(task)));
    const counts = new Map<string, number>();
    for (const { Status: status } of current) {
      const error = taskError(status);
      const isFine = status.State === 'running' || (status.State === 'complete' && isJob(service));
      if (isFine || (error === '' && status.State !== 'complete')) continue;
      const text = oneLine(error || 'ended by itself, with exit code 0');
      counts.set(text, (counts.get(text) ?? 0) + 1);
    }
    for (const [state, count] of stuckStates(current)) counts.set(`${state}, without an error so far`, count);
    if (counts.size === 0) return ['it has no task yet'];
    return [...counts]
      .sort(([, a], [, b]) => b - a)
      .map(([text, count]) => `${count} ${count === 1 ? 'task' : 'tasks'}: ${text}`);
  }

  /** A message when the update has ended in a way that no waiting changes. */
  #updateStatus({ UpdateStatus: status }: Service, lines: ProgressLine[]): string | undefined {
    const isNew = status?.State !== this.#updateState;
    this.#updateState = status?.State;
    switch (status?.State) {
      case 'paused':
        return `service update paused: ${status.Message}`;
      case 'rollback_paused':
        return `service rollback paused: ${status.Message}`;
      case 'rollback_started':
        if (isNew && status.Message !== '') lines.push({ id: 'rollback', text: status.Message });
        return undefined;
      default:
        return undefined;
    }
  }

  /** Takes in the tasks. @returns whether all that should run do */
  #tasks(snapshot: Snapshot, lines: ProgressLine[], nowMs: number): boolean {
    const replicas = snapshot.service.Spec.Mode?.Replicated?.Replicas ?? 1;
    const isGlobal = snapshot.service.Spec.Mode?.Global !== undefined;
    const bySlot = taskOfEachSlot(snapshot, isGlobal);
    // How many nodes a global service fits is not known before: all its tasks are made at once.
    const wanted = isGlobal ? bySlot.size : replicas;
    if (isGlobal && wanted === 0) {
      lines.push({ id: 'overall progress', text: 'waiting for new tasks' });
      return false;
    }
    const labelOf = (slot: string) => (isGlobal ? shortId(slot) : `${this.#placeOf(slot)}/${replicas}`);
    if (!this.#started) {
      lines.push(this.#overall(0, wanted));
      if (!isGlobal && wanted <= MOST_BARS) {
        for (let i = 1; i <= wanted; i++) lines.push({ id: `${i}/${replicas}`, text: ' ' });
      }
      this.#started = true;
    }
    if ([...bySlot.values()].some((task) => task.Status.State !== 'running')) this.#allRan = false;
    let running = 0;
    for (const [slot, task] of bySlot) {
      this.#noteProgress(slot, task, nowMs);
      if (isRunning(task)) running++;
      const shown = wanted <= MOST_BARS && (isGlobal || this.#placeOf(slot) <= replicas);
      const text = shown && !this.#allRan ? taskLine(labelOf(slot), task) : undefined;
      if (text !== undefined) lines.push(text);
    }
    if (!this.#allRan) lines.push(this.#overall(running, wanted));
    this.#allRan ||= running === wanted;
    return running === wanted;
  }

  /** A job is through when each of its slots is; one that has given a slot up has failed. */
  #job({ service, tasks }: Snapshot, lines: ProgressLine[], nowMs: number): Step {
    const { total, complete, active, running, givenUp, most } = jobProgressOf(service, tasks);
    const isGlobal = most === undefined;
    if (isGlobal && total === 0) {
      lines.push({ id: 'job progress', text: 'waiting for new tasks' });
      return this.#waiting(lines, nowMs);
    }
    lines.push({ id: 'job progress', text: `${complete} out of ${total} complete` });
    const wanted = Math.min(most ?? total, total - complete);
    lines.push({ id: 'active tasks', text: `${active} out of ${wanted} tasks` });
    if (complete >= total) {
      lines.push({ id: 'job', text: 'complete' });
      return { lines, outcome: { kind: 'converged' }, againAtMs: nowMs };
    }
    if (complete + givenUp >= total) {
      const message = `job failed: ${givenUp} of ${total} tasks did not complete: ${this.reasons().join('; ')}`;
      return { lines, outcome: { kind: 'failed', message }, againAtMs: nowMs };
    }
    // What runs gets on, however long it takes.
    if (running > 0 || complete > this.#completed) this.#progressAtMs = nowMs;
    this.#completed = complete;
    return this.#waiting(lines, nowMs);
  }

  #overall(running: number, wanted: number): ProgressLine {
    const isRollback = this.#updateState?.startsWith('rollback') ?? false;
    const head = isRollback ? 'rolling back update: ' : '';
    return { id: 'overall progress', text: `${head}${running} out of ${wanted} tasks` };
  }

  #placeOf(slot: string): number {
    const place = this.#places.get(slot) ?? this.#places.size + 1;
    this.#places.set(slot, place);
    return place;
  }

  #noteProgress(slot: string, { Status: { State: state } }: Task, nowMs: number): void {
    const rank = Math.min(rankOf(state), rankOf('running'));
    if (rank <= (this.#furthest.get(slot) ?? -1)) return;
    this.#furthest.set(slot, rank);
    this.#progressAtMs = nowMs;
  }

  #verifying(lines: ProgressLine[], nowMs: number): Step {
    this.#convergedAtMs ??= nowMs;
    const { name } = this.options;
    const leftMs = this.#convergedAtMs + this.#monitorMs() - nowMs;
    if (leftMs > 0) {
      const seconds = Math.ceil(leftMs / 1000);
      lines.push({ id: 'verify', text: `Waiting ${seconds} seconds to verify that tasks are stable...` });
      return { lines, outcome: undefined, againAtMs: nowMs + leftMs - (seconds - 1) * 1000 };
    }
    lines.push({ id: 'verify', text: `Service ${name} converged` });
    return { lines, outcome: this.#converged(lines), againAtMs: nowMs };
  }

  /** An update that has been rolled back has converged, but not to what was asked for. */
  #converged(lines: ProgressLine[]): Outcome {
    const status = this.#last?.service.UpdateStatus;
    if (status?.State !== 'rollback_completed') return { kind: 'converged' };
    lines.push({ id: 'rollback', text: status.Message });
    if (this.options.rollbackAsked) return { kind: 'converged' };
    return { kind: 'failed', message: `service update rolled back: ${status.Message}` };
  }

  #waiting(lines: ProgressLine[], nowMs: number): Step {
    if (this.#convergedAtMs !== undefined) {
      lines.push({ id: 'verify', text: 'Detected task failure' });
      this.#convergedAtMs = undefined;
      // Having converged was progress: what broke it has the whole time to recover.
      this.#progressAtMs = nowMs;
    }
    const { timeoutMs } = this.options;
    if (timeoutMs === 0) return { lines, outcome: undefined, againAtMs: Number.POSITIVE_INFINITY };
    const deadlineMs = this.#progressAtMs + timeoutMs + this.#pauseMs();
    return { lines, outcome: nowMs >= deadlineMs ? { kind: 'timed-out' } : undefined, againAtMs: deadlineMs };
  }

  /** What an update waits by its own configuration between two steps is no lack of progress. */
  #pauseMs(): number {
    const { UpdateConfig: update, RollbackConfig: rollback } = this.#last?.service.Spec ?? {};
    if (this.#updateState === undefined) return 0;
    const config = this.#updateState.startsWith('rollback') ? rollback : update;
    return ((config?.Delay ?? 0) + (config?.Monitor ?? 0)) / 1e6;
  }

  #monitorMs(): number {
    const monitor = this.#last?.service.Spec.UpdateConfig?.Monitor ?? 0;
    return monitor === 0 ? MONITOR_MS : monitor / 1e6;
  }
}

function isRunning({ DesiredState: desired, Status: { State: state } }: Task): boolean {
  return rankOf(desired) <= rankOf('running') && state === 'running';
}

/**
 * The task that counts of each slot, or of each node: the one that is wanted most, and of two the one less far on,
 * which in a start-first update is the newer.
 */
function taskOfEachSlot({ tasks, isCurrent }: Snapshot, isGlobal: boolean): Map<string, Task> {
  const bySlot = new Map<string, Task>();
  for (const task of tasks) {
    if (!isCurrent(task) || task.DesiredState === 'remove' || rankOf(task.Status.State) > rankOf('rejected')) continue;
    const slot = isGlobal ? (task.NodeID ?? '') : String(task.Slot ?? 0);
    const other = bySlot.get(slot);
    const difference =
      other === undefined
        ? -1
        : rankOf(task.DesiredState) - rankOf(other.DesiredState) ||
          rankOf(task.Status.State) - rankOf(other.Status.State);
    if (difference < 0) bySlot.set(slot, task);
  }
  const inOrder = [...bySlot].sort(([a], [b]) => (isGlobal ? (a < b ? -1 : 1) : Number(a) - Number(b)));
  return new Map(inOrder);
}

function taskLine(id: string, { DesiredState: desired, Status: status }: Task): ProgressLine | undefined {
  const { State: state } = status;
  const error = oneLine(taskError(status));
  if (error !== '') {
    return { id, text: error.length > ERROR_WIDTH ? `${error.slice(0, ERROR_WIDTH - 1)}…` : error };
  }
  if (rankOf(desired) > rankOf('running') || rankOf(state) > rankOf('running')) return undefined;
  const current = BAR_STATES.indexOf(state) + 1;
  return { id, text: state.padEnd(STATE_WIDTH), bar: { current, total: BAR_STATES.length } };
}

function stuckStates(tasks: readonly Task[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const {
    DesiredState: desired,
    Status: { State: state, Err },
  } of tasks) {
    const isSilent = Err === undefined || Err === '';
    if (!isSilent || rankOf(desired) > rankOf('running') || rankOf(state) >= rankOf('running')) continue;
    counts.set(state, (counts.get(state) ?? 0) + 1);
  }
  return counts;
}

function oneLine(text: string): string {
  return text.replaceAll('\n', ' ').trim();
}
