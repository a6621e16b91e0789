/**
 * The worker's side towards the world: the agent (session with a manager, task runners), and the engines behind the
 * `Engine` port. In come assignments, out come containers and statuses.
 */
export * from './agent.js';
export { dockerNetworks } from './attachable/engine-networks.js';
export { libnetworkDriver } from './attachable/libnetwork-driver.js';
export { PLUGIN_SOCKET, PluginServer } from './attachable/plugin-server.js';
export * from './disk-history.js';
export * from './docker-engine.js';
export type * from './engine.js';
export * from './enrolment/index.js';
export * from './gate-network/index.js';
export type * from './history.js';
export type { Dial, SessionWire, SessionWireHandlers } from './session-wire.js';
export type * from './task-network.js';
