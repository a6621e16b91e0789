/** The manager's decisions: what is remembered, what a request means, what should run where. No clock, no I/O. */

export * from './dispatch/index.js';
export * from './plan/index.js';
export type * from './store/change.js';
export type * from './store/records.js';
export type * from './store/view.js';
export * from './trust/index.js';
