import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto';
import { invariant } from '@apiary/std';

/** Random bytes for keys, salts and nonces. */
export type RandomBytes = (length: number) => Uint8Array;

export const KEY_BYTES = 32;
const CIPHER = 'aes-256-gcm';
const NONCE_BYTES = 12;
const PREFIX_BYTES = 8;
const TAG_BYTES = 16;
const MOST_SEALS = 2 ** 32;

/** By so much longer than its content is what `seal` gives. */
export const SEALED_EXTRA_BYTES = NONCE_BYTES + TAG_BYTES;

/**
 * AES-256-GCM under a key that belongs to one file alone. What is sealed: the nonce (12 bytes), the ciphertext, the tag
 * (16 bytes).
 *
 * No nonce comes twice under one key. The key is derived (HKDF-SHA256) from a manager's key with 128 random bits that
 * stand in the file's header, so two files share one with a probability of n^2 / 2^129 for n files: 2^-65 for 2^32 of
 * them. In one file the nonce is 64 random bits, drawn by whoever opens it to write, and a counter: it never goes back,
 * also when what was sealed could not be written and something else takes its place at the same offset, which is why
 * the offset is no part of the nonce. Only two processes that append to one file could collide: it takes 2^20 restarts
 * within one segment for a chance of 2^-25. One file key encrypts a segment (16 MiB, and what of it was taken back) or a
 * snapshot, in at most 2^32 pieces, each below 64 MiB: far below GCM's bounds (NIST SP 800-38D, 5.2.1.1 and 8.3). The
 * manager's key itself encrypts nothing, so rotating it is for the case that it became known, not for wear.
 */
export class FileCipher {
  readonly #key: Uint8Array;
  readonly #random: RandomBytes;
  #nonce: Buffer | undefined;
  #seals = 0;

  /** @param header the file's, to which its key is bound with all that it says */
  constructor(managerKey: Uint8Array, fileSalt: Uint8Array, header: Uint8Array, random: RandomBytes) {
    const info = Buffer.concat([Buffer.from('apiary raft file'), header]);
    this.#key = new Uint8Array(hkdfSync('sha256', managerKey, fileSalt, info, KEY_BYTES));
    this.#random = random;
  }

  /** @param context what `open` must be given too: where the content stands */
  seal(content: Uint8Array, context: Uint8Array): Uint8Array {
    const sealed = Buffer.allocUnsafe(content.length + SEALED_EXTRA_BYTES);
    this.sealInto(sealed, content, context);
    return sealed;
  }

  /** As `seal`, into `target`, which has just the room for it. */
  sealInto(target: Uint8Array, content: Uint8Array, context: Uint8Array): void {
    const nonce = this.#nextNonce();
    const cipher = createCipheriv(CIPHER, this.#key, nonce, { authTagLength: TAG_BYTES });
    cipher.setAAD(context);
    target.set(nonce, 0);
    target.set(cipher.update(content), NONCE_BYTES);
    cipher.final();
    target.set(cipher.getAuthTag(), NONCE_BYTES + content.length);
  }

  /** @returns undefined when it is not what `seal` gave for this context under this key */
  open(sealed: Uint8Array, context: Uint8Array): Uint8Array | undefined {
    if (sealed.length < SEALED_EXTRA_BYTES) return undefined;
    const nonce = sealed.subarray(0, NONCE_BYTES);
    const decipher = createDecipheriv(CIPHER, this.#key, nonce, { authTagLength: TAG_BYTES });
    decipher.setAAD(context);
    decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
    const content = decipher.update(sealed.subarray(NONCE_BYTES, sealed.length - TAG_BYTES));
    try {
      decipher.final();
    } catch {
      return undefined;
    }
    return content;
  }

  #nextNonce(): Uint8Array {
    invariant(this.#seals < MOST_SEALS, 'a file has as many pieces as its nonces can number');
    if (this.#nonce === undefined) {
      this.#nonce = Buffer.alloc(NONCE_BYTES);
      this.#nonce.set(this.#random(PREFIX_BYTES));
    }
    this.#nonce.writeUInt32BE(this.#seals++, PREFIX_BYTES);
    return this.#nonce;
  }
}
