import { ApiaryError, messageOf } from '@apiary/std';
import type { Entry } from './change.js';

/** A log entry is JSON text: the entry itself, with the number of the format in `v`. */
const FORMAT = 1;

export function encodeEntry(entry: Entry): string {
  return JSON.stringify({ v: FORMAT, ...entry });
}

/** @throws ApiaryError `failed-precondition` when it is of another format, or no entry at all */
export function decodeEntry(text: string): Entry {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ApiaryError('failed-precondition', `a log entry is damaged: ${messageOf(error)}`);
  }
  if (!isWritten(value)) throw new ApiaryError('failed-precondition', `a log entry is damaged: ${text.slice(0, 40)}`);
  const { v, ...entry } = value;
  if (v === FORMAT) return entry;
  throw new ApiaryError(
    'failed-precondition',
    `a log entry is of format ${v}, and this version of swarmd reads format ${FORMAT} only: ` +
      'start the version that wrote it, or a later one',
  );
}

/** The log has seen to it that its bytes are whole: this tells an entry from what is none, not a good from a bad one. */
function isWritten(value: unknown): value is Entry & { v: number } {
  return typeof value === 'object' && value !== null && 'v' in value && typeof value.v === 'number';
}
