import { goFunctions, jsonOf, printed, type TemplateFunction, typed } from '@apiary/api/model';

const text = (value: unknown): string => (typeof value === 'string' ? value : '');
const count = (value: unknown): number => (typeof value === 'number' ? value : 0);
const items = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);

/** The functions of a format: Docker's own, and of Go's text/template those that Docker documents. */
export const FUNCTIONS: ReadonlyMap<string, TemplateFunction> = new Map<string, TemplateFunction>([
  ...goFunctions({ isBytes: false }),
  ['json', typed(['any'], jsonOf)],
  ['split', typed(['string', 'string'], (s, separator) => text(s).split(text(separator)))],
  ['join', typed(['list', 'string'], (list, separator) => items(list).map(printed).join(text(separator)))],
  ['title', typed(['string'], (s) => text(s).replace(/(?<![\p{L}\p{Nd}_'])\p{L}/gu, (letter) => letter.toUpperCase()))],
  ['lower', typed(['string'], (s) => text(s).toLowerCase())],
  ['upper', typed(['string'], (s) => text(s).toUpperCase())],
  ['pad', typed(['string', 'int', 'int'], (s, before, after) => pad(text(s), count(before), count(after)))],
  ['truncate', typed(['string', 'int'], (s, length) => text(s).slice(0, count(length)))],
]);

/** On a table's heading the functions that shape text leave it as it is. */
export const HEADING_FUNCTIONS: ReadonlyMap<string, TemplateFunction> = new Map([
  ...FUNCTIONS,
  ...['json', 'split', 'join', 'title', 'lower', 'upper', 'truncate'].map((name): [string, TemplateFunction] => [
    name,
    { least: 1, most: 2, call: ([value]) => value },
  ]),
]);

function pad(s: string, before: number, after: number): string {
  return s === '' ? s : ' '.repeat(Math.max(0, before)) + s + ' '.repeat(Math.max(0, after));
}
