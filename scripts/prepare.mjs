// What `npm start` and `npm test` do first, straight after `git clone`: plain JavaScript, no package needed.
import { spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkMachine, installMissing, missingPackages } from './requirements.mjs';

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

/**
 * Makes sure that the machine, the packages and the build are there, and says what it does.
 * What cannot be helped is said in sentences, and ends the process with status 1.
 */
export function prepare() {
  const missing = checkMachine();
  if (missing.length > 0)
    fail(`This machine cannot run the test hosts:\n${missing.map((line) => `  - ${line}`).join('\n')}`);
  const packages = missingPackages();
  if (packages.length > 0) {
    say(`installing ${packages.join(', ')}`);
    try {
      installMissing(say);
    } catch (error) {
      fail(error.message);
    }
  }
  if (packagesAreStale()) {
    say('installing the npm packages');
    run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], 'npm ci');
  }
  say('building');
  run('npm', ['run', '--silent', 'build'], 'the build');
}

/** npm writes its own copy of the lock file when it has installed everything. */
function packagesAreStale() {
  const installed = join(ROOT, 'node_modules/.package-lock.json');
  return !existsSync(installed) || statSync(installed).mtimeMs < statSync(join(ROOT, 'package-lock.json')).mtimeMs;
}

export function run(command, args, what) {
  const { status, error } = spawnSync(command, args, { cwd: ROOT, stdio: 'inherit' });
  if (status !== 0) fail(`${what} failed${error ? `: ${error.message}` : ''}`);
}

export function say(line) {
  process.stdout.write(`apiary: ${line}\n`);
}

function fail(sentence) {
  process.stderr.write(`${sentence}\n`);
  process.exit(1);
}
