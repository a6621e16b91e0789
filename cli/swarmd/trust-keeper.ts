import { X509Certificate } from 'node:crypto';
import { type Clock, messageOf } from '@apiary/std';
import { issuerOf, type NodeIdentity } from '@apiary/worker/io';
import type { Logger } from 'pino';
import { Pursuit } from './pursuit.js';

const RETRY_MS = 1_000;

/** What the leader says of trust: PEM, empty for nothing. */
export interface ToldTrust {
  trustPem: string;
  issuerPem: string;
}

export interface TrustKeeperOptions {
  identity: () => NodeIdentity;
  /** Gets a new certificate, with the roots to trust. */
  renew: () => Promise<unknown>;
  trust: (rootPem: string) => Promise<void>;
  /** What the node shows, or trusts, has changed. */
  onChanged: () => void;
  clock: Clock;
  logger: Logger;
}

/** Follows a change of the cluster's root: to a certificate of the new one, and away from the old one. Tries until it is so. */
export class TrustKeeper {
  readonly #options: TrustKeeperOptions;
  readonly #pursuit: Pursuit;
  #told: ToldTrust | undefined;

  constructor(options: TrustKeeperOptions) {
    this.#options = options;
    const { clock, logger } = options;
    this.#pursuit = new Pursuit({
      attempt: () => this.#settle(),
      onFailure: (error) =>
        logger.warn({ reason: messageOf(error) }, 'cannot follow the change of the root yet: trying again'),
      retryMs: RETRY_MS,
      clock,
    });
  }

  follow(told: ToldTrust): void {
    this.#told = told;
    this.#pursuit.begin();
  }

  stop(): Promise<void> {
    return this.#pursuit.stop();
  }

  async #settle(): Promise<boolean> {
    const { identity, renew, trust, onChanged, logger } = this.#options;
    const told = this.#told;
    if (told === undefined || told.issuerPem === '') return true;
    if (!isIssuedBy(identity(), told.issuerPem)) {
      await renew();
      onChanged();
      // Whoever signed may not have heard yet.
      if (!isIssuedBy(identity(), told.issuerPem)) return false;
      logger.info('this node has a certificate of the new root of the cluster');
    }
    if (identity().rootPem !== told.trustPem) {
      await trust(told.trustPem);
      onChanged();
    }
    return true;
  }
}

function isIssuedBy(identity: NodeIdentity, issuerPem: string): boolean {
  return issuerOf(identity)?.publicKey.equals(new X509Certificate(issuerPem).publicKey) ?? false;
}
