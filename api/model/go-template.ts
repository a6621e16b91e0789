import { ApiaryError, messageOf } from '@apiary/std';

/**
 * Docker's placeholders in a service's env, hostname and mounts: `{{.Service.Name}}`, `{{index .Service.Labels "x"}}`.
 * Of Go's text/template: field chains, string and number constants, parentheses, pipelines, `index`, `len`, `print` and
 * `printf`, comments and the trimming of white space. Control structures are refused.
 */

/** A function that a template may call beside Go's own. What it throws is told as Go tells it. */
export type TemplateFunctions = Readonly<Record<string, (value: string) => string>>;

/** A value as Go's templates see it: a string or number, a map, or a struct with its type's name for messages. */
export type TemplateValue = string | number | ReadonlyMap<string, string> | TemplateStruct;

export interface TemplateStruct {
  goType: string;
  fields: Readonly<Record<string, TemplateValue>>;
}

/** An action's parts: a chain of fields of the context, a constant, or a pipeline in parentheses. */
type Operand =
  | { is: 'chain'; base: Operand | undefined; fields: string[]; text: string; at: number }
  | { is: 'constant'; value: string | number }
  | { is: 'function'; name: string; text: string; at: number }
  | { is: 'pipeline'; commands: Operand[][] };

interface Token {
  kind: 'field' | 'string' | 'number' | 'word' | '|' | '(' | ')';
  text: string;
  at: number;
  /** White space before it ends a chain: `.A .B` are two operands. */
  spaced: boolean;
}

const TOKEN =
  /(\s*)(?:(\.[\p{L}_][\p{L}\p{N}_]*|\.(?![\p{L}_]))|("(?:[^"\\\n]|\\.)*"|`[^`]*`)|(-?\d+)|([\p{L}_][\p{L}\p{N}_]*)|([|()]))/uy;
const CONTROL = new Set(['if', 'else', 'end', 'range', 'with', 'define', 'block', 'template', 'break', 'continue']);

/**
 * @throws ApiaryError `invalid-argument` with the words that Docker (that is, Go) has for the fault
 */
export function expandTemplate(text: string, context: TemplateStruct, functions: TemplateFunctions = {}): string {
  const parts: (string | Operand)[] = [];
  let rest = 0;
  let trimNext = false;
  for (;;) {
    const open = text.indexOf('{{', rest);
    let plain = text.slice(rest, open < 0 ? text.length : open);
    if (trimNext) plain = plain.trimStart();
    if (open < 0) {
      parts.push(plain);
      break;
    }
    const trimsBefore = /^-\s/.test(text.slice(open + 2, open + 4));
    parts.push(trimsBefore ? plain.trimEnd() : plain);
    const close = endOfAction(text, open + 2);
    trimNext = /\s-$/.test(text.slice(open + 2, close));
    const start = open + 2 + (trimsBefore ? 1 : 0);
    const body = text.slice(start, close - (trimNext ? 1 : 0));
    if (!/^\s*\/\*[\s\S]*\*\/\s*$/.test(body)) parts.push(parse(text, body, start));
    rest = close + 2;
  }
  // All of it is parsed by now: a fault of syntax anywhere comes before one in the first field.
  return parts
    .map((part) => (typeof part === 'string' ? part : render(evaluate(part, { context, functions, text }))))
    .join('');
}

/** Where the `}}` is that ends the action: not one within quotes. */
function endOfAction(text: string, from: number): number {
  const scan = /"(?:[^"\\\n]|\\.)*"|`[^`]*`|\/\*[\s\S]*?\*\/|\}\}/g;
  scan.lastIndex = from;
  for (let match = scan.exec(text); match !== null; match = scan.exec(text)) if (match[0] === '}}') return match.index;
  throw fault(text, from, 'unclosed action');
}

function parse(text: string, body: string, start: number): Operand {
  const tokens = tokenize(text, body, start);
  if (tokens.length === 0) throw fault(text, start, 'missing value for command');
  const { pipeline, next } = parsePipeline(text, tokens, 0);
  const extra = tokens[next];
  if (extra !== undefined) throw fault(text, extra.at, `unexpected ${extra.text} in command`);
  return pipeline;
}

function tokenize(text: string, body: string, start: number): Token[] {
  const tokens: Token[] = [];
  const end = body.trimEnd().length;
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < end) {
    const from = TOKEN.lastIndex;
    const match = TOKEN.exec(body);
    if (match === null)
      throw fault(text, start + from, `unexpected ${quote(body.slice(from).trim().charAt(0))} in command`);
    const [, space = '', field, string, number, word, mark] = match;
    const at = start + from + space.length;
    const spaced = space !== '' || from === 0;
    if (field !== undefined) tokens.push({ kind: 'field', text: field, at, spaced });
    else if (string !== undefined) tokens.push({ kind: 'string', text: string, at, spaced });
    else if (number !== undefined) tokens.push({ kind: 'number', text: number, at, spaced });
    else if (word !== undefined) tokens.push({ kind: 'word', text: word, at, spaced });
    else if (mark === '|' || mark === '(' || mark === ')') tokens.push({ kind: mark, text: mark, at, spaced });
  }
  return tokens;
}

function parsePipeline(text: string, tokens: Token[], from: number): { pipeline: Operand; next: number } {
  const commands: Operand[][] = [[]];
  let i = from;
  for (let token = tokens[i]; token !== undefined && token.kind !== ')'; token = tokens[i]) {
    if (token.kind === '|') {
      commands.push([]);
      i++;
      continue;
    }
    const { operand, next } = parseOperand(text, tokens, i);
    commands.at(-1)?.push(operand);
    i = next;
  }
  // Go passes over a bar that nothing follows.
  if (commands.length > 1 && commands.at(-1)?.length === 0) commands.pop();
  if (commands.some((command) => command.length === 0)) {
    throw fault(text, tokens[from]?.at ?? 0, 'missing value for command');
  }
  return { pipeline: { is: 'pipeline', commands }, next: i };
}

function parseOperand(text: string, tokens: Token[], from: number): { operand: Operand; next: number } {
  const token = tokens[from];
  if (token === undefined) throw fault(text, 0, 'missing value for command');
  let next = from + 1;
  let base: Operand | undefined;
  const fields: string[] = [];
  if (token.kind === 'string') return { operand: { is: 'constant', value: unquote(token.text) }, next };
  if (token.kind === 'number') return { operand: { is: 'constant', value: Number(token.text) }, next };
  if (token.kind === 'word') {
    if (CONTROL.has(token.text)) throw fault(text, token.at, `{{${token.text}}} is not supported here`);
    return { operand: { is: 'function', name: token.text, text: token.text, at: token.at }, next };
  }
  if (token.kind === '(') {
    const inner = parsePipeline(text, tokens, next);
    if (tokens[inner.next]?.kind !== ')') throw fault(text, token.at, 'unclosed left paren');
    base = inner.pipeline;
    next = inner.next + 1;
  } else if (token.text !== '.') fields.push(token.text.slice(1));
  // Go places a chain's faults at its second field.
  let at = token.at;
  for (let more = tokens[next]; more?.kind === 'field' && !more.spaced; more = tokens[++next]) {
    if (fields.length === 1) at = more.at;
    fields.push(more.text.slice(1));
  }
  return { operand: { is: 'chain', base, fields, text: `.${fields.join('.')}`, at }, next };
}

/** What an expansion has to do with. */
interface Expansion {
  context: TemplateStruct;
  functions: TemplateFunctions;
  text: string;
}

function evaluate(operand: Operand, expansion: Expansion): TemplateValue {
  const { context, text } = expansion;
  switch (operand.is) {
    case 'constant':
      return operand.value;
    case 'function':
      return call(operand, [], expansion);
    case 'chain': {
      let value = operand.base === undefined ? context : evaluate(operand.base, expansion);
      for (const field of operand.fields) value = fieldOf(value, field, operand, text);
      return value;
    }
    case 'pipeline': {
      let piped: TemplateValue | undefined;
      for (const [head, ...rest] of operand.commands) {
        if (head === undefined) continue;
        const values = rest.map((argument) => evaluate(argument, expansion));
        if (piped !== undefined) values.push(piped);
        if (head.is === 'function') piped = call(head, values, expansion);
        else if (values.length === 0) piped = evaluate(head, expansion);
        else throw fault(text, undefined, "can't give argument to non-function");
      }
      return piped ?? '';
    }
  }
}

function fieldOf(
  value: TemplateValue,
  field: string,
  chain: { text: string; at: number },
  text: string,
): TemplateValue {
  if (value instanceof Map) {
    const entry = value.get(field);
    if (entry !== undefined) return entry;
    throw executionFault(text, chain, `map has no entry for key ${quote(field)}`);
  }
  if (isStruct(value)) {
    const entry = value.fields[field];
    if (entry !== undefined) return entry;
  }
  throw executionFault(text, chain, `can't evaluate field ${field} in type ${typeOf(value)}`);
}

function call(
  name: { name: string; text: string; at: number },
  values: TemplateValue[],
  { functions, text }: Expansion,
): TemplateValue {
  if (Object.hasOwn(functions, name.name)) return callGiven(name, values, functions, text);
  const [first, second] = values;
  switch (name.name) {
    case 'index':
      if (!(first instanceof Map) || typeof second !== 'string' || values.length !== 2) {
        throw executionFault(text, name, `error calling index: can't index item of type ${typeOf(first ?? '')}`);
      }
      return first.get(second) ?? '';
    case 'len':
      if (typeof first === 'string') return [...first].length;
      if (first instanceof Map) return first.size;
      throw executionFault(text, name, `error calling len: len of type ${typeOf(first ?? '')}`);
    case 'print':
      return values.map(render).join('');
    case 'printf': {
      if (typeof first !== 'string') throw executionFault(text, name, 'wrong type for value; expected string');
      let used = 1;
      return first.replace(/%([svdq%])/g, (_, verb: string) => {
        if (verb === '%') return '%';
        const value = values[used++];
        if (value === undefined) return `%!${verb}(MISSING)`;
        return verb === 'q' ? quote(render(value)) : render(value);
      });
    }
    default:
      throw fault(text, undefined, `function ${quote(name.name)} not defined`);
  }
}

function callGiven(
  { name, at }: { name: string; at: number },
  values: TemplateValue[],
  functions: TemplateFunctions,
  text: string,
): string {
  const words = [name, ...values.map((value) => (typeof value === 'string' ? quote(value) : render(value)))].join(' ');
  const [value, ...more] = values;
  if (typeof value !== 'string' || more.length > 0) {
    throw executionFault(text, { text: words, at }, `wrong number or type of args for ${name}: want 1 string`);
  }
  try {
    return functions[name]?.(value) ?? '';
  } catch (error) {
    throw executionFault(text, { text: words, at }, `error calling ${name}: ${messageOf(error)}`);
  }
}

function render(value: TemplateValue): string {
  if (value instanceof Map) {
    const entries = [...value].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, entry]) => `${key}:${entry}`);
    return `map[${entries.join(' ')}]`;
  }
  if (isStruct(value)) return `{${Object.values(value.fields).map(render).join(' ')}}`;
  return String(value);
}

function isStruct(value: TemplateValue): value is TemplateStruct {
  return typeof value === 'object' && !(value instanceof Map);
}

function typeOf(value: TemplateValue): string {
  if (value instanceof Map) return 'map[string]string';
  if (isStruct(value)) return value.goType;
  return typeof value === 'number' ? 'int' : 'string';
}

function unquote(literal: string): string {
  if (literal.startsWith('`')) return literal.slice(1, -1);
  const named: Record<string, string> = { n: '\n', t: '\t', r: '\r' };
  return literal.slice(1, -1).replace(/\\(.)/g, (_, char: string) => named[char] ?? char);
}

function quote(text: string): string {
  return JSON.stringify(text);
}

function fault(text: string, at: number | undefined, words: string): ApiaryError {
  const line = text.slice(0, at ?? 0).split('\n').length;
  return new ApiaryError('invalid-argument', `template: expansion:${line}: ${words}`);
}

function executionFault(text: string, node: { text: string; at: number }, words: string): ApiaryError {
  const before = text.slice(0, node.at);
  const place = `${before.split('\n').length}:${node.at - (before.lastIndexOf('\n') + 1)}`;
  const message = `template: expansion:${place}: executing "expansion" at <${node.text}>: ${words}`;
  return new ApiaryError('invalid-argument', message);
}
