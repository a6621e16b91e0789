/** Stack files become specs: text and environment come in, the Engine API's bodies and diagnostics go out. Pure. */
export * from './canonical/index.js';
export * from './convert/index.js';
export * from './document/index.js';
export * from './interpolation/index.js';
export * from './project/index.js';
export * from './schema/index.js';
