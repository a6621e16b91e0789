/**
 * How a node becomes one of a cluster, and shows that it is: in come a manager's address and a join token, out comes
 * an identity (certificate, key, root), kept on disk and renewed in time, and the credentials of a channel to a manager.
 */
export * from './channel.js';
export * from './credentials.js';
export * from './enrol.js';
export * from './identity.js';
export * from './renewal.js';
