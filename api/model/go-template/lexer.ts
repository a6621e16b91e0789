/** What is wrong with a template, in the words and with the place that Go's text/template gives. */
export class TemplateError extends Error {
  override readonly name = 'TemplateError';
}

/** A template, and what it is called in messages. */
export interface TemplateText {
  name: string;
  source: string;
  /** Each character stands for one byte: texts that need not be UTF-8 are expanded as they are. */
  isBytes: boolean;
  /** `range 3` goes from 0 to 2, as newer versions of Go have it. */
  countsUp: boolean;
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

const CLOSE = /(?:[ \t\r\n]+-)?\}\}/y;

/** Where an error of parsing is: `template: NAME:LINE: message`. */
export function parseError({ name, source }: TemplateText, at: number, message: string): TemplateError {
  const line = source.slice(0, at).split('\n').length;
  return new TemplateError(`template: ${name}:${line}: ${message}`);
}

/**
 * Splits a template into its texts and the tokens of its actions; comments vanish here.
 *
 * @throws TemplateError for what no token can start with, and for an action or a string that does not end
 */
export function tokenize(template: TemplateText): Token[] {
  const { source } = template;
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
      ? skipComment(template, inside)
      : tokenizeAction(template, open, inside, tokens);
    at = action.at;
    trimNext = action.trimNext;
  }
  tokens.push({ kind: 'end-of-input', text: '', at: source.length });
  return tokens;
}

function skipComment(template: TemplateText, at: number): { at: number; trimNext: boolean } {
  const { source } = template;
  const end = source.indexOf('*/', at);
  if (end === -1) throw parseError(template, at, 'unclosed comment');
  const close = /^(?:[ \t\r\n]-)?\}\}/.exec(source.slice(end + 2, end + 6));
  if (close === null) throw parseError(template, at, 'comment ends before closing delimiter');
  return { at: end + 2 + close[0].length, trimNext: close[0].length > 2 };
}

/** Appends an action's tokens, its delimiters with them, and returns where the text goes on. */
function tokenizeAction(template: TemplateText, open: number, inside: number, tokens: Token[]) {
  const { source } = template;
  let at = inside;
  let parens = 0;
  tokens.push({ kind: 'open', text: '{{', at: open });
  for (;;) {
    CLOSE.lastIndex = at;
    const close = CLOSE.exec(source);
    if (close !== null) {
      if (parens > 0) throw parseError(template, at, 'unclosed left paren');
      tokens.push({ kind: 'close', text: '}}', at });
      return { at: at + close[0].length, trimNext: close[0].length > 2 };
    }
    const token = tokenAt(template, at);
    const last = tokens.at(-1);
    // A number directly after a value is no token of its own, but the value's bad end: `.ID5` is a field, `$x5` a name.
    if (
      token.kind === 'identifier' &&
      last !== undefined &&
      last.kind === 'number' &&
      last.at + last.text.length === at
    ) {
      throw parseError(template, at, `bad number syntax: "${last.text}${token.text}"`);
    }
    if (token.kind === 'left-paren') parens++;
    if (token.kind === 'right-paren' && --parens < 0) {
      throw parseError(template, at, "unexpected right paren U+0029 ')'");
    }
    tokens.push(token);
    at += token.text.length;
  }
}

function tokenAt(template: TemplateText, at: number): Token {
  const { source } = template;
  for (const [pattern, kind] of PATTERNS) {
    pattern.lastIndex = at;
    const text = pattern.exec(source)?.[0];
    if (text !== undefined) return { kind: kindOf(kind, text), text, at };
  }
  const character = String.fromCodePoint(source.codePointAt(at) ?? 0);
  if (at >= source.length) throw parseError(template, at, 'unclosed action');
  if (character === '"') throw parseError(template, at, 'unterminated quoted string');
  if (character === '`') throw parseError(template, at, 'unterminated raw quoted string');
  const hex = (character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');
  if (character === '}') throw parseError(template, at, `unexpected "}" in operand`);
  throw parseError(template, at, `unrecognized character in action: U+${hex} '${character}'`);
}

function kindOf(kind: TokenKind, text: string): TokenKind {
  if (kind === 'pipe') return PUNCTUATION[text] ?? 'pipe';
  if (kind !== 'identifier') return kind;
  if (KEYWORDS.has(text)) return 'keyword';
  if (text === 'true' || text === 'false') return 'bool';
  return text === 'nil' ? 'nil' : 'identifier';
}
