export type * from './ports.js';
export * from './rpc/index.js';
export * from './trust/index.js';
