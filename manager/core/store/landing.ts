import type { Meta } from './records.js';

/** Where and when a change lands. */
export interface Landing {
  index: number;
  atMs: number;
}

export function created({ index, atMs }: Landing): Meta {
  return { version: index, createdAtMs: atMs, updatedAtMs: atMs };
}

export function updated(meta: Meta, { index, atMs }: Landing): Meta {
  return { version: index, createdAtMs: meta.createdAtMs, updatedAtMs: atMs };
}
