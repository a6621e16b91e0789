import { createHash } from 'node:crypto';
import { ApiaryError } from '@apiary/std';
import {
  type BackupHeader,
  DIGEST_BYTES,
  END_MARK,
  FORMAT,
  framed,
  HEAD_BYTES,
  headOf,
  LENGTH_BYTES,
  lengthOf,
  MAGIC,
  SEALED_FORMAT,
} from './backup-file.js';
import { COST_LOG2, newSealKey, sealPiece } from './backup-seal.js';

/** What no piece of a backup comes near to. */
const LONGEST_PIECE_BYTES = 2 ** 30;

export interface SealOptions {
  passphrase: string;
  /** log2 of scrypt's N: else what is good for a passphrase. */
  costLog2?: number;
}

/**
 * Encrypts a backup as it comes, a piece at a time: whoever sent it never has the passphrase.
 *
 * @param clear  a backup as `openBackup` gives it, cut anywhere
 * @throws ApiaryError `unavailable` when it is not a whole one, checked by its own digest, after what was yielded
 */
export async function* sealedBackup(
  clear: AsyncIterable<Uint8Array>,
  { passphrase, costLog2 = COST_LOG2 }: SealOptions,
): AsyncGenerator<Buffer, void, void> {
  const source = new Source(clear);
  const header = await headerFrom(source);
  const { key, seal } = await newSealKey(passphrase, costLog2);
  const associated = headOf(SEALED_FORMAT, { ...header, seal });
  const hash = createHash('sha256');
  const hashed = (bytes: Buffer): Buffer => {
    hash.update(bytes);
    return bytes;
  };
  yield hashed(associated);
  let number = 0;
  for await (const piece of piecesFrom(source)) {
    yield hashed(framed(sealPiece(key, associated, { number, isLast: false }, piece)));
    number++;
  }
  yield hashed(framed(sealPiece(key, associated, { number, isLast: true }, Buffer.alloc(0))));
  yield hashed(lengthOf(END_MARK));
  yield hash.digest();
}

async function headerFrom(source: Source): Promise<BackupHeader> {
  const head = await source.take(HEAD_BYTES);
  if (head.toString('latin1', 0, MAGIC.length) !== MAGIC || head.readUInt32LE(MAGIC.length) !== FORMAT) {
    throw new ApiaryError('unavailable', 'swarmd sent no backup that this swarmctl knows: use those of one version');
  }
  return JSON.parse((await source.take(head.readUInt32LE(HEAD_BYTES - LENGTH_BYTES))).toString());
}

async function* piecesFrom(source: Source): AsyncGenerator<Buffer, void, void> {
  for (;;) {
    const length = (await source.take(LENGTH_BYTES)).readUInt32LE();
    if (length === END_MARK) break;
    yield await source.take(length);
  }
  const digest = source.digest();
  if (!digest.equals(await source.take(DIGEST_BYTES)) || !(await source.isOver())) throw notWhole();
}

/** So many bytes at a time, of a stream that is cut otherwise. */
class Source {
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #hash = createHash('sha256');
  #rest: Uint8Array = Buffer.alloc(0);

  constructor(stream: AsyncIterable<Uint8Array>) {
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  async take(length: number): Promise<Buffer> {
    if (length > LONGEST_PIECE_BYTES) throw notWhole();
    const parts: Uint8Array[] = [];
    let wanted = length;
    while (wanted > this.#rest.length) {
      parts.push(this.#rest);
      wanted -= this.#rest.length;
      const next = await this.#chunks.next();
      if (next.done === true) throw notWhole();
      this.#rest = next.value;
    }
    parts.push(this.#rest.subarray(0, wanted));
    this.#rest = this.#rest.subarray(wanted);
    const taken = Buffer.concat(parts);
    this.#hash.update(taken);
    return taken;
  }

  /** Whether nothing is left to be taken. */
  async isOver(): Promise<boolean> {
    while (this.#rest.length === 0) {
      const next = await this.#chunks.next();
      if (next.done === true) return true;
      this.#rest = next.value;
    }
    return false;
  }

  /** SHA-256 of all that was taken. */
  digest(): Buffer {
    return this.#hash.copy().digest();
  }
}

function notWhole(): ApiaryError {
  return new ApiaryError('unavailable', 'what swarmd sent is not a whole backup: look into its log, then try again');
}
