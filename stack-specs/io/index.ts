/** Reads stack files, the environment, and the files that they name; the rest is the core's. */
export * from './load-stack.js';
