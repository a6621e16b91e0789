import type { Clock, Timer } from '@apiary/std';
import { trustToTell } from '../../core/dispatch/told-trust.js';
import type { Touched } from '../../core/store/change.js';
import type { RootRotation } from '../../core/store/records.js';
import type { View } from '../../core/store/view.js';
import { isRotated } from '../../core/trust/root-rotation.js';

/** So many nodes renew at a time: few enough that each call is answered at once, also by one slow manager. */
export const MOST_RENEWALS = 16;
/** A node that has not renewed after so long goes on trying, while the next one begins. */
export const RENEWAL_PATIENCE_MS = 10_000;

type Told = ReturnType<typeof trustToTell>;

const NOTHING: Told = { trustPem: '', issuerPem: '' };

/**
 * Has nodes renew their certificates a few at a time while the cluster's root is changed: each is told of the new one when its
 * turn comes, and the turn is over when its record says that it has it. Who has renewed follows from the records alone, so that
 * another leader goes on where this one was.
 */
export class RenewalTurns {
  readonly #view: View;
  readonly #clock: Clock;
  readonly #onTurn: (nodeId: string) => void;
  #rotation: RootRotation | undefined;
  readonly #underWay = new Map<string, Timer>();
  /** They had their turn, and need none to hear it again. */
  readonly #told = new Set<string>();
  /** In the order in which they asked. */
  readonly #waiting = new Set<string>();

  /** @param options.onTurn  is to ask again for this node */
  constructor({ view, clock, onTurn }: { view: View; clock: Clock; onTurn: (nodeId: string) => void }) {
    this.#view = view;
    this.#clock = clock;
    this.#onTurn = onTurn;
  }

  /** What a node with a session is to be told of trust now; nothing before its turn. */
  toldTo(nodeId: string): Told {
    const cluster = this.#view.cluster();
    this.#follow(cluster?.rootRotation);
    const trust = trustToTell(cluster);
    if (this.#rotation === undefined) return trust;
    if (!this.#told.has(nodeId) && !this.#hasRenewed(nodeId)) {
      if (this.#underWay.size >= MOST_RENEWALS) {
        this.#waiting.add(nodeId);
        return NOTHING;
      }
      this.#told.add(nodeId);
      const timer = this.#clock.after(RENEWAL_PATIENCE_MS, () => this.#over(nodeId));
      this.#underWay.set(nodeId, timer);
    }
    this.#waiting.delete(nodeId);
    // It may have been called for its turn, and have no need of it any more.
    this.#callNext();
    return trust;
  }

  onTouched({ nodes }: Pick<Touched, 'nodes'>): void {
    for (const nodeId of nodes) if (this.#underWay.has(nodeId) && this.#hasRenewed(nodeId)) this.#over(nodeId);
  }

  /** The node's session is over. */
  forget(nodeId: string): void {
    this.#told.delete(nodeId);
    this.#waiting.delete(nodeId);
    this.#over(nodeId);
  }

  clear(): void {
    for (const timer of this.#underWay.values()) timer.cancel();
    this.#underWay.clear();
    this.#told.clear();
    this.#waiting.clear();
    this.#rotation = undefined;
  }

  /** Another root is another reason to renew. */
  #follow(rotation: RootRotation | undefined): void {
    if (rotation?.certificatePem === this.#rotation?.certificatePem) return;
    this.clear();
    this.#rotation = rotation;
  }

  #hasRenewed(nodeId: string): boolean {
    const node = this.#view.node(nodeId);
    return node === undefined || this.#rotation === undefined || isRotated(node, this.#rotation);
  }

  #over(nodeId: string): void {
    this.#underWay.get(nodeId)?.cancel();
    this.#underWay.delete(nodeId);
    this.#callNext();
  }

  /** Whoever is called too early waits again. */
  #callNext(): void {
    const [next] = this.#waiting;
    if (next === undefined || this.#underWay.size >= MOST_RENEWALS) return;
    this.#waiting.delete(next);
    this.#onTurn(next);
  }
}
