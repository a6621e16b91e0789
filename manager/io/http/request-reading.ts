import { ApiaryError, messageOf } from '@apiary/std';
import type { FastifyRequest } from 'fastify';

/** Far deeper than anything that is read afterwards, which says where it is too deep; what is deeper yet costs memory. */
const MOST_LEVELS = 10_000;

const [QUOTE, BACKSLASH] = [0x22, 0x5c];
const OPENING = { list: 0x5b, object: 0x7b };
const CLOSING = { list: 0x5d, object: 0x7d };

/** What Docker's own reading of a query takes for no (api/server/httputils/form.go). */
const FALSE_WORDS = new Set(['', '0', 'no', 'false', 'none']);
/** What Go's strconv.ParseBool takes. */
const STRICT = new Map([
  ...['1', 't', 'T', 'true', 'TRUE', 'True'].map((word) => [word, true] as const),
  ...['0', 'f', 'F', 'false', 'FALSE', 'False'].map((word) => [word, false] as const),
]);

/** A query parameter's value, the last one when it is there twice; undefined when it is not there. */
export function queryText({ query }: FastifyRequest, name: string): string | undefined {
  if (typeof query !== 'object' || query === null) return undefined;
  const value: unknown = Object.entries(query).find(([key]) => key === name)?.[1];
  const last: unknown = Array.isArray(value) ? value.at(-1) : value;
  return typeof last === 'string' ? last : undefined;
}

export function queryFlag(request: FastifyRequest, name: string): boolean {
  return !FALSE_WORDS.has((queryText(request, name) ?? '').trim().toLowerCase());
}

/** @throws ApiaryError `invalid-argument` for a word that is neither true nor false */
export function strictQueryFlag(request: FastifyRequest, name: string): boolean {
  const text = queryText(request, name);
  if (text === undefined || text === '') return false;
  const value = STRICT.get(text);
  if (value !== undefined) return value;
  throw new ApiaryError('invalid-argument', `invalid value for ${name}: ${text}: expected true or false`);
}

/**
 * The `version` that every update names: the object's `Version.Index` as the caller last saw it.
 *
 * @param kind  what is updated, in Docker's words: `service`
 * @throws ApiaryError `invalid-argument` when it is missing or no number
 */
export function queryVersion(request: FastifyRequest, kind: string): number {
  const text = queryText(request, 'version') ?? '';
  const version = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(version)) return version;
  // Of these two Docker says no more.
  const what = kind === 'secret' || kind === 'config' ? '' : ` '${text}': expected the object's Version.Index`;
  throw new ApiaryError('invalid-argument', `invalid ${kind} version${what}`);
}

/** The JSON of a request's body. @throws ApiaryError `invalid-argument` when there is none, or it is no JSON */
export function bodyJson({ body }: FastifyRequest): unknown {
  if (!Buffer.isBuffer(body) || body.length === 0) {
    throw new ApiaryError('invalid-argument', 'got EOF while reading request body');
  }
  if (isDeeperThan(body, MOST_LEVELS)) {
    throw new ApiaryError('invalid-argument', `the request's body is nested more than ${MOST_LEVELS} levels deep`);
  }
  try {
    return JSON.parse(body.toString('utf8'));
  } catch (error) {
    throw new ApiaryError('invalid-argument', `invalid JSON in the request's body: ${messageOf(error)}`);
  }
}

/** Whether lists and objects of a JSON text lie so deep in each other: a byte of it would become dozens of memory. */
function isDeeperThan(json: Buffer, levels: number): boolean {
  let depth = 0;
  let isInText = false;
  for (let i = 0; i < json.length; i++) {
    const byte = json[i];
    if (byte === QUOTE) isInText = !isInText;
    else if (isInText) i += byte === BACKSLASH ? 1 : 0;
    else if (byte === OPENING.list || byte === OPENING.object) depth++;
    else if (byte === CLOSING.list || byte === CLOSING.object) depth--;
    if (depth > levels) return true;
  }
  return false;
}

/** What a request's target names, as it was sent: not what a browser would make of it, who folds `..` and `\\`. */
export function pathOf(target: string): string {
  return target.split(/[?#]/, 1)[0] ?? '';
}

/** One part of a route's path. */
export function pathParameter({ params }: FastifyRequest, name: string): string {
  if (typeof params !== 'object' || params === null) return '';
  const value: unknown = Object.entries(params).find(([key]) => key === name)?.[1];
  return typeof value === 'string' ? value : '';
}
