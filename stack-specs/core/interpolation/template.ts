/** Deeper defaults of defaults than any file has. */
const MAX_NESTING = 50;

export type Lookup = (name: string) => string | undefined;

export interface Expansion {
  text: string;
  /** Variables that have no value and no default: they stand for nothing. */
  unset: string[];
}

/** What is wrong with a template: where in it, and in which words. */
export interface TemplateFault {
  offset: number;
  message: string;
}

/**
 * Puts variables into a text: `$X`, `${X}`, `${X:-default}`, `${X-default}`, `${X:?message}`, `${X?message}`,
 * `${X:+instead}`, `${X+instead}`, nested, and `$$` for a dollar. The forms of the Compose Specification; with the colon a
 * variable that is empty counts as one that is not set.
 */
export function expandTemplate(template: string, lookup: Lookup): Expansion | TemplateFault {
  const expander = new Expander(template, lookup);
  const text = expander.expand(0, false, 0, true);
  return expander.fault ?? { text, unset: [...expander.unset] };
}

/** The names of the variables in a text, those in defaults included. */
export function isFault(result: Expansion | TemplateFault): result is TemplateFault {
  return 'offset' in result;
}

const NAME = /[a-zA-Z_][a-zA-Z0-9_]*/y;

class Expander {
  at = 0;
  fault: TemplateFault | undefined;
  readonly unset = new Set<string>();

  constructor(
    readonly template: string,
    readonly lookup: Lookup,
  ) {}

  /**
   * Expands from here to the end, or to the brace that closes.
   *
   * @param isUsed  false where the outcome does not count: what is missing there is not missed
   */
  expand(from: number, toBrace: boolean, nesting: number, isUsed: boolean): string {
    this.at = from;
    let out = '';
    while (this.at < this.template.length && this.fault === undefined) {
      const char = this.template.charAt(this.at);
      if (toBrace && char === '}') return out;
      if (char !== '$') {
        const next = this.#nextSpecial(toBrace);
        out += this.template.slice(this.at, next);
        this.at = next;
      } else out += this.#variable(nesting, isUsed);
    }
    if (toBrace && this.fault === undefined) this.#fail(from, 'a "$" and "{" are not closed by "}"');
    return out;
  }

  #nextSpecial(toBrace: boolean): number {
    let next = this.at;
    while (next < this.template.length) {
      const char = this.template.charAt(next);
      if (char === '$' || (toBrace && char === '}')) break;
      next++;
    }
    return next;
  }

  #variable(nesting: number, isUsed: boolean): string {
    const start = this.at;
    const next = this.template.charAt(start + 1);
    if (next === '$') {
      this.at = start + 2;
      return '$';
    }
    if (next === '{') return this.#braced(start, nesting, isUsed);
    const name = this.#name(start + 1);
    if (name === undefined) {
      return this.#fail(start, `${excerptOf(this.template, start)} names no variable: write "$$" for a dollar sign`);
    }
    return this.#valueOf(name, isUsed);
  }

  #braced(start: number, nesting: number, isUsed: boolean): string {
    if (nesting >= MAX_NESTING) return this.#fail(start, `variables are nested more than ${MAX_NESTING} deep`);
    const name = this.#name(start + 2);
    const wrong = () =>
      this.#fail(start, `${excerptOf(this.template, start)} is no form of a variable: write "$$" for a dollar sign`);
    if (name === undefined) return wrong();
    const [operator = ''] = /^(:?[-?+])?/.exec(this.template.slice(this.at, this.at + 2)) ?? [];
    this.at += operator.length;
    if (operator === '') {
      if (this.template.charAt(this.at) !== '}') return wrong();
      this.at++;
      return this.#valueOf(name, isUsed);
    }
    const value = this.lookup(name);
    const isSet = value !== undefined && (!operator.startsWith(':') || value !== '');
    const kind = operator.slice(-1);
    const takesWord = kind === '+' ? isSet : !isSet;
    const word = this.expand(this.at, true, nesting + 1, isUsed && takesWord);
    if (this.fault !== undefined) return '';
    this.at++;
    if (kind === '+') return isSet ? word : '';
    if (isSet) return value;
    if (kind === '-') return word;
    if (!isUsed) return '';
    const why = operator.startsWith(':') ? 'is not set or is empty' : 'is not set';
    return this.#fail(start, `required variable ${name} ${why}${word === '' ? '' : `: ${word}`}`);
  }

  #name(from: number): string | undefined {
    NAME.lastIndex = from;
    const name = NAME.exec(this.template)?.[0];
    if (name !== undefined) this.at = from + name.length;
    return name;
  }

  #valueOf(name: string, isUsed: boolean): string {
    const value = this.lookup(name);
    if (value === undefined && isUsed) this.unset.add(name);
    return value ?? '';
  }

  #fail(offset: number, message: string): string {
    this.fault ??= { offset, message };
    return '';
  }
}

/** What stands at the fault, quoted. */
function excerptOf(template: string, start: number): string {
  const rest = template.slice(start, start + 40);
  const [shown] = /^\$(\([^)]*\)|\{[^}]*\}|\S?)/.exec(rest) ?? [rest];
  return JSON.stringify(shown);
}
