import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';

// Two programs for each of some hundred files.
t.setTimeout(280_000);

/** Compares `swarmctl stack config` and `stack deploy` with what Docker's command line prints and sends. */

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const SHARED = ['../shared/', '../../shared/'].map((path) => new URL(path, `file://${ROOT}`));
const JUDGE = SHARED.map((shared) => fileURLToPath(new URL('compose/compare.mjs', shared))).find(existsSync);

t.test(
  'stacks are made of files as by Docker, and faults are named',
  { skip: JUDGE === undefined && 'the recorded files are not beside the checkout' },
  async (t) => {
    const child = spawn(process.execPath, [JUDGE ?? '', ROOT, '--accept-spec', '--deploy-args', '--detach=true']);
    t.teardown(() => child.kill());
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk;
    });
    const status = await new Promise((resolve) => child.once('close', resolve));
    t.equal(status, 0, output);
    t.match(output, /^compose: (\d+)\/\1 pass/m);
  },
);
