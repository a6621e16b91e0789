import { type ContentSealer, contentSealer } from '@apiary/api/client';
import type { AssignedContent } from '@apiary/api/rpc';
import type { NeededContent } from '../../core/dispatch/needed-contents.js';

/** Of contents that are under way to an agent at a time: beyond it, the next waits until they have gone. */
const BATCH_BYTES = 1024 * 1024;

/** The contents of secrets and configs that one session's agent has, and what it is to get or to give up. */
export class ContentFeed {
  readonly #contentKey: Uint8Array;
  readonly #sentIds = new Set<string>();
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
    for (const [id, { record }] of needed) {
      if (this.#sentIds.has(id)) continue;
      if (bytes > BATCH_BYTES) return { contents, isAll: false };
      this.#sealer ??= contentSealer(this.#contentKey);
      const data = Buffer.from(record.spec.Data ?? '', 'base64');
      const sealed = this.#sealer.seal(data, id);
      data.fill(0);
      bytes += sealed.length;
      contents.push({ contentId: id, sealed, isTemplate: record.spec.Templating !== undefined });
      this.#sentIds.add(id);
    }
    return { contents, isAll: true };
  }

  /** Those that were sent and are needed no more; they count as given up. */
  superfluous(needed: ReadonlyMap<string, NeededContent>): string[] {
    const ids = [...this.#sentIds].filter((id) => !needed.has(id));
    for (const id of ids) this.#sentIds.delete(id);
    return ids;
  }
}
