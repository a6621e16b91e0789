import type { KeptTask, OutputLine } from '../core/index.js';

export type { KeptTask };

/** Whose output is asked for: of all tasks of a service, by its id or its name, or of one task. */
export type KeptWanted = { service: string } | { taskId: string };

/** The port to where the output of tasks is kept when their containers are removed. */
export interface History {
  /**
   * Keeps the end of a task's output, within the history's bounds. What cannot be kept, on a full disk, is given up: a
   * container is removed all the same.
   */
  keep(task: Omit<KeptTask, 'keptAtMs'>, output: AsyncIterable<OutputLine[]>): Promise<void>;
  /** In the order of ids. */
  find(wanted: KeptWanted): Promise<KeptTask[]>;
  /** In the order in which it was written. Ends at once for a task of which nothing is kept any more. */
  read(taskId: string): AsyncIterable<OutputLine[]>;
  /** Forgets all: the node leaves. */
  clear(): Promise<void>;
}
