import { closestWord, type Diagnostics } from '../document/diagnostic.js';
import {
  list,
  type MapEntry,
  type Node,
  type Path,
  type ScalarNode,
  type ScalarValue,
  scalarText,
  withEntries,
} from '../document/node.js';
import type { Place } from '../document/source.js';
import type { JsonSchema, JsonType } from './json-schema.js';

/**
 * Checks a tree against a schema and reports every fault at its place.
 *
 * @returns the tree, with what interpolation made turned into the numbers and booleans that the schema has there
 */
export function validate(root: Node, schema: JsonSchema, diagnostics: Diagnostics): Node {
  return new Validator(schema, diagnostics).check(root, schema, []);
}

type Report = (message: string, path: Path, place: Place) => void;

class Validator {
  readonly #patterns = new Map<string, RegExp>();

  constructor(
    readonly root: JsonSchema,
    readonly diagnostics: Diagnostics,
  ) {}

  check(node: Node, schema: JsonSchema, path: Path): Node {
    const known = this.#resolved(schema);
    if (known.anyOf !== undefined) return this.#checkAlternatives(node, known.anyOf, known, path);
    const types = typesOf(known);
    const meant = node.kind === 'scalar' ? castTo(node, types) : node;
    if (types.length > 0 && !types.some((type) => isOfType(meant, type))) {
      this.#report(node.mergeTag, path, node.place)(`expected ${expectation(known, types)}, got ${described(node)}`);
      return node;
    }
    switch (meant.kind) {
      case 'scalar':
        this.#checkScalar(meant, known, path);
        return meant;
      case 'list':
        return this.#checkList(meant, known, path);
      case 'map':
        return this.#checkMap(meant, known, path);
    }
  }

  /** A key that is to be reset has no value that counts. */
  #report(mergeTag: Node['mergeTag'], path: Path, place: Place): (message: string) => void {
    return (message) => {
      if (mergeTag !== 'reset') this.diagnostics.error(message, path, place);
    };
  }

  #resolved(schema: JsonSchema): JsonSchema {
    const name = schema.$ref?.slice('#/$defs/'.length);
    return name === undefined ? schema : (this.root.$defs?.[name] ?? {});
  }

  /** The alternatives differ in their types, so that at most one of them can be meant. */
  #checkAlternatives(node: Node, alternatives: readonly JsonSchema[], whole: JsonSchema, path: Path): Node {
    const resolved = alternatives.map((alternative) => this.#resolved(alternative));
    const fitting = resolved.find((one) => typesOf(one).some((type) => isOfType(node, type)));
    const cast = resolved.find(
      (one) => node.kind === 'scalar' && typesOf(one).some((type) => isOfType(castTo(node, typesOf(one)), type)),
    );
    const meant = fitting ?? cast;
    if (meant !== undefined) return this.check(node, meant, path);
    const expected = whole.title ?? resolved.map((one) => expectation(one, typesOf(one))).join(' or ');
    this.#report(node.mergeTag, path, node.place)(`expected ${expected}, got ${described(node)}`);
    return node;
  }

  #checkScalar({ value, place, mergeTag }: ScalarNode, schema: JsonSchema, path: Path): void {
    const report = this.#report(mergeTag, path, place);
    const { enum: words, pattern, minimum, maximum } = schema;
    if (words !== undefined && !words.some((word) => word === value)) {
      const near = typeof value === 'string' ? closestWord(value, words.map(String)) : undefined;
      const hint = near === undefined ? '' : `; did you mean ${JSON.stringify(near)}?`;
      report(`${shown(value)} is none of ${words.join(', ')}${hint}`);
    }
    if (pattern !== undefined && typeof value === 'string' && !this.#pattern(pattern).test(value)) {
      report(`expected ${schema.title ?? `text like ${pattern}`}, got ${shown(value)}`);
    }
    if (typeof value !== 'number') return;
    if (minimum !== undefined && value < minimum) report(`${value} is less than ${minimum}`);
    if (maximum !== undefined && value > maximum) report(`${value} is more than ${maximum}`);
  }

  #checkList(node: Node & { kind: 'list' }, schema: JsonSchema, path: Path): Node {
    const { items: item, minItems = 0 } = schema;
    if (node.items.length < minItems) this.#report(node.mergeTag, path, node.place)(`at least ${minItems} expected`);
    if (schema.uniqueItems) this.#checkUnique(node.items, path);
    if (item === undefined) return node;
    const items = node.items.map((one, i) => this.check(one, item, [...path, i]));
    return items.every((one, i) => one === node.items[i]) ? node : { ...node, ...list(items, node.place) };
  }

  #checkUnique(items: readonly Node[], path: Path): void {
    const seen = new Map<string, number>();
    for (const [i, item] of items.entries()) {
      const key = canonical(item);
      const before = seen.get(key);
      if (before === undefined) seen.set(key, i);
      else this.diagnostics.error(`the same as [${before}]: each may be there once`, [...path, i], item.place);
    }
  }

  #checkMap(node: Node & { kind: 'map' }, schema: JsonSchema, path: Path): Node {
    const report: Report = (message, at, place) => this.#report(node.mergeTag, at, place)(message);
    for (const key of schema.required ?? []) {
      if (!node.entries.has(key)) report(`"${key}" is missing`, path, node.place);
    }
    let entries: Map<string, MapEntry> | undefined;
    for (const [key, entry] of node.entries) {
      const made = this.#checkEntry(key, entry, schema, path, report);
      if (made === entry.node) continue;
      entries ??= new Map(node.entries);
      entries.set(key, { ...entry, node: made });
    }
    return entries === undefined ? node : withEntries(node, entries);
  }

  #checkEntry(key: string, { keyPlace, node }: MapEntry, schema: JsonSchema, path: Path, report: Report): Node {
    const at = [...path, key];
    const { properties = {}, patternProperties = {}, additionalProperties = true, propertyNames } = schema;
    const own = Object.hasOwn(properties, key) ? properties[key] : undefined;
    if (own !== undefined) return this.check(node, own, at);
    const [, byPattern] = Object.entries(patternProperties).find(([pattern]) => this.#pattern(pattern).test(key)) ?? [];
    if (byPattern !== undefined) return this.check(node, byPattern, at);
    if (propertyNames !== undefined && !this.#pattern(propertyNames.pattern).test(key)) {
      report(`${JSON.stringify(key)} is no name: names are like ${propertyNames.pattern}`, at, keyPlace);
      return node;
    }
    if (additionalProperties === false) {
      const near = closestWord(key, Object.keys(properties));
      report(
        `unknown key ${JSON.stringify(key)}${near === undefined ? '' : `; did you mean "${near}"?`}`,
        at,
        keyPlace,
      );
      return node;
    }
    return additionalProperties === true ? node : this.check(node, additionalProperties, at);
  }

  #pattern(text: string): RegExp {
    let pattern = this.#patterns.get(text);
    if (pattern === undefined) {
      pattern = new RegExp(text, 'u');
      this.#patterns.set(text, pattern);
    }
    return pattern;
  }
}

function typesOf({ type, properties, enum: words }: JsonSchema): readonly JsonType[] {
  if (type === undefined) return properties !== undefined ? ['object'] : words !== undefined ? ['string'] : [];
  return Array.isArray(type) ? type : [type];
}

function isOfType(node: Node, type: JsonType): boolean {
  if (node.kind === 'map') return type === 'object';
  if (node.kind === 'list') return type === 'array';
  const { value } = node;
  if (value === null) return type === 'null';
  if (typeof value === 'bigint') return type === 'integer' || type === 'number';
  if (typeof value === 'number') return type === 'number' || (type === 'integer' && Number.isInteger(value));
  return typeof value === type;
}

const TRUE = new Set(['y', 'yes', 'true', 'on', '1']);
const FALSE = new Set(['n', 'no', 'false', 'off', '0']);

/** What a variable brought is text: where no text is expected it is read as what is. */
function castTo(node: ScalarNode, types: readonly JsonType[]): ScalarNode {
  const { value } = node;
  if (node.interpolated === undefined || typeof value !== 'string' || types.includes('string')) return node;
  const cast = castValue(value, types);
  return cast === undefined ? node : { ...node, value: cast };
}

function castValue(text: string, types: readonly JsonType[]): ScalarValue | undefined {
  if (types.includes('integer') && /^[-+]?[0-9]+$/.test(text)) return Number(text);
  if (types.includes('number') && text.trim() !== '' && !Number.isNaN(Number(text))) return Number(text);
  if (!types.includes('boolean')) return undefined;
  const word = text.toLowerCase();
  return TRUE.has(word) ? true : FALSE.has(word) ? false : undefined;
}

const WORDS: Record<JsonType, string> = {
  string: 'text',
  number: 'a number',
  integer: 'a whole number',
  boolean: 'true or false',
  null: 'nothing',
  array: 'a list',
  object: 'a mapping',
};

function expectation({ title, enum: words }: JsonSchema, types: readonly JsonType[]): string {
  if (title !== undefined) return title;
  if (words !== undefined) return `one of ${words.join(', ')}`;
  return types.map((type) => WORDS[type]).join(' or ');
}

function described(node: Node): string {
  if (node.kind === 'map') return 'a mapping';
  if (node.kind === 'list') return 'a list';
  const { value } = node;
  if (value === null) return 'nothing';
  if (typeof value === 'string') return `the text ${shown(value)}`;
  if (typeof value === 'boolean') return `${value}: put it in quotes if text is meant`;
  return `the number ${shown(value)}`;
}

function shown(value: ScalarValue): string {
  if (typeof value !== 'string') return scalarText(value);
  return JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}...` : value);
}

function canonical(node: Node): string {
  if (node.kind === 'scalar') return typeof node.value === 'bigint' ? `${node.value}n` : JSON.stringify(node.value);
  if (node.kind === 'list') return `[${node.items.map(canonical).join()}]`;
  const parts = [...node.entries].map(([key, entry]) => `${JSON.stringify(key)}:${canonical(entry.node)}`);
  return `{${parts.sort().join()}}`;
}
