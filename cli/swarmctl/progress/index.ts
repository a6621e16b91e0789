/**
 * Watching a service converge: snapshots of it and the time come in, lines to show and the outcome go out. Pure.
 */
export * from './convergence.js';
export * from './display.js';
