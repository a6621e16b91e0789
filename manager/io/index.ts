/**
 * The manager at work: requests and agents' sessions come in, over HTTP and gRPC; what they change goes through the log
 * into this manager's copy of the state, and what is planned from it goes out to the agents.
 */
export * from './leader-loop.js';
export { LogBroker } from './logs/index.js';
export { type Manager, startManager } from './manager.js';
export * from './membership-loop.js';
export type * from './ports.js';
export * from './raft-transport/index.js';
export * from './recovery/index.js';
export * from './replica.js';
export * from './rpc/index.js';
export * from './trust/index.js';
