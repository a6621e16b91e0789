import type { ObjectMeta } from '@apiary/api/model';
import type { Meta } from '../store/records.js';

/** RFC 3339 in UTC as Go writes it: a fraction without trailing zeros, or none. `ms` since the epoch. */
export function timestampOf(ms: number): string {
  return new Date(ms).toISOString().replace(/\.?0*Z$/, 'Z');
}

/** What every object of the Engine API begins with. */
export function metaOf(record: { id: string; meta: Meta }): ObjectMeta {
  return {
    ID: record.id,
    Version: { Index: record.meta.version },
    CreatedAt: timestampOf(record.meta.createdAtMs),
    UpdatedAt: timestampOf(record.meta.updatedAtMs),
  };
}

/**
 * What Go's `omitempty` leaves of a value: undefined, so that the key is absent, for an empty text, list or map, for
 * zero and for false.
 */
export function filled<T extends string | number | boolean | object>(value: T | undefined): T | undefined {
  if (value === undefined || value === '' || value === 0 || value === false) return undefined;
  if (typeof value === 'object' && Object.keys(value).length === 0) return undefined;
  return value;
}
