export * from './cluster-event.js';
export * from './event-filter.js';
