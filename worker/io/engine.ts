import type { NodeDescription } from '@apiary/api/model';
import type { ContainerConfig, EngineContainer, OutputLine } from '../core/index.js';

export type { ContainerConfig, EngineContainer, OutputLine };

/** What the engine says of this host. */
export type HostDescription = Pick<NodeDescription, 'Platform' | 'Resources' | 'Engine' | 'Hostname'>;

/** Something happened to a task's container. Told at least once; whoever hears it inspects the container. */
export interface EngineEvent {
  containerId: string;
  taskId: string;
  nodeId: string;
  kind: 'created' | 'started' | 'ended' | 'health' | 'removed';
}

/** Which of a container's output is wanted. */
export interface LogsOptions {
  /** Go on with what is written from now on, until the container ends. */
  follow: boolean;
  stdout: boolean;
  stderr: boolean;
  /** `SECONDS[.NANOSECONDS]` since the epoch: nothing before; empty for all. */
  since: string;
  /** At most so many lines from the end; -1 for all. */
  tail: number;
  /** Also what the log driver notes of the container with each line. */
  details?: boolean;
}

/**
 * The port to whatever runs containers on this host. A container belongs to one task and carries its id in labels,
 * so that an agent finds again, after its own restart, what it started.
 *
 * Every call throws ApiaryError: `unavailable` when the engine does not answer (nothing is then known of what it
 * did), any other code when it answered that it cannot, with the engine's own words for a message.
 */
export interface Engine {
  /** Resolves when the engine answers, within seconds: it may stand still with its connections open. */
  ping(): Promise<void>;
  /** Whom a container's root is on the host, as of the last `describe`: another where the engine remaps users. */
  readonly containerRoot: { uid: number; gid: number };
  /** What the host is and has. */
  describe(): Promise<HostDescription>;
  /** Every container on the host that carries a task's label, running or not, of whatever node. */
  adopt(): Promise<EngineContainer[]>;
  /**
   * Makes sure that the image is there. A local one serves when the registry cannot be reached.
   *
   * @param registryAuth  what to be known by there, as the header `X-Registry-Auth` has it; undefined for nothing
   * @throws ApiaryError `not-found` when it is neither here nor there; the signal's reason when that aborts
   */
  pull(image: string, signal: AbortSignal, registryAuth?: string): Promise<void>;
  /** Creates the container, or finds the one that this task created before. Answers its id. */
  create(config: ContainerConfig): Promise<string>;
  /** One that runs already is started. */
  start(containerId: string): Promise<void>;
  inspect(containerId: string): Promise<EngineContainer | undefined>;
  /** Asks the container to end, kills it after `graceMs`. Resolves when it has ended; one that is gone has ended. */
  stop(containerId: string, graceMs: number): Promise<void>;
  /** Removes a container that has ended, with its anonymous volumes. One that is gone is removed. */
  remove(containerId: string): Promise<void>;
  /**
   * A container's output, in the order in which it was written. Nothing is read ahead of who takes it. Ends when there
   * is no more, and once `signal` aborts.
   *
   * @throws ApiaryError `not-found` when it is gone; in the engine's words when its log driver keeps nothing to read
   */
  logs(containerId: string, options: LogsOptions, signal: AbortSignal): AsyncIterable<OutputLine[]>;
  /**
   * Tells, from now on, which containers of tasks were created, started, ended, changed their health or were removed. Ends
   * with `onLost`, once, when the engine goes away; whoever listens inspects again all that it knows once the engine
   * is back.
   */
  watch(onEvent: (event: EngineEvent) => void, onLost: (reason: string) => void): Promise<{ close(): void }>;
}
