import type { AgentOptions } from '@apiary/worker/io';

/** What a node has whichever cluster it is in, or in none; its agent has it while the node is in one. */
export interface SwarmNodeOptions
  extends Pick<
    AgentOptions,
    'engine' | 'genericResources' | 'network' | 'contentsDirectory' | 'history' | 'clock' | 'rng' | 'logger'
  > {
  dataRoot: string;
  /** Something that must hold does not: the process cannot go on. */
  onFatal: (error: unknown) => void;
}
