import type { Mutant } from './mutation.js';

/** Each breaks one promise of the managers or the agents. */
export const CLUSTER_MUTANTS: readonly Mutant[] = [];
