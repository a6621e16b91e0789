/** What is wrong with a template, in the words and with the place that Go's text/template gives. */
export class TemplateError extends Error {
  override readonly name = 'TemplateError';
}

export type TokenKind =
  | 'text'
  | 'open'
  | 'close'
  | 'field'
  | 'variable'
  | 'identifier'
  | 'keyword'
  | 'string'
  | 'number'
  | 'bool'
  | 'nil'
  | 'dot'
  | 'pipe'
  | 'declare'
  | 'assign'
  | 'comma'
  | 'left-paren'
  | 'right-paren'
  | 'space'
  | 'end-of-input';

export interface Token {
  kind: TokenKind;
  /** As written; of a text, what is left of it after `{{-` and `-}}` have trimmed it. */
  text: string;
  /** Offset in the template, in UTF-16 units. */
  at: number;
}

const KEYWORDS = new Set(['if', 'else', 'end', 'range', 'with', 'break', 'continue', 'define', 'template', 'block']);

const PUNCTUATION: Record<string, TokenKind> = { ',': 'comma', '(': 'left-paren', ')': 'right-paren' };

/** The inner tokens of an action, tried in this order at each place. Source: Go's text/template documentation. */
const PATTERNS: [RegExp, TokenKind][] = [
  [/[ \t\r\n]+/y, 'space'],
  [/"(?:[^"\\\n]|\\.)*"/y, 'string'],
  [/`[^`]*`/y, 'string'],
  [/[+-]?(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+)/y, 'number'],
  [/\.[\p{L}_][\p{L}\p{Nd}_]*/uy, 'field'],
  [/\./y, 'dot'],
  [/\$(?:[\p{L}_][\p{L}\p{Nd}_]*)?/uy, 'variable'],
  [/[\p{L}_][\p{L}\p{Nd}_]*/uy, 'identifier'],
  [/:=/y, 'declare'],
  [/=/y, 'assign'],
  [/[|,()]/y, 'pipe'],
];

/** Where an error of parsing is: `template: :LINE: message`. */
export function parseError(source: string, at: number, message: string): TemplateError {
  const line = source.slice(0, at).split('\n').length;
  return new TemplateError(`template: :${line}: ${message}`);
}

/**
 * Splits a template into its texts and the tokens of its actions; comments vanish here.
 *
 * @throws TemplateError for what no token can start with, and for an action or a string that does not end
 */
export function tokenize(source: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  let trimNext = false;
  for (;;) {
    const open = source.indexOf('{{', at);
    const end = open === -1 ? source.length : open;
    const trimEnd = open !== -1 && /^-[ \t\r\n]/.test(source.slice(open + 2, open + 4));
    let text = source.slice(at, end);
    if (trimNext) text = text.replace(/^[ \t\r\n]+/, '');
    if (trimEnd) text = text.replace(/[ \t\r\n]+$/, '');
    if (text !== '') tokens.push({ kind: 'text', text, at });
    if (open === -1) break;
    const inside = open + 2 + (trimEnd ? 2 : 0);
    const action = source.startsWith('/*', inside)
      ? skipComment(source, inside)
      : tokenizeAction(source, open, inside, tokens);
    at = action.at;
    trimNext = action.trimNext;
  }
  tokens.push({ kind: 'end-of-input', text: '', at: source.length });
  return tokens;
}

function skipComment(source: string, at: number): { at: number; trimNext: boolean } {
  const end = source.indexOf('*/', at);
  if (end === -1) throw parseError(source, at, 'unclosed comment');
  const close = /^(?:[ \t\r\n]-)?\}\}/.exec(source.slice(end + 2));
  if (close === null) throw parseError(source, at, 'comment ends before closing delimiter');
  return { at: end + 2 + close[0].length, trimNext: close[0].length > 2 };
}

/** Appends an action's tokens, its delimiters with them, and returns where the text goes on. */
function tokenizeAction(source: string, open: number, inside: number, tokens: Token[]) {
  let at = inside;
  tokens.push({ kind: 'open', text: '{{', at: open });
  for (;;) {
    const close = /^(?:[ \t\r\n]+-)?\}\}/.exec(source.slice(at));
    if (close !== null) {
      tokens.push({ kind: 'close', text: '}}', at });
      return { at: at + close[0].length, trimNext: close[0].length > 2 };
    }
    const token = tokenAt(source, at);
    const last = tokens.at(-1);
    // A number directly after a value is no token of its own, but the value's bad end: `.ID5` is a field, `$x5` a name.
    if (
      token.kind === 'identifier' &&
      last !== undefined &&
      last.kind === 'number' &&
      last.at + last.text.length === at
    ) {
      throw parseError(source, at, `bad number syntax: "${last.text}${token.text}"`);
    }
    tokens.push(token);
    at += token.text.length;
  }
}

function tokenAt(source: string, at: number): Token {
  for (const [pattern, kind] of PATTERNS) {
    pattern.lastIndex = at;
    const text = pattern.exec(source)?.[0];
    if (text !== undefined) return { kind: kindOf(kind, text), text, at };
  }
  const character = String.fromCodePoint(source.codePointAt(at) ?? 0);
  if (at >= source.length) throw parseError(source, at, 'unclosed action');
  if (character === '"') throw parseError(source, at, 'unterminated quoted string');
  if (character === '`') throw parseError(source, at, 'unterminated raw quoted string');
  const hex = (character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');
  if (character === '}') throw parseError(source, at, `unexpected "}" in operand`);
  throw parseError(source, at, `unrecognized character in action: U+${hex} '${character}'`);
}

function kindOf(kind: TokenKind, text: string): TokenKind {
  if (kind === 'pipe') return PUNCTUATION[text] ?? 'pipe';
  if (kind !== 'identifier') return kind;
  if (KEYWORDS.has(text)) return 'keyword';
  if (text === 'true' || text === 'false') return 'bool';
  return text === 'nil' ? 'nil' : 'identifier';
}
