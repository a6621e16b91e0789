import type { NodeDescription } from '@apiary/api/model';

/**
 * The port to whatever runs containers on this host. A container belongs to one task and carries its id in labels,
 * so that an agent finds again, after its own restart, what it started.
 */
export interface Engine {
  /** What the host is and has. @throws ApiaryError `unavailable` when the engine does not answer */
  describe(): Promise<Pick<NodeDescription, 'Platform' | 'Resources' | 'Engine' | 'Hostname'>>;
  /** Every container on the host that carries a task's label, running or not. */
  adopt(): Promise<EngineContainer[]>;
  /** Makes sure that the image is there. A local one serves when the registry cannot be reached. */
  pull(image: string, signal: AbortSignal): Promise<void>;
  /** Creates the container, or finds the one that this task created before. */
  create(config: ContainerConfig): Promise<string>;
  start(containerId: string): Promise<void>;
  inspect(containerId: string): Promise<EngineContainer | undefined>;
  /** Asks the container to end, kills it after `graceMs`. Resolves when it has ended; one that is gone has ended. */
  stop(containerId: string, graceMs: number): Promise<void>;
  /** Removes a container that has ended, with its anonymous volumes. One that is gone is removed. */
  remove(containerId: string): Promise<void>;
  /**
   * Tells, from now on, which containers of tasks started, ended or changed their health. Ends with `onLost` when
   * the engine goes away; whoever listens inspects again all that it knows once the engine is back.
   */
  watch(onEvent: (containerId: string) => void, onLost: (reason: string) => void): Promise<{ close(): void }>;
}

/** What the engine is told: its own words, made by `worker/core` from a task's spec. */
export interface ContainerConfig {
  name: string;
  taskId: string;
  /** Body of the Engine API's `POST /containers/create`. */
  body: Record<string, unknown>;
}

export interface EngineContainer {
  id: string;
  taskId: string;
  state: 'created' | 'running' | 'exited';
  pid: number;
  exitCode: number;
  oomKilled: boolean;
  /** The engine's own words for why it could not start or ended. */
  error: string;
  health?: 'starting' | 'healthy' | 'unhealthy';
  ports: { protocol: string; targetPort: number; publishedPort: number }[];
}
