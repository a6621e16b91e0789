/**
 * What the managers remember. Entries of the log come in, in order; committed state, to be read through `View`, and
 * what each entry touched go out. Nothing else writes: whoever wants a change puts it into an entry.
 */
export type * from './change.js';
export * from './entry-codec.js';
export * from './node-role.js';
export type * from './records.js';
export * from './spec-comparison.js';
export * from './store.js';
export type * from './view.js';
