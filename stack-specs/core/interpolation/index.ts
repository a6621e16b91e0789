/** Variables in a file's values: a tree and an environment come in, a tree without variables goes out. */
export * from './interpolate.js';
export * from './template.js';
