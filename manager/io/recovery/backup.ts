import { Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setImmediate } from 'node:timers/promises';
import { ApiaryError } from '@apiary/std';
import type { Replica } from '../ports.js';
import { type BackupHeader, backupBytes } from './backup-file.js';

/** Who makes a backup, and when. */
export type BackupMaker = Pick<BackupHeader, 'nodeId' | 'takenAtMs'>;

/**
 * A backup of all that was committed anywhere before this call, while the cluster goes on: its bytes are made as they
 * are read, a piece a turn of the event loop.
 *
 * @throws ApiaryError `unavailable` when there is no leader, or no state yet
 */
export async function openBackup(replica: Replica, { nodeId, takenAtMs }: BackupMaker): Promise<Readable> {
  await replica.barrier();
  const { view, leadership } = replica;
  const cluster = view.cluster();
  if (cluster === undefined)
    throw new ApiaryError('unavailable', 'this manager has no state of the cluster yet: try again');
  const { index, pieces } = replica.snapshot();
  const header = { clusterId: cluster.id, nodeId, index, term: leadership.term, takenAtMs };
  return Readable.from(unhurried(backupBytes(header, pieces)), { objectMode: false });
}

/** Writes a backup as `openBackup` gives it, and ends `out`. */
export async function writeBackup(replica: Replica, maker: BackupMaker, out: Writable): Promise<void> {
  await pipeline(await openBackup(replica, maker), out);
}

/** To make a piece takes milliseconds: whoever waits for an answer meanwhile gets it between two. */
async function* unhurried(pieces: Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for (const piece of pieces) {
    yield piece;
    await setImmediate();
  }
}
