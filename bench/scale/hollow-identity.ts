import { X509Certificate } from 'node:crypto';
import type { SessionUpdate } from '@apiary/api/rpc';
import { issuerOf, type NodeIdentity, nodeIdentityOf, renewIdentity } from '@apiary/worker/io';

/** As swarmd's. */
const RETRY_MS = 1_000;

/**
 * How many of a process's nodes renew at a time: what 200 hosts compute at once, one process here does alone, and it must not
 * miss its heartbeats over that. The manager's work is all the same, and none of it waits for anything else.
 */
const AT_ONCE = 16;

type ToldTrust = Pick<SessionUpdate, 'trustPem' | 'issuerPem'>;

/** What a hollow node shows: follows a change of the cluster's root as swarmd does, with real calls to the manager. */
export class HollowIdentity {
  readonly #manager: string;
  readonly #onChanged: () => void;
  readonly #turns: Turns;
  #shown: NodeIdentity;
  /** Who is known to have issued what is shown. */
  #issuerPem = '';
  #told: ToldTrust = { trustPem: '', issuerPem: '' };
  #underWay = Promise.resolve();

  constructor(manager: string, identity: NodeIdentity, turns: Turns, onChanged: () => void) {
    this.#manager = manager;
    this.#shown = identity;
    this.#turns = turns;
    this.#onChanged = onChanged;
  }

  get shown(): NodeIdentity {
    return this.#shown;
  }

  follow(told: ToldTrust): void {
    this.#told = told;
    this.#underWay = this.#underWay.then(() => this.#turns.take(() => this.#settle()));
  }

  async #settle(): Promise<void> {
    const { trustPem, issuerPem } = this.#told;
    // What is told again with each change of the cluster costs nothing where nothing is to be done.
    if (issuerPem === '' || (issuerPem === this.#issuerPem && trustPem === this.#shown.rootPem)) return;
    try {
      const isIssued = () => issuerOf(this.#shown)?.publicKey.equals(new X509Certificate(issuerPem).publicKey) === true;
      if (!isIssued()) {
        this.#shown = await renewIdentity({ remoteAddr: this.#manager, identity: this.#shown });
        this.#onChanged();
      }
      if (!isIssued()) throw new Error('the manager has not heard of the change yet');
      this.#issuerPem = issuerPem;
      const { rootPem, certificateChainPem, keyPem } = this.#shown;
      if (rootPem === trustPem) return;
      this.#shown = nodeIdentityOf(certificateChainPem, keyPem, trustPem);
      this.#onChanged();
    } catch (error) {
      process.stderr.write(`${this.#shown.nodeId}: ${error instanceof Error ? error.message : String(error)}\n`);
      setTimeout(() => this.follow(this.#told), RETRY_MS);
    }
  }
}

/** Lets so many renew at a time, in the order in which they came. */
export class Turns {
  #free = AT_ONCE;
  readonly #waiting: (() => void)[] = [];

  async take<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free === 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#free--;
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}
