/**
 * Docker's `--format` templates: the subset of Go's text/template that its documentation names, with its functions.
 * A template's text comes in; a function from a value (JSON, or a struct with known fields) to text goes out.
 */
import { evaluate } from './evaluator.js';
import { FUNCTIONS, HEADING_FUNCTIONS } from './functions.js';
import { parseTemplate } from './parser.js';

export { TemplateError } from './lexer.js';
export { jsonOf, type Struct, structOf } from './value.js';

export interface Template {
  /** @throws TemplateError that says where and why */
  render(data: unknown): string;
  /** The same over a table's headings, which the functions that shape text leave alone. */
  renderHeadings(headings: Record<string, string>): string;
}

/** @throws TemplateError when the template is malformed or calls what there is not */
export function compileTemplate(source: string): Template {
  const nodes = parseTemplate(source, new Set([...FUNCTIONS.keys(), 'and', 'or']));
  return {
    render: (data) => evaluate(nodes, data, FUNCTIONS, source),
    renderHeadings: (headings) => evaluate(nodes, headings, HEADING_FUNCTIONS, source),
  };
}
