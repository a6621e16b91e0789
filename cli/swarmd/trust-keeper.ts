import { X509Certificate } from 'node:crypto';
import { type Clock, messageOf, type Timer } from '@apiary/std';
import { issuerOf, type NodeIdentity } from '@apiary/worker/io';
import type { Logger } from 'pino';

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
  #told: ToldTrust | undefined;
  #underWay: Promise<void> = Promise.resolve();
  #retry: Timer | undefined;
  #isStopped = false;

  constructor(options: TrustKeeperOptions) {
    this.#options = options;
  }

  follow(told: ToldTrust): void {
    this.#told = told;
    this.#ask();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#retry?.cancel();
    await this.#underWay;
  }

  #ask(): void {
    this.#retry?.cancel();
    this.#underWay = this.#underWay.then(() => this.#settle());
  }

  async #settle(): Promise<void> {
    const { identity, renew, trust, onChanged, clock, logger } = this.#options;
    const told = this.#told;
    if (this.#isStopped || told === undefined || told.issuerPem === '') return;
    try {
      if (!isIssuedBy(identity(), told.issuerPem)) {
        await renew();
        onChanged();
        // Whoever signed may not have heard yet.
        if (!isIssuedBy(identity(), told.issuerPem)) this.#retry = clock.after(RETRY_MS, () => this.#ask());
        else logger.info('this node has a certificate of the new root of the cluster');
      }
      if (isIssuedBy(identity(), told.issuerPem) && identity().rootPem !== told.trustPem) {
        await trust(told.trustPem);
        onChanged();
      }
    } catch (error) {
      if (this.#isStopped) return;
      logger.warn({ reason: messageOf(error) }, 'cannot follow the change of the root yet: trying again');
      this.#retry = clock.after(RETRY_MS, () => this.#ask());
    }
  }
}

function isIssuedBy(identity: NodeIdentity, issuerPem: string): boolean {
  return issuerOf(identity)?.publicKey.equals(new X509Certificate(issuerPem).publicKey) ?? false;
}
