/** Consensus, as decisions: no disk, no wire, no clock. */
export * from './binary.js';
export type * from './checksum.js';
export * from './file-header.js';
export type * from './log.js';
export * from './wal-record.js';
export * from './wal-tail.js';
