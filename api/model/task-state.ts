/**
 * The life of a task, in Docker's words and order: a task's observed state only ever moves on along this list.
 * From `complete` on it is over. Source: SwarmKit's task model (design/task_model.md).
 */
export const TASK_STATES = [
  'new',
  'pending',
  'assigned',
  'accepted',
  'preparing',
  'ready',
  'starting',
  'running',
  'complete',
  'shutdown',
  'failed',
  'rejected',
  'remove',
  'orphaned',
] as const;

export type TaskState = (typeof TASK_STATES)[number];

/** What the manager wants of a task: prepared but not started, running, finished by itself, stopped, or gone. */
export type DesiredState = 'ready' | 'running' | 'complete' | 'shutdown' | 'remove';

const RANK = new Map<string, number>(TASK_STATES.map((state, rank) => [state, rank]));

/** The place of a state in a task's life: higher is later. */
export function rankOf(state: TaskState | DesiredState): number {
  return RANK.get(state) ?? -1;
}

/** Whether a task in this state has ended, well or badly: it never runs again. */
export function isTerminal(state: TaskState): boolean {
  return rankOf(state) > rankOf('running');
}

/** What is known of a task's run. */
export interface TaskStatus {
  state: TaskState;
  /** When the state was observed, milliseconds since the epoch, by the clock of who observed it. */
  atMs: number;
  message: string;
  /** Why it failed, was rejected or is pending. */
  err?: string;
  container?: ContainerStatus;
  /** Host-mode ports as the engine bound them. */
  ports?: { protocol: string; targetPort: number; publishedPort: number }[];
  /** Its address on its node's gateway network, where published ports lead to. */
  gatewayAddress?: string;
  /** The same of IPv6, where it has one. */
  gatewayIpv6Address?: string;
}

export interface ContainerStatus {
  id: string;
  pid: number;
  exitCode: number;
}
