/** The shape of stack files: a schema, and what checks a tree against it. */
export * from './json-schema.js';
export * from './stack-schema.js';
export * from './validate.js';
