/**
 * Consensus on disk and wire. In: entries, other members' messages, a state machine to drive. Out: what is committed, in
 * order. `ReplicatedLog` is the `Log` of a cluster's managers; it stands on the write-ahead log and the snapshot files.
 */
export { DamagedFileError } from './damaged-file.js';
export * from './file-system.js';
export * from './force-new-cluster.js';
export type { Logger } from './logger.js';
export * from './member-storage.js';
export * from './replicated-log.js';
export * from './seed-log.js';
export { type Snapshot, type SnapshotInfo, SnapshotStore } from './snapshot-file.js';
export type { SnapshotSettings } from './snapshot-schedule.js';
export type { Start } from './start-check.js';
export * from './transport.js';
export { type WalOptions, WriteAheadLog } from './wal.js';
export type { RecoveredLog } from './wal-recovery.js';
