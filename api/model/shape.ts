import { ApiaryError } from '@apiary/std';
import * as v from 'valibot';

/** Deeper than any spec; what comes from outside must not exhaust the stack. */
const MAX_DEPTH = 100;
/** Valibot drops these from a record without a word. */
const UNSAFE_KEYS = new Set(['__proto__', 'prototype', 'constructor']);

/**
 * Reads a JSON body as `schema` has it. As with Go's decoder, `null` stands for a key that is not there.
 * Unlike it, a key that nobody knows is refused: what is asked for is done or refused, never dropped.
 *
 * @param what  what the body is, in the words of the user: `service spec`
 * @throws ApiaryError `invalid-argument` that names the path, what is there and what should be
 */
export function read<S extends v.GenericSchema>(schema: S, value: unknown, what: string): v.InferOutput<S> {
  const refuse = (path: string, fault: string) =>
    new ApiaryError('invalid-argument', `invalid ${what}: ${path}: ${fault}`);
  const given = withoutNulls(value, [], refuse);
  const result = v.safeParse(schema, given, { abortEarly: true });
  if (result.success) {
    const path = listTakenAsObject(given, result.output, []);
    if (path !== undefined) throw refuse(pathText(path), 'expected Object, got Array');
    return result.output;
  }
  const [issue] = result.issues;
  throw refuse(pathText((issue.path ?? []).map(({ key }) => key)), faultOf(issue));
}

function faultOf(issue: v.BaseIssue<unknown>): string {
  if (issue.type === 'strict_object' && issue.expected === 'never') return 'unknown key';
  return issue.expected === null ? issue.message : `expected ${issue.expected}, got ${issue.received}`;
}

function pathText(keys: readonly unknown[]): string {
  let path = '';
  for (const key of keys) {
    if (typeof key === 'number') path += `[${key}]`;
    else path += path === '' ? String(key) : `.${String(key)}`;
  }
  return path === '' ? 'body' : path;
}

function withoutNulls(
  value: unknown,
  path: readonly (string | number)[],
  refuse: (path: string, fault: string) => ApiaryError,
): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (path.length >= MAX_DEPTH) throw refuse(pathText(path.slice(0, 3)), `nested more than ${MAX_DEPTH} levels deep`);
  if (Array.isArray(value)) {
    return value.filter((item) => item !== null).map((item, i) => withoutNulls(item, [...path, i], refuse));
  }
  const result: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) {
    if (UNSAFE_KEYS.has(key)) throw refuse(pathText([...path, key]), 'no such key can be kept');
    if (item !== null) result[key] = withoutNulls(item, [...path, key], refuse);
  }
  return result;
}

/** Where a list was given for an object, which Valibot takes for one without keys. */
function listTakenAsObject(given: unknown, taken: unknown, path: (string | number)[]): typeof path | undefined {
  if (typeof given !== 'object' || given === null || typeof taken !== 'object' || taken === null) return undefined;
  if (Array.isArray(given) !== Array.isArray(taken)) return path;
  const inner = new Map<string, unknown>(Object.entries(taken));
  for (const [key, item] of Object.entries(given)) {
    const found = listTakenAsObject(item, inner.get(key), [...path, Array.isArray(given) ? Number(key) : key]);
    if (found !== undefined) return found;
  }
  return undefined;
}
