import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import t from 'tap';
import { filesUnder, ROOT, readSources, type Source } from './sources.js';

/** What the compiler cannot see, kept by a test. A bound here is only ever lowered. */

const sources = readSources();
const isTest = (source: Source): boolean => /\.(test|conformance|fixture)\.ts$/.test(source.path);
/** The pure part: every core, and what cores build on. */
const isPure = (source: Source): boolean =>
  !isTest(source) && /^(std\/(?!io\/)|api\/model\/|(\w|-)+\/core\/)/.test(source.path);

function offences(among: Source[], pattern: RegExp, except: (line: string) => boolean = () => false): string[] {
  return among.flatMap(({ path, lines }) =>
    lines.flatMap((line, i) => {
      const code = line.replace(/^\s*(\/?\*|\/\/).*$/, '').replace(/\s\/\/.*$/, '');
      return pattern.test(code) && !except(code) ? [`${path}:${i + 1}: ${line.trim()}`] : [];
    }),
  );
}

/** A file of ours, and all that it imports before it runs. */
function loadedWith(start: string): Set<string> {
  const texts = new Map(sources.map(({ path, text }) => [path, text]));
  const loaded = new Set<string>();
  const waiting = [start];
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    const text = texts.get(path);
    if (text === undefined || loaded.has(path)) continue;
    loaded.add(path);
    for (const [, what] of text.matchAll(/^(?:import|export)\s+(?!type\b)(?:[^'";]*?\sfrom\s)?'([^']+)';$/gm)) {
      const target = what?.startsWith('.') ? join(dirname(path), what) : doorOf(what ?? '');
      if (target !== undefined) waiting.push(target.replace(/\.js$/, '.ts'));
    }
  }
  return loaded;
}

/** What a name like `@apiary/raft/core` leads to, as if it were not compiled. */
function doorOf(name: string): string | undefined {
  const [, folder, rest] = /^@apiary\/([^/]+)(.*)$/.exec(name) ?? [];
  if (folder === undefined) return undefined;
  const { exports } = JSON.parse(readFileSync(join(ROOT, folder, 'package.json'), 'utf8'));
  return join(folder, exports[`.${rest}`].replace('/dist/', '/'));
}

t.test('a core has no clock, no randomness, no promise and no state of its own', async (t) => {
  const pure = sources.filter(isPure);
  t.ok(pure.length > 10, `${pure.length} pure files found`);
  t.same(offences(pure, /\bDate\.now\b|\bnew Date\(\s*\)|\bperformance\.|\bMath\.random\b/), []);
  t.same(offences(pure, /\basync\b|\bawait\b|\bsetTimeout\b|\bsetInterval\b|\bqueueMicrotask\b/), []);
  t.same(offences(pure, /^(export )?(let|var)\b/), [], 'no module-level variable');
  t.same(offences(pure, /from '(node:|.*\/io\/)/), [], 'no Node module and no io');
});

t.test(
  'manager and worker meet only in the api, and nobody leans on the commands, the tests or the benches',
  async (t) => {
    const of = (folder: string) => sources.filter((source) => source.path.startsWith(`${folder}/`));
    t.same(offences(of('manager'), /from '.*(@apiary\/worker|\/worker\/)/), []);
    t.same(offences(of('worker'), /from '.*(@apiary\/(manager|raft)|\/manager\/)/), []);
    const product = sources.filter((source) => !/^(cli|test|bench)\//.test(source.path));
    t.same(offences(product, /from '@apiary\/(cli|test|bench)/), []);
  },
);

t.test('a daemon loads nothing of what only a manager needs before it is one', async (t) => {
  const loaded = loadedWith('cli/swarmd/main.ts');
  t.ok(loaded.has('worker/io/agent.ts') && loaded.has('manager/io/http/server.ts'), `${loaded.size} files`);
  const managers = /^raft\/|^manager\/io\/(manager|replica|\w+-loop|rpc\/.*|raft-transport\/.*|recovery\/.*)\.ts$/;
  t.same(
    [...loaded].filter((path) => managers.test(path)),
    [],
    'it is 4 MiB: see docs/decisions/0051-memory-of-a-worker.md',
  );
});

t.test('nothing is left half done or silenced', async (t) => {
  const ours = sources.filter(({ path }) => !path.startsWith('test/tidy/'));
  const said = /\b(TODO|FIXME|XXX)\b|@ts-(ignore|nocheck|expect-error)|biome-ignore/;
  const written = ours.flatMap(({ path, lines }) =>
    lines.flatMap((line, i) => (said.test(line) ? [`${path}:${i + 1}: ${line}`] : [])),
  );
  t.same(written, []);
  t.same(offences(ours, /\bas any\b|: any\b|\bt\.only\(/), []);
});

t.test('no test sleeps', async (t) => {
  const tests = sources.filter((source) => isTest(source) && !source.path.startsWith('test/tidy/'));
  t.same(offences(tests, /\b(sleep|delay)\(|timers\/promises|setTimeout\(\s*(resolve|r|done)\b/), []);
});

t.test('names are nouns of the field in kebab-case', async (t) => {
  for (const { path } of sources) {
    t.match(basename(path), /^[a-z0-9]+(-[a-z0-9]+)*(\.(test|sim\.test|conformance|fixture))?\.ts$/, path);
    t.notMatch(path, /(^|\/)(utils?|helpers?|common|misc|shared)(\/|[.-])/, path);
  }
});

t.test('a file can be walked through', async (t) => {
  const limitOf = (source: Source) => (isTest(source) ? 750 : 500);
  const long = sources.filter((source) => source.lines.length > limitOf(source));
  t.same(
    long.map(({ path, lines }) => `${path}: ${lines.length} lines`),
    [],
  );
});

t.test('every room says what it is for', async (t) => {
  const rooms = new Set(sources.map(({ path }) => dirname(path)).filter((path) => path !== '.'));
  for (const room of rooms) {
    const index = join(ROOT, room, 'index.ts');
    const said =
      existsSync(join(ROOT, room, 'README.md')) ||
      (existsSync(index) && readFileSync(index, 'utf8').trimStart().startsWith('/**'));
    t.ok(
      said || sources.filter(({ path }) => dirname(path) === room).length === 1,
      `${room} has a README.md or an index.ts that says it`,
    );
  }
});

t.test('links in the documents lead somewhere', async (t) => {
  for (const path of filesUnder('.', '.md')) {
    const text = readFileSync(join(ROOT, path), 'utf8');
    for (const [, target] of text.matchAll(/\]\((?!https?:|#)([^)#\s]+)[^)]*\)/g)) {
      t.ok(target !== undefined && existsSync(join(ROOT, dirname(path), target)), `${path}: ${target}`);
    }
  }
});

t.test('the lock file has the packages of every platform, or `npm ci` refuses it', async (t) => {
  const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { optionalDependencies?: Record<string, string> }>;
  };
  const missing = Object.entries(lock.packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).filter(
      (name) => !(`node_modules/${name}` in lock.packages) && !(`${path}/node_modules/${name}` in lock.packages),
    ),
  );
  t.same(missing, [], '`npm run lock` puts them back');
});
