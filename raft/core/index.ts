/** Consensus, as decisions: no disk, no wire, no clock. */
export * from './binary.js';
export type * from './checksum.js';
export * from './entry.js';
export * from './entry-codec.js';
export * from './file-header.js';
export type * from './log.js';
export * from './membership.js';
export * from './message-codec.js';
export type * from './messages.js';
export * from './options.js';
export * from './quorum.js';
export * from './raft-node.js';
export type * from './ready.js';
export * from './wal-record.js';
export * from './wal-tail.js';
