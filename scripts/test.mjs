// `npm test`: installs what is missing, builds, and runs every test file that there is a source of.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { prepare, ROOT, say } from './prepare.mjs';
import { installMissing, missingImagePackages } from './requirements.mjs';

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

prepare();
try {
  installMissing(say, missingImagePackages);
} catch (error) {
  say(`${error.message}; what needs it is skipped`);
}
const only = process.argv.slice(2);
const files = PACKAGES.flatMap(testFiles).filter(
  (path) => only.length === 0 || only.some((word) => path.includes(word)),
);
const { status } = spawnSync(join(ROOT, 'node_modules/.bin/tap'), ['run', ...files], { cwd: ROOT, stdio: 'inherit' });
process.exit(status ?? 1);
