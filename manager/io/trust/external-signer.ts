import { request } from 'node:https';
import { connect } from 'node:tls';
import { ApiaryError, type Clock, messageOf } from '@apiary/std';
import type { ServerIdentity } from '../rpc/credentials.js';

/**
 * What a signer outside of the cluster is asked, in the form of CFSSL's `api/v1/cfssl/sign`. Source: CFSSL
 * (doc/api/endpoint_sign.txt, signer/signer.go), and what SwarmKit asks for (ca/external.go).
 */
export interface SigningRequest {
  certificate_request: string;
  hosts: string[];
  subject?: { CN: string; names: { O: string; OU: string }[] };
  /** Which of the signer's policies applies; without one, its default. */
  profile?: string;
  extensions?: { id: string; critical: boolean; value: string }[];
}

/** Where signers are asked, and the root that they sign by: theirs is the certificate that they show, too. */
export interface ExternalSigners {
  urls: string[];
  rootPem: string;
}

/** Each signer is given so long, as in SwarmKit. */
const SIGNER_TIMEOUT_MS = 5_000;
/** All of them together: whoever waits for a certificate waits 10 s. */
const ALL_TIMEOUT_MS = 8_000;
/** A certificate in JSON has some 2 KiB. */
const LARGEST_ANSWER_BYTES = 64 * 1024;
/** Who asks while so many wait is told to come again. */
const MOST_AT_ONCE = 64;
const MOST_WORDS = 300;

/**
 * Asks signers outside of the cluster, over TLS on which both sides show a certificate: this manager its own, if it has one
 * yet, and the signer one of the root that it signs by.
 */
export class ExternalSigner {
  readonly #identity: () => ServerIdentity | undefined;
  readonly #clock: Clock;
  #underWay = 0;

  constructor({ identity, clock }: { identity: () => ServerIdentity | undefined; clock: Clock }) {
    this.#identity = identity;
    this.#clock = clock;
  }

  /**
   * Asks one signer after the other, until `check` takes what one has signed.
   *
   * @param check  throws what is wrong with a certificate
   * @returns what `check` returned
   * @throws ApiaryError `unavailable` that says of each signer why it was of no use; `resource-exhausted`
   */
  async sign<T>(signers: ExternalSigners, body: SigningRequest, check: (certificatePem: string) => T): Promise<T> {
    return this.#first(signers, async (url, timeoutMs) => {
      const answer = await this.#post(url, signers.rootPem, JSON.stringify(body), timeoutMs);
      return check(certificateIn(answer));
    });
  }

  /** Resolves once one of the signers shows a certificate of the root. @throws ApiaryError as `sign` */
  async reach(signers: ExternalSigners): Promise<void> {
    await this.#first(signers, (url, timeoutMs) => this.#shakeHands(url, signers.rootPem, timeoutMs));
  }

  async #first<T>({ urls }: ExternalSigners, ask: (url: string, timeoutMs: number) => Promise<T>): Promise<T> {
    if (this.#underWay >= MOST_AT_ONCE) {
      throw new ApiaryError('resource-exhausted', 'too many certificates are being signed at once: try again');
    }
    this.#underWay++;
    try {
      const endMs = this.#clock.now() + ALL_TIMEOUT_MS;
      const problems: string[] = [];
      for (const url of urls) {
        const leftMs = endMs - this.#clock.now();
        if (leftMs <= 0) break;
        try {
          return await ask(url, Math.min(leftMs, SIGNER_TIMEOUT_MS));
        } catch (error) {
          problems.push(`${url}: ${messageOf(error)}`);
        }
      }
      throw new ApiaryError('unavailable', `no external CA signs: ${problems.join('; ')}`);
    } finally {
      this.#underWay--;
    }
  }

  #tlsOptions(rootPem: string) {
    const identity = this.#identity();
    return {
      ca: rootPem,
      ...(identity !== undefined && { cert: identity.certificateChainPem, key: identity.keyPem }),
      minVersion: 'TLSv1.2' as const,
    };
  }

  #post(url: string, rootPem: string, body: string, timeoutMs: number): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
      const asked = request(url, { method: 'POST', agent: false, headers, ...this.#tlsOptions(rootPem) }, (answer) => {
        const pieces: Buffer[] = [];
        let bytes = 0;
        answer.on('data', (piece: Buffer) => {
          pieces.push(piece);
          bytes += piece.length;
          if (bytes > LARGEST_ANSWER_BYTES) {
            asked.destroy(new Error(`its answer is longer than ${LARGEST_ANSWER_BYTES} bytes`));
          }
        });
        answer.once('end', () => {
          timer.cancel();
          resolve({ status: answer.statusCode ?? 0, text: Buffer.concat(pieces).toString() });
        });
        // The request says nothing of a connection that was lost once it had its answer.
        answer.once('error', () => fail(new Error('it ended the connection in the middle of its answer')));
      });
      const fail = (error: Error) => {
        timer.cancel();
        reject(error);
      };
      const timer = this.#clock.after(timeoutMs, () => asked.destroy(silence(timeoutMs)));
      asked.once('error', fail);
      asked.end(body);
    });
  }

  #shakeHands(url: string, rootPem: string, timeoutMs: number): Promise<void> {
    const { hostname, port } = new URL(url);
    const host = hostname.replace(/^\[|\]$/g, '');
    return new Promise((resolve, reject) => {
      const socket = connect({ host, port: port === '' ? 443 : Number(port), ...this.#tlsOptions(rootPem) });
      const timer = this.#clock.after(timeoutMs, () => socket.destroy(silence(timeoutMs)));
      socket.once('secureConnect', () => {
        resolve();
        socket.destroy();
      });
      socket.once('error', reject);
      socket.once('close', () => {
        timer.cancel();
        reject(new Error('it closes the connection'));
      });
    });
  }
}

function silence(timeoutMs: number): Error {
  return new Error(`no answer within ${Math.round(timeoutMs / 100) / 10} s`);
}

/** What a signer says beside the certificate: CFSSL's codes and words. @throws Error when there is no certificate */
function certificateIn({ status, text }: { status: number; text: string }): string {
  const answer = parsed(text);
  const result = answer?.['result'];
  const certificatePem =
    typeof result === 'object' && result !== null && 'certificate' in result ? result.certificate : undefined;
  if (status === 200 && answer?.['success'] === true && typeof certificatePem === 'string') return certificatePem;
  const said = answer?.['errors'];
  const words = Array.isArray(said) && said.length > 0 ? JSON.stringify(said) : text.trim();
  throw new Error(`it does not sign (status ${status}): ${words.slice(0, MOST_WORDS) || 'it says nothing'}`);
}

function parsed(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}
