/** What is wrong with a flag's value; the parser adds which flag and what was given. */
export class FlagValueError extends Error {
  override readonly name = 'FlagValueError';
}

/** A flag of a command. As an object it is also the key to its own value in `ParsedFlags`. */
export interface Flag<T> {
  name: string;
  /** One letter. */
  short?: string | undefined;
  /** The word for its value in the help; a flag of the type bool needs none on the command line. */
  type: string;
  usage: string;
  /** Shown in the help as `(default ...)`. */
  defaultText?: string | undefined;
  /**
   * Reads one occurrence.
   *
   * @param before  the value so far, when the flag was given before
   * @throws FlagValueError
   */
  parse(text: string, before: T | undefined): T;
}

/** What the flags of one command line said. */
export class ParsedFlags {
  readonly #values = new Map<string, unknown>();

  set<T>(flag: Flag<T>, text: string): void {
    this.#values.set(flag.name, flag.parse(text, this.get(flag)));
  }

  /** Undefined when the flag was not given. */
  get<T>(flag: Flag<T>): T | undefined {
    return this.#values.get(flag.name) as T | undefined;
  }

  changed(flag: Flag<unknown>): boolean {
    return this.#values.has(flag.name);
  }

  /** The names of the flags that were given. */
  names(): string[] {
    return [...this.#values.keys()];
  }
}

interface FlagOptions {
  short?: string;
  type?: string;
  defaultText?: string;
}

function flagOf<T>(name: string, usage: string, type: string, options: FlagOptions, parse: Flag<T>['parse']): Flag<T> {
  return { name, usage, type: options.type ?? type, short: options.short, defaultText: options.defaultText, parse };
}

export function textFlag(name: string, usage: string, options: FlagOptions = {}): Flag<string> {
  return flagOf(name, usage, 'string', options, (text) => text);
}

export function boolFlag(name: string, usage: string, options: FlagOptions = {}): Flag<boolean> {
  return flagOf(name, usage, 'bool', options, parseBool);
}

/** A flag that may be repeated: each occurrence is read by `parseItem`. */
export function listFlag<T>(
  name: string,
  usage: string,
  parseItem: (text: string) => T,
  options: FlagOptions = {},
): Flag<T[]> {
  return flagOf(name, usage, 'list', options, (text, before) => [...(before ?? []), parseItem(text)]);
}

/** A flag of which the last occurrence counts. */
export function valueFlag<T>(
  name: string,
  usage: string,
  type: string,
  parse: (text: string) => T,
  options: FlagOptions = {},
): Flag<T> {
  return flagOf(name, usage, type, options, (text) => parse(text));
}

/** The forms of Go's strconv.ParseBool. */
export function parseBool(text: string): boolean {
  if (['1', 't', 'T', 'true', 'TRUE', 'True'].includes(text)) return true;
  if (['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(text)) return false;
  throw new FlagValueError(`strconv.ParseBool: parsing ${JSON.stringify(text)}: invalid syntax`);
}
