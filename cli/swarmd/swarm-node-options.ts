import type { Clock, Rng } from '@apiary/std';
import type { Engine } from '@apiary/worker/io';
import type { Logger } from 'pino';

export interface SwarmNodeOptions {
  dataRoot: string;
  engine: Engine;
  clock: Clock;
  rng: Rng;
  logger: Logger;
  /** Something that must hold does not: the process cannot go on. */
  onFatal: (error: unknown) => void;
}
