import type { LogQuery } from '@apiary/api/rpc';
import { messageOf } from '@apiary/std';
import type { KeptTask, KeptWanted } from './history.js';
import { LogPublication, type LogPublicationOptions } from './log-publication.js';

/** Each holds a connection, and one to the engine for each of its tasks: more are not taken. */
const MOST_PUBLICATIONS = 256;

export interface LogPublisherOptions extends Omit<LogPublicationOptions, 'manager'> {
  /** The manager that this node has its session with, and how it is reached. */
  manager: () => LogPublicationOptions['manager'] | undefined;
  /** Says that there is nothing to be brought for a query. */
  onNothing: (queryId: string) => void;
}

/** Brings the managers what they ask of the output of this node's tasks, one stream a query. */
export class LogPublisher {
  readonly #options: LogPublisherOptions;
  readonly #open = new Map<string, LogPublication>();
  /** Queries whose kept tasks are being looked for, and that were called off meanwhile. */
  readonly #searches = new Map<string, { isCancelled: boolean }>();

  constructor(options: LogPublisherOptions) {
    this.#options = options;
  }

  query(query: LogQuery): void {
    if (query.kept === undefined) this.#publish(query, []);
    else void this.#search(query, query.kept);
  }

  cancel(queryId: string): void {
    const search = this.#searches.get(queryId);
    if (search !== undefined) search.isCancelled = true;
    this.#open.get(queryId)?.cancel();
  }

  /** The task has a container, or another state, or is gone. */
  taskChanged(taskId: string): void {
    for (const publication of this.#open.values()) publication.taskChanged(taskId);
  }

  stop(): void {
    for (const publication of this.#open.values()) publication.cancel();
  }

  /** Those that are asked for by name are not among them: their container tells more. */
  async #search(query: LogQuery, { service, taskId }: NonNullable<LogQuery['kept']>): Promise<void> {
    const { containerOf, onNothing } = this.#options;
    const search = { isCancelled: false };
    this.#searches.set(query.queryId, search);
    const found = await this.#kept(service === '' ? { taskId } : { service });
    this.#searches.delete(query.queryId);
    if (search.isCancelled) return;
    const kept = found.filter((task) => !containerOf(task.taskId).isAssigned);
    if (kept.length > 0 || query.taskIds.length > 0) this.#publish(query, kept);
    else onNothing(query.queryId);
  }

  async #kept(wanted: KeptWanted): Promise<KeptTask[]> {
    const { history, logger } = this.#options;
    try {
      return (await history?.find(wanted)) ?? [];
    } catch (error) {
      logger.warn({ reason: messageOf(error) }, 'what was written by tasks that are gone cannot be looked through');
      return [];
    }
  }

  #publish(query: LogQuery, kept: readonly KeptTask[]): void {
    const { manager, logger } = this.#options;
    const earlier = this.#open.get(query.queryId);
    if (earlier !== undefined) {
      earlier.add(query);
      return;
    }
    const to = manager();
    if (to === undefined || this.#open.size >= MOST_PUBLICATIONS) {
      logger.warn({ queryId: query.queryId }, 'a query for logs is not answered: there are too many');
      return;
    }
    const publication = new LogPublication(query, kept, { ...this.#options, manager: to });
    this.#open.set(query.queryId, publication);
    publication.over.then(() => this.#open.delete(query.queryId));
  }
}
