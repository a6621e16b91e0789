/** What agents are told, and what is made of what they say: assignments, observations, heartbeats. */
export * from './assignments.js';
export * from './liveness.js';
export * from './network-book.js';
export * from './network-feed.js';
export * from './observation.js';
export * from './told-attachments.js';
export * from './told-role.js';
export * from './told-subnet.js';
export * from './unseen.js';
