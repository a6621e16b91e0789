export { createHttpApi } from './http/index.js';
export * from './leader-loop.js';
export { type Manager, startManager } from './manager.js';
export type * from './ports.js';
export * from './replica.js';
export * from './rpc/index.js';
export * from './system.js';
export * from './trust/index.js';
