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
  /** How Go prints it, where that is not as a row of Docker's. */
  print?(): string;
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

/** A struct as Go has it: it is printed with its fields' values, in their order. */
export function goStruct(typeName: string, fields: Readonly<Record<string, unknown>>): Struct {
  return {
    typeName,
    has: (field) => Object.hasOwn(fields, field),
    get: (field) => fields[field],
    toJSON: () => fields,
    print: () => `{${Object.values(fields).map(printed).join(' ')}}`,
  };
}

/** A map whose values are texts: of a key that is not there, `index` makes an empty one, and a field a fault. */
export class TextMap {
  /** In the order of the keys. */
  readonly entries: ReadonlyMap<string, string>;

  constructor(entries: Readonly<Record<string, string>>) {
    this.entries = new Map(Object.entries(entries).sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  toJSON(): unknown {
    return Object.fromEntries(this.entries);
  }
}

export function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof TextMap);
}

/** Go's rule of `if`: nothing, false, zero and whatever is empty are false. */
export function isTrue(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (isStruct(value)) return true;
  if (isMap(value)) return Object.keys(value).length > 0;
  if (value instanceof TextMap) return value.entries.size > 0;
  return Boolean(value);
}

/** A value as Go's fmt prints it with %v. */
export function printed(value: unknown): string {
  if (value === undefined || value === null) return '<no value>';
  if (value instanceof TextMap) return `map[${[...value.entries].map(([key, text]) => `${key}:${text}`).join(' ')}]`;
  if (isStruct(value)) return value.print?.() ?? printed(value.toJSON());
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
  if (value instanceof TextMap) return 'map[string]string';
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

/** How many bytes a text has as UTF-8. */
export function utf8Length(text: string): number {
  let bytes = 0;
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  }
  return bytes;
}

/** A text's bytes as UTF-8, each as the character of its number. */
export function utf8AsBytes(text: string): string {
  let bytes = '';
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    if (code < 0x80) {
      bytes += character;
      continue;
    }
    const more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    const lead = [0, 0xc0, 0xe0, 0xf0][more] ?? 0;
    bytes += String.fromCharCode(lead | (code >> (6 * more)));
    for (let shift = 6 * (more - 1); shift >= 0; shift -= 6) {
      bytes += String.fromCharCode(0x80 | ((code >> shift) & 0x3f));
    }
  }
  return bytes;
}
