import { seedLog, TERMS_LEFT_OUT } from '@apiary/raft/io';
import { ApiaryError, type Clock, messageOf } from '@apiary/std';
import { forceNewCluster } from '../../core/membership/index.js';
import { type ClusterRecord, Store } from '../../core/store/index.js';
import { certificateValidityMs, signerOf } from '../../core/trust/index.js';
import { decoded, encoded } from '../entry-bytes.js';
import { Issuer } from '../trust/index.js';
import { type BackupHeader, openBackupFile, type Passphrase } from './backup-file.js';

/** A backup that was checked as a whole, and read. */
export interface Backup {
  header: BackupHeader;
  isSealed: boolean;
  cluster: ClusterRecord;
  store: Store;
}

/**
 * Reads a backup; the file is not needed any more afterwards.
 *
 * @throws ApiaryError `failed-precondition` when it is missing, cut short, damaged, of a newer version or no backup, or when
 *   the passphrase is not its own
 */
export async function readBackup(path: string, passphrase?: Passphrase): Promise<Backup> {
  const { header, isSealed, state } = await openBackupFile(path, passphrase);
  const store = new Store();
  try {
    store.restore(header.index, decoded(state));
  } catch (error) {
    throw new ApiaryError('failed-precondition', `${path} cannot be restored: ${messageOf(error)}`, { cause: error });
  }
  const cluster = store.cluster();
  if (cluster === undefined || cluster.id !== header.clusterId)
    throw new ApiaryError('failed-precondition', `${path} cannot be restored: it is not of one cluster`);
  return { header, isSealed, cluster, store };
}

export interface RestoreOptions {
  /** Where the manager's log is made: a new folder, which becomes that of the manager. */
  directory: string;
  /** Who the manager is: a node of the backup, or a new one. */
  nodeId: string;
  /** Where it is reached: `HOST:PORT`, and the host of its node. */
  managerAddr: string;
  addr: string;
  /** Of the manager's new key. */
  csrPem: string;
  clock: Clock;
}

/**
 * Makes the log of a manager that goes on from a backup as the only one of the same cluster; the managers of then become
 * workers. Uses up `backup`.
 *
 * @returns the manager's certificate, then the root, and the root alone, PEM
 * @throws ApiaryError as `Issuer.node`
 */
export async function restoreManager(
  { header, cluster, store }: Backup,
  { directory, nodeId, managerAddr, addr, csrPem, clock }: RestoreOptions,
): Promise<{ certificateChainPem: string; rootPem: string }> {
  const { id: clusterId, spec } = cluster;
  const signer = signerOf(cluster);
  const validityMs = certificateValidityMs(spec);
  const order = { signer, csrPem, nodeId, role: 'manager' as const, clusterId, validityMs };
  const certificateChainPem = await new Issuer({ identity: () => undefined, clock }).node(order);
  const nowMs = clock.now();
  const changes = forceNewCluster(store, nodeId, { managerAddr, addr });
  // The log goes on after the backup: what is committed from here on is newer than anything that was seen of it.
  const place = { index: header.index + 1, term: header.term + TERMS_LEFT_OUT };
  store.apply(place.index, { atMs: nowMs, guards: [], changes });
  const identity = { clusterId, memberId: nodeId };
  await seedLog({ directory, identity, keys: {} }, place, encoded(store.snapshot()));
  return { certificateChainPem, rootPem: signer.trustPem };
}
