/** Consensus, as decisions: no disk, no wire, no clock. */
export type * from './log.js';
