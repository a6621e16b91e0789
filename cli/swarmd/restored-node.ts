import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { createKeyAndCsr } from '@apiary/api/client';
import { formatHostPort, parseHostPort } from '@apiary/api/model';
import { type Backup, type Passphrase, readBackup, restoreManager } from '@apiary/manager/io';
import { ApiaryError, type Clock } from '@apiary/std';
import { syncDirectory } from '@apiary/std/io';
import { nodeIdentityOf, writeCredentials } from '@apiary/worker/io';
import { isLocalAddress } from './address.js';
import { type Advertisement, advertisementNow, advertisementOf } from './advertisement.js';
import { lockDataRoot } from './data-root-lock.js';
import { logDirectory } from './manager-start.js';
import { managerAddrOf, type NodeFile, readLeavingFile, readNodeFile, writeNodeFile } from './node-file.js';

export interface RestoreRequest {
  /** The backup. */
  path: string;
  passphrase?: Passphrase | undefined;
  dataRoot: string;
  /** Which node of the backup to be, by id or hostname, on a data root that has none: else the one that made it. */
  node?: string | undefined;
  /** As for `init`: where they are not given, as the data root or the backup has them. */
  advertiseAddr?: string | undefined;
  listenAddr?: string | undefined;
  /** Puts the backup's state in the place of that of the data root's own manager. */
  force: boolean;
  clock: Clock;
}

/** The only manager of the cluster as the backup has it, ready for swarmd to be started. */
export interface RestoredNode {
  nodeId: string;
  hostname: string;
  clusterId: string;
  takenAtMs: number;
  /** Whether the backup was encrypted. */
  isSealed: boolean;
  managerAddr: string;
  /** Where the state is kept that was there before. */
  keptDirectory: string | undefined;
}

/**
 * Makes a data root that of the only manager of a cluster, from a backup. Until the last step, the node file, swarmd would
 * find what was there before, or a log that is missing; to run it again is always right.
 *
 * @throws ApiaryError `failed-precondition` when swarmd runs on the data root, it is of another cluster, or the backup
 *   cannot be used; `not-found` for a node that is not in the backup; `invalid-argument` for an address
 */
export async function restoreNode(request: RestoreRequest): Promise<RestoredNode> {
  const { dataRoot, path, passphrase } = request;
  // Before a folder is made for it.
  const backup = await readBackup(path, passphrase);
  await mkdir(dataRoot, { recursive: true, mode: 0o700 });
  const unlock = await lockDataRoot(dataRoot);
  try {
    const existing = await ownNode(request, backup);
    const nodeId = existing?.nodeId ?? nodeOfBackup(request, backup);
    return await restore(request, backup, nodeId, existing);
  } finally {
    await unlock();
  }
}

/** The node that the data root has already, if it may be the one. */
async function ownNode({ dataRoot, force, node }: RestoreRequest, { header }: Backup): Promise<NodeFile | undefined> {
  if ((await readLeavingFile(dataRoot)) !== undefined) {
    throw refusal(`${dataRoot} is of a node that has not yet left its cluster altogether: start swarmd to finish that`);
  }
  const file = await readNodeFile(dataRoot);
  if (file === undefined) return undefined;
  const { nodeId, clusterId } = file;
  if (clusterId !== header.clusterId) {
    throw refusal(
      `${dataRoot} is of node ${nodeId} of cluster ${clusterId}, and the backup of cluster ${header.clusterId}: ` +
        'choose another --data-root',
    );
  }
  if (!force) {
    throw refusal(
      `${dataRoot} is of node ${nodeId} of the same cluster already: use --force to put the state of the backup in the ` +
        'place of its own',
    );
  }
  if (node !== undefined && node !== nodeId) {
    throw refusal(`${dataRoot} is of node ${nodeId}, and cannot become node ${node}: leave --node out`);
  }
  return file;
}

function nodeOfBackup({ node, path }: RestoreRequest, { header, store }: Backup): string {
  const asked = node ?? header.nodeId;
  const found = store.nodes().filter(({ id, description }) => id === asked || description?.Hostname === asked);
  const [only, second] = found;
  if (only !== undefined && second === undefined) return only.id;
  const known = store.nodes().map(({ id, description }) => `${id} (${description?.Hostname ?? 'never heard of'})`);
  throw new ApiaryError(
    'not-found',
    `${path} has ${only === undefined ? 'no' : 'more than one'} node ${asked}: choose one with --node among ${known.join(', ')}`,
  );
}

async function restore(
  request: RestoreRequest,
  backup: Backup,
  nodeId: string,
  existing: NodeFile | undefined,
): Promise<RestoredNode> {
  const { dataRoot, clock } = request;
  const { header, isSealed, store } = backup;
  const advertisement = advertisementFor(request, store.node(nodeId)?.managerAddr, existing);
  const managerAddr = managerAddrOf(advertisement);
  const hostname = store.node(nodeId)?.description?.Hostname ?? '';
  const { keyPem, csrPem } = createKeyAndCsr();
  const made = `${logDirectory(dataRoot)}.restoring`;
  await rm(made, { recursive: true, force: true });
  const certificates = await restoreManager(backup, {
    directory: made,
    nodeId,
    managerAddr,
    addr: advertisement.advertiseAddr,
    csrPem,
    clock,
  });
  const { certificateChainPem, rootPem } = certificates;
  await writeCredentials(dataRoot, nodeIdentityOf(certificateChainPem, keyPem, rootPem));
  const keptDirectory = await putInPlace(dataRoot, made);
  await writeNodeFile(dataRoot, {
    nodeId,
    clusterId: header.clusterId,
    role: 'manager',
    log: 'kept',
    ...advertisement,
    managers: [{ nodeId, addr: managerAddr }],
  });
  const { clusterId, takenAtMs } = header;
  return { nodeId, hostname, clusterId, takenAtMs, isSealed, managerAddr, keptDirectory };
}

/** What is asked for, else as the data root has it, else as the backup does if that is this host, else this host's own. */
function advertisementFor(
  { advertiseAddr, listenAddr }: RestoreRequest,
  recorded: string | undefined,
  existing: NodeFile | undefined,
): Advertisement {
  if (existing !== undefined && advertiseAddr === undefined && listenAddr === undefined) {
    const { advertise, advertiseAddr, isAdvertisedLocal, advertisePort, dataPath, listenAddr } = existing;
    return advertisementNow({ advertise, advertiseAddr, isAdvertisedLocal, advertisePort, dataPath, listenAddr }).now;
  }
  const before = recorded === undefined ? undefined : parseHostPort(recorded, 'manager address');
  if (advertiseAddr !== undefined || before === undefined || !isLocalAddress(before.host)) {
    return advertisementOf({ AdvertiseAddr: advertiseAddr, ListenAddr: listenAddr });
  }
  const ListenAddr = listenAddr ?? formatHostPort({ host: '0.0.0.0', port: before.port });
  return advertisementOf({ AdvertiseAddr: before.host, ListenAddr });
}

/** @returns where the log that was there before is now */
async function putInPlace(dataRoot: string, made: string): Promise<string | undefined> {
  const directory = logDirectory(dataRoot);
  const kept = freeName(`${directory}.before-restore`);
  const wasThere = await rename(directory, kept).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false;
      throw error;
    },
  );
  await rename(made, directory);
  await syncDirectory(dataRoot);
  return wasThere ? kept : undefined;
}

/** What an earlier restore put aside stays: one that was cut short is run again, and must not remove what it came from. */
function freeName(wanted: string): string {
  let name = wanted;
  for (let number = 2; existsSync(name); number++) name = `${wanted}-${number}`;
  return name;
}

function refusal(message: string): ApiaryError {
  return new ApiaryError('failed-precondition', message);
}
