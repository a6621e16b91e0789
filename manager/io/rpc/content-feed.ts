import { type ContentSealer, contentSealer } from '@apiary/api/client';
import type { AssignedContent } from '@apiary/api/rpc';
import type { NeededContent } from '../../core/dispatch/needed-contents.js';

/** Of contents that are under way to an agent at a time: beyond it, the next waits until they have gone. */
const BATCH_BYTES = 1024 * 1024;

/** What one session's agent has of what is sealed on its way, and what it is to get or to give up. */
export class ContentFeed {
  readonly #contentKey: Uint8Array;
  /** By id, in base64: what is pulled with changes in its place. */
  readonly #sent = new Map<string, string>();
  #sealer: ContentSealer | undefined;

  /** @param contentKey  as Hello said it */
  constructor(contentKey: Uint8Array) {
    this.#contentKey = contentKey;
  }

  /**
   * What of `needed` is to be sent now, sealed; it counts as sent.
   *
   * @returns `isAll` unless there is more, for when this has gone
   * @throws ApiaryError `invalid-argument` when the agent's key is none
   */
  next(needed: ReadonlyMap<string, NeededContent>): { contents: AssignedContent[]; isAll: boolean } {
    const contents: AssignedContent[] = [];
    let bytes = 0;
    for (const [id, { data: base64, isTemplate }] of needed) {
      if (this.#sent.get(id) === base64) continue;
      if (bytes > BATCH_BYTES) return { contents, isAll: false };
      this.#sealer ??= contentSealer(this.#contentKey);
      const data = Buffer.from(base64, 'base64');
      const sealed = this.#sealer.seal(data, id);
      data.fill(0);
      bytes += sealed.length;
      contents.push({ contentId: id, sealed, isTemplate });
      this.#sent.set(id, base64);
    }
    return { contents, isAll: true };
  }

  /** Those that were sent and are needed no more; they count as given up. */
  superfluous(needed: ReadonlyMap<string, NeededContent>): string[] {
    const ids = [...this.#sent.keys()].filter((id) => !needed.has(id));
    for (const id of ids) this.#sent.delete(id);
    return ids;
  }
}
