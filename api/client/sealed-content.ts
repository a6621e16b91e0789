import {
  createCipheriv,
  createDecipheriv,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { ApiaryError } from '@apiary/std';

/**
 * The contents of secrets on their way from a manager to an agent: X25519 (RFC 7748) with a key of the session on either
 * side, HKDF-SHA256 (RFC 5869) and AES-256-GCM. The channel is encrypted besides: this keeps contents in clear out of the
 * buffers that a channel leaves behind in memory, which nobody can wipe.
 */

const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const ALGORITHM = 'aes-256-gcm';
/** What stands before the 32 bytes of a public key in DER (RFC 8410). */
const SPKI_HEAD = Buffer.from('302a300506032b656e032100', 'hex');

/** What seals contents to one agent's session. `label` is bound to the content: it opens under the same one only. */
export interface ContentSealer {
  seal(data: Uint8Array, label: string): Buffer;
}

/**
 * @param contentKey  the agent's, as it came in
 * @throws ApiaryError `invalid-argument` when it is none
 */
export function contentSealer(contentKey: Uint8Array): ContentSealer {
  const own = generateKeyPairSync('x25519');
  const ownKey = rawKey(own.publicKey);
  const key = sharedKey(own.privateKey, contentKey, ownKey, contentKey);
  return {
    seal(data, label) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv(ALGORITHM, key, nonce).setAAD(Buffer.from(label));
      const sealed = [ownKey, nonce, cipher.update(data), cipher.final()];
      return Buffer.concat([...sealed, cipher.getAuthTag()]);
    },
  };
}

/** What opens contents that were sealed to this agent. */
export class ContentOpener {
  readonly #own = generateKeyPairSync('x25519');
  /** To be said to the managers. */
  readonly contentKey = rawKey(this.#own.publicKey);

  /**
   * @returns bytes of their own: whoever has used them fills them with zeros
   * @throws ApiaryError `invalid-argument` when it was sealed to another, under another label, or was changed
   */
  open(sealed: Uint8Array, label: string): Buffer {
    const part = (from: number, to?: number) => sealed.subarray(from, to);
    const theirKey = part(0, KEY_BYTES);
    const nonce = part(KEY_BYTES, KEY_BYTES + NONCE_BYTES);
    if (sealed.length < KEY_BYTES + NONCE_BYTES + TAG_BYTES) throw unreadable(label);
    const decipher = createDecipheriv(
      ALGORITHM,
      sharedKey(this.#own.privateKey, theirKey, theirKey, this.contentKey),
      nonce,
    )
      .setAAD(Buffer.from(label))
      .setAuthTag(part(sealed.length - TAG_BYTES));
    const data = decipher.update(part(KEY_BYTES + NONCE_BYTES, sealed.length - TAG_BYTES));
    try {
      decipher.final();
      return data;
    } catch (cause) {
      data.fill(0);
      throw unreadable(label, cause);
    }
  }
}

function unreadable(label: string, cause?: unknown): ApiaryError {
  return new ApiaryError('invalid-argument', `content ${label} was not sealed for this session`, { cause });
}

function sharedKey(own: KeyObject, theirs: Uint8Array, sealerKey: Uint8Array, openerKey: Uint8Array): Uint8Array {
  const secret = diffieHellman({ privateKey: own, publicKey: publicKeyOf(theirs) });
  const salt = Buffer.concat([sealerKey, openerKey]);
  return new Uint8Array(hkdfSync('sha256', secret, salt, 'apiary content 1', KEY_BYTES));
}

function publicKeyOf(raw: Uint8Array): KeyObject {
  if (raw.length !== KEY_BYTES) throw new ApiaryError('invalid-argument', `a content key has ${KEY_BYTES} bytes`);
  return createPublicKey({ key: Buffer.concat([SPKI_HEAD, raw]), format: 'der', type: 'spki' });
}

function rawKey(key: KeyObject): Buffer {
  return key.export({ format: 'der', type: 'spki' }).subarray(SPKI_HEAD.length);
}
