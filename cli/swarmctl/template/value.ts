/**
 * A value with a fixed set of fields, as a Go struct has: to ask it for another one is an error. All else that a
 * template sees is JSON: of a map (an object) a key that is not there is nothing.
 */
export interface Struct {
  /** Its Go name, for errors. */
  readonly typeName: string;
  has(field: string): boolean;
  get(field: string): unknown;
  /** What the function `json` and printing make of it. */
  toJSON(): unknown;
}

export function isStruct(value: unknown): value is Struct {
  return isMap(value) && 'typeName' in value && typeof value['has'] === 'function';
}

/** A struct whose fields are computed when they are asked for. */
export function structOf(typeName: string, fields: Record<string, () => unknown>): Struct {
  return {
    typeName,
    has: (field) => Object.hasOwn(fields, field),
    get: (field) => fields[field]?.(),
    // In order of the names, as Go encodes the map that Docker makes of a row.
    toJSON: () =>
      Object.fromEntries(
        Object.keys(fields)
          .sort()
          .map((field) => [field, fields[field]?.()]),
      ),
  };
}

export function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Go's rule of `if`: nothing, false, zero and whatever is empty are false. */
export function isTrue(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (isStruct(value)) return true;
  if (isMap(value)) return Object.keys(value).length > 0;
  return Boolean(value);
}

/** A value as Go's fmt prints it with %v. */
export function printed(value: unknown): string {
  if (value === undefined || value === null) return '<no value>';
  if (isStruct(value)) return printed(value.toJSON());
  if (Array.isArray(value)) return `[${value.map(printedInside).join(' ')}]`;
  if (isMap(value)) {
    const entries = Object.keys(value)
      .sort()
      .map((key) => `${key}:${printedInside(value[key])}`);
    return `map[${entries.join(' ')}]`;
  }
  return typeof value === 'number' ? printedNumber(value) : String(value);
}

function printedInside(value: unknown): string {
  return value === undefined || value === null ? '<nil>' : printed(value);
}

/** Integers in full; of others what Go's %v prints: an exponent has two digits at least. */
function printedNumber(value: number): string {
  if (Number.isSafeInteger(value)) return String(value);
  const text = value !== 0 && Math.abs(value) < 1e-4 ? value.toExponential() : String(value);
  return text.replace(/e([+-])(\d)$/, 'e$10$2');
}

/** A value's Go type, for errors. */
export function typeNameOf(value: unknown): string {
  if (value === undefined || value === null) return 'nil';
  if (isStruct(value)) return value.typeName;
  if (Array.isArray(value)) return '[]interface {}';
  if (isMap(value)) return 'map[string]interface {}';
  if (typeof value === 'number') return Number.isInteger(value) ? 'int' : 'float64';
  return typeof value === 'boolean' ? 'bool' : 'string';
}

/** JSON as Go's encoder writes it, without escaping what HTML minds. */
export function jsonOf(value: unknown): string {
  return JSON.stringify(value ?? null)
    .replaceAll('\u2028', '\\u2028')
    .replaceAll('\u2029', '\\u2029');
}
