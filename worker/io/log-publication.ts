import { fromRpcError, OrderedMerge } from '@apiary/api/client';
import { type LogBatch, type LogLine, type LogOptions, type LogQuery, LogsClient } from '@apiary/api/rpc';
import { type Clock, messageOf } from '@apiary/std';
import type { ChannelCredentials, ChannelOptions, ClientWritableStream } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import type { Engine } from './engine.js';
import type { History, KeptTask } from './history.js';

/** For how long lines of live output wait for those of other containers, to be put in order. */
const PATIENCE_MS = 100;

const STREAM_NUMBER = { stdout: 1, stderr: 2 } as const;

export interface LogPublicationOptions {
  engine: Pick<Engine, 'logs'>;
  clock: Clock;
  logger: Logger;
  history?: History | undefined;
  /** What this node has of a task. */
  containerOf: (taskId: string) => { isAssigned: boolean; id: string | undefined; isStarted: boolean };
  manager: { addr: string; credentials: ChannelCredentials; options: ChannelOptions };
}

/** The answer to one query, on a connection of its own: it lives until all is said, or nobody wants it any more. */
export class LogPublication {
  /** Resolves when it has ended, however that was. */
  readonly over: Promise<void>;
  readonly #queryId: string;
  readonly #options: LogPublicationOptions;
  readonly #merge: OrderedMerge<LogLine>;
  readonly #abort = new AbortController();
  readonly #problems: string[] = [];
  readonly #waiting = new Map<string, () => void>();
  readonly #known = new Set<string>();

  /** @param kept  tasks of which this node has nothing but what was kept */
  constructor(query: LogQuery, kept: readonly KeptTask[], options: LogPublicationOptions) {
    this.#queryId = query.queryId;
    this.#options = options;
    this.#merge = new OrderedMerge<LogLine>({
      isBefore: (a, b) => a.timestamp < b.timestamp,
      clock: options.clock,
      // What is written already comes to its end by itself.
      patienceMs: query.options?.follow === true ? PATIENCE_MS : Number.POSITIVE_INFINITY,
    });
    for (const task of kept) {
      const after = query.after.find(({ taskId }) => taskId === task.taskId)?.timestamp ?? '';
      if (query.options !== undefined) this.#merge.add(this.#keptLinesOf(task, query.options, after));
    }
    this.add(query);
    this.over = this.#run();
  }

  /** Takes the query's tasks, but for those that it has; unless it is open, they are the last. */
  add({ taskIds, options, after, isOpen }: LogQuery): void {
    for (const taskId of taskIds) {
      const timestamp = after.find((position) => position.taskId === taskId)?.timestamp;
      if (options === undefined || this.#known.has(taskId)) continue;
      this.#known.add(taskId);
      this.#merge.add(this.#linesOf(taskId, options, timestamp));
    }
    if (!isOpen) this.#merge.seal();
  }

  cancel(): void {
    if (this.#abort.signal.aborted) return;
    this.#abort.abort();
    this.#merge.fail(new Error('cancelled'));
    for (const wake of this.#waiting.values()) wake();
  }

  taskChanged(taskId: string): void {
    this.#waiting.get(taskId)?.();
  }

  async *#linesOf(taskId: string, options: LogOptions, after: string | undefined): AsyncGenerator<LogLine[]> {
    const { engine } = this.#options;
    const { signal } = this.#abort;
    const containerId = await this.#containerOf(taskId, options.follow);
    if (containerId === undefined || signal.aborted) return;
    const { follow, stdout, stderr, details } = options;
    const asked =
      after === undefined
        ? { follow, stdout, stderr, details, since: options.since, tail: options.tail }
        : { follow, stdout, stderr, details, since: secondsOf(after), tail: -1 };
    try {
      for await (const lines of engine.logs(containerId, asked, signal)) {
        const wanted = after === undefined ? lines : lines.filter(({ timestamp }) => timestamp > after);
        yield wanted.map(({ stream, timestamp, data, details: noted = '' }) => {
          const line = { taskId, nodeId: '', stream: STREAM_NUMBER[stream], timestamp, data: bufferOf(data) };
          return { ...line, taskName: '', serviceId: '', details: noted };
        });
      }
    } catch (error) {
      if (!signal.aborted) this.#problems.push(`task ${taskId}: ${messageOf(error)}`);
    }
  }

  async *#keptLinesOf(task: KeptTask, asked: LogOptions, after: string): AsyncGenerator<LogLine[]> {
    const { history } = this.#options;
    if (history === undefined) return;
    const { taskId, taskName, serviceId } = task;
    const wanted: LogLine[] = [];
    try {
      for await (const lines of history.read(taskId)) {
        for (const { stream, timestamp, data } of lines) {
          if (!asked[stream] || timestamp <= after || isBeforeTime(timestamp, asked.since)) continue;
          const line = { taskId, nodeId: '', stream: STREAM_NUMBER[stream], timestamp, data: bufferOf(data) };
          wanted.push({ ...line, taskName, serviceId, details: '' });
        }
      }
    } catch (error) {
      this.#problems.push(`task ${taskId}: ${messageOf(error)}`);
    }
    yield asked.tail < 0 ? wanted : wanted.slice(Math.max(0, wanted.length - asked.tail));
  }

  /** When it is to be followed, waits until it has been started; undefined when there is nothing to be read. */
  async #containerOf(taskId: string, isFollowed: boolean): Promise<string | undefined> {
    for (let isFirst = true; ; isFirst = false) {
      const { isAssigned, id, isStarted } = this.#options.containerOf(taskId);
      if (isStarted || !isFollowed) return id;
      // One that is asked for may be assigned with the next message; one that was is gone.
      if ((!isAssigned && !isFirst) || this.#abort.signal.aborted) return undefined;
      await new Promise<void>((resolve) => this.#waiting.set(taskId, resolve));
      this.#waiting.delete(taskId);
    }
  }

  async #run(): Promise<void> {
    const { manager, logger } = this.#options;
    const client = new LogsClient(manager.addr, manager.credentials, manager.options);
    const answered = new Promise<unknown>((resolve) => {
      const stream = client.publish((error) => {
        resolve(error);
        this.cancel();
      });
      stream.on('error', () => this.cancel());
      void this.#publish(stream);
    });
    const error = await answered;
    client.close();
    if (error !== null) logger.debug({ queryId: this.#queryId, reason: fromRpcError(error).message }, 'logs: ended');
  }

  async #publish(stream: ClientWritableStream<LogBatch>): Promise<void> {
    const { signal } = this.#abort;
    const send = async (batch: Omit<LogBatch, 'queryId'>): Promise<void> => {
      if (signal.aborted || stream.write({ queryId: this.#queryId, ...batch })) return;
      await new Promise<void>((resolve) => {
        const go = () => {
          stream.off('drain', go);
          signal.removeEventListener('abort', go);
          resolve();
        };
        stream.on('drain', go);
        signal.addEventListener('abort', go);
      });
    };
    try {
      await send({ lines: [], problems: [], isLast: false });
      for await (const lines of this.#merge) await send({ lines, problems: this.#problems.splice(0), isLast: false });
      await send({ lines: [], problems: this.#problems, isLast: true });
      stream.end();
    } catch {
      // Cancelled: nobody hears why.
      stream.cancel();
    }
  }
}

/** `SECONDS.NANOSECONDS`, as the engine takes it. */
function secondsOf(timestamp: string): string {
  const fraction = timestamp.slice(timestamp.indexOf('.') + 1, -1);
  return `${Math.floor(Date.parse(timestamp) / 1000)}.${fraction}`;
}

/** @param since  `SECONDS[.NANOSECONDS]`; empty for all */
function isBeforeTime(timestamp: string, since: string): boolean {
  if (since === '') return false;
  const nanosOf = (text: string): bigint => {
    const [seconds = '0', fraction = ''] = text.split('.');
    return BigInt(seconds) * 1_000_000_000n + BigInt(fraction.padEnd(9, '0').slice(0, 9));
  };
  return nanosOf(secondsOf(timestamp)) < nanosOf(since);
}

function bufferOf(data: Uint8Array): Buffer {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
}
