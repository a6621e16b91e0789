import type { LogQuery } from '@apiary/api/rpc';
import { LogPublication, type LogPublicationOptions } from './log-publication.js';

/** Each holds a connection, and one to the engine for each of its tasks: more are not taken. */
const MOST_PUBLICATIONS = 256;

export interface LogPublisherOptions extends Omit<LogPublicationOptions, 'manager'> {
  /** The manager that this node has its session with, and how it is reached. */
  manager: () => LogPublicationOptions['manager'] | undefined;
}

/** Brings the managers what they ask of the output of this node's tasks, one stream a query. */
export class LogPublisher {
  readonly #options: LogPublisherOptions;
  readonly #open = new Map<string, LogPublication>();

  constructor(options: LogPublisherOptions) {
    this.#options = options;
  }

  query(query: LogQuery): void {
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
    const publication = new LogPublication(query, { ...this.#options, manager: to });
    this.#open.set(query.queryId, publication);
    publication.over.then(() => this.#open.delete(query.queryId));
  }

  cancel(queryId: string): void {
    this.#open.get(queryId)?.cancel();
  }

  /** The task has a container, or another state, or is gone. */
  taskChanged(taskId: string): void {
    for (const publication of this.#open.values()) publication.taskChanged(taskId);
  }

  stop(): void {
    for (const publication of this.#open.values()) publication.cancel();
  }
}
