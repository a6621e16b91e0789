/**
 * Consensus on disk. In: records to keep, a state machine to drive. Out: what is durable, in order.
 * `SingleMemberLog` is the `Log` of a cluster with one manager; it stands on the write-ahead log and the snapshot files.
 */
export * from './damaged-file.js';
export * from './file-system.js';
export type { Logger } from './logger.js';
export * from './member-storage.js';
export * from './single-member-log.js';
export { type Snapshot, type SnapshotInfo, SnapshotStore } from './snapshot-file.js';
export * from './transport.js';
export { type WalOptions, WriteAheadLog } from './wal.js';
export type { RecoveredLog } from './wal-recovery.js';
