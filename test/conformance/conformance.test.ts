import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { missingForHosts } from '@apiary/test/hosts';
import t from 'tap';
import { NOT_YET } from './not-yet.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const RUNNER = join(ROOT, '../shared/conformance/conformance/run.js');
/** The recordings were made with this command line: another words its tables in its own way. */
const DOCKER = /version 28\.2\./;

async function whyNot(): Promise<string | false> {
  if (!existsSync(RUNNER)) return `no recordings of Docker Swarm at ${RUNNER}`;
  const version = spawnSync('docker', ['--version'], { encoding: 'utf8' }).stdout ?? '';
  if (!DOCKER.test(version)) return `the docker command is ${version.trim() || 'missing'}, not 28.2`;
  return (await missingForHosts()).join(' ') || false;
}

const skip = await whyNot();

t.test('the docker command cannot tell this from Docker Swarm, apart from what is named', { skip }, async (t) => {
  const runner = spawn(process.execPath, [RUNNER, '--jobs', '2'], {
    env: { ...process.env, SUBJECT_DIR: ROOT, TARGET: 'subject', CONF_DEADLINE: '280' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const report = await text(runner.stdout);
  const [, total] = /^conformance: \d+\/(\d+) pass$/m.exec(report) ?? [];
  t.ok(Number(total) > 0, `the runner came to its end: ${report.slice(-500)}`);
  const failed = new Map([...report.matchAll(/^FAIL (\S+): (.*)$/gm)].map(([, name = '', why = '']) => [name, why]));
  for (const [name, why] of failed) t.ok(NOT_YET.has(name), `${name}: ${why}`);
  for (const [name, what] of NOT_YET) t.ok(failed.has(name), `${name} passes: it need not wait for ${what} any more`);
  t.comment(`${Number(total) - failed.size} of ${total} cases pass`);
});
