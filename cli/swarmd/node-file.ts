import { open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ApiaryError, systemCodeOf } from '@apiary/std';

/** What a node remembers of its own place in a cluster. The file is there exactly while the node belongs to one. */
export interface NodeFile {
  nodeId: string;
  clusterId: string;
  role: 'worker' | 'manager';
  /** The address that the other nodes reach this one by, without a port. */
  advertiseAddr: string;
  /** Where a manager's gRPC listens, `HOST:PORT`. */
  listenAddr: string;
  /** The managers as last heard of, `HOST:PORT`. */
  managers: { nodeId: string; addr: string }[];
}

const NAME = 'node.json';

/** @throws ApiaryError `failed-precondition` when the file is there and cannot be read */
export async function readNodeFile(dataRoot: string): Promise<NodeFile | undefined> {
  const path = join(dataRoot, NAME);
  try {
    return JSON.parse(await readFile(path, 'utf8')) as NodeFile;
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return undefined;
    throw new ApiaryError(
      'failed-precondition',
      `${path} cannot be read: ${error}; restore it, or remove the data root to start afresh`,
    );
  }
}

/** The old file or the new one is there afterwards, whenever the machine stops. */
export async function writeNodeFile(dataRoot: string, node: NodeFile): Promise<void> {
  const path = join(dataRoot, NAME);
  const aside = `${path}.new`;
  const file = await open(aside, 'w', 0o600);
  try {
    await file.writeFile(`${JSON.stringify(node, undefined, 2)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(aside, path);
  await syncDirectory(dataRoot);
}

export async function removeNodeFile(dataRoot: string): Promise<void> {
  await rm(join(dataRoot, NAME), { force: true });
  await syncDirectory(dataRoot);
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
