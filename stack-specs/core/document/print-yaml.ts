import type { Plain } from './node.js';
import { plainScalarValue } from './scalar-value.js';

/** Words that some reader of YAML takes for something else than text. */
const AMBIGUOUS = /^(y|n|yes|no|on|off|true|false|null|~|<<|=)$/i;
/** Text that needs no quotes anywhere. */
const BARE = /^[A-Za-z_/.][A-Za-z0-9_/.$@%+-]*([ :][A-Za-z0-9_/.$@%+-]+)*$/;

/** Plain data as YAML in blocks, such that every reader of YAML, old ones among them, reads the same data. */
export function printYaml(value: Plain): string {
  const lines: string[] = [];
  if (isMapping(value) && Object.keys(value).length > 0) printMapping(value, '', lines);
  else if (Array.isArray(value) && value.length > 0) printList(value, '', lines);
  else lines.push(printScalar(value));
  return `${lines.join('\n')}\n`;
}

function printMapping(mapping: { [key: string]: Plain }, indent: string, lines: string[]): void {
  for (const [key, value] of Object.entries(mapping)) printEntry(`${indent}${printText(key)}:`, value, indent, lines);
}

function printList(items: readonly Plain[], indent: string, lines: string[]): void {
  for (const item of items) {
    if (!isNested(item)) {
      lines.push(`${indent}- ${printScalar(item)}`);
      continue;
    }
    const inner: string[] = [];
    if (Array.isArray(item)) printList(item, `${indent}  `, inner);
    else printMapping(item, `${indent}  `, inner);
    const [first = '', ...rest] = inner;
    lines.push(`${indent}- ${first.slice(indent.length + 2)}`, ...rest);
  }
}

function printEntry(head: string, value: Plain, indent: string, lines: string[]): void {
  if (!isNested(value)) {
    lines.push(`${head} ${printScalar(value)}`);
    return;
  }
  lines.push(head);
  if (Array.isArray(value)) printList(value, `${indent}  `, lines);
  else printMapping(value, `${indent}  `, lines);
}

function isNested(value: Plain): value is Plain[] | { [key: string]: Plain } {
  return (Array.isArray(value) && value.length > 0) || (isMapping(value) && Object.keys(value).length > 0);
}

function printScalar(value: Plain): string {
  if (Array.isArray(value)) return '[]';
  if (typeof value === 'string') return printText(value);
  if (typeof value === 'number' && !Number.isFinite(value)) {
    return Number.isNaN(value) ? '.nan' : value > 0 ? '.inf' : '-.inf';
  }
  return typeof value === 'object' && value !== null ? '{}' : String(value);
}

function printText(text: string): string {
  const isBare = BARE.test(text) && !AMBIGUOUS.test(text) && plainScalarValue(text) === text;
  return isBare ? text : quoted(text);
}

/** JSON's quotes are YAML's, but for characters that YAML wants escaped. */
function quoted(text: string): string {
  return JSON.stringify(text).replace(/[\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]/g, (char) => {
    return `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}

function isMapping(value: Plain): value is { [key: string]: Plain } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
