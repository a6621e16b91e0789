/**
 * What an agent decides. In come the managers' assignments and what the engine says of containers; out come container
 * configurations, the next step of each task, and the statuses that are due to the managers.
 */
export * from './assignments.js';
export * from './back-off.js';
export * from './certificate-life.js';
export * from './container.js';
export * from './container-config.js';
export * from './content-mounts.js';
export * from './gateway-config.js';
export * from './host-ports.js';
export * from './image-reference.js';
export * from './log-frames.js';
export * from './manager-search.js';
export * from './network-picture.js';
export * from './retention.js';
export * from './status-outbox.js';
export * from './task-life.js';
export * from './withdrawal.js';
