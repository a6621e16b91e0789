import type { JsonSchema } from './json-schema.js';

/** Shapes that recur in the schemas of stack files. */

export const text: JsonSchema = { type: 'string' };
export const textOrNull: JsonSchema = { type: ['string', 'null'] };
export const flag: JsonSchema = { type: ['boolean'] };
/** The specification lets numbers and booleans be written in quotes, too. */
export const count: JsonSchema = { title: 'a whole number', type: ['integer', 'string'], pattern: '^[-+]?[0-9]+$' };
/** A number of things. */
export const natural: JsonSchema = {
  title: 'a whole number, at least 0',
  type: ['integer', 'string'],
  pattern: '^[+]?[0-9]+$',
  minimum: 0,
};
export const ratio: JsonSchema = {
  title: 'a number',
  type: ['number', 'string'],
  pattern: '^[-+]?([0-9]+\\.?[0-9]*|\\.[0-9]+)$',
};
export const size: JsonSchema = { title: 'a size such as 64M', type: ['string', 'integer'] };
export const duration: JsonSchema = {
  title: 'a duration such as 1m30s',
  type: 'string',
  pattern: '^[-+]?(0|(([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$',
};
export const texts: JsonSchema = { type: 'array', items: text, uniqueItems: true };
export const textOrTexts: JsonSchema = { anyOf: [text, texts] };
export const command: JsonSchema = {
  title: 'a command line, or a list of words',
  anyOf: [text, { type: 'array', items: text }],
};
export const values: JsonSchema = {
  title: 'a mapping of names to values, or a list of NAME=VALUE',
  anyOf: [
    { type: 'object', additionalProperties: { type: ['string', 'number', 'boolean', 'null'] } },
    { type: 'array', items: text, uniqueItems: true },
  ],
};
/** Options that a driver is given. */
export const options: JsonSchema = { type: 'object', additionalProperties: { type: ['string', 'number', 'null'] } };

const EXTENSION = '^x-';

/** A mapping with these keys, and extensions. */
export function object(properties: Record<string, JsonSchema>, more: Partial<JsonSchema> = {}): JsonSchema {
  return {
    type: 'object',
    properties,
    patternProperties: { [EXTENSION]: {} },
    additionalProperties: false,
    ...more,
  };
}

/** A mapping of names that the user chooses. */
export function named(item: JsonSchema): JsonSchema {
  return {
    type: 'object',
    propertyNames: { pattern: '^[a-zA-Z0-9._-]+$' },
    additionalProperties: item,
  };
}

export function enumeration(...words: string[]): JsonSchema {
  return { type: 'string', enum: words };
}

export function ref(name: string): JsonSchema {
  return { $ref: `#/$defs/${name}` };
}
