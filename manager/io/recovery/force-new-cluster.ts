import { forceNewCluster as forceNewLog, type Logger } from '@apiary/raft/io';
import type { Sealing } from '@apiary/std';
import { forceNewCluster } from '../../core/membership/index.js';
import { decodeEntry, encodeEntry, Store } from '../../core/store/index.js';
import { decoded, textOf } from '../entry-bytes.js';

export interface ForceNewClusterOptions {
  /** The log's folder. The manager does not run. */
  directory: string;
  /** Whose log it is: the data of another cluster or member is refused. */
  identity: { clusterId: string; nodeId: string };
  /** What the keys of its log are sealed with; undefined when they lie there in clear. */
  sealing?: Sealing | undefined;
  /** Where this manager is reached from now on: `HOST:PORT`, and the host of its node. */
  managerAddr: string;
  addr: string;
  nowMs: number;
  logger?: Logger;
}

/**
 * Makes a manager that does not run the only one of its cluster, with the state that it has; the other managers become
 * workers by the same entry. For when the majority is lost for good. What is kept, and what a stop in between leaves, is
 * said in raft/io/force-new-cluster.ts. Once more does no harm.
 *
 * @throws ApiaryError `failed-precondition` when the log is missing, damaged, another's or empty
 */
export async function forceNewClusterAt(options: ForceNewClusterOptions): Promise<void> {
  const { directory, identity, sealing, managerAddr, addr, nowMs, logger } = options;
  const { clusterId, nodeId } = identity;
  const log = { directory, identity: { clusterId, memberId: nodeId }, keys: { sealing } };
  await forceNewLog(logger === undefined ? log : { ...log, logger }, ({ snapshot, entries }, state) => {
    const store = new Store();
    if (state !== undefined) store.restore(snapshot.index, decoded(state));
    for (const entry of entries) {
      if (entry.type !== 'empty' && entry.data.length > 0) store.apply(entry.index, decodeEntry(textOf(entry.data)));
    }
    const changes = forceNewCluster(store, nodeId, { managerAddr, addr });
    return Buffer.from(encodeEntry({ atMs: nowMs, guards: [], changes }));
  });
}
