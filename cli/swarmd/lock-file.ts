import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { checkUnlockKey } from '@apiary/api/model';
import { ApiaryError, messageOf, type Sealing, systemCodeOf } from '@apiary/std';
import { replaceFile, syncDirectory } from '@apiary/std/io';

/**
 * What makes a locked manager: a file with a random key, sealed by the cluster's unlock key. The random key seals what a
 * manager must not leave open on its disk: the keys of its log, and that of its certificate. A new unlock key changes
 * this one file. It is written before anything is sealed, and removed after all is in clear again, so that a stop in
 * between leaves nothing that the unlock key does not open.
 */

const NAME = 'lock.json';
const VERSION = 1;
const CIPHER = 'aes-256-gcm';
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Whether the node is locked until somebody brings the key. @throws ApiaryError `failed-precondition` */
export async function readLock(dataRoot: string): Promise<SealedLock | undefined> {
  const path = join(dataRoot, NAME);
  let fault: string;
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'));
    if (isLockFile(value)) return new SealedLock(Buffer.from(value.sealed, 'base64'));
    fault = 'it is not what this version of swarmd wrote';
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return undefined;
    fault = messageOf(error);
  }
  throw new ApiaryError('failed-precondition', `${path} cannot be read: ${fault}; restore it, or leave and join again`);
}

export class SealedLock {
  readonly #sealed: Uint8Array;

  constructor(sealed: Uint8Array) {
    this.#sealed = sealed;
  }

  /** @throws ApiaryError `invalid-argument` in Docker's words, for another key */
  open(unlockKey: string): Lock {
    checkUnlockKey(unlockKey);
    try {
      return new Lock(sealingBy(unlockKey).open(this.#sealed));
    } catch (cause) {
      const message = 'swarm could not be unlocked: invalid key provided';
      throw new ApiaryError('invalid-argument', message, { cause });
    }
  }
}

/** A lock that is open. */
export class Lock {
  /** What the node's files are sealed with. */
  readonly sealing: Sealing;
  readonly #key: Uint8Array;

  constructor(key: Uint8Array) {
    this.#key = key;
    this.sealing = sealingOf(key);
  }

  static create(): Lock {
    return new Lock(randomBytes(KEY_BYTES));
  }

  /** From when this resolves, the node is locked at its next start, and opened by `unlockKey` alone. */
  async write(dataRoot: string, unlockKey: string): Promise<void> {
    const sealed = Buffer.from(sealingBy(unlockKey).seal(this.#key)).toString('base64');
    const text = `${JSON.stringify({ version: VERSION, sealed })}\n`;
    await replaceFile(join(dataRoot, NAME), (file) => file.writeFile(text));
  }
}

export async function removeLock(dataRoot: string): Promise<void> {
  await rm(join(dataRoot, NAME), { force: true });
  await syncDirectory(dataRoot);
}

function sealingBy(unlockKey: string): Sealing {
  return sealingOf(new Uint8Array(hkdfSync('sha256', unlockKey, '', 'apiary unlock key', KEY_BYTES)));
}

/** AES-256-GCM under a random nonce: a key seals a few contents in its life. Nonce, ciphertext, tag. */
function sealingOf(key: Uint8Array): Sealing {
  return {
    seal: (content) => {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv(CIPHER, key, nonce);
      return Buffer.concat([nonce, cipher.update(content), cipher.final(), cipher.getAuthTag()]);
    },
    open: (sealed) => {
      try {
        const decipher = createDecipheriv(CIPHER, key, sealed.subarray(0, NONCE_BYTES));
        decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
        return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
      } catch (cause) {
        throw new ApiaryError('failed-precondition', 'it was sealed with another key, or changed since', { cause });
      }
    },
  };
}

function isLockFile(value: unknown): value is { version: number; sealed: string } {
  return (
    typeof value === 'object' &&
    value !== null &&
    Reflect.get(value, 'version') === VERSION &&
    typeof Reflect.get(value, 'sealed') === 'string'
  );
}
