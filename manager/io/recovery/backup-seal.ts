import { createCipheriv, createDecipheriv, randomBytes, scrypt } from 'node:crypto';

/**
 * How a backup is encrypted: scrypt makes a key of its own for it from the passphrase, and each piece is sealed by
 * AES-256-GCM. The nonce has the piece's number and whether it is the last one, and what is authenticated with each is
 * all that goes before the first: none can be left out, put elsewhere or into another backup.
 */
const CIPHER = 'aes-256-gcm';
const KEY_BYTES = 32;
const CHECK_BYTES = 16;
const SALT_BYTES = 16;
const TAG_BYTES = 16;
const NONCE_BYTES = 12;
const BLOCK_SIZE = 8;
/** 128 MiB and some tenths of a second for each passphrase that somebody tries. */
export const COST_LOG2 = 17;
/** A header is read before anybody has vouched for it: it must not make this machine run out of memory. */
const HIGHEST_COST_LOG2 = 20;

/** What must be known to make the key from the passphrase: in the header, in clear, bytes in base64. */
export interface SealHeader {
  /** log2 of scrypt's N; r is 8 and p is 1. */
  costLog2: number;
  salt: string;
  /** What scrypt gives after the key: tells a wrong passphrase from changed bytes. */
  check: string;
}

export interface SealKey {
  key: Buffer;
  seal: SealHeader;
}

/** A key for one backup. */
export async function newSealKey(passphrase: string, costLog2: number): Promise<SealKey> {
  const salt = randomBytes(SALT_BYTES);
  const { key, check } = await derive(passphrase, salt, costLog2);
  return { key, seal: { costLog2, salt: salt.toString('base64'), check: check.toString('base64') } };
}

/** @returns the key, or undefined when the passphrase is another */
export async function sealKeyOf(
  passphrase: string,
  { costLog2, salt, check }: SealHeader,
): Promise<Buffer | undefined> {
  const derived = await derive(passphrase, Buffer.from(salt, 'base64'), costLog2);
  return derived.check.equals(Buffer.from(check, 'base64')) ? derived.key : undefined;
}

/** Whether what a header says of its seal can be meant. */
export function isSealHeader(seal: unknown): seal is SealHeader {
  if (typeof seal !== 'object' || seal === null) return false;
  const { costLog2, salt, check } = seal as Partial<Record<keyof SealHeader, unknown>>;
  return (
    Number.isInteger(costLog2) &&
    Number(costLog2) >= 1 &&
    Number(costLog2) <= HIGHEST_COST_LOG2 &&
    typeof salt === 'string' &&
    typeof check === 'string'
  );
}

/** @param associated  the backup's bytes before its first piece */
export function sealPiece(key: Buffer, associated: Buffer, place: PiecePlace, piece: Uint8Array): Buffer {
  const cipher = createCipheriv(CIPHER, key, nonceOf(place), { authTagLength: TAG_BYTES }).setAAD(associated);
  return Buffer.concat([cipher.update(piece), cipher.final(), cipher.getAuthTag()]);
}

/** @returns the piece, or undefined when it was not sealed so, for this place */
export function openPiece(key: Buffer, associated: Buffer, place: PiecePlace, sealed: Buffer): Buffer | undefined {
  if (sealed.length < TAG_BYTES) return undefined;
  const end = sealed.length - TAG_BYTES;
  const decipher = createDecipheriv(CIPHER, key, nonceOf(place), { authTagLength: TAG_BYTES })
    .setAAD(associated)
    .setAuthTag(sealed.subarray(end));
  const piece = decipher.update(sealed.subarray(0, end));
  try {
    return Buffer.concat([piece, decipher.final()]);
  } catch {
    return undefined;
  }
}

export interface PiecePlace {
  number: number;
  isLast: boolean;
}

function nonceOf({ number, isLast }: PiecePlace): Buffer {
  const nonce = Buffer.alloc(NONCE_BYTES);
  nonce.writeUInt32LE(isLast ? 1 : 0);
  nonce.writeBigUInt64LE(BigInt(number), 4);
  return nonce;
}

function derive(passphrase: string, salt: Buffer, costLog2: number): Promise<{ key: Buffer; check: Buffer }> {
  const N = 2 ** costLog2;
  // The algorithm needs 128 N r, and OpenSSL counts some more.
  const options = { N, r: BLOCK_SIZE, p: 1, maxmem: 128 * N * BLOCK_SIZE + 2 ** 20 };
  return new Promise((resolve, reject) => {
    scrypt(passphrase.normalize('NFC'), salt, KEY_BYTES + CHECK_BYTES, options, (error, bytes) => {
      if (error !== null) reject(error);
      else resolve({ key: bytes.subarray(0, KEY_BYTES), check: bytes.subarray(KEY_BYTES) });
    });
  });
}
