import type { GenericResource } from '@apiary/api/model';
import type { Clock, Rng } from '@apiary/std';
import type { Engine, History, TaskNetwork } from '@apiary/worker/io';
import type { Logger } from 'pino';

export interface SwarmNodeOptions {
  dataRoot: string;
  engine: Engine;
  /** What this node has for tasks beside CPU and memory. */
  genericResources?: readonly GenericResource[];
  /** What gives tasks their network while this node is in a cluster; without it the engine does. */
  network?: (onTrouble: () => void) => TaskNetwork;
  /** Where tasks' secrets and configs are mounted; without it, tasks that have some are rejected. */
  contentsDirectory?: string;
  /** Where the output of tasks is kept that are gone. */
  history?: History;
  clock: Clock;
  rng: Rng;
  logger: Logger;
  /** Something that must hold does not: the process cannot go on. */
  onFatal: (error: unknown) => void;
}
