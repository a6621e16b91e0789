/**
 * The one place where records become the Engine API's objects: records come in, what Docker Swarm would answer goes
 * out, down to which keys are there and which are not (the stock command line tells an empty object from an absent
 * one). Filters and references (`web`, `3fq...`, `self`) are read here too.
 */
export * from './cluster.js';
export * from './content.js';
export * from './event.js';
export * from './filters.js';
export * from './network.js';
export * from './network-list.js';
export * from './node.js';
export * from './reference.js';
export * from './service.js';
export * from './service-spec.js';
export * from './task.js';
export * from './timestamp.js';
