import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { ApiaryError, messageOf } from '@apiary/std';

/**
 * A backup, little-endian: `APIARYBK`, the format's version (4 bytes), the length of the header (4 bytes) and the header
 * as JSON; then the state in pieces, each with its length before it (4 bytes); then length 0xffffffff, and the SHA-256
 * of all before. Later versions end with that too. It is in clear: whoever has it has the cluster's keys.
 */
const MAGIC = 'APIARYBK';
const FORMAT = 1;
const HEAD_BYTES = 16;
const LENGTH_BYTES = 4;
const END_MARK = 0xffff_ffff;
const DIGEST_BYTES = 32;
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
  const json = Buffer.from(JSON.stringify(header));
  const head = Buffer.alloc(HEAD_BYTES);
  head.write(MAGIC, 'latin1');
  head.writeUInt32LE(FORMAT, 8);
  head.writeUInt32LE(json.length, 12);
  yield Buffer.concat([head, json]);
  for (const piece of state) yield Buffer.concat([lengthOf(piece.length), piece]);
  yield lengthOf(END_MARK);
}

function lengthOf(length: number): Uint8Array {
  const bytes = Buffer.alloc(LENGTH_BYTES);
  bytes.writeUInt32LE(length);
  return bytes;
}

/** A backup every byte of which was checked. */
export interface BackupFile {
  header: BackupHeader;
  /** Read from the file while they are drawn. */
  state: Iterable<Uint8Array>;
}

/**
 * Checks a backup, and gives its content.
 *
 * @throws ApiaryError `not-found` or `failed-precondition`, naming the file and what is wrong with it
 */
export function openBackupFile(path: string): BackupFile {
  return withFile(path, (file) => {
    const head = file.read(0, HEAD_BYTES);
    if (head.toString('latin1', 0, MAGIC.length) !== MAGIC)
      throw refusal(path, `is no backup of a swarm: it does not begin with ${MAGIC}`);
    checkDigest(path, file);
    const version = head.readUInt32LE(8);
    if (version !== FORMAT)
      throw refusal(
        path,
        `is a backup of format version ${version}, and this program reads version ${FORMAT}: use the one that wrote it, or a later one`,
      );
    const json = file.read(HEAD_BYTES, head.readUInt32LE(12)).toString();
    const first = HEAD_BYTES + json.length;
    const state = {
      *[Symbol.iterator]() {
        const again = new File(path);
        try {
          yield* piecesOf(again, first);
        } finally {
          again.close();
        }
      },
    };
    return { header: JSON.parse(json), state };
  });
}

function* piecesOf(file: File, first: number): Generator<Uint8Array> {
  for (let at = first; ; ) {
    const length = file.read(at, LENGTH_BYTES).readUInt32LE();
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
