/**
 * Docker's `--format` templates: Go's text/template, but for templates within templates, with Docker's functions.
 * A template's text comes in; a function from a value (JSON, or a struct with known fields) to text goes out.
 */
import { evaluateTemplate, parseTemplate } from '@apiary/api/model';
import { FUNCTIONS, HEADING_FUNCTIONS } from './functions.js';

export { jsonOf, type Struct, structOf, TemplateError } from '@apiary/api/model';

/** Whoever writes a format runs it on their own machine. */
const LIMITS = { steps: Number.POSITIVE_INFINITY, characters: Number.POSITIVE_INFINITY };

export interface Template {
  /** @throws TemplateError that says where and why */
  render(data: unknown): string;
  /** The same over a table's headings, which the functions that shape text leave alone. */
  renderHeadings(headings: Record<string, string>): string;
}

/** @throws TemplateError when the template is malformed or calls what there is not */
export function compileTemplate(source: string): Template {
  const text = { name: '', source, isBytes: false, countsUp: true };
  const nodes = parseTemplate(text, new Set(FUNCTIONS.keys()));
  const over = (data: unknown, functions: typeof FUNCTIONS) =>
    evaluateTemplate(nodes, data, { template: text, functions, limits: LIMITS });
  return {
    render: (data) => over(data, FUNCTIONS),
    renderHeadings: (headings) => over(headings, HEADING_FUNCTIONS),
  };
}
