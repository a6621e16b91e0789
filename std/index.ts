/** What every package may lean on. Nothing here knows of clusters, and nothing here does I/O. */
export * from './clock.js';
export * from './errors.js';
export * from './invariant.js';
export * from './random.js';
export * from './sealing.js';
export * from './token-bucket.js';
