import { type Flag, listFlag } from '../command-line/index.js';
import { containerOf, orNothing, type ServiceOption, SpecError, type Surroundings } from './option.js';
import { parseEnv } from './values.js';
import { cut } from './words.js';

const onCreate = listFlag('env', 'Set environment variables', parseEnv, { short: 'e' });
const file: Flag<string[]> = listFlag('env-file', 'Read in a file of environment variables', (path) => path);
const add = listFlag('env-add', 'Add or update an environment variable', parseEnv);
const remove = listFlag('env-rm', 'Remove an environment variable', (name) => name);

/** The environment of a service: `NAME=VALUE`, or `NAME` alone for the caller's own value of it. */
export const envOption: ServiceOption = {
  createFlags: [onCreate, file],
  updateFlags: [add, remove],
  create: (spec, given, surroundings) => {
    const ofFiles = (given.get(file) ?? []).flatMap((path) => readEnvFile(path, surroundings));
    const own = (given.get(onCreate) ?? []).map((word) => withValue(word, surroundings));
    let env: string[] = [];
    for (const word of [...ofFiles, ...own]) {
      env = [...env.filter((other) => !other.startsWith(`${cut(word).key}=`)), word];
    }
    containerOf(spec).Env = orNothing(env);
  },
  update: (spec, given, surroundings) => {
    const gone = new Set(given.get(remove));
    const container = containerOf(spec);
    const byName = new Map((container.Env ?? []).map((word) => [cut(word).key, word]));
    for (const name of gone) byName.delete(name);
    for (const word of given.get(add) ?? []) byName.set(cut(word).key, withValue(word, surroundings));
    container.Env = orNothing([...byName.values()]);
  },
};

/** A name without a value takes the caller's; where the caller has none it stays a name, as with Docker. */
function withValue(word: string, surroundings: Surroundings): string {
  const { key, found } = cut(word);
  const own = found ? undefined : surroundings.variable(key);
  return own === undefined ? word : `${key}=${own}`;
}

function readEnvFile(path: string, surroundings: Surroundings): string[] {
  const fail = (why: string) => new SpecError(`invalid env file (${path}): ${why}`);
  const lines = surroundings
    .readText(path)
    .replace(/^\ufeff/, '')
    .split(/\r?\n/);
  return lines.flatMap((raw) => {
    const line = raw.trimStart();
    if (line === '' || line.startsWith('#')) return [];
    const { key, found } = cut(line);
    if (key === '') throw fail(`no variable name on line '${line}'`);
    if (/\s/.test(key)) throw fail(`variable '${key}' contains whitespaces`);
    if (found) return [line];
    // In a file, a name that the caller has no value for is left out.
    const own = surroundings.variable(key);
    return own === undefined ? [] : [`${key}=${own}`];
  });
}
