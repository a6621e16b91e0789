import { parseError, type TemplateText, type Token, type TokenKind, tokenize } from './lexer.js';
import { utf8AsBytes } from './value.js';

/** The tree of a template. `at` is an offset in its source, `text` how Go would print the node in an error. */
export type Node =
  | { kind: 'text'; text: string }
  | { kind: 'action'; pipeline: Pipeline }
  | { kind: 'if' | 'with' | 'range'; pipeline: Pipeline; body: Node[]; otherwise: Node[]; at: number }
  | { kind: 'break' | 'continue' };

export interface Pipeline {
  kind: 'pipeline';
  /** Variables that take its value: one, or for `range` up to two. */
  variables: string[];
  /** `=` to a variable that exists, not `:=`. */
  assigns: boolean;
  commands: Command[];
  at: number;
  text: string;
}

export interface Command {
  operands: Operand[];
  at: number;
  text: string;
}

export type Operand = (
  | { kind: 'dot' }
  | { kind: 'nil' }
  | { kind: 'literal'; value: string | number | boolean }
  | { kind: 'function'; name: string }
  | { kind: 'field'; path: string[] }
  | { kind: 'variable'; name: string; path: string[] }
  | { kind: 'chain'; of: Pipeline; path: string[] }
) & { at: number; text: string };

/** So deep may parentheses and blocks be in one another: whoever writes more of them is no person. */
const DEEPEST = 100;

/**
 * Parses a template: everything of Go's text/template but `define`, `template` and `block`.
 *
 * @param functions  the names of the functions there are, beside `and` and `or`
 * @throws TemplateError that names the line
 */
export function parseTemplate(template: TemplateText, functions: ReadonlySet<string>): Node[] {
  return new Parser(template, functions).template();
}

class Parser {
  readonly #tokens: Token[];
  #next = 0;
  /** Variables in scope, innermost last. */
  #variables = ['$'];
  #rangeDepth = 0;
  #depth = 0;

  constructor(
    readonly text: TemplateText,
    readonly functions: ReadonlySet<string>,
  ) {
    this.#tokens = tokenize(text);
  }

  template(): Node[] {
    const { nodes, stop } = this.#list();
    if (stop !== 'end-of-input') this.#fail(`unexpected {{${stop}}}`);
    return nodes;
  }

  /** Nodes up to an `end`, an `else` or the end of the template; of the two keywords, nothing after them is consumed. */
  #list(): { nodes: Node[]; stop: 'end' | 'else' | 'end-of-input' } {
    const nodes: Node[] = [];
    for (;;) {
      const token = this.#take();
      if (token.kind === 'end-of-input') return { nodes, stop: 'end-of-input' };
      if (token.kind === 'text') {
        nodes.push({ kind: 'text', text: token.text });
        continue;
      }
      this.#skipSpace();
      const keyword = this.#peek();
      if (keyword.kind !== 'keyword') {
        const pipeline = this.#pipeline('command', 'close');
        nodes.push({ kind: 'action', pipeline });
        continue;
      }
      this.#take();
      if (keyword.text === 'end' || keyword.text === 'else') return { nodes, stop: keyword.text };
      nodes.push(this.#control(keyword));
    }
  }

  #control(keyword: Token): Node {
    const word = keyword.text;
    if (word === 'if' || word === 'with' || word === 'range') return this.#branch(word, keyword.at);
    if (word === 'break' || word === 'continue') {
      if (this.#rangeDepth === 0) this.#fail(`{{${word}}} outside {{range}}`);
      this.#close(`{{${word}}}`);
      return { kind: word };
    }
    return this.#fail(`{{${word}}} is not supported: there are no templates within templates`);
  }

  #branch(kind: 'if' | 'with' | 'range', at: number): Node {
    this.#deeper();
    const scope = this.#variables.length;
    const pipeline = this.#pipeline(kind, 'close');
    if (kind === 'range') this.#rangeDepth++;
    const { nodes: body, stop } = this.#list();
    if (kind === 'range') this.#rangeDepth--;
    const otherwise = this.#otherwise(kind, stop);
    this.#variables.length = scope;
    this.#depth--;
    return { kind, pipeline, body, otherwise, at };
  }

  #deeper(): void {
    if (++this.#depth > DEEPEST) this.#fail(`more than ${DEEPEST} levels deep`);
  }

  /** What follows a branch's body: nothing but `{{end}}`, or `{{else}}`, or `{{else if}}` and `{{else with}}`. */
  #otherwise(kind: 'if' | 'with' | 'range', stop: string): Node[] {
    if (stop === 'end-of-input') this.#fail('unexpected EOF');
    if (stop === 'end') {
      this.#close('end');
      return [];
    }
    this.#skipSpace();
    const next = this.#peek();
    if (next.kind === 'keyword' && next.text === kind && kind !== 'range') {
      this.#take();
      return [this.#branch(kind, next.at)];
    }
    this.#close('else');
    const { nodes, stop: last } = this.#list();
    if (last === 'end-of-input') this.#fail('unexpected EOF');
    if (last === 'else') this.#fail('expected end; found {{else}}');
    this.#close('end');
    return nodes;
  }

  #pipeline(context: string, end: 'close' | 'right-paren'): Pipeline {
    this.#skipSpace();
    const at = this.#peek().at;
    const { variables, assigns } = this.#declarations(context);
    const commands: Command[] = [];
    for (;;) {
      this.#skipSpace();
      const token = this.#peek();
      if (token.kind === end) {
        this.#take();
        break;
      }
      if (commands.length > 0 && this.#peekBack() !== 'pipe') this.#unexpected(token, context);
      commands.push(this.#command(context, end));
    }
    if (commands.length === 0) this.#fail(`missing value for ${context}`);
    // Only a pipeline's first stage may be a plain value: the later ones receive an argument.
    for (const command of commands.slice(1)) {
      const first = command.operands[0];
      if (first !== undefined && (first.kind === 'literal' || first.kind === 'dot' || first.kind === 'nil')) {
        this.#fail(`non executable command in pipeline stage ${commands.indexOf(command) + 1}`);
      }
    }
    const declaration = variables.length === 0 ? '' : `${variables.join(', ')} ${assigns ? '=' : ':='} `;
    const text = declaration + commands.map((command) => command.text).join(' | ');
    return { kind: 'pipeline', variables, assigns, commands, at, text };
  }

  /** `$x :=`, `$x =` or, for `range`, `$i, $x :=` before a pipeline's first command. */
  #declarations(context: string): { variables: string[]; assigns: boolean } {
    const start = this.#next;
    const variables: string[] = [];
    for (;;) {
      this.#skipSpace();
      const token = this.#peek();
      if (token.kind !== 'variable') break;
      this.#take();
      variables.push(token.text);
      this.#skipSpace();
      const separator = this.#peek();
      if (separator.kind === 'comma' && context === 'range' && variables.length === 1) {
        this.#take();
        continue;
      }
      if (separator.kind !== 'declare' && separator.kind !== 'assign') break;
      this.#take();
      if (separator.kind === 'declare') this.#variables.push(...variables);
      else for (const name of variables) this.#known(name);
      return { variables, assigns: separator.kind === 'assign' };
    }
    this.#next = start;
    return { variables: [], assigns: false };
  }

  #command(context: string, end: 'close' | 'right-paren'): Command {
    const operands: Operand[] = [];
    const at = this.#peek().at;
    for (;;) {
      this.#skipSpace();
      const token = this.#peek();
      if (token.kind === end) break;
      if (token.kind === 'pipe') {
        this.#take();
        break;
      }
      operands.push(this.#operand(context));
      const after = this.#peek().kind;
      if (after !== 'space' && after !== end && after !== 'pipe') this.#unexpected(this.#peek(), 'operand');
    }
    if (operands.length === 0) this.#fail('missing value for command');
    return { operands, at, text: operands.map((operand) => operand.text).join(' ') };
  }

  #operand(context: string): Operand {
    const token = this.#take();
    const base = { at: token.at, text: token.text };
    switch (token.kind) {
      case 'identifier':
        if (token.text !== 'and' && token.text !== 'or' && !this.functions.has(token.text))
          this.#fail(`function "${token.text}" not defined`);
        return { kind: 'function', name: token.text, ...base };
      case 'dot':
        return { kind: 'dot', ...base };
      case 'nil':
        return { kind: 'nil', ...base };
      case 'bool':
        return { kind: 'literal', value: token.text === 'true', ...base };
      case 'number':
        return { kind: 'literal', value: Number(token.text.replace(/^\+/, '')), ...base };
      case 'string':
        return { kind: 'literal', value: this.#unquote(token), ...base };
      case 'field':
        return { kind: 'field', ...this.#path([token.text.slice(1)], base) };
      case 'variable':
        this.#known(token.text);
        return { kind: 'variable', name: token.text, ...this.#path([], base) };
      case 'left-paren': {
        this.#deeper();
        const of = this.#pipeline('parenthesized pipeline', 'right-paren');
        this.#depth--;
        return { kind: 'chain', of, ...this.#path([], { at: token.at, text: `(${of.text})` }) };
      }
      default:
        return this.#unexpected(token, context);
    }
  }

  /** The fields that follow an operand without a space: `.A.B`. Go places such a chain at its second field. */
  #path(path: string[], base: { at: number; text: string }): { path: string[]; at: number; text: string } {
    let { at, text } = base;
    for (let first = true; this.#peek().kind === 'field'; first = false) {
      const token = this.#take();
      if (first) at = token.at;
      path.push(token.text.slice(1));
      text += token.text;
    }
    return { path, at, text };
  }

  #unquote(token: Token): string {
    if (token.text.startsWith('`')) return token.text.slice(1, -1);
    const escapes: Record<string, string> = { n: '\n', t: '\t', r: '\r', a: '\x07', b: '\b', f: '\f', v: '\v' };
    return token.text
      .slice(1, -1)
      .replace(/\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)/gs, (_, code: string) => {
        if (/^[uU]./.test(code)) {
          const text = String.fromCodePoint(Math.min(Number.parseInt(code.slice(1), 16), 0x10ffff));
          return this.text.isBytes ? utf8AsBytes(text) : text;
        }
        if (/^x./.test(code)) return String.fromCharCode(Number.parseInt(code.slice(1), 16));
        if (/^[0-7]{3}$/.test(code)) return String.fromCharCode(Number.parseInt(code, 8) & 0xff);
        return escapes[code] ?? code;
      });
  }

  #known(name: string): void {
    if (!this.#variables.includes(name)) this.#fail(`undefined variable "${name}"`);
  }

  #close(context: string): void {
    this.#skipSpace();
    const token = this.#take();
    if (token.kind !== 'close') this.#unexpected(token, context);
  }

  #peek(): Token {
    return this.#tokens[this.#next] ?? { kind: 'end-of-input', text: '', at: this.text.source.length };
  }

  #take(): Token {
    const token = this.#peek();
    this.#next++;
    return token;
  }

  #skipSpace(): void {
    while (this.#peek().kind === 'space') this.#next++;
  }

  /** The kind of the token before the next one, spaces left out. */
  #peekBack(): TokenKind | undefined {
    let index = this.#next - 1;
    while (this.#tokens[index]?.kind === 'space') index--;
    return this.#tokens[index]?.kind;
  }

  #unexpected(token: Token, context: string): never {
    if (token.kind === 'end-of-input') this.#fail('unexpected EOF');
    if (token.kind === 'keyword') this.#fail(`unexpected <${token.text}> in ${context}`);
    return this.#fail(`unexpected ${JSON.stringify(token.text)} in ${context}`);
  }

  #fail(message: string): never {
    const token = this.#tokens[Math.max(0, this.#next - 1)];
    throw parseError(this.text, token?.at ?? 0, message);
  }
}
