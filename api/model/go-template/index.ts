/**
 * Go's text/template, but for templates within templates: as Docker has it in formats of its command line, and in services,
 * secrets and configs. `parseTemplate` makes a tree of a text, `evaluateTemplate` a text of the tree and a value.
 */
export { evaluateTemplate, type TemplateLimits } from './evaluator.js';
export { CallError, goFunctions, requireText, type TemplateFunction, typed, variadic } from './functions.js';
export { TemplateError, type TemplateText } from './lexer.js';
export { parseTemplate } from './parser.js';
export { goStruct, jsonOf, printed, type Struct, structOf, TextMap } from './value.js';
