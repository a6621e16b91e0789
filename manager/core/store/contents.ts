import { RecordIndex } from './record-index.js';
import type { ContentRecord } from './records.js';

/**
 * The versions of all secrets, or of all configs: for each name the one that it has, and of those before it the ones
 * that some spec version still points at. Who points is counted here whether the version is there or not.
 */
export class Contents {
  /** The version that each name has. */
  readonly current = new RecordIndex<ContentRecord>();
  readonly #superseded = new Map<string, ContentRecord>();
  readonly #currentIdByName = new Map<string, string>();
  readonly #holders = new Map<string, number>();

  /** Of any version that is there. */
  get(id: string): ContentRecord | undefined {
    return this.current.get(id) ?? this.#superseded.get(id);
  }

  /** The version that the name has. */
  byName(name: string): ContentRecord | undefined {
    const id = this.#currentIdByName.get(name.toLowerCase());
    return id === undefined ? undefined : this.current.get(id);
  }

  /** All versions of the name that are there, the one that it has first, then in the order of ids. */
  versionsOf(name: string): ContentRecord[] {
    const current = this.byName(name);
    const isOfName = ({ spec }: ContentRecord): boolean => spec.Name?.toLowerCase() === name.toLowerCase();
    const superseded = [...this.#superseded.values()].filter(isOfName).sort((a, b) => (a.id < b.id ? -1 : 1));
    return current === undefined ? superseded : [current, ...superseded];
  }

  /** All versions, in no order to rely on. */
  values(): ContentRecord[] {
    return [...this.current.values(), ...this.#superseded.values()];
  }

  /** One that is superseded and that nobody points at is forgotten. */
  put(record: ContentRecord): void {
    const { id, spec, supersededAtMs } = record;
    if (supersededAtMs === undefined) {
      this.#superseded.delete(id);
      this.current.put(record);
      this.#currentIdByName.set((spec.Name ?? '').toLowerCase(), id);
      return;
    }
    this.current.delete(id);
    if (this.#holders.has(id)) this.#superseded.set(id, record);
    else this.#superseded.delete(id);
  }

  /** @returns the versions that are gone with it */
  deleteName(name: string): ContentRecord[] {
    const gone = this.versionsOf(name);
    for (const { id } of gone) {
      this.current.delete(id);
      this.#superseded.delete(id);
    }
    this.#currentIdByName.delete(name.toLowerCase());
    return gone;
  }

  hold(id: string): void {
    this.#holders.set(id, (this.#holders.get(id) ?? 0) + 1);
  }

  release(id: string): void {
    const left = (this.#holders.get(id) ?? 0) - 1;
    if (left > 0) {
      this.#holders.set(id, left);
      return;
    }
    this.#holders.delete(id);
    this.#superseded.delete(id);
  }
}
