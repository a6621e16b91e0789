import { OrderedMerge } from '@apiary/api/client';
import { isTerminal } from '@apiary/api/model';
import type { LogBatch, LogLine, LogOptions, LogQuery, LogRequest, ManagerMessage } from '@apiary/api/rpc';
import { ApiaryError, type Clock, newId, type Rng, type Timer } from '@apiary/std';
import type { Touched } from '../../core/store/change.js';
import type { TaskRecord } from '../../core/store/records.js';
import type { Replica } from '../ports.js';
import { Inlet } from './inlet.js';

/** For how long live lines of one node wait for those of others, to be put in order. */
const PATIENCE_MS = 200;
/** How long a node may take to begin its answer. */
const ANSWER_TIMEOUT_MS = 5_000;
/** When an agent that is followed broke off its answer: until it is asked again. */
const RETRY_MS = 1_000;
/** What one node may say of what is missing, since it is kept until all is said: the rest is not heard. */
const MOST_PROBLEMS = 100;
const LONGEST_PROBLEM = 500;

/** Where agents are spoken to. */
export interface AgentLine {
  tell(nodeId: string, body: NonNullable<ManagerMessage['body']>): boolean;
  onSession(listener: (nodeId: string) => void): () => void;
  /** Calls `listener` when an agent says that it has kept nothing of what it was asked for; returns what ends that. */
  onLogNothing(listener: (nodeId: string, queryId: string) => void): () => void;
}

/** What one node is asked for. */
export interface Part {
  readonly queryId: string;
  readonly nodeId: string;
  /** For what the node has kept, of tasks that are gone. */
  readonly isOfKept: boolean;
  readonly taskIds: Set<string>;
  readonly inlet: Inlet<LogLine[]>;
  /** Until its stream is open. */
  timer: Timer | undefined;
  /** Its stream is open, or was. */
  isAnswered: boolean;
  isOver: boolean;
  /** How many it has said. */
  problems: number;
  /** Ends its stream, when it has one. */
  hangUp: () => void;
}

export interface LogCollectionOptions {
  replica: Replica;
  agents: AgentLine;
  clock: Clock;
  rng: Rng;
  /** Registers a part, so that its stream is let in; returns what ends that. */
  admit: (part: Part, collection: LogCollection) => () => void;
  onClosed: (collection: LogCollection) => void;
}

/** One question for logs, from when it is put until all is said or nobody listens any more. */
export class LogCollection implements AsyncIterable<LogBatch> {
  readonly #request: LogRequest;
  readonly #asked: LogOptions;
  readonly #options: LogCollectionOptions;
  readonly #merge: OrderedMerge<LogLine>;
  /** By node; those for what is kept, by the query's id. */
  readonly #parts = new Map<string, { part: Part; forget: () => void }>();
  /** Tasks that were asked for once, of whatever node. */
  readonly #known = new Set<string>();
  /** The newest line of each task that has come in. */
  readonly #received = new Map<string, string>();
  readonly #problems: string[] = [];
  readonly #retries = new Set<Timer>();
  readonly #closers: (() => void)[];
  #isClosed = false;
  /** The agents were told that no task will be added. */
  #isEnding = false;

  constructor(request: LogRequest, asked: LogOptions, options: LogCollectionOptions) {
    this.#request = request;
    this.#asked = asked;
    this.#options = options;
    for (const { taskId, timestamp } of request.after) this.#received.set(taskId, timestamp);
    this.#merge = new OrderedMerge<LogLine>({
      isBefore: (a, b) => a.timestamp < b.timestamp,
      clock: options.clock,
      patienceMs: asked.follow ? PATIENCE_MS : Number.POSITIVE_INFINITY,
    });
    this.#closers = [
      options.replica.subscribe((touched) => this.#onTouched(touched)),
      options.agents.onSession((nodeId) => this.#onSession(nodeId)),
    ];
    this.#ask(this.#selected());
    if (request.kept) this.#askForKept();
    this.#sealIfDone();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<LogBatch, void, void> {
    try {
      for await (const lines of this.#merge) yield { queryId: '', lines, problems: [], isLast: false };
      const problems = [...this.#problems, ...this.#unscheduled()];
      yield { queryId: '', lines: [], problems, isLast: true };
    } finally {
      this.close();
    }
  }

  /** Ends it: with an error for who reads, when there is one. */
  close(error = new ApiaryError('unavailable', 'the logs are not wanted any more')): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#options.onClosed(this);
    for (const closer of this.#closers) closer();
    for (const timer of this.#retries) timer.cancel();
    for (const { part } of this.#parts.values()) this.#drop(part);
    this.#merge.fail(error);
  }

  /**
   * Takes what an agent brings. Resolves once there is room for more.
   *
   * @throws ApiaryError `permission-denied` for lines of tasks that it was not asked for
   */
  async take(part: Part, { lines, problems }: LogBatch): Promise<void> {
    if (part.isOver) return;
    const taken = part.isOfKept ? this.#ofGone(lines) : lines;
    for (const line of taken) {
      if (!part.isOfKept && !part.taskIds.has(line.taskId)) {
        throw new ApiaryError('permission-denied', `node ${part.nodeId} was not asked for logs of task ${line.taskId}`);
      }
      line.nodeId = part.nodeId;
      if (!part.isOfKept) Object.assign(line, { taskName: '', serviceId: '' });
      this.#received.set(line.taskId, line.timestamp);
    }
    for (const problem of problems.slice(0, MOST_PROBLEMS - part.problems)) {
      part.problems++;
      this.#problems.push(problem.slice(0, LONGEST_PROBLEM));
    }
    if (taken.length > 0) await part.inlet.put(taken);
  }

  /** The part's stream has ended. @param problem  what is missing, when it was cut short */
  ended(part: Part, problem?: string): void {
    if (part.isOver) return;
    this.#drop(part);
    const isCutShort = problem !== undefined || !this.#isComplete();
    if (isCutShort && this.#asked.follow && !this.#isClosed && !part.isOfKept) {
      // It goes on where it was, as soon as the node is there again.
      const retry = this.#options.clock.after(RETRY_MS, () => {
        this.#retries.delete(retry);
        this.#askAgain(part);
      });
      this.#retries.add(retry);
    } else if (problem !== undefined) {
      this.#problems.push(problem);
    }
    this.#sealIfDone();
  }

  /** A node speaks of a task that is known only when it has it, and then its container does. */
  #ofGone(lines: LogLine[]): LogLine[] {
    const { view } = this.#options.replica;
    return lines.filter(({ taskId }) => view.task(taskId) === undefined);
  }

  /** Every node that has a session may have kept something, and says so at once if it has not. */
  #askForKept(): void {
    const { replica, agents } = this.#options;
    const { serviceId, taskId, after } = this.#request;
    for (const { id } of replica.view.nodes()) {
      const part = this.#open(id, true);
      const kept = { service: serviceId, taskId };
      const query = { queryId: part.queryId, taskIds: [], options: this.#asked, after, isOpen: false, kept };
      if (!agents.tell(id, { $case: 'logQuery', value: query })) this.ended(part);
    }
  }

  #selected(): TaskRecord[] {
    const { view } = this.#options.replica;
    const { serviceId, taskId } = this.#request;
    if (serviceId !== '') return view.tasksOfService(serviceId);
    const task = view.task(taskId);
    return task === undefined ? [] : [task];
  }

  #onTouched({ services, taskServices, tasks }: Touched): void {
    const { serviceId, taskId } = this.#request;
    const isConcerned = serviceId !== '' ? taskServices.has(serviceId) || services.has(serviceId) : tasks.has(taskId);
    if (!isConcerned || !this.#asked.follow || this.#isClosed) return;
    this.#ask(this.#selected());
    this.#sealIfDone();
  }

  /** Once no task can be added any more, what is open comes to its end, and the whole with the last of it. */
  #sealIfDone(): void {
    if (this.#isClosed || !this.#isComplete()) return;
    if (!this.#isEnding) this.#tellAll();
    this.#isEnding = true;
    if (this.#parts.size === 0 && this.#retries.size === 0) this.#merge.seal();
  }

  #tellAll(): void {
    for (const { part } of this.#parts.values()) if (!part.isOfKept) this.#tell(part, { taskIds: [], isOpen: false });
  }

  #isComplete(): boolean {
    if (!this.#asked.follow) return true;
    const { view } = this.#options.replica;
    const { serviceId } = this.#request;
    if (serviceId !== '') return view.service(serviceId) === undefined && view.tasksOfService(serviceId).length === 0;
    return this.#selected().every((task) => this.#known.has(task.id) || isTerminal(task.status.state));
  }

  /** Puts the question to the nodes of tasks that are new. */
  #ask(tasks: TaskRecord[]): void {
    const byNode = new Map<string, string[]>();
    for (const { id, nodeId } of tasks) {
      if (nodeId === undefined || this.#known.has(id)) continue;
      byNode.set(nodeId, [...(byNode.get(nodeId) ?? []), id]);
    }
    const isFirst = this.#known.size === 0;
    for (const [nodeId, taskIds] of byNode) {
      for (const id of taskIds) this.#known.add(id);
      const part = this.#parts.get(nodeId)?.part ?? this.#open(nodeId);
      for (const id of taskIds) part.taskIds.add(id);
      // Of tasks that come later, all is new.
      this.#tell(part, { taskIds, isOpen: this.#asked.follow, tail: isFirst ? this.#asked.tail : -1 });
    }
  }

  #open(nodeId: string, isOfKept = false): Part {
    const { rng, admit, clock } = this.#options;
    const part: Part = {
      queryId: newId(rng),
      nodeId,
      isOfKept,
      taskIds: new Set(),
      inlet: new Inlet(),
      timer: undefined,
      isAnswered: false,
      isOver: false,
      problems: 0,
      hangUp: () => {},
    };
    if (!this.#asked.follow || isOfKept) {
      const isDown = this.#options.replica.view.node(nodeId)?.status.state !== 'ready';
      const onTimeout = () => this.ended(part, `node ${nodeId} is not available`);
      part.timer = clock.after(isDown ? 0 : ANSWER_TIMEOUT_MS, onTimeout);
    }
    this.#parts.set(keyOf(part), { part, forget: admit(part, this) });
    this.#merge.add(part.inlet);
    return part;
  }

  #tell(part: Part, what: Pick<LogQuery, 'taskIds' | 'isOpen'> & { tail?: number }): void {
    const after = what.taskIds.flatMap((taskId) => {
      const timestamp = this.#received.get(taskId);
      return timestamp === undefined ? [] : [{ taskId, timestamp }];
    });
    const options = { ...this.#asked, tail: what.tail ?? this.#asked.tail };
    const { queryId } = part;
    const value = { queryId, taskIds: what.taskIds, options, after, isOpen: what.isOpen, kept: undefined };
    this.#options.agents.tell(part.nodeId, { $case: 'logQuery', value });
  }

  /** A session with a node has begun: what it was asked for in an earlier one, it may not have heard. */
  #onSession(nodeId: string): void {
    const part = this.#parts.get(nodeId)?.part;
    if (part !== undefined) this.#tell(part, { taskIds: [...part.taskIds], isOpen: !this.#isComplete() });
  }

  #askAgain(lost: Part): void {
    if (this.#isClosed) return;
    const part = this.#parts.get(lost.nodeId)?.part ?? this.#open(lost.nodeId);
    for (const id of lost.taskIds) part.taskIds.add(id);
    this.#tell(part, { taskIds: [...lost.taskIds], isOpen: !this.#isComplete() });
  }

  #drop(part: Part): void {
    part.isOver = true;
    part.timer?.cancel();
    this.#parts.get(keyOf(part))?.forget();
    this.#parts.delete(keyOf(part));
    part.inlet.end();
    this.#options.agents.tell(part.nodeId, { $case: 'logCancel', value: { queryId: part.queryId } });
    part.hangUp();
  }

  #unscheduled(): string[] {
    if (this.#asked.follow) return [];
    const waiting = this.#selected().filter(({ nodeId, status }) => nodeId === undefined && !isTerminal(status.state));
    return waiting.map(({ id }) => `task ${id} has not been scheduled`);
  }
}

function keyOf({ queryId, nodeId, isOfKept }: Part): string {
  return isOfKept ? queryId : nodeId;
}
