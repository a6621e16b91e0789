import { readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { formatHostPort } from '@apiary/api/model';
import { ApiaryError, systemCodeOf } from '@apiary/std';
import { replaceFile, syncDirectory } from '@apiary/std/io';

/**
 * What a node remembers of its own place in a cluster. The file is there exactly while the node belongs to one; while
 * it leaves, it has another name, so that a leave that is cut short is finished at the next start.
 */
export interface NodeFile {
  nodeId: string;
  clusterId: string;
  /** What this node does. Its certificate, and what lies in the log's folder, follow. */
  role: 'worker' | 'manager';
  /** For a manager: `empty` until it has become a voter. From then on, a log that is gone is a log that was lost. */
  log?: 'empty' | 'kept' | undefined;
  /** What the user asked to be advertised: an address or an interface, with an optional port; empty to have it found. */
  advertise: string;
  /** The address that the other nodes reach this one by, as it was last resolved, without a port. */
  advertiseAddr: string;
  /** Whether that was an address of this host's own: if not (a router's, say), it is never looked for again. */
  isAdvertisedLocal: boolean;
  /** The port of this node's manager, as the others call it. */
  advertisePort: number;
  /** What the user asked what is sent between hosts to come from: an address or an interface; undefined: what is advertised. */
  dataPath?: string | undefined;
  /** Where a manager's gRPC listens, `HOST:PORT`. */
  listenAddr: string;
  /** The managers as last heard of, `HOST:PORT`. */
  managers: { nodeId: string; addr: string }[];
}

const NAME = 'node.json';
const LEAVING_NAME = 'leaving.json';

/** @throws ApiaryError `failed-precondition` when the file is there and cannot be used */
export function readNodeFile(dataRoot: string): Promise<NodeFile | undefined> {
  return readAt(join(dataRoot, NAME));
}

/** The cluster that this node has not yet left altogether. Throws as `readNodeFile`. */
export function readLeavingFile(dataRoot: string): Promise<NodeFile | undefined> {
  return readAt(join(dataRoot, LEAVING_NAME));
}

async function readAt(path: string): Promise<NodeFile | undefined> {
  let fault: string;
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'));
    if (isNodeFile(value)) return value;
    fault = 'it is not what swarmd wrote';
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return undefined;
    fault = String(error);
  }
  throw new ApiaryError(
    'failed-precondition',
    `${path} cannot be read: ${fault}; restore it, or remove the data root to start afresh`,
  );
}

function isNodeFile(value: unknown): value is NodeFile {
  const texts = ['nodeId', 'clusterId', 'advertise', 'advertiseAddr', 'listenAddr'];
  return (
    hasTexts(value, texts) &&
    typeof Reflect.get(value, 'isAdvertisedLocal') === 'boolean' &&
    typeof Reflect.get(value, 'advertisePort') === 'number' &&
    [undefined, 'empty', 'kept'].includes(Reflect.get(value, 'log')) &&
    ['undefined', 'string'].includes(typeof Reflect.get(value, 'dataPath')) &&
    'role' in value &&
    (value.role === 'worker' || value.role === 'manager') &&
    'managers' in value &&
    Array.isArray(value.managers) &&
    value.managers.every((manager) => hasTexts(manager, ['nodeId', 'addr']))
  );
}

function hasTexts(value: unknown, keys: string[]): value is object {
  return (
    typeof value === 'object' && value !== null && keys.every((key) => typeof Reflect.get(value, key) === 'string')
  );
}

/** The old file or the new one is there afterwards, whenever the machine stops. */
export async function writeNodeFile(dataRoot: string, node: NodeFile): Promise<void> {
  const text = `${JSON.stringify(node, undefined, 2)}\n`;
  await replaceFile(join(dataRoot, NAME), (file) => file.writeFile(text));
}

/** Where this node's manager is reached by the others, `HOST:PORT`. */
export function managerAddrOf({
  advertiseAddr,
  advertisePort,
}: Pick<NodeFile, 'advertiseAddr' | 'advertisePort'>): string {
  return formatHostPort({ host: advertiseAddr, port: advertisePort });
}

/** The node begins to leave its cluster. Takes no space: one may leave with a full disk. */
export async function markLeaving(dataRoot: string): Promise<void> {
  await rename(join(dataRoot, NAME), join(dataRoot, LEAVING_NAME));
  await syncDirectory(dataRoot);
}

/** Nothing is left of the cluster that the node was leaving. */
export async function removeLeavingFile(dataRoot: string): Promise<void> {
  await rm(join(dataRoot, LEAVING_NAME), { force: true });
  await syncDirectory(dataRoot);
}
