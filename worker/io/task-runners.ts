import { isTerminal, type TaskStatus } from '@apiary/api/model';
import { ApiaryError, type Clock, messageOf, type Rng, type Timer } from '@apiary/std';
import type { Logger } from 'pino';
import {
  type AssignedContent,
  type AssignedTask,
  backOffMs,
  type ContainerConfig,
  containerConfigOf,
  type EngineContainer,
  familiarReference,
  initialFacts,
  type NodeFacts,
  nextStep,
  observeContainer,
  type TaskAction,
  type TaskFacts,
  withTrouble,
} from '../core/index.js';
import type { Engine, EngineEvent } from './engine.js';
import type { History } from './history.js';
import { Lane } from './lane.js';
import type { TaskContents } from './task-contents/index.js';
import type { TaskNetwork } from './task-network.js';

/**
 * How many containers are created or started at a time. On two cores dockerd 20.10 starts 50 containers in 8.6 s one
 * after the other, 6.8 s two at a time, and 5 to 7 s with anything from four to sixteen: more only takes from what
 * runs already.
 */
export const START_PARALLELISM = 6;
/** Stops wait for the grace period of their containers, and cost the engine nothing meanwhile. */
const STOP_PARALLELISM = 64;

const DEFAULT_STOP_GRACE_MS = 10_000;
/** A removal waits no longer than this for an engine that is slow to tell what the container wrote. */
const KEEP_TIMEOUT_MS = 5_000;
const MOST_KEPT_LINES = 10_000;
const RETRY = { firstMs: 250, capMs: 30_000 };

export interface TaskRunnersOptions {
  engine: Engine;
  network?: TaskNetwork;
  /** What mounts secrets and configs; without it, tasks that have some are rejected. */
  contents?: TaskContents;
  /** A secret or a config, as the managers sent it. */
  contentOf(id: string): AssignedContent | undefined;
  /** What a task's image is to be pulled with, as the managers sent it: `id` is what it is sealed under. */
  registryAuthOf(taskId: string): { id: string; sealed: Uint8Array } | undefined;
  /** Where the output of containers is kept that are removed; without it, it is gone. */
  history?: History;
  clock: Clock;
  rng: Rng;
  logger: Logger;
  /** A task's status changed. */
  onStatus(task: AssignedTask, status: TaskStatus): void;
  /** A task's container is removed, and the task forgotten. */
  onForgotten(taskId: string): void;
  /** The engine did not answer. */
  onNoAnswer(reason: string): void;
}

/** One task on this node, or a container that no task of this node's owns any more. */
interface Run {
  readonly id: string;
  /** Undefined for a container that nobody assigned: it is only removed. */
  task: AssignedTask | undefined;
  /** The managers still name it: it is not forgotten before they have heard how it ended. */
  isAssigned: boolean;
  facts: TaskFacts;
  /** Under way: one step at a time. */
  busy: boolean;
  /** Something was heard of the container: look at it before the next step. */
  stale: boolean;
  /** Ends what may be cut short (waiting, pulling) once the task is to stop. */
  cut: AbortController;
  /** Woken while it was busy: look again before waiting. */
  again: boolean;
  /** The action that was done last, and how often in a row it failed or had no effect. */
  last: TaskAction;
  failures: number;
  /** Time passed or something happened since `last`, so that it may be done again. */
  rested: boolean;
  retry: Timer | undefined;
}

/** Brings each task of this node to where the managers want it, one engine call after the other. */
export class TaskRunners {
  readonly #options: TaskRunnersOptions;
  readonly #runs = new Map<string, Run>();
  readonly #starts = new Lane(START_PARALLELISM);
  readonly #stops = new Lane(STOP_PARALLELISM);
  readonly #removes = new Lane(START_PARALLELISM);
  #node: NodeFacts;
  #isAssigned = false;
  /** Containers found before the managers have said what they want: not to be touched. */
  #found = new Map<string, EngineContainer>();
  /** Undefined while the engine answers. */
  #engineError: string | undefined = 'not asked yet';
  #stopped = false;
  #isEngineKnown = false;
  /** While every container is being removed: what to call when they are. */
  #onLeft: (() => void) | undefined;

  constructor(node: NodeFacts, options: TaskRunnersOptions) {
    this.#node = node;
    this.#options = options;
  }

  get size(): number {
    return this.#runs.size;
  }

  /**
   * The container of a task that is assigned to this node: undefined while there is none yet, and whether its process was
   * ever started.
   */
  containerOf(taskId: string): { isAssigned: boolean; id: string | undefined; isStarted: boolean } {
    const run = this.#runs.get(taskId);
    if (run?.task === undefined) return { isAssigned: false, id: undefined, isStarted: false };
    const { container, status } = run.facts;
    const isStarted = container !== undefined && container.state !== 'created';
    return { isAssigned: true, id: container?.id, isStarted: isStarted || isTerminal(status.state) };
  }

  /** What the managers want, or the part of it that changed. With the first call all that was found has its owner. */
  assign({ changed, removed }: { changed: AssignedTask[]; removed: string[] }): void {
    for (const task of changed) this.#assign(task);
    for (const id of removed) {
      const run = this.#runs.get(id);
      if (run === undefined) continue;
      run.isAssigned = false;
      this.#want(run, 'remove');
    }
    if (this.#isAssigned) return;
    this.#isAssigned = true;
    for (const container of this.#found.values()) if (!this.#runs.has(container.taskId)) this.#addStray(container);
    this.#found.clear();
  }

  /** The engine answers: these are all the containers of this node's tasks. */
  engineUp(containers: EngineContainer[], node: NodeFacts): void {
    this.#node = node;
    this.#engineError = undefined;
    const found = new Map(containers.filter(({ nodeId }) => nodeId === node.id).map((it) => [it.taskId, it]));
    // Before anything is done with a container: what starts one asks what is known of it.
    this.#options.network?.adopt([...found.values()], (taskId) => this.#runs.has(taskId));
    this.#options.contents?.adopt([...found.values()], (taskId) => this.#runs.has(taskId));
    for (const run of this.#runs.values()) {
      observeContainer(run.facts, found.get(run.id));
      run.facts.trouble = undefined;
      run.stale = false;
      this.#wake(run);
    }
    const strays = [...found.values()].filter(({ taskId }) => !this.#runs.has(taskId));
    if (this.#isAssigned) for (const container of strays) this.#addStray(container);
    else this.#found = new Map(strays.map((container) => [container.taskId, container]));
    this.#isEngineKnown = true;
    this.#leftNow();
  }

  /** The engine is gone: every task says so, and nothing is done until it is back. */
  engineDown(reason: string): void {
    this.#engineError = reason;
    for (const run of this.#runs.values()) this.#tellTrouble(run, `engine unavailable: ${reason}`);
    this.#isEngineKnown = true;
    this.#leftNow();
  }

  engineEvent({ containerId, taskId, nodeId, kind }: EngineEvent): void {
    if (nodeId !== this.#node.id) return;
    const run = this.#runs.get(taskId);
    if (run === undefined) {
      // Asked for by an agent that was killed before it heard the answer, and since then no longer wanted.
      if (kind === 'created') void this.#findStray(containerId);
    } else if (kind !== 'created' && !(kind === 'started' && run.busy)) {
      // Who starts one is the run itself, while it is busy with that; else somebody did it by hand.
      run.stale = true;
      this.#wake(run);
    }
  }

  /** Stops and removes every container of this node's tasks. Resolves when they are gone, or the engine is. */
  async removeAll(): Promise<void> {
    this.assign({ changed: [], removed: [...this.#runs.keys()] });
    await new Promise<void>((resolve) => {
      this.#onLeft = resolve;
      this.#leftNow();
    });
  }

  /** Does nothing more. Containers stay as they are. */
  stop(): void {
    this.#stopped = true;
    for (const run of this.#runs.values()) {
      run.retry?.cancel();
      run.cut.abort();
    }
  }

  #leftNow(): void {
    if (this.#isEngineKnown && (this.#runs.size === 0 || this.#engineError !== undefined)) this.#onLeft?.();
  }

  #assign(task: AssignedTask): void {
    const run = this.#runs.get(task.id);
    if (run === undefined) {
      const fresh = this.#newRun(task.id, task, this.#found.get(task.id));
      // How one ended is on record already.
      if (!isTerminal(fresh.facts.status.state)) this.#options.onStatus(task, fresh.facts.status);
      this.#freeContentsOfOver(fresh);
      if (this.#engineError !== undefined) this.#tellTrouble(fresh, `engine unavailable: ${this.#engineError}`);
      this.#wake(fresh);
    } else {
      run.task = task;
      run.isAssigned = true;
      this.#want(run, task.desiredState);
    }
  }

  #newRun(id: string, task: AssignedTask | undefined, container: EngineContainer | undefined): Run {
    const run: Run = {
      id,
      task,
      isAssigned: task !== undefined,
      facts: initialFacts(task?.desiredState ?? 'remove', task?.observedState ?? 'assigned', this.#options.clock.now()),
      busy: false,
      stale: false,
      cut: new AbortController(),
      again: false,
      last: 'none',
      failures: 0,
      rested: true,
      retry: undefined,
    };
    observeContainer(run.facts, container);
    this.#runs.set(id, run);
    return run;
  }

  #addStray(container: EngineContainer): void {
    this.#options.logger.info(
      { task: container.taskId, container: container.id },
      'removing a container that no task has',
    );
    this.#wake(this.#newRun(container.taskId, undefined, container));
  }

  async #findStray(containerId: string): Promise<void> {
    try {
      const stray = await this.#options.engine.inspect(containerId);
      if (stray === undefined || this.#runs.has(stray.taskId) || this.#stopped) return;
      if (this.#isAssigned) this.#addStray(stray);
      else this.#found.set(stray.taskId, stray);
    } catch (error) {
      // Whatever it is: getting in touch anew looks at all containers.
      this.#options.onNoAnswer(messageOf(error));
    }
  }

  #want(run: Run, desiredState: TaskFacts['desiredState']): void {
    run.facts.desiredState = desiredState;
    if (desiredState === 'shutdown' || desiredState === 'remove') run.cut.abort();
    this.#wake(run);
  }

  #wake(run: Run): void {
    run.rested = true;
    run.again = true;
    if (run.busy || this.#stopped) return;
    run.retry?.cancel();
    void this.#drive(run);
  }

  async #drive(run: Run): Promise<void> {
    run.busy = true;
    while (run.again && this.#engineError === undefined && !this.#stopped) {
      run.again = false;
      while (await this.#advance(run));
    }
    run.busy = false;
  }

  /** Takes the next step. @returns  false when there is nothing to do until something happens */
  async #advance(run: Run): Promise<boolean> {
    if (run.stale && !(await this.#refresh(run))) return false;
    if (this.#engineError !== undefined || this.#stopped) return false;
    const { status, action } = nextStep(run.facts, this.#options.clock.now());
    this.#setStatus(run, status);
    if (action === 'forget' && !run.isAssigned) return this.#forget(run);
    if (action === 'none' || action === 'forget') {
      run.last = 'none';
      return run.stale;
    }
    if (action !== run.last) run.failures = 0;
    else if (!run.rested) return this.#rest(run);
    run.last = action;
    run.rested = false;
    try {
      if (run.cut.signal.aborted) run.cut = new AbortController();
      await this.#perform(run, action, run.cut.signal);
      run.facts.trouble = undefined;
      return true;
    } catch (error) {
      return this.#failed(run, action, error);
    }
  }

  async #perform(run: Run, action: TaskAction, signal: AbortSignal): Promise<void> {
    const { engine } = this.#options;
    const { task, facts } = run;
    const containerId = facts.container?.id ?? '';
    switch (action) {
      case 'pull':
        await engine.pull(
          familiarReference(task?.template.ContainerSpec?.Image ?? ''),
          signal,
          this.#registryAuth(run.id),
        );
        facts.imageReady = true;
        break;
      case 'create': {
        if (task === undefined) break;
        const config = containerConfigOf(task, this.#node);
        await this.#starts.run(() => this.#create(run, config), { signal });
        break;
      }
      case 'start':
        // Before the creates of others: what is begun is finished first.
        await this.#starts.run(() => this.#start(run, containerId), { signal, first: true });
        run.stale = true;
        break;
      case 'stop':
        await this.#options.network?.withdrawn(run.id, task?.serviceId ?? '');
        await this.#stops.run(() => engine.stop(containerId, stopGraceMs(task)));
        run.stale = true;
        break;
      case 'remove':
        await this.#removes.run(async () => {
          await this.#keepOutput(facts.container);
          await engine.remove(containerId);
        });
        this.#free(run);
        observeContainer(run.facts, undefined);
        break;
    }
  }

  #registryAuth(taskId: string): string | undefined {
    const sent = this.#options.registryAuthOf(taskId);
    return sent && this.#options.contents?.registryAuth(sent);
  }

  /** What its container has written goes with it. */
  async #keepOutput(container: EngineContainer | undefined): Promise<void> {
    const { engine, history, clock } = this.#options;
    if (history === undefined || this.#onLeft !== undefined) return;
    if (container?.origin === undefined || container.state === 'created') return;
    const { id, taskId, origin } = container;
    const late = new AbortController();
    const timer = clock.after(KEEP_TIMEOUT_MS, () => late.abort());
    const asked = { follow: false, stdout: true, stderr: true, since: '', tail: MOST_KEPT_LINES };
    await history.keep({ taskId, ...origin }, engine.logs(id, asked, late.signal));
    timer.cancel();
  }

  async #create(run: Run, config: ContainerConfig): Promise<string> {
    const { engine, network } = this.#options;
    try {
      const withFiles = await this.#withContents(config);
      const id = await engine.create((await network?.prepare(withFiles)) ?? withFiles);
      observeContainer(run.facts, createdContainer(id, run.id, this.#node.id));
      return id;
    } catch (error) {
      // Of one that the engine may have made all the same, the network is still needed.
      if (!isNoAnswer(error)) this.#free(run);
      throw error;
    }
  }

  async #withContents(config: ContainerConfig): Promise<ContainerConfig> {
    const { contents, contentOf } = this.#options;
    if (config.contents === undefined) return config;
    if (contents !== undefined) return contents.prepare(config, contentOf);
    throw new ApiaryError('unimplemented', 'this node mounts no secrets and no configs');
  }

  /** The task has no container, and needs nothing of what was made for one. */
  #free({ id }: Run): void {
    this.#options.network?.forget(id);
    this.#options.contents?.forget(id);
  }

  async #start(run: Run, containerId: string): Promise<void> {
    const { engine, network } = this.#options;
    if (network === undefined || run.task === undefined) return engine.start(containerId);
    const config = containerConfigOf(run.task, this.#node);
    const outcome = await network.start(config, containerId, () => engine.start(containerId));
    if (outcome === 'started') return;
    // It is of no use without a network: the next one is on the engine's own.
    await engine.stop(containerId, 0);
    await engine.remove(containerId);
    this.#free(run);
    observeContainer(run.facts, undefined);
    await engine.start(await this.#create(run, config));
  }

  #failed(run: Run, action: TaskAction, error: unknown): boolean {
    // It is to stop: that is the next step.
    if (run.cut.signal.aborted && error === run.cut.signal.reason) return true;
    if (isNoAnswer(error)) return this.#noAnswer(error);
    const words = messageOf(error);
    const cause = error instanceof Error && error.cause !== undefined ? messageOf(error.cause) : undefined;
    this.#options.logger.warn({ task: run.id, action, err: words, cause }, 'the engine refused a step of a task');
    if (action === 'stop' || action === 'remove') {
      this.#tellTrouble(run, `${action === 'stop' ? 'stopping' : 'removing'} container failed: ${words}`);
      run.stale = true;
      return this.#rest(run);
    }
    run.facts.failure = action === 'start' ? `starting container failed: ${words}` : words;
    run.stale = action === 'start';
    return true;
  }

  /** Looks at the container. @returns  false when that failed: it is tried again later */
  async #refresh(run: Run): Promise<boolean> {
    run.stale = false;
    const { container } = run.facts;
    if (container === undefined) return true;
    try {
      const found = await this.#options.engine.inspect(container.id);
      observeContainer(run.facts, found);
      if (found === undefined) {
        this.#free(run);
      } else {
        this.#options.network?.observe(found);
        this.#options.contents?.observe(found);
      }
      return true;
    } catch (error) {
      if (isNoAnswer(error)) return this.#noAnswer(error);
      run.stale = true;
      this.#tellTrouble(run, `inspecting container failed: ${messageOf(error)}`);
      return this.#rest(run);
    }
  }

  #noAnswer(error: Error): false {
    this.#options.onNoAnswer(error.message);
    return false;
  }

  /** Waits before the same is done again. */
  #rest(run: Run): false {
    const { clock, rng } = this.#options;
    run.failures++;
    run.retry?.cancel();
    run.retry = clock.after(backOffMs(run.failures, RETRY, rng), () => this.#wake(run));
    return false;
  }

  #tellTrouble(run: Run, trouble: string): void {
    run.facts.trouble = trouble;
    this.#setStatus(run, withTrouble(run.facts, this.#options.clock.now()));
  }

  #setStatus(run: Run, status: TaskStatus): void {
    if (status === run.facts.status) return;
    run.facts.status = status;
    this.#freeContentsOfOver(run);
    if (run.task !== undefined) this.#options.onStatus(run.task, status);
  }

  /** What has ended, or never came to run, needs no secrets, however long its container stays for its logs. */
  #freeContentsOfOver({ id, facts }: Run): void {
    if (isTerminal(facts.status.state) && facts.container?.state !== 'running') this.#options.contents?.forget(id);
  }

  #forget(run: Run): false {
    this.#free(run);
    this.#runs.delete(run.id);
    this.#options.onForgotten(run.id);
    this.#leftNow();
    return false;
  }
}

function isNoAnswer(error: unknown): error is ApiaryError {
  return error instanceof ApiaryError && error.code === 'unavailable';
}

function createdContainer(id: string, taskId: string, nodeId: string): EngineContainer {
  return { id, taskId, nodeId, state: 'created', pid: 0, exitCode: 0, oomKilled: false, error: '', ports: [] };
}

function stopGraceMs(task: AssignedTask | undefined): number {
  const graceNs = task?.template.ContainerSpec?.StopGracePeriod;
  return graceNs === undefined ? DEFAULT_STOP_GRACE_MS : Math.max(0, graceNs / 1e6);
}
