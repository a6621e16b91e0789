import { ApiaryError } from '@apiary/std';
import * as v from 'valibot';

/**
 * Reads a JSON body as `schema` has it. As with Go's decoder, `null` stands for a key that is not there.
 * Unlike it, a key that nobody knows is refused: what is asked for is done or refused, never dropped.
 *
 * @param what  what the body is, in the words of the user: `service spec`
 * @throws ApiaryError `invalid-argument` that names the path, what is there and what should be
 */
export function read<S extends v.GenericSchema>(schema: S, value: unknown, what: string): v.InferOutput<S> {
  const result = v.safeParse(schema, withoutNulls(value), { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw new ApiaryError('invalid-argument', `invalid ${what}: ${pathOf(issue)}: ${faultOf(issue)}`);
}

function faultOf(issue: v.BaseIssue<unknown>): string {
  if (issue.type === 'strict_object' && issue.expected === 'never') return 'unknown key';
  return issue.expected === null ? issue.message : `expected ${issue.expected}, got ${issue.received}`;
}

function pathOf(issue: v.BaseIssue<unknown>): string {
  let path = '';
  for (const { key } of issue.path ?? []) {
    if (typeof key === 'number') path += `[${key}]`;
    else path += path === '' ? String(key) : `.${String(key)}`;
  }
  return path === '' ? 'body' : path;
}

function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.filter((item) => item !== null).map(withoutNulls);
  if (typeof value !== 'object' || value === null) return value;
  const result: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) if (item !== null) result[key] = withoutNulls(item);
  return result;
}
