/** The manager's decisions: what is remembered, what a request means, what should run where. No clock, no I/O. */

export * from './dispatch/index.js';
export * from './engine-api/index.js';
export * from './membership/index.js';
export * from './plan/index.js';
export * from './requests/index.js';
export * from './store/index.js';
export * from './trust/index.js';
