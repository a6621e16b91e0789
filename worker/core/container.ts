/** What the engine is told: its own words, made from a task's spec. */
export interface ContainerConfig {
  name: string;
  taskId: string;
  /** Body of the Engine API's `POST /containers/create`. */
  body: Record<string, unknown>;
}

/** What the engine tells of a task's container. */
export interface EngineContainer {
  id: string;
  taskId: string;
  /** The node that the task was given to: an engine may also hold containers of another node or another swarm. */
  nodeId: string;
  state: 'created' | 'running' | 'exited';
  pid: number;
  exitCode: number;
  oomKilled: boolean;
  /** The engine's own words for why it could not start or ended. */
  error: string;
  /** Of a container that runs and has a health check. */
  health?: 'starting' | 'healthy' | 'unhealthy';
  ports: { protocol: string; targetPort: number; publishedPort: number }[];
}

/** The labels that tie a container to its task: Docker Swarm's own, so that its tools and its users find them. */
export const TASK_LABELS = {
  nodeId: 'com.docker.swarm.node.id',
  serviceId: 'com.docker.swarm.service.id',
  serviceName: 'com.docker.swarm.service.name',
  task: 'com.docker.swarm.task',
  taskId: 'com.docker.swarm.task.id',
  taskName: 'com.docker.swarm.task.name',
} as const;
