import { expandTemplate, isFault, type Lookup } from '../interpolation/template.js';

/** A line of an env file that says nothing that can be understood: which, counted from 1, and why. */
export interface EnvFileFault {
  line: number;
  message: string;
}

export type EnvFile = { variables: Map<string, string> } | { fault: EnvFileFault };

/**
 * Reads `NAME=VALUE` lines as Docker's `env_file` has them: the value is all that follows, quotes and dollars as they
 * stand. A name alone takes the value that it has in the environment, if any.
 */
export function readRawEnv(text: string, lookup: Lookup): EnvFile {
  const variables = new Map<string, string>();
  for (const [i, raw] of linesOf(text).entries()) {
    const line = raw.trimStart();
    if (line === '' || line.startsWith('#')) continue;
    const at = line.indexOf('=');
    const name = at < 0 ? line : line.slice(0, at);
    const wrong = nameFault(name, line);
    if (wrong !== undefined) return { fault: { line: i + 1, message: wrong } };
    const value = at < 0 ? lookup(name) : line.slice(at + 1);
    if (value !== undefined) variables.set(name, value);
  }
  return { variables };
}

/**
 * Reads a file in the format of `.env`: `export` before a name, values in single quotes as they stand, in double quotes
 * with `\n` and the like and over several lines, comments after a space, and variables, those of the lines above
 * among them.
 */
export function readDotEnv(text: string, lookup: Lookup): EnvFile {
  const variables = new Map<string, string>();
  const inner: Lookup = (name) => lookup(name) ?? variables.get(name);
  const lines = linesOf(text);
  for (let i = 0; i < lines.length; i++) {
    const first = i;
    const line = (lines[i] ?? '').trim().replace(/^export\s+/, '');
    if (line === '' || line.startsWith('#')) continue;
    const [, name = '', separator, rest = ''] = /^([^=:]*?)\s*([=:])\s*(.*)$/s.exec(line) ?? [undefined, line];
    const wrong = nameFault(name, line);
    if (wrong !== undefined) return { fault: { line: first + 1, message: wrong } };
    if (separator === undefined) {
      const value = lookup(name);
      if (value !== undefined) variables.set(name, value);
      continue;
    }
    let quoted = rest;
    const quote = rest.charAt(0);
    if (quote === '"' || quote === "'") {
      while (closingQuote(quoted, quote) < 0 && i + 1 < lines.length) quoted += `\n${lines[++i]}`;
      if (closingQuote(quoted, quote) < 0) {
        return { fault: { line: first + 1, message: `the value of ${name} opens a quote and does not close it` } };
      }
    }
    const value = unquotedValue(quoted, inner);
    if (typeof value !== 'string') return { fault: { line: first + 1, message: value.message } };
    variables.set(name, value);
  }
  return { variables };
}

function linesOf(text: string): string[] {
  return text.replace(/^\ufeff/, '').split(/\r?\n/);
}

function nameFault(name: string, line: string): string | undefined {
  if (name === '') return `no variable name on line '${line}'`;
  return /\s/.test(name) ? `variable '${name}' contains whitespaces` : undefined;
}

/** Where the quote that opens the text is closed; -1 when it is not. */
function closingQuote(text: string, quote: string): number {
  for (let at = 1; at < text.length; at++) {
    if (quote === '"' && text.charAt(at) === '\\') at++;
    else if (text.charAt(at) === quote) return at;
  }
  return -1;
}

const ESCAPES: Record<string, string> = { n: '\n', r: '\r', t: '\t', '"': '"', '\\': '\\', $: '$$' };

function unquotedValue(text: string, lookup: Lookup): string | { message: string } {
  const quote = text.charAt(0);
  if (quote === "'") return text.slice(1, closingQuote(text, quote));
  const template =
    quote === '"'
      ? text.slice(1, closingQuote(text, quote)).replace(/\\(.)/gs, (all, char: string) => ESCAPES[char] ?? all)
      : text.replace(/(^|\s)#.*$/s, '').trim();
  const expanded = expandTemplate(template, lookup);
  return isFault(expanded) ? { message: expanded.message } : expanded.text;
}
