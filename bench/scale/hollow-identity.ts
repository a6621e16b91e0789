import { X509Certificate } from 'node:crypto';
import type { SessionUpdate } from '@apiary/api/rpc';
import { issuerOf, type NodeIdentity, nodeIdentityOf, renewIdentity } from '@apiary/worker/io';

/** As swarmd's. */
const RETRY_MS = 1_000;

type ToldTrust = Pick<SessionUpdate, 'trustPem' | 'issuerPem'>;

/** What a hollow node shows: follows a change of the cluster's root as swarmd does, with real calls to the manager. */
export class HollowIdentity {
  readonly #manager: string;
  readonly #onChanged: () => void;
  #shown: NodeIdentity;
  /** Who is known to have issued what is shown. */
  #issuerPem = '';
  #told: ToldTrust = { trustPem: '', issuerPem: '' };
  #underWay = Promise.resolve();

  constructor(manager: string, identity: NodeIdentity, onChanged: () => void) {
    this.#manager = manager;
    this.#shown = identity;
    this.#onChanged = onChanged;
  }

  get shown(): NodeIdentity {
    return this.#shown;
  }

  follow(told: ToldTrust): void {
    this.#told = told;
    this.#underWay = this.#underWay.then(() => this.#settle());
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
