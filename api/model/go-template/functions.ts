import { isMap, isStruct, isTrue, printed, TextMap, typeNameOf, utf8AsBytes } from './value.js';

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
export function typed<const K extends Kind[]>(kinds: K, call: (...args: unknown[]) => unknown): TemplateFunction {
  return {
    least: kinds.length,
    most: kinds.length,
    call: (args) => {
      for (const [i, kind] of kinds.entries()) demand(kind, args[i], i);
      return call(...args);
    },
  };
}

/** @throws ArgumentError when it is none */
export function requireText(value: unknown, index: number): string {
  if (typeof value !== 'string') throw new ArgumentError(index, 'string', typeNameOf(value));
  return value;
}

function demand(kind: Kind, value: unknown, index: number): void {
  const fits =
    kind === 'any' ||
    (kind === 'string' && typeof value === 'string') ||
    (kind === 'int' && Number.isInteger(value)) ||
    (kind === 'list' && (Array.isArray(value) || value === undefined || value === null));
  if (!fits) throw new ArgumentError(index, kind === 'list' ? '[]string' : kind, typeNameOf(value));
}

/** A function of as many arguments as there are, of any kinds. */
export function variadic(least: number, call: (args: unknown[]) => unknown): TemplateFunction {
  return { least, most: Number.POSITIVE_INFINITY, call };
}

function exactly(number: number, call: (args: unknown[]) => unknown): TemplateFunction {
  return { least: number, most: number, call };
}

/** How texts are taken apart: into the bytes that they are, or that they have as UTF-8. */
type BytesOf = (text: string) => string;

/**
 * The functions of Go's text/template but `call`. `and` and `or` are the evaluator's: they evaluate no more arguments than
 * they need.
 *
 * @param options.isBytes  as `TemplateText` has it
 */
export function goFunctions({ isBytes }: { isBytes: boolean }): ReadonlyMap<string, TemplateFunction> {
  const bytesOf: BytesOf = isBytes ? (bytes) => bytes : utf8AsBytes;
  return new Map<string, TemplateFunction>([
    ['print', variadic(0, (args) => joinOperands(args))],
    ['println', variadic(0, (args) => `${args.map(printed).join(' ')}\n`)],
    ['printf', variadic(1, ([format, ...args]) => printFormatted(requireText(format, 0), args, bytesOf))],
    ['html', variadic(0, (args) => joinOperands(args).replace(/[&<>"'\0]/g, (mark) => HTML[mark] ?? mark))],
    ['js', variadic(0, (args) => joinOperands(args).replace(/[\\'"<>&=]|[^ -\uffff]/g, escapedForScripts))],
    ['urlquery', variadic(0, (args) => urlEscaped(bytesOf(joinOperands(args))))],
    ['len', exactly(1, ([value]) => lengthOf(value, bytesOf))],
    ['index', variadic(1, ([value, ...keys]) => keys.reduce((item, key) => elementOf(item, key, bytesOf), value))],
    ['slice', variadic(1, ([value, ...bounds]) => sliceOf(value, bounds))],
    ['not', exactly(1, ([value]) => !isTrue(value))],
    ['eq', variadic(2, ([first, ...others]) => others.some((other) => equal(first, other)))],
    ['ne', exactly(2, ([a, b]) => !equal(a, b))],
    ['lt', exactly(2, ([a, b]) => compare(a, b) < 0)],
    ['le', exactly(2, ([a, b]) => compare(a, b) <= 0)],
    ['gt', exactly(2, ([a, b]) => compare(a, b) > 0)],
    ['ge', exactly(2, ([a, b]) => compare(a, b) >= 0)],
  ]);
}

/** Of Go's packages html/template and text/template. */
const HTML: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&#34;',
  "'": '&#39;',
  '\0': '\uFFFD',
};

function escapedForScripts(mark: string): string {
  if (mark === '\\' || mark === "'" || mark === '"') return `\\${mark}`;
  return `\\u${mark.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}`;
}

function urlEscaped(bytes: string): string {
  return bytes.replace(/[^A-Za-z0-9_.~-]/g, (byte) =>
    byte === ' ' ? '+' : `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  );
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

function printFormatted(format: string, args: unknown[], bytesOf: BytesOf): string {
  let next = 0;
  const result = format.replace(/%([-+# 0]*)(\d+)?(?:\.(\d+))?(.)/gsu, (_, flags, width, precision, verb) => {
    if (verb === '%') return '%';
    if (next >= args.length) return `%!${verb}(MISSING)`;
    if (Number(width ?? 0) > WIDEST || Number(precision ?? 0) > WIDEST) return '%!(NOVERB)';
    const value = args[next++];
    const body = formatted({
      verb,
      value,
      precision: precision === undefined ? undefined : Number(precision),
      flags,
      bytesOf,
    });
    const filler = flags.includes('0') && !flags.includes('-') ? '0' : ' ';
    const size = Number(width ?? 0);
    return flags.includes('-') ? body.padEnd(size) : body.padStart(size, filler);
  });
  const extra = args.slice(next).map((arg) => `${typeNameOf(arg)}=${printed(arg)}`);
  return extra.length === 0 ? result : `${result}%!(EXTRA ${extra.join(', ')})`;
}

/** As in Go's fmt. */
const WIDEST = 1_000_000;

interface Formatting {
  verb: string;
  value: unknown;
  precision: number | undefined;
  flags: string;
  bytesOf: BytesOf;
}

function formatted({ verb, value, precision, flags, bytesOf }: Formatting): string {
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
    case 'X': {
      const hex = isText ? hexOf(bytesOf(value)) : Number.isInteger(number) ? (number ?? 0).toString(16) : wrong;
      return verb === 'X' && hex !== wrong ? hex.toUpperCase() : hex;
    }
    case 'f':
      return number === undefined ? wrong : sign + fixed(number, Math.min(precision ?? 6, MOST_DIGITS));
    case 't':
      return typeof value === 'boolean' ? String(value) : wrong;
    case 'T':
      return typeNameOf(value);
    default:
      return wrong;
  }
}

const MOST_DIGITS = 50;

/** To the nearest, and of two that are as near to the even one: JavaScript would take the larger. */
function fixed(value: number, digits: number): string {
  const text = value.toFixed(digits);
  const exact = value.toFixed(2 * MOST_DIGITS);
  const isHalfway = /^50*$/.test(exact.slice(digits - 2 * MOST_DIGITS));
  const down = exact.slice(0, digits - 2 * MOST_DIGITS).replace(/\.$/, '');
  return isHalfway && /[02468]$/.test(down) ? down : text;
}

function hexOf(bytes: string): string {
  return bytes.replace(/[\s\S]/g, (byte) => byte.charCodeAt(0).toString(16).padStart(2, '0'));
}

function lengthOf(value: unknown, bytesOf: BytesOf): number {
  if (typeof value === 'string') return bytesOf(value).length;
  if (value instanceof TextMap) return value.entries.size;
  if (Array.isArray(value)) return value.length;
  if (isMap(value) && !isStruct(value)) return Object.keys(value).length;
  throw new CallError(
    value === undefined || value === null ? 'len of nil pointer' : `len of type ${typeNameOf(value)}`,
  );
}

function elementOf(value: unknown, key: unknown, bytesOf: BytesOf): unknown {
  if (Array.isArray(value) || typeof value === 'string') {
    // Of a text, Go gives a byte.
    const list: readonly unknown[] | string = typeof value === 'string' ? bytesOf(value) : value;
    if (typeof key !== 'number') throw new CallError(`cannot index slice/array with type ${typeNameOf(key)}`);
    if (key < 0 || key >= list.length) throw new CallError(`index out of range: ${printed(key)}`);
    return typeof list === 'string' ? list.charCodeAt(key) : list[key];
  }
  if (value instanceof TextMap) {
    if (typeof key !== 'string') throw new CallError(`value has type ${typeNameOf(key)}; should be string`);
    return value.entries.get(key) ?? '';
  }
  if (isMap(value) && !isStruct(value)) {
    if (typeof key !== 'string') throw new CallError(`value has type ${typeNameOf(key)}; should be string`);
    return Object.hasOwn(value, key) ? value[key] : undefined;
  }
  if (value === undefined || value === null) throw new CallError('index of untyped nil');
  throw new CallError(`can't index item of type ${typeNameOf(value)}`);
}

function sliceOf(value: unknown, bounds: unknown[]): unknown {
  if (!Array.isArray(value) && typeof value !== 'string')
    throw new CallError(`can't slice item of type ${typeNameOf(value)}`);
  if (bounds.length > 2) throw new CallError('cannot 3-index slice a string');
  const [from = 0, to = value.length] = bounds;
  if (typeof from !== 'number' || typeof to !== 'number') {
    throw new CallError(`cannot index slice/array with type ${typeNameOf(typeof from === 'number' ? to : from)}`);
  }
  const outside = [from, to].find((bound) => bound < 0 || bound > value.length);
  if (outside !== undefined) throw new CallError(`index out of range: ${printed(outside)}`);
  if (from > to) throw new CallError(`invalid slice index: ${printed(from)} > ${printed(to)}`);
  return value.slice(from, to);
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
