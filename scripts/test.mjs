// `npm test`: installs what is missing, builds, and runs every test file that there is a source of.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prepare, ROOT, say } from './prepare.mjs';
import { installMissing, missingTestPackages } from './requirements.mjs';

/** The order of the run: what is quick and pure first, whole clusters last. */
const PACKAGES = [
  'std',
  'agent-native',
  'api',
  'raft',
  'overlay-net',
  'manager',
  'worker',
  'stack-specs',
  'cli',
  'test',
];

function testFiles(folder) {
  return readdirSync(join(ROOT, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.test.ts'))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(ROOT.length + 1))
    .filter((path) => !/(^|\/)(dist|node_modules)\//.test(path))
    .map((path) => path.slice(folder.length + 1))
    .sort((a, b) => Number(isCluster(a)) - Number(isCluster(b)) || (a < b ? -1 : 1))
    .map((path) => join(folder, 'dist', path.replace(/\.ts$/, '.js')));
}

function isCluster(path) {
  return /^(hosts|cluster|network|conformance|stacks)\//.test(path);
}

/** Where the tests of this run put what they need for a while; what runs left that were killed is taken away. */
function temporaryFolder() {
  for (const name of readdirSync(tmpdir())) {
    const [, pid] = /^apiary-run-(\d+)$/.exec(name) ?? [];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) takeAway(join(tmpdir(), name));
  }
  const path = join(tmpdir(), `apiary-run-${process.pid}`);
  mkdirSync(path);
  return path;
}

function takeAway(path) {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch (error) {
    say(`${path} is left: ${error.message}`);
  }
}

prepare();
try {
  installMissing(say, missingTestPackages);
} catch (error) {
  say(`${error.message}; what needs it is skipped`);
}
const only = process.argv.slice(2);
const files = PACKAGES.flatMap(testFiles).filter(
  (path) => only.length === 0 || only.some((word) => path.includes(word)),
);
const TMPDIR = temporaryFolder();
const { status } = spawnSync(join(ROOT, 'node_modules/.bin/tap'), ['run', ...files], {
  cwd: ROOT,
  stdio: 'inherit',
  env: { ...process.env, TMPDIR },
});
takeAway(TMPDIR);
process.exit(status ?? 1);
