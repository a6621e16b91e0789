// Makes the addon's binary for this machine, unless the one in `prebuilds/` is of these very sources.
//
// `npm run build` runs it first. As the package's install script it is tolerant: where the package brings a binary it
// does nothing, and where it cannot compile it says so and leaves it to the first use, or the next build, to fail.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const HERE = dirname(fileURLToPath(import.meta.url));
const FOLDER = join(HERE, 'prebuilds', `${process.platform}-${process.arch}`);
const LIBC = process.report.getReport().header.glibcVersionRuntime === undefined ? 'musl' : 'glibc';
const BINARY = join(FOLDER, `node.napi.${LIBC}.node`);
const STAMP = join(FOLDER, `sources.${LIBC}.sha256`);

const isTolerant = process.argv.includes('--tolerant');
const isLocked = process.argv.includes('--locked');

try {
  if (!isFresh() && (isLocked || !buildUnderLock())) compile();
} catch (error) {
  process.stderr.write(`agent-native: ${error.message}\n`);
  process.exitCode = isTolerant ? 0 : 1;
}

function sourcesDigest() {
  const hash = createHash('sha256');
  const files = readdirSync(join(HERE, 'native')).sort();
  for (const file of ['binding.gyp', ...files.map((name) => join('native', name))]) {
    hash
      .update(`${file}\0`)
      .update(readFileSync(join(HERE, file)))
      .update('\0');
  }
  return hash.digest('hex');
}

function isFresh() {
  return existsSync(BINARY) && existsSync(STAMP) && readFileSync(STAMP, 'utf8').trim() === sourcesDigest();
}

/** Two builds at once would compile into one folder. Without flock(1) there is no second one to fear. */
function buildUnderLock() {
  mkdirSync(FOLDER, { recursive: true });
  const self = [process.execPath, fileURLToPath(import.meta.url), '--locked', ...process.argv.slice(2)];
  const { status, error } = spawnSync('flock', [join(FOLDER, '.lock'), ...self], { stdio: 'inherit' });
  if (error !== undefined) return false;
  process.exitCode = status ?? 1;
  return true;
}

function compile() {
  const digest = sourcesDigest();
  process.stdout.write(`agent-native: compiling for ${process.platform}-${process.arch}\n`);
  const args = [nodeGyp(), 'rebuild', '--jobs=max', '--loglevel=error', ...headers()];
  const { status, stdout, stderr, error } = spawnSync(process.execPath, args, { cwd: HERE, encoding: 'utf8' });
  if (status !== 0) {
    const said = `${stdout ?? ''}${stderr ?? ''}${error?.message ?? ''}`.trim();
    throw new Error(`cannot compile the addon (it takes g++, make and python3):\n${said}`);
  }
  const built = join(HERE, 'build/Release/agent_native.node');
  spawnSync('strip', ['--strip-unneeded', built]);
  mkdirSync(FOLDER, { recursive: true });
  // Put in place in one step: a process may have the old one open.
  copyFileSync(built, `${BINARY}.new`);
  renameSync(`${BINARY}.new`, BINARY);
  writeFileSync(STAMP, `${digest}\n`);
  rmSync(join(HERE, 'build'), { recursive: true });
}

function nodeGyp() {
  const require = createRequire(import.meta.url);
  try {
    return require.resolve('node-gyp/bin/node-gyp.js');
  } catch {
    // npm brings one along, and names it to the scripts it runs.
    const bundled = process.env.npm_config_node_gyp;
    if (bundled === undefined) throw new Error('node-gyp is missing: run npm ci first');
    return bundled;
  }
}

/** Node's headers lie beside it in most installations; otherwise node-gyp downloads them. */
function headers() {
  const prefix = dirname(dirname(process.execPath));
  return existsSync(join(prefix, 'include/node/node_api.h')) ? [`--nodedir=${prefix}`] : [];
}
