/** One form of everything: trees with short forms come in, trees with long forms and absolute paths go out. */
export * from './canonical-file.js';
export * from './file-path.js';
export type { FormContext } from './forms.js';
export * from './quantity.js';
