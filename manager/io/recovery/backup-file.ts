import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { ApiaryError, messageOf } from '@apiary/std';
import { isSealHeader, openPiece, type SealHeader, sealKeyOf } from './backup-seal.js';

/**
 * A backup, little-endian: `APIARYBK`, the format's version (4 bytes), the length of the header (4 bytes) and the header
 * as JSON; then the state in pieces, each with its length before it (4 bytes); then length 0xffffffff, and the SHA-256
 * of all before. Later versions end with that too.
 *
 * Version 1 is in clear: whoever has it has the cluster's keys. So managers send it. In version 2 each piece is encrypted,
 * as backup-seal.ts says, an empty one is the last, and the header has `seal`. So `swarmctl backup` keeps it.
 */
export const MAGIC = 'APIARYBK';
export const FORMAT = 1;
export const SEALED_FORMAT = 2;
export const HEAD_BYTES = 16;
export const LENGTH_BYTES = 4;
export const END_MARK = 0xffff_ffff;
export const DIGEST_BYTES = 32;
const READ_BYTES = 1024 * 1024;

export interface BackupHeader {
  clusterId: string;
  /** The manager that made it. */
  nodeId: string;
  /** The last entry that is in it, and the term in which the backup was made. */
  index: number;
  term: number;
  takenAtMs: number;
}

/** The bytes of a backup, made as they are drawn. */
export function* backupBytes(header: BackupHeader, state: Iterable<Uint8Array>): Generator<Uint8Array> {
  const hash = createHash('sha256');
  for (const bytes of contentOf(header, state)) {
    hash.update(bytes);
    yield bytes;
  }
  yield hash.digest();
}

function* contentOf(header: BackupHeader, state: Iterable<Uint8Array>): Generator<Uint8Array> {
  yield headOf(FORMAT, header);
  for (const piece of state) yield framed(piece);
  yield lengthOf(END_MARK);
}

/** All that goes before the first piece. */
export function headOf(format: number, header: BackupHeader & { seal?: SealHeader }): Buffer {
  const json = Buffer.from(JSON.stringify(header));
  const head = Buffer.alloc(HEAD_BYTES);
  head.write(MAGIC, 'latin1');
  head.writeUInt32LE(format, 8);
  head.writeUInt32LE(json.length, 12);
  return Buffer.concat([head, json]);
}

export function framed(piece: Uint8Array): Buffer {
  return Buffer.concat([lengthOf(piece.length), piece]);
}

export function lengthOf(length: number): Buffer {
  const bytes = Buffer.alloc(LENGTH_BYTES);
  bytes.writeUInt32LE(length);
  return bytes;
}

/** What opens a backup: its passphrase, when it must have one; or how to ask for it, if it has one. */
export type Passphrase = string | (() => Promise<string>);

/** A backup every byte of which was checked. */
export interface BackupFile {
  header: BackupHeader;
  /** Whether it is encrypted. */
  isSealed: boolean;
  /** Read from the file while they are drawn. */
  state: Iterable<Uint8Array>;
}

/**
 * Checks a backup, and gives its content.
 *
 * @throws ApiaryError `failed-precondition`, naming the file and what is wrong with it, or with the passphrase
 */
export async function openBackupFile(path: string, passphrase: Passphrase | undefined): Promise<BackupFile> {
  const { version, associated, header } = withFile(path, (file) => checkFile(path, file));
  const raw = {
    *[Symbol.iterator]() {
      const again = new File(path);
      try {
        yield* piecesOf(path, again, associated.length);
      } finally {
        again.close();
      }
    },
  };
  if (version === FORMAT) {
    if (typeof passphrase === 'string') {
      throw refusal(path, 'is in clear, and has no passphrase: give none, if you know where it comes from');
    }
    return { header, isSealed: false, state: raw };
  }
  const key = await keyOf(path, header.seal, passphrase);
  const state = { [Symbol.iterator]: () => opened(path, raw, key, associated) };
  // Nothing is done with a part of it before all of it is known to be what was sealed.
  for (const _piece of state);
  return { header, isSealed: true, state };
}

interface CheckedFile {
  version: number;
  /** All that goes before the first piece. */
  associated: Buffer;
  header: BackupHeader & { seal?: unknown };
}

function checkFile(path: string, file: File): CheckedFile {
  const head = file.read(0, HEAD_BYTES);
  if (head.toString('latin1', 0, MAGIC.length) !== MAGIC)
    throw refusal(path, `is no backup of a swarm: it does not begin with ${MAGIC}`);
  checkDigest(path, file);
  const version = head.readUInt32LE(8);
  if (version !== FORMAT && version !== SEALED_FORMAT)
    throw refusal(
      path,
      `is a backup of format version ${version}, and this program reads versions ${FORMAT} and ${SEALED_FORMAT}: use the one that wrote it, or a later one`,
    );
  const associated = file.read(0, HEAD_BYTES + head.readUInt32LE(12));
  return { version, associated, header: JSON.parse(associated.toString('utf8', HEAD_BYTES)) };
}

async function keyOf(path: string, seal: unknown, passphrase: Passphrase | undefined): Promise<Buffer> {
  if (!isSealHeader(seal))
    throw refusal(path, 'is damaged: its header does not say how it is encrypted. Use another one');
  if (passphrase === undefined) throw refusal(path, 'is encrypted: its passphrase is needed');
  const key = await sealKeyOf(typeof passphrase === 'string' ? passphrase : await passphrase(), seal);
  if (key === undefined) throw refusal(path, 'does not open with this passphrase: it is that of another backup');
  return key;
}

function* opened(path: string, raw: Iterable<Buffer>, key: Buffer, associated: Buffer): Generator<Buffer, void, void> {
  let number = 0;
  let held: Buffer | undefined;
  const open = (sealed: Buffer, isLast: boolean): Buffer => {
    const piece = openPiece(key, associated, { number, isLast }, sealed);
    if (piece === undefined) throw changed(path);
    number++;
    return piece;
  };
  for (const sealed of raw) {
    if (held !== undefined) yield open(held, false);
    held = sealed;
  }
  if (held === undefined) throw changed(path);
  open(held, true);
}

function changed(path: string): ApiaryError {
  return refusal(
    path,
    'was changed on purpose: its SHA-256 fits, and what it holds is not what was backed up. Use another one',
  );
}

function* piecesOf(path: string, file: File, first: number): Generator<Buffer, void, void> {
  for (let at = first; ; ) {
    const marked = file.read(at, LENGTH_BYTES);
    if (marked.length < LENGTH_BYTES) throw changed(path);
    const length = marked.readUInt32LE();
    if (length === END_MARK) return;
    yield file.read(at + LENGTH_BYTES, length);
    at += LENGTH_BYTES + length;
  }
}

/** What a digest that does not fit is due to: a file that was cut short is the rule, and whoever copied it can tell. */
function checkDigest(path: string, file: File): void {
  const hash = createHash('sha256');
  const end = Math.max(0, file.size - DIGEST_BYTES);
  for (let at = 0; at < end; at += READ_BYTES) hash.update(file.read(at, Math.min(READ_BYTES, end - at)));
  if (hash.digest().equals(file.read(end, DIGEST_BYTES))) return;
  const marked = file.read(Math.max(0, end - LENGTH_BYTES), LENGTH_BYTES);
  const isCut = marked.length < LENGTH_BYTES || marked.readUInt32LE() !== END_MARK;
  throw refusal(
    path,
    isCut
      ? `is cut short, or damaged: its ${file.size} bytes do not end as a backup does. Copy it again, or use another one`
      : 'is damaged: what it holds does not fit the SHA-256 at its end. Copy it again, or use another one',
  );
}

class File {
  readonly size: number;
  readonly #descriptor: number;

  constructor(path: string) {
    this.#descriptor = openSync(path, 'r');
    this.size = fstatSync(this.#descriptor).size;
  }

  /** What there is of `length` bytes from `position` on. */
  read(position: number, length: number): Buffer {
    const bytes = Buffer.alloc(Math.max(0, Math.min(length, this.size - position)));
    let done = 0;
    while (done < bytes.length) {
      const count = readSync(this.#descriptor, bytes, done, bytes.length - done, position + done);
      if (count === 0) break;
      done += count;
    }
    return bytes.subarray(0, done);
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}

function withFile<R>(path: string, use: (file: File) => R): R {
  let file: File | undefined;
  try {
    file = new File(path);
    return use(file);
  } catch (error) {
    if (error instanceof ApiaryError) throw error;
    throw new ApiaryError('failed-precondition', `cannot read the backup ${path}: ${messageOf(error)}`, {
      cause: error,
    });
  } finally {
    file?.close();
  }
}

function refusal(path: string, what: string): ApiaryError {
  return new ApiaryError('failed-precondition', `${path} ${what}`);
}
