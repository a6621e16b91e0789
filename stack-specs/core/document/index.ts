export * from './diagnostic.js';
export * from './node.js';
export * from './print-yaml.js';
export * from './read-yaml.js';
export * from './source.js';
