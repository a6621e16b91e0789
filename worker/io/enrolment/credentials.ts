import { mkdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ApiaryError, messageOf, type Sealing, systemCodeOf } from '@apiary/std';
import { replaceFile, syncDirectory } from '@apiary/std/io';
import type { NodeIdentity } from './channel.js';
import { certificatesIn, isRoot, nodeIdentityOf } from './identity.js';

/**
 * A node's identity on disk: one file with the key, the node's certificate and the root, so that they are always of
 * one making, whenever the machine stops. Its folder is for its owner alone.
 */

const FOLDER = 'certificates';
const FILE = 'node.pem';
const KEY_FORM = /-----BEGIN PRIVATE KEY-----[^-]+-----END PRIVATE KEY-----\n?/;
const SEALED_KEY_FORM = /-----BEGIN SEALED PRIVATE KEY-----([^-]+)-----END SEALED PRIVATE KEY-----\n?/;

/**
 * Puts `identity` in the place of the one that is there. It is on disk when this resolves.
 *
 * @param dataRoot  the daemon's folder
 * @param sealing   of a locked manager: what its key is sealed with
 * @throws ApiaryError `resource-exhausted` when the disk is full, `internal` for whatever else it refuses
 */
export async function writeCredentials(
  dataRoot: string,
  identity: NodeIdentity,
  sealing?: Sealing | undefined,
): Promise<void> {
  const folder = join(dataRoot, FOLDER);
  const path = join(folder, FILE);
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const text = keyText(identity.keyPem, sealing) + identity.certificateChainPem + identity.rootPem;
    await replaceFile(path, (file) => file.writeFile(text));
    await syncDirectory(dirname(folder));
  } catch (cause) {
    const code = systemCodeOf(cause) === 'ENOSPC' ? 'resource-exhausted' : 'internal';
    throw new ApiaryError(code, `cannot write the node's certificate to ${path}: ${messageOf(cause)}`, { cause });
  }
}

/**
 * The identity that was written last, or undefined on a node that is in no cluster.
 *
 * @param sealing  as for `writeCredentials`; a key in clear is read all the same
 * @throws ApiaryError `failed-precondition` when what is there cannot be used, naming the file
 */
export async function readCredentials(
  dataRoot: string,
  sealing?: Sealing | undefined,
): Promise<NodeIdentity | undefined> {
  const path = join(dataRoot, FOLDER, FILE);
  try {
    const text = await readFile(path, 'utf8');
    const keyPem = keyOf(text, sealing);
    // Behind the certificate stands the root, also as its predecessor signed it; then those that are trusted.
    const [certificate, behind, ...others] = certificatesIn(text);
    const roots = others.filter(isRoot);
    if (keyPem === undefined || certificate === undefined || roots.length === 0) {
      throw new ApiaryError('failed-precondition', 'it does not have a key, a certificate and a root');
    }
    return nodeIdentityOf(`${certificate}${behind}`, keyPem, roots.join(''));
  } catch (cause) {
    if (systemCodeOf(cause) === 'ENOENT') return undefined;
    const message = `damaged node certificate ${path}: ${messageOf(cause)}; restore it, or leave the cluster and join again`;
    throw new ApiaryError('failed-precondition', message, { cause });
  }
}

function keyText(keyPem: string, sealing: Sealing | undefined): string {
  if (sealing === undefined) return keyPem;
  const sealed = Buffer.from(sealing.seal(Buffer.from(keyPem))).toString('base64');
  return `-----BEGIN SEALED PRIVATE KEY-----\n${sealed}\n-----END SEALED PRIVATE KEY-----\n`;
}

function keyOf(text: string, sealing: Sealing | undefined): string | undefined {
  const sealed = SEALED_KEY_FORM.exec(text)?.[1];
  if (sealed === undefined) return KEY_FORM.exec(text)?.[0];
  if (sealing === undefined) throw new ApiaryError('failed-precondition', 'its key is sealed: unlock the manager');
  return Buffer.from(sealing.open(Buffer.from(sealed, 'base64'))).toString();
}

/** Takes the identity away: the node is in no cluster. */
export async function removeCredentials(dataRoot: string): Promise<void> {
  await rm(join(dataRoot, FOLDER), { recursive: true, force: true });
}
