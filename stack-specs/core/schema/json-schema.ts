export type JsonType = 'string' | 'number' | 'integer' | 'boolean' | 'null' | 'array' | 'object';

/**
 * The part of JSON Schema (draft 2020-12) that the schema of stack files is written in. `title` says in a few words what
 * is expected, for messages.
 */
export interface JsonSchema {
  title?: string;
  $ref?: string;
  type?: JsonType | JsonType[];
  enum?: readonly (string | number)[];
  pattern?: string;
  minimum?: number;
  maximum?: number;
  items?: JsonSchema;
  minItems?: number;
  uniqueItems?: boolean;
  properties?: Readonly<Record<string, JsonSchema>>;
  patternProperties?: Readonly<Record<string, JsonSchema>>;
  additionalProperties?: boolean | JsonSchema;
  propertyNames?: { pattern: string };
  required?: readonly string[];
  /** Alternatives of different types, so that what is there says which is meant. */
  anyOf?: readonly JsonSchema[];
  $defs?: Readonly<Record<string, JsonSchema>>;
}
