import type { Diagnostics } from '../document/diagnostic.js';
import { type Node, type Path, type Plain, placeAt, plain } from '../document/node.js';

/** A mapping of plain data, read key by key, that knows where its values stand. */
export class Fields {
  readonly #data: Readonly<Record<string, Plain>>;

  constructor(
    readonly root: Node,
    readonly path: Path,
    data: Plain | undefined,
    readonly diagnostics: Diagnostics,
  ) {
    this.#data = isMapping(data) ? data : {};
  }

  static of(root: Node, diagnostics: Diagnostics): Fields {
    return new Fields(root, [], plain(root), diagnostics);
  }

  keys(): string[] {
    return Object.keys(this.#data);
  }

  has(key: string): boolean {
    return this.#data[key] !== undefined && this.#data[key] !== null;
  }

  raw(key: string): Plain | undefined {
    return this.#data[key];
  }

  /** Empty text counts as none. */
  text(key: string): string | undefined {
    const value = this.#data[key];
    return value === undefined || value === null || value === '' || typeof value === 'object'
      ? undefined
      : String(value);
  }

  number(key: string): number | undefined {
    const value = this.#data[key];
    if (typeof value === 'bigint') return Number(value);
    if (typeof value === 'string' && value.trim() !== '' && !Number.isNaN(Number(value))) return Number(value);
    return typeof value === 'number' ? value : undefined;
  }

  flag(key: string): boolean | undefined {
    const value = this.#data[key];
    return typeof value === 'boolean' ? value : undefined;
  }

  texts(key: string): string[] | undefined {
    const value = this.#data[key];
    return Array.isArray(value) ? value.map((item) => (isMapping(item) ? '' : String(item ?? ''))) : undefined;
  }

  /** A mapping of texts; a value that is null stays so. */
  pairs(key: string): [string, string | null][] | undefined {
    const value = this.#data[key];
    if (!isMapping(value)) return undefined;
    return Object.entries(value).map(([name, item]) => [name, item === null ? null : String(item)]);
  }

  texted(key: string): Record<string, string> | undefined {
    const pairs = this.pairs(key);
    return pairs === undefined ? undefined : Object.fromEntries(pairs.map(([name, value]) => [name, value ?? '']));
  }

  /** The mapping at a key: empty when there is none. */
  in(key: string): Fields {
    return new Fields(this.root, [...this.path, key], this.#data[key], this.diagnostics);
  }

  /** The mappings of a list, or of a mapping's values. */
  each(key: string): Fields[] {
    const value = this.#data[key];
    const at = [...this.path, key];
    if (Array.isArray(value)) return value.map((item, i) => new Fields(this.root, [...at, i], item, this.diagnostics));
    if (!isMapping(value)) return [];
    return Object.entries(value).map(([name, item]) => new Fields(this.root, [...at, name], item, this.diagnostics));
  }

  /** The last step of the path: a name, or a place in a list. */
  get name(): string {
    return String(this.path.at(-1) ?? '');
  }

  error(message: string, ...below: (string | number)[]): void {
    const path = [...this.path, ...below];
    this.diagnostics.error(message, path, placeAt(this.root, path));
  }

  warn(message: string, ...below: (string | number)[]): void {
    const path = [...this.path, ...below];
    this.diagnostics.warn(message, path, placeAt(this.root, path));
  }
}

function isMapping(value: Plain | undefined): value is { [key: string]: Plain } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Without the keys whose value is undefined. */
export function given<T extends object>(fields: T): T {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T;
}
