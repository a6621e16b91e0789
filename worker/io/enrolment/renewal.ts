import { ApiaryError, type Clock, invariant, type Rng, type Sealing, type Timer } from '@apiary/std';
import type { Logger } from 'pino';
import { backOffMs, type CertificateLife, renewalMs } from '../../core/index.js';
import type { NodeIdentity } from './channel.js';
import { writeCredentials } from './credentials.js';
import { renewIdentity } from './enrol.js';
import { lifeOf, nodeIdentityOf } from './identity.js';

/** A certificate of an hour, the shortest there is, leaves twelve minutes for this. */
const RETRY = { firstMs: 1_000, capMs: 5 * 60_000 };
/** A timer does not count the time that a machine sleeps, and knows nothing of clocks that are set. */
const LONGEST_WAIT_MS = 3600_000;

export interface CertificateRenewalOptions {
  /** What the node shows so far. */
  identity: NodeIdentity;
  /** Where the credentials are kept. */
  dataRoot: string;
  /** What the key is sealed with on the disk; undefined for one in clear. */
  sealing?: () => Sealing | undefined;
  /** Gets the next identity of the same node; gives up when `signal` says so. */
  renew: (identity: NodeIdentity, signal: AbortSignal) => Promise<NodeIdentity>;
  /** Another identity is to be shown from now on. */
  onRenewed?: (identity: NodeIdentity) => void;
  clock: Clock;
  rng: Rng;
  logger: Logger;
}

/**
 * Keeps a node's certificate good: renews it in the second half of its life, and tries again until that has worked.
 * An expired one is tried too, since it may be this node's clock that is wrong.
 */
export class CertificateRenewal {
  readonly #options: CertificateRenewalOptions;
  readonly #stopping = new AbortController();
  #identity: NodeIdentity;
  #life: CertificateLife;
  #dueMs: number;
  #failures = 0;
  #timer: Timer | undefined;
  #underWay: Promise<void> = Promise.resolve();
  /** Those who wait for a certificate that was asked for after they came. */
  #waiting: { resolve: (identity: NodeIdentity) => void; reject: (error: ApiaryError) => void }[] = [];

  constructor(options: CertificateRenewalOptions) {
    this.#options = options;
    this.#identity = options.identity;
    this.#life = lifeOf(options.identity);
    this.#dueMs = renewalMs(this.#life, options.clock.now(), options.rng);
    if (this.error !== '') options.logger.error({ nodeId: this.#identity.nodeId }, this.error);
    this.#wait();
  }

  /** What the node is to show in whatever connection it makes next. */
  get identity(): NodeIdentity {
    return this.#identity;
  }

  get hasExpired(): boolean {
    return this.#options.clock.now() >= this.#life.notAfterMs;
  }

  /** Empty, or that the certificate has expired, and what to do. */
  get error(): string {
    const { notAfterMs } = this.#life;
    if (!this.hasExpired) return '';
    return (
      `the certificate of this node expired at ${new Date(notAfterMs).toISOString()}: no manager lets it in any more; ` +
      'check the clock of this host, or join again with a token, as at first: the node stays the same, and its containers run on'
    );
  }

  /**
   * Renews now, whatever the certificate's age: when the managers say that this node's role is another. Tries again, as
   * ever, until it has worked. Resolves with what is shown from then on.
   *
   * @throws ApiaryError `unavailable` when it is stopped before
   */
  async renewNow(): Promise<NodeIdentity> {
    if (this.#isStopped) throw stopped();
    const renewed = new Promise<NodeIdentity>((resolve, reject) => this.#waiting.push({ resolve, reject }));
    this.#timer?.cancel();
    // One that is under way may be answered as things were before.
    this.#underWay = this.#underWay.then(async () => {
      this.#timer?.cancel();
      if (!this.#isStopped) await this.#attempt();
    });
    return renewed;
  }

  /** Shows another certificate of the same node from now on. @throws ApiaryError as `writeCredentials` */
  async adopt(identity: NodeIdentity): Promise<void> {
    const adopted = this.#underWay.then(async () => {
      this.#timer?.cancel();
      this.#identity = identity;
      this.#life = lifeOf(identity);
      this.#dueMs = renewalMs(this.#life, this.#options.clock.now(), this.#options.rng);
      this.#options.onRenewed?.(identity);
      this.#failures = 0;
      this.#wait();
      // The next attempt may be weeks away now.
      for (const { resolve } of this.#waiting.splice(0)) resolve(identity);
      await this.#write(identity);
    });
    this.#underWay = adopted.catch(() => undefined);
    await adopted;
  }

  /** Writes what is shown once more, sealed as it is to be now. @throws ApiaryError as `writeCredentials` */
  async rewrite(): Promise<void> {
    const rewritten = this.#underWay.then(() => this.#write(this.#identity));
    this.#underWay = rewritten.catch(() => undefined);
    await rewritten;
  }

  /** Trusts these roots from now on, PEM. @throws ApiaryError as `writeCredentials` */
  async trust(rootPem: string): Promise<void> {
    const adopted = this.#underWay.then(async () => {
      const { certificateChainPem, keyPem } = this.#identity;
      this.#identity = nodeIdentityOf(certificateChainPem, keyPem, rootPem);
      this.#options.onRenewed?.(this.#identity);
      await this.#write(this.#identity);
    });
    this.#underWay = adopted.catch(() => undefined);
    await adopted;
  }

  /** Nothing is renewed, nor written, once this has resolved. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#timer?.cancel();
    await this.#underWay;
    for (const { reject } of this.#waiting.splice(0)) reject(stopped());
  }

  #wait(): void {
    const { clock } = this.#options;
    const waitMs = Math.min(Math.max(0, this.#dueMs - clock.now()), LONGEST_WAIT_MS);
    this.#timer = clock.after(waitMs, () => {
      if (clock.now() >= this.#dueMs) this.#underWay = this.#underWay.then(() => this.#attempt());
      else this.#wait();
    });
  }

  async #attempt(): Promise<void> {
    const { logger } = this.#options;
    const waiting = [...this.#waiting];
    try {
      await this.#renew();
      this.#failures = 0;
      if (this.#isStopped) return;
      this.#wait();
      this.#waiting = this.#waiting.filter((each) => !waiting.includes(each));
      for (const { resolve } of waiting) resolve(this.#identity);
      logger.info({ expires: new Date(this.#life.notAfterMs).toISOString() }, 'certificate renewed');
    } catch (error) {
      if (!this.#isStopped) this.#tryAgain(error);
    }
  }

  async #renew(): Promise<void> {
    const { renew, onRenewed, clock, rng } = this.#options;
    const renewed = await renew(this.#identity, this.#stopping.signal);
    if (this.#isStopped) return;
    try {
      await this.#write(renewed);
    } finally {
      // Shown even if it cannot be written: what is on the disk may be over before there is room again.
      this.#identity = renewed;
      this.#life = lifeOf(renewed);
      onRenewed?.(renewed);
    }
    this.#dueMs = renewalMs(this.#life, clock.now(), rng);
    if (this.#dueMs > clock.now()) return;
    throw new ApiaryError(
      'failed-precondition',
      'the clocks of this host and of the managers are too far apart: a new certificate seems old here; set them right',
    );
  }

  #write(identity: NodeIdentity): Promise<void> {
    const { dataRoot, sealing } = this.#options;
    return writeCredentials(dataRoot, identity, sealing?.());
  }

  #tryAgain(error: unknown): void {
    const { clock, rng, logger } = this.#options;
    this.#failures++;
    const waitMs = backOffMs(this.#failures, RETRY, rng);
    this.#timer = clock.after(waitMs, () => {
      this.#underWay = this.#underWay.then(() => this.#attempt());
    });
    logger.warn(
      { err: error, failures: this.#failures, expires: new Date(this.#life.notAfterMs).toISOString(), waitMs },
      this.error || 'the certificate of this node is not renewed yet: check that this host reaches a manager',
    );
  }

  get #isStopped(): boolean {
    return this.#stopping.signal.aborted;
  }
}

function stopped(): ApiaryError {
  return new ApiaryError('unavailable', 'this node renews its certificate no more: it is stopping, or leaves');
}

/**
 * Renews at whichever of the managers answers, from a random one on.
 *
 * @param managers  `HOST:PORT`, as last heard
 * @throws ApiaryError as `renewIdentity`, of the last one asked; `unavailable` when there is none
 */
export async function renewAtAny(
  managers: string[],
  request: { identity: NodeIdentity; signal: AbortSignal; rng: Rng },
): Promise<NodeIdentity> {
  const { identity, signal, rng } = request;
  if (managers.length === 0) throw new ApiaryError('unavailable', 'this node knows no manager: join again');
  const first = rng.below(managers.length);
  for (let asked = 1; ; asked++) {
    const remoteAddr = managers[(first + asked) % managers.length];
    invariant(remoteAddr !== undefined, 'an index below the length is in the list');
    try {
      return await renewIdentity({ remoteAddr, identity, signal });
    } catch (error) {
      if (asked >= managers.length || signal.aborted) throw error;
    }
  }
}
