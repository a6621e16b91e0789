import { FlagValueError } from '../command-line/index.js';

/** Splits a text at the first `=`. */
export function cut(text: string, separator = '='): { key: string; value: string; found: boolean } {
  const at = text.indexOf(separator);
  if (at === -1) return { key: text, value: '', found: false };
  return { key: text.slice(0, at), value: text.slice(at + separator.length), found: true };
}

/** `KEY=VALUE` words as a map; of a key given twice, the last. */
export function toMap(words: readonly string[]): Record<string, string> {
  return Object.fromEntries(words.map((word) => [cut(word).key, cut(word).value]));
}

/**
 * The fields of one line of CSV, as Go's encoding/csv reads it: a field in double quotes may hold commas, and a quote
 * twice.
 *
 * @throws FlagValueError
 */
export function splitCsv(line: string): string[] {
  const fields: string[] = [];
  for (let at = 0; at <= line.length; ) {
    const quoted = line[at] === '"';
    const match = quoted ? /^"((?:[^"]|"")*)"(?=,|$)/s.exec(line.slice(at)) : /^([^,]*)/s.exec(line.slice(at));
    if (match === null) throw csvError(at, 'extraneous or missing " in quoted-field');
    const text = match[1] ?? '';
    if (!quoted && text.includes('"')) throw csvError(at + text.indexOf('"'), 'bare " in non-quoted-field');
    fields.push(quoted ? text.replaceAll('""', '"') : text);
    at += match[0].length + 1;
  }
  return fields;
}

function csvError(at: number, message: string): FlagValueError {
  return new FlagValueError(`parse error on line 1, column ${at + 1}: ${message}`);
}

/**
 * The words of a shell-like command: quotes, backslashes and `#` comments, no expansion.
 *
 * @throws FlagValueError for a quote or a backslash that nothing follows
 */
export function splitShellWords(text: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  for (let at = 0; at < text.length; at++) {
    const character = text.charAt(at);
    if (/\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (character === '#' && word === undefined) {
      const newline = text.indexOf('\n', at);
      at = newline === -1 ? text.length : newline;
    } else if (character === '\\') {
      if (++at >= text.length) throw new FlagValueError('EOF found after escape character');
      word = (word ?? '') + text.charAt(at);
    } else if (character === "'" || character === '"') {
      const quoted = readQuoted(text, at);
      word = (word ?? '') + quoted.value;
      at = quoted.end;
    } else {
      word = (word ?? '') + character;
    }
  }
  if (word !== undefined) words.push(word);
  return words;
}

/** Between double quotes a backslash escapes any character, between single quotes none. */
function readQuoted(text: string, start: number): { value: string; end: number } {
  const quote = text.charAt(start);
  let value = '';
  for (let at = start + 1; at < text.length; at++) {
    const character = text.charAt(at);
    if (character === quote) return { value, end: at };
    if (character !== '\\' || quote === "'") value += character;
    else if (++at >= text.length) throw new FlagValueError('EOF found after escape character');
    else value += text.charAt(at);
  }
  throw new FlagValueError('EOF found when expecting closing quote');
}
