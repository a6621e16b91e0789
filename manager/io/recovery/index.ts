/** Backups of a running cluster; a manager made from one; a manager that goes on alone. See README.md. */
export * from './backup.js';
export type { BackupHeader, Passphrase } from './backup-file.js';
export * from './force-new-cluster.js';
export * from './restore.js';
export * from './sealed-backup.js';
