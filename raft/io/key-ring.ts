import { createHash, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { ApiaryError, messageOf, type Sealing } from '@apiary/std';
import type { FileEncryption, Identity } from '../core/index.js';
import { FILE_SALT_BYTES, identityFault } from '../core/index.js';
import { DamagedFileError, FOREIGN_ADVICE } from './damaged-file.js';
import { FileCipher, KEY_BYTES, type RandomBytes } from './file-cipher.js';
import type { FileSystem } from './file-system.js';

export interface KeyRingOptions {
  /** The log's folder, which holds `keys.json`. */
  directory: string;
  identity: Identity;
  files: FileSystem;
  /** By what the operator unlocks a manager with. Undefined: the key file is in clear, for the owner alone. */
  sealing?: Sealing | undefined;
  random?: RandomBytes;
  /** Milliseconds since the epoch: when a key is made. Undefined: the system's time. */
  now?: () => number;
}

/** The current key first, then former ones that files on disk still need. */
type Keys = [Key, ...Key[]];

interface Key {
  id: string;
  key: Uint8Array;
  /** Undefined of one that an earlier version made. */
  madeAtMs: number | undefined;
}

/** What stands in `keys.json`. */
type KeyFile = Identity & { version: number } & ({ keys: KeyText[]; sealed?: undefined } | { sealed: string });

/** The id only says whether the key, in base64, is still what it was. */
interface KeyText {
  id: string;
  key: string;
  madeAtMs?: number | undefined;
}

const NAME = 'keys.json';
const FORMAT = 1;
/** A file of a former key is rewritten by the next snapshot or two: so many pile up only when none can be taken. */
const MOST_KEYS = 1000;

/**
 * The keys that a manager's files are encrypted with. `keys.json` has them, the current one first. A key's id is the
 * beginning of a digest of it, so that a changed key is found out before anything is read with it. A file's own
 * key is derived from one of these: see `FileCipher`.
 */
export class KeyRing {
  /** The key file's. */
  readonly path: string;
  readonly #options: KeyRingOptions;
  readonly #random: RandomBytes;
  #sealing: Sealing | undefined;
  #keys: Keys;
  #changing: Promise<void> = Promise.resolve();

  private constructor(options: KeyRingOptions, random: RandomBytes, keys: Keys) {
    this.path = join(options.directory, NAME);
    this.#options = options;
    this.#random = random;
    this.#sealing = options.sealing;
    this.#keys = keys;
  }

  /**
   * Reads the key file, or makes one with a new key, durably.
   *
   * @param isNeeded whether there are files already, for which a new key would be of no use
   * @throws DamagedFileError when it is missing though needed, or damaged; ApiaryError `failed-precondition` when it
   *   is sealed and cannot be opened, or somebody else's
   */
  static async open(options: KeyRingOptions, isNeeded: boolean): Promise<KeyRing> {
    const { directory, files, random = randomBytes, now = Date.now } = options;
    await files.makeDirectory(directory);
    const path = join(directory, NAME);
    const names = files.list(directory);
    if (names.includes(`${NAME}.tmp`)) await files.remove(`${path}.tmp`);
    if (names.includes(NAME)) {
      const ring = new KeyRing(options, random, readKeys(path, options));
      // In clear since a stop came before it was sealed.
      if (options.sealing !== undefined) await ring.#write(ring.#keys, options.sealing);
      return ring;
    }
    if (isNeeded) throw new DamagedFileError(path, 'is missing, and without it nothing beside it can be read');
    const ring = new KeyRing(options, random, [newKey(random, now())]);
    await ring.#write(ring.#keys, ring.#sealing);
    return ring;
  }

  get currentId(): string {
    return this.#keys[0].id;
  }

  /** When the current key was made; undefined when an earlier version made it. */
  get currentMadeAtMs(): number | undefined {
    return this.#keys[0].madeAtMs;
  }

  get formerIds(): string[] {
    return this.#keys.slice(1).map(({ id }) => id);
  }

  get random(): RandomBytes {
    return this.#random;
  }

  /** Makes a new key, durably: what is begun from now on is encrypted with it. @returns its id */
  async rotate(): Promise<string> {
    if (this.#keys.length >= MOST_KEYS) {
      throw new ApiaryError(
        'failed-precondition',
        `${this.path} has ${this.#keys.length} keys, as files of them all are left: wait for a snapshot, then try again`,
      );
    }
    const { now = Date.now } = this.#options;
    const key = newKey(this.#random, now());
    await this.#change((keys, sealing) => ({ keys: [key, ...keys], sealing }));
    return key.id;
  }

  /** Forgets, durably, the former keys that are not in `used`. @returns the ids of those it forgot */
  async retain(used: ReadonlySet<string>): Promise<string[]> {
    const dropped = this.formerIds.filter((id) => !used.has(id));
    if (dropped.length > 0) {
      await this.#change(([current, ...former], sealing) => ({
        keys: [current, ...former.filter(({ id }) => !dropped.includes(id))],
        sealing,
      }));
    }
    return dropped;
  }

  /** Seals the key file in another way from now on, or writes it in clear. */
  async reseal(sealing: Sealing | undefined): Promise<void> {
    await this.#change((keys) => ({ keys, sealing }));
  }

  /** What a new file is to be encrypted with: to be written into its header. */
  newFile(): FileEncryption {
    return { keyId: this.currentId, fileSalt: this.#random(FILE_SALT_BYTES) };
  }

  /**
   * The cipher of the file at `path`.
   *
   * @param header its whole header, as it stands on disk
   * @throws DamagedFileError when its key is not there
   */
  cipherOf(path: string, { keyId, fileSalt }: FileEncryption, header: Uint8Array): FileCipher {
    const key = this.#keys.find(({ id }) => id === keyId);
    if (key === undefined) throw new DamagedFileError(path, `is encrypted with key ${keyId}, which ${this.path} lacks`);
    return new FileCipher(key.key, fileSalt, header, this.#random);
  }

  /** One at a time: each begins with what the one before has left. */
  #change(
    next: (keys: Keys, sealing: Sealing | undefined) => { keys: Keys; sealing: Sealing | undefined },
  ): Promise<void> {
    const changed = this.#changing.then(async () => {
      const { keys, sealing } = next(this.#keys, this.#sealing);
      await this.#write(keys, sealing);
      this.#keys = keys;
      this.#sealing = sealing;
    });
    this.#changing = changed.catch(() => {});
    return changed;
  }

  async #write(keys: Keys, sealing: Sealing | undefined): Promise<void> {
    const { files, directory, identity } = this.#options;
    const texts: KeyText[] = keys.map(({ id, key, madeAtMs }) => ({
      id,
      key: Buffer.from(key).toString('base64'),
      madeAtMs,
    }));
    const content =
      sealing === undefined
        ? { keys: texts }
        : { sealed: Buffer.from(sealing.seal(Buffer.from(JSON.stringify(texts)))).toString('base64') };
    const keyFile: KeyFile = { version: FORMAT, ...identity, ...content };
    const file = await files.create(`${this.path}.tmp`);
    try {
      await file.write(Buffer.from(`${JSON.stringify(keyFile, undefined, 2)}\n`), 0);
      await file.sync();
    } finally {
      await file.close();
    }
    await files.rename(`${this.path}.tmp`, this.path);
    await files.syncDirectory(directory);
  }
}

/**
 * The cipher of a file that was read, or undefined for one in clear.
 *
 * @param keys undefined when this member's files are in clear
 * @throws DamagedFileError when its key is missing; ApiaryError `failed-precondition` when it is encrypted and there
 *   are no keys, or the other way round
 */
export function cipherOf(
  path: string,
  encryption: FileEncryption | undefined,
  header: Uint8Array,
  keys: KeyRing | undefined,
): FileCipher | undefined {
  if (keys !== undefined && encryption !== undefined) return keys.cipherOf(path, encryption, header);
  if (encryption !== undefined)
    throw new ApiaryError('failed-precondition', `${path} is encrypted: open it with its keys`);
  if (keys !== undefined) throw new DamagedFileError(path, `is not encrypted, though ${keys.path} is there`);
  return undefined;
}

function newKey(random: RandomBytes, madeAtMs: number): Key {
  const key = random(KEY_BYTES);
  return { id: idOf(key), key, madeAtMs };
}

/** 64 bits of a digest tell nothing of a key of 256 random ones. */
function idOf(key: Uint8Array): string {
  return createHash('sha256').update('apiary raft key id').update(key).digest('hex').slice(0, 16);
}

function readKeys(path: string, { files, identity, sealing }: KeyRingOptions): Keys {
  const keyFile = keyFileOf(path, parsed(path, readAll(path, files)));
  const foreign = identityFault(identity, keyFile);
  if (foreign !== undefined) throw new ApiaryError('failed-precondition', `${path} ${foreign}. ${FOREIGN_ADVICE}`);
  const texts = keyFile.sealed === undefined ? keyFile.keys : opened(path, keyFile.sealed, sealing);
  const [current, ...former] = texts.map(({ id, key: text, madeAtMs }): Key => {
    const key = new Uint8Array(Buffer.from(text, 'base64'));
    if (key.length !== KEY_BYTES || idOf(key) !== id) throw damaged(path, `key ${id} is not what it was`);
    return { id, key, madeAtMs };
  });
  if (current === undefined) throw damaged(path, 'it holds no key');
  return [current, ...former];
}

function readAll(path: string, files: FileSystem): string {
  const file = files.open(path);
  try {
    const bytes = new Uint8Array(file.size());
    file.read(bytes, 0);
    return Buffer.from(bytes).toString();
  } finally {
    // Nothing was written: a close that fails loses nothing.
    file.close().catch(() => {});
  }
}

function opened(path: string, sealed: string, sealing: Sealing | undefined): KeyText[] {
  if (sealing === undefined)
    throw new ApiaryError(
      'failed-precondition',
      `${path} is sealed: it takes the key that it was sealed with to open it`,
    );
  const texts = parsed(path, Buffer.from(sealing.open(Buffer.from(sealed, 'base64'))).toString());
  if (!isKeyTexts(texts)) throw damaged(path, 'what is sealed in it is no list of keys');
  return texts;
}

/** @throws as `KeyRing.open`, for what is not of this version */
function keyFileOf(path: string, value: unknown): KeyFile {
  const version = field(value, 'version');
  if (typeof version === 'number' && version > FORMAT)
    throw new ApiaryError(
      'failed-precondition',
      `${path} is of format version ${version}, and this program reads version ${FORMAT}: run the one that wrote it`,
    );
  const [clusterId, memberId, keys, sealed] = ['clusterId', 'memberId', 'keys', 'sealed'].map((name) =>
    field(value, name),
  );
  if (version !== FORMAT || typeof clusterId !== 'string' || typeof memberId !== 'string')
    throw damaged(path, 'it does not say whose keys it holds');
  const common = { version, clusterId, memberId };
  if (typeof sealed === 'string') return { ...common, sealed };
  if (!isKeyTexts(keys)) throw damaged(path, 'it holds no keys');
  return { ...common, keys };
}

function isKeyTexts(value: unknown): value is KeyText[] {
  return (
    Array.isArray(value) &&
    value.every(
      (each) =>
        typeof field(each, 'id') === 'string' &&
        typeof field(each, 'key') === 'string' &&
        ['number', 'undefined'].includes(typeof field(each, 'madeAtMs')),
    )
  );
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}

function parsed(path: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw damaged(path, messageOf(error));
  }
}

function damaged(path: string, how: string): DamagedFileError {
  return new DamagedFileError(path, `is damaged: ${how}`);
}
