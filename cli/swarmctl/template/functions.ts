import { isMap, isStruct, isTrue, jsonOf, printed, typeNameOf } from './value.js';

/** What a function says of its arguments; the evaluator adds where. */
export class CallError extends Error {}

/** An argument of the wrong type. */
export class ArgumentError extends Error {
  constructor(
    readonly index: number,
    readonly expected: string,
    readonly got: string,
  ) {
    super(`expected ${expected}; got ${got}`);
  }
}

/** How many arguments a function takes, at least and at most, and what it makes of them. */
export interface TemplateFunction {
  least: number;
  most: number;
  call(args: unknown[]): unknown;
}

type Kind = 'string' | 'int' | 'list' | 'any';

/** A function whose arguments are of fixed kinds. */
function typed<const K extends Kind[]>(kinds: K, call: (...args: unknown[]) => unknown): TemplateFunction {
  return {
    least: kinds.length,
    most: kinds.length,
    call: (args) => {
      for (const [i, kind] of kinds.entries()) demand(kind, args[i], i);
      return call(...args);
    },
  };
}

function demand(kind: Kind, value: unknown, index: number): void {
  const fits =
    kind === 'any' ||
    (kind === 'string' && typeof value === 'string') ||
    (kind === 'int' && Number.isInteger(value)) ||
    (kind === 'list' && (Array.isArray(value) || value === undefined || value === null));
  if (!fits) throw new ArgumentError(index, kind === 'list' ? '[]string' : kind, typeNameOf(value));
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '');
const count = (value: unknown): number => (typeof value === 'number' ? value : 0);
const items = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);

function variadic(least: number, call: (args: unknown[]) => unknown): TemplateFunction {
  return { least, most: Number.POSITIVE_INFINITY, call };
}

function exactly(number: number, call: (args: unknown[]) => unknown): TemplateFunction {
  return { least: number, most: number, call };
}

/**
 * The functions of a format: Docker's own (`json` to `truncate`) and of Go's text/template those that Docker documents.
 * `and` and `or` are the evaluator's: they evaluate no more arguments than they need.
 */
export const FUNCTIONS: ReadonlyMap<string, TemplateFunction> = new Map<string, TemplateFunction>([
  ['json', typed(['any'], jsonOf)],
  ['split', typed(['string', 'string'], (s, separator) => text(s).split(text(separator)))],
  ['join', typed(['list', 'string'], (list, separator) => items(list).map(printed).join(text(separator)))],
  ['title', typed(['string'], (s) => text(s).replace(/(?<![\p{L}\p{Nd}_'])\p{L}/gu, (letter) => letter.toUpperCase()))],
  ['lower', typed(['string'], (s) => text(s).toLowerCase())],
  ['upper', typed(['string'], (s) => text(s).toUpperCase())],
  ['pad', typed(['string', 'int', 'int'], (s, before, after) => pad(text(s), count(before), count(after)))],
  ['truncate', typed(['string', 'int'], (s, length) => text(s).slice(0, count(length)))],
  ['print', variadic(0, (args) => joinOperands(args))],
  ['println', variadic(0, (args) => `${args.map(printed).join(' ')}\n`)],
  ['printf', variadic(1, ([format, ...args]) => printFormatted(text(format), args))],
  ['len', exactly(1, ([value]) => lengthOf(value))],
  ['index', variadic(1, ([value, ...keys]) => keys.reduce((item, key) => elementOf(item, key), value))],
  ['not', exactly(1, ([value]) => !isTrue(value))],
  ['eq', variadic(2, ([first, ...others]) => others.some((other) => equal(first, other)))],
  ['ne', exactly(2, ([a, b]) => !equal(a, b))],
  ['lt', exactly(2, ([a, b]) => compare(a, b) < 0)],
  ['le', exactly(2, ([a, b]) => compare(a, b) <= 0)],
  ['gt', exactly(2, ([a, b]) => compare(a, b) > 0)],
  ['ge', exactly(2, ([a, b]) => compare(a, b) >= 0)],
]);

/** On a table's heading the functions that shape text leave it as it is. */
export const HEADING_FUNCTIONS: ReadonlyMap<string, TemplateFunction> = new Map([
  ...FUNCTIONS,
  ...['json', 'split', 'join', 'title', 'lower', 'upper', 'truncate'].map((name): [string, TemplateFunction] => [
    name,
    { least: 1, most: 2, call: ([value]) => value },
  ]),
]);

function pad(s: string, before: number, after: number): string {
  return s === '' ? s : ' '.repeat(Math.max(0, before)) + s + ' '.repeat(Math.max(0, after));
}

/** Go's `print`: a space between two operands of which neither is a string. */
function joinOperands(args: unknown[]): string {
  let result = '';
  for (const [i, arg] of args.entries()) {
    if (i > 0 && typeof arg !== 'string' && typeof args[i - 1] !== 'string') result += ' ';
    result += printed(arg);
  }
  return result;
}

function printFormatted(format: string, args: unknown[]): string {
  let next = 0;
  const result = format.replace(/%([-+# 0]*)(\d+)?(?:\.(\d+))?(.)/gsu, (_, flags, width, precision, verb) => {
    if (verb === '%') return '%';
    if (next >= args.length) return `%!${verb}(MISSING)`;
    const body = formatted(verb, args[next++], precision === undefined ? undefined : Number(precision), flags);
    const filler = flags.includes('0') && !flags.includes('-') ? '0' : ' ';
    const size = Number(width ?? 0);
    return flags.includes('-') ? body.padEnd(size) : body.padStart(size, filler);
  });
  const extra = args.slice(next).map((arg) => `${typeNameOf(arg)}=${printed(arg)}`);
  return extra.length === 0 ? result : `${result}%!(EXTRA ${extra.join(', ')})`;
}

function formatted(verb: string, value: unknown, precision: number | undefined, flags: string): string {
  const isText = typeof value === 'string';
  const number = typeof value === 'number' ? value : undefined;
  const wrong = `%!${verb}(${typeNameOf(value)}=${printed(value)})`;
  const sign = flags.includes('+') && number !== undefined && number >= 0 ? '+' : '';
  switch (verb) {
    case 'v':
      return sign + printed(value);
    case 's':
      return number !== undefined || typeof value === 'boolean' ? wrong : printed(value).slice(0, precision);
    case 'q':
      return isText ? JSON.stringify(value) : wrong;
    case 'd':
      return Number.isInteger(value) ? sign + printed(value) : wrong;
    case 'x':
      return Number.isInteger(number) ? (number ?? 0).toString(16) : wrong;
    case 'f':
      return number === undefined ? wrong : sign + number.toFixed(precision ?? 6);
    case 't':
      return typeof value === 'boolean' ? String(value) : wrong;
    default:
      return wrong;
  }
}

function lengthOf(value: unknown): number {
  if (typeof value === 'string') return Buffer.byteLength(value);
  if (Array.isArray(value)) return value.length;
  if (isMap(value) && !isStruct(value)) return Object.keys(value).length;
  throw new CallError(
    value === undefined || value === null ? 'len of nil pointer' : `len of type ${typeNameOf(value)}`,
  );
}

function elementOf(value: unknown, key: unknown): unknown {
  if (Array.isArray(value) || typeof value === 'string') {
    // Of a text, Go gives a byte.
    const list: ArrayLike<unknown> = typeof value === 'string' ? Buffer.from(value) : value;
    if (typeof key !== 'number') throw new CallError(`cannot index slice/array with type ${typeNameOf(key)}`);
    if (key < 0 || key >= list.length) throw new CallError(`index out of range: ${printed(key)}`);
    return list[key];
  }
  if (isMap(value) && !isStruct(value)) {
    if (typeof key !== 'string') throw new CallError(`value has type ${typeNameOf(key)}; should be string`);
    return Object.hasOwn(value, key) ? value[key] : undefined;
  }
  if (value === undefined || value === null) throw new CallError('index of untyped nil');
  throw new CallError(`can't index item of type ${typeNameOf(value)}`);
}

function equal(a: unknown, b: unknown): boolean {
  if (a === undefined || a === null || b === undefined || b === null) return (a ?? null) === (b ?? null);
  if (typeof a === 'object' || typeof b === 'object') throw new CallError('non-comparable type');
  if (typeof a !== typeof b) throw new CallError('incompatible types for comparison');
  return a === b;
}

function compare(a: unknown, b: unknown): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  if (typeof a === 'string' && typeof b === 'string') return a < b ? -1 : Number(a > b);
  const comparable = ['number', 'string'];
  throw new CallError(
    comparable.includes(typeof a) && comparable.includes(typeof b)
      ? 'incompatible types for comparison'
      : 'invalid type for comparison',
  );
}
