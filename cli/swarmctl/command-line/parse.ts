import { type Flag, FlagValueError, ParsedFlags } from './flag.js';

/** A command line that does not fit its command: answered with the usage, exit code 125. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/**
 * Parses a command line as pflag does, which Docker's command line is built on: `--flag=value`, `--flag value`,
 * `-f value`, `-fvalue`, `-abc` for three flags of one letter, `--` before arguments that look like flags. A flag of
 * the type bool takes a value after `=` only.
 *
 * @param interspersed  whether flags may follow arguments; when not, all from the first argument on are arguments
 * @throws UsageError
 */
export function parseCommandLine(
  flags: readonly Flag<unknown>[],
  words: readonly string[],
  interspersed: boolean,
): { flags: ParsedFlags; args: string[] } {
  const parsed = new ParsedFlags();
  const args: string[] = [];
  const rest = [...words];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === '--') {
      args.push(...rest);
      break;
    }
    if (word.startsWith('--')) {
      takeLong(flags, word, rest, parsed);
    } else if (word.startsWith('-') && word !== '-') {
      takeShort(flags, word, rest, parsed);
    } else if (interspersed) {
      args.push(word);
    } else {
      args.push(word, ...rest);
      break;
    }
  }
  return { flags: parsed, args };
}

function takeLong(flags: readonly Flag<unknown>[], word: string, rest: string[], parsed: ParsedFlags): void {
  const [, name = '', , value] = /^--([^=]*)(=(.*))?$/s.exec(word) ?? [];
  if (name === '' || name.startsWith('-')) throw new UsageError(`bad flag syntax: ${word}`);
  const flag = flags.find((known) => known.name === name);
  if (flag === undefined) throw new UsageError(`unknown flag: --${name}`);
  const given = value ?? (flag.type === 'bool' ? 'true' : rest.shift());
  if (given === undefined) throw new UsageError(`flag needs an argument: --${name}`);
  set(parsed, flag, given);
}

function takeShort(flags: readonly Flag<unknown>[], word: string, rest: string[], parsed: ParsedFlags): void {
  for (let letters = word.slice(1); letters !== ''; ) {
    const letter = letters.charAt(0);
    const after = letters.slice(1);
    const flag = flags.find((known) => known.short === letter);
    if (flag === undefined) throw new UsageError(`unknown shorthand flag: '${letter}' in -${letters}`);
    const isAssigned = after.length > 1 && after.startsWith('=');
    if (flag.type === 'bool' && !isAssigned) {
      set(parsed, flag, 'true');
      letters = after;
      continue;
    }
    const value = isAssigned ? after.slice(1) : after === '' ? rest.shift() : after;
    if (value === undefined) throw new UsageError(`flag needs an argument: '${letter}' in -${letters}`);
    set(parsed, flag, value);
    return;
  }
}

function set(parsed: ParsedFlags, flag: Flag<unknown>, text: string): void {
  try {
    parsed.set(flag, text);
  } catch (error) {
    if (!(error instanceof FlagValueError)) throw error;
    const name = flag.short === undefined ? `--${flag.name}` : `-${flag.short}, --${flag.name}`;
    throw new UsageError(`invalid argument ${JSON.stringify(text)} for "${name}" flag: ${error.message}`);
  }
}
