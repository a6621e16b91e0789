import { ArgumentError, CallError, type TemplateFunction } from './functions.js';
import { TemplateError, type TemplateText } from './lexer.js';
import type { Command, Node, Operand, Pipeline } from './parser.js';
import { isMap, isStruct, isTrue, printed, TextMap, typeNameOf, utf8Length } from './value.js';

/** What ends a pass of `range` early. */
type Signal = 'break' | 'continue' | undefined;

/** Stands for "no argument came down the pipeline", which nil is not. */
const NONE = Symbol('none');

const CHARACTERS_OF_A_STEP = 64;

/** What one template may do and write, in nodes that are evaluated and in characters: ranges in ranges never end. */
export interface TemplateLimits {
  steps: number;
  characters: number;
}

/**
 * Executes a parsed template over `data`.
 *
 * @param given.template  to place errors in
 * @throws TemplateError `template: NAME:LINE:COLUMN: executing "NAME" at <WHAT>: WHY`
 */
export function evaluateTemplate(
  nodes: readonly Node[],
  data: unknown,
  given: { template: TemplateText; functions: ReadonlyMap<string, TemplateFunction>; limits: TemplateLimits },
): string {
  const evaluator = new Evaluator(data, given);
  evaluator.walk(nodes, data);
  return evaluator.output;
}

class Evaluator {
  output = '';
  readonly #variables: { name: string; value: unknown }[];
  #steps = 0;
  readonly functions: ReadonlyMap<string, TemplateFunction>;
  readonly template: TemplateText;
  readonly limits: TemplateLimits;

  constructor(data: unknown, { template, functions, limits }: Parameters<typeof evaluateTemplate>[2]) {
    this.functions = functions;
    this.template = template;
    this.limits = limits;
    this.#variables = [{ name: '$', value: data }];
  }

  walk(nodes: readonly Node[], dot: unknown): Signal {
    for (const node of nodes) {
      const signal = this.#node(node, dot);
      if (signal !== undefined) return signal;
    }
    return undefined;
  }

  #node(node: Node, dot: unknown): Signal {
    switch (node.kind) {
      case 'text':
        this.#step();
        this.#write(node.text);
        return undefined;
      case 'action': {
        const value = this.#pipeline(node.pipeline, dot);
        if (node.pipeline.variables.length === 0) this.#write(printed(value));
        return undefined;
      }
      case 'break':
      case 'continue':
        return node.kind;
      default:
        return this.#branch(node, dot);
    }
  }

  #write(text: string): void {
    this.output += text;
    if (this.output.length > this.limits.characters)
      this.#exceed(`it expands to more than ${this.limits.characters} bytes`);
  }

  /** @param characters  that were made on the way: work as well */
  #step(characters = 0): void {
    this.#steps += 1 + Math.floor(characters / CHARACTERS_OF_A_STEP);
    if (this.#steps > this.limits.steps) this.#exceed(`it takes more than ${this.limits.steps} steps`);
  }

  #exceed(why: string): never {
    const { name } = this.template;
    throw new TemplateError(`template: ${name}: executing "${name}": ${why}`);
  }

  #branch(node: Extract<Node, { pipeline: Pipeline; body: Node[] }>, dot: unknown): Signal {
    const scope = this.#variables.length;
    try {
      if (node.kind === 'range') return this.#range(node, dot);
      const value = this.#pipeline(node.pipeline, dot);
      if (!isTrue(value)) return this.walk(node.otherwise, dot);
      return this.walk(node.body, node.kind === 'with' ? value : dot);
    } finally {
      this.#variables.length = scope;
    }
  }

  #range(node: Extract<Node, { pipeline: Pipeline; body: Node[] }>, dot: unknown): Signal {
    const { pipeline } = node;
    const value = this.#stages(pipeline, dot);
    const entries = this.#entries(value, pipeline);
    const scope = this.#variables.length;
    for (const [key, item] of entries) {
      this.#step();
      const [first, second] = pipeline.variables;
      if (first !== undefined) this.#set(first, second === undefined ? item : key, pipeline.assigns);
      if (second !== undefined) this.#set(second, item, pipeline.assigns);
      const signal = this.walk(node.body, item);
      this.#variables.length = scope;
      if (signal === 'break') break;
    }
    return entries.length === 0 ? this.walk(node.otherwise, dot) : undefined;
  }

  #entries(value: unknown, pipeline: Pipeline): [unknown, unknown][] {
    if (Array.isArray(value)) return [...value.entries()];
    if (value === undefined || value === null) return [];
    if (value instanceof TextMap) return [...value.entries];
    if (isMap(value) && !isStruct(value)) {
      return Object.keys(value)
        .sort()
        .map((key) => [key, value[key]]);
    }
    if (this.template.countsUp && Number.isInteger(value))
      return Array.from({ length: Number(value) }, (_, i) => [i, i]);
    return this.#fail(pipeline.commands.at(-1)?.operands[0] ?? pipeline, `range can't iterate over ${printed(value)}`);
  }

  /** A pipeline's value, set to its variable if it has one. */
  #pipeline(pipeline: Pipeline, dot: unknown): unknown {
    const value = this.#stages(pipeline, dot);
    for (const name of pipeline.variables) this.#set(name, value, pipeline.assigns);
    return value;
  }

  #stages(pipeline: Pipeline, dot: unknown): unknown {
    let value: unknown = NONE;
    for (const command of pipeline.commands) value = this.#command(command, dot, value);
    return value === NONE ? undefined : value;
  }

  #set(name: string, value: unknown, assigns: boolean): void {
    const existing = assigns ? this.#variables.findLast((variable) => variable.name === name) : undefined;
    if (existing === undefined) this.#variables.push({ name, value });
    else existing.value = value;
  }

  #command(command: Command, dot: unknown, final: unknown): unknown {
    this.#step();
    const [first, ...rest] = command.operands;
    if (first === undefined) return undefined;
    if (first.kind === 'function') return this.#call(first, rest, dot, final, command);
    if (rest.length > 0 || final !== NONE) {
      const isField = first.kind === 'field' || (first.kind !== 'literal' && 'path' in first && first.path.length > 0);
      const name = 'path' in first ? (first.path.at(-1) ?? first.text) : first.text;
      if (!isField) this.#fail(first, `can't give argument to non-function ${first.text}`);
      // A row and JSON have fields only, no methods.
      this.#operand(first, dot);
      this.#fail(first, `${name} has arguments but cannot be invoked as function`);
    }
    if (first.kind === 'nil') this.#fail(first, 'nil is not a command');
    return this.#operand(first, dot);
  }

  /** @param whole  what an error of the function itself is placed at */
  #call(
    callee: Operand & { kind: 'function' },
    operands: Operand[],
    dot: unknown,
    final: unknown,
    whole: { at: number; text: string },
  ): unknown {
    const { name } = callee;
    if (name === 'and' || name === 'or') return this.#andOr(callee, operands, dot, final);
    const called = this.functions.get(name);
    if (called === undefined) return this.#fail(callee, `"${name}" is not a defined function`);
    const given = operands.length + (final === NONE ? 0 : 1);
    if (given < called.least || given > called.most) {
      const want = called.most === Number.POSITIVE_INFINITY ? `at least ${called.least}` : `${called.least}`;
      this.#fail(callee, `wrong number of args for ${name}: want ${want} got ${given}`);
    }
    const args = operands.map((operand) => this.#operand(operand, dot));
    if (final !== NONE) args.push(final);
    try {
      const result = called.call(args);
      if (typeof result === 'string') this.#step(result.length);
      return result;
    } catch (error) {
      if (error instanceof CallError) return this.#fail(whole, `error calling ${name}: ${error.message}`);
      if (error instanceof ArgumentError) return this.#wrongArgument(error, operands[error.index], callee);
      throw error;
    }
  }

  #wrongArgument({ expected, got }: ArgumentError, operand: Operand | undefined, callee: Operand): never {
    if (operand?.kind === 'literal') this.#fail(operand, `expected ${expected}; found ${operand.text}`);
    this.#fail(operand ?? callee, `wrong type for value; expected ${expected}; got ${got}`);
  }

  /** `and` is its first false argument, `or` its first true one, or the last; those after it are not evaluated. */
  #andOr(callee: Operand & { kind: 'function' }, operands: Operand[], dot: unknown, final: unknown): unknown {
    if (operands.length === 0 && final === NONE) {
      this.#fail(callee, `wrong number of args for ${callee.name}: want at least 1 got 0`);
    }
    const wanted = callee.name === 'or';
    let value: unknown;
    for (const operand of operands) {
      value = this.#operand(operand, dot);
      if (isTrue(value) === wanted) return value;
    }
    return final === NONE ? value : final;
  }

  #operand(operand: Operand, dot: unknown): unknown {
    switch (operand.kind) {
      case 'dot':
        return dot;
      case 'nil':
        return undefined;
      case 'literal':
        return operand.value;
      case 'field':
        return this.#follow(dot, operand.path, operand);
      case 'variable': {
        const variable = this.#variables.findLast(({ name }) => name === operand.name);
        return this.#follow(variable?.value, operand.path, operand);
      }
      case 'chain':
        return this.#follow(this.#pipeline(operand.of, dot), operand.path, operand);
      case 'function':
        return this.#call(operand, [], dot, NONE, operand);
    }
  }

  #follow(start: unknown, path: readonly string[], operand: Operand): unknown {
    let value = start;
    let typeName = 'interface {}';
    for (const name of path) {
      if (value === undefined || value === null) this.#fail(operand, `nil pointer evaluating ${typeName}.${name}`);
      if (isStruct(value)) {
        if (!value.has(name)) this.#fail(operand, `can't evaluate field ${name} in type ${value.typeName}`);
        value = value.get(name);
        typeName = `*${name}`;
      } else if (value instanceof TextMap) {
        const text: string | undefined = value.entries.get(name);
        if (text === undefined) this.#fail(operand, `map has no entry for key ${JSON.stringify(name)}`);
        value = text;
      } else if (isMap(value)) {
        value = Object.hasOwn(value, name) ? value[name] : undefined;
      } else {
        this.#fail(operand, `can't evaluate field ${name} in type ${typeNameOf(value)}`);
      }
    }
    return value;
  }

  #fail(where: { at: number; text: string }, message: string): never {
    const { name, source, isBytes } = this.template;
    const before = source.slice(0, where.at);
    const line = before.split('\n').length;
    const inLine = before.slice(before.lastIndexOf('\n') + 1);
    const place = `${name}:${line}:${isBytes ? inLine.length : utf8Length(inLine)}`;
    throw new TemplateError(`template: ${place}: executing "${name}" at <${where.text}>: ${message}`);
  }
}
