import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { ROOT } from './sources.js';

function run(tool: string, args: string[], cwd = ROOT): { status: number | null; output: string } {
  const child = spawnSync(join(ROOT, 'node_modules/.bin', tool), args, { cwd, encoding: 'utf8' });
  return { status: child.status, output: `${child.stdout}${child.stderr}` };
}

t.test('biome finds nothing to mend', async (t) => {
  const { status, output } = run('biome', ['ci', '--colors=off', '.']);
  t.equal(status, 0, output);
});

t.test('imports keep to the layers, without cycles', async (t) => {
  const { status, output } = run('depcruise', ['--config', '.dependency-cruiser.cjs', '.']);
  t.equal(status, 0, output);
});

t.test('no file, export or dependency is unused', async (t) => {
  const { status, output } = run('knip', ['--no-progress']);
  t.equal(status, 0, output);
});

t.test('the generated gRPC code is that of the .proto files', async (t) => {
  const out = mkdtempSync(join(tmpdir(), 'apiary-gen-'));
  t.teardown(() => rmSync(out, { recursive: true }));
  const { status, output } = run('buf', ['generate', '--output', out], join(ROOT, 'api'));
  t.equal(status, 0, output);
  for (const file of ['gen/apiary.ts', 'gen/raft.ts']) {
    t.equal(
      readFileSync(join(ROOT, 'api', file), 'utf8'),
      readFileSync(join(out, file), 'utf8'),
      'npm run gen makes it anew',
    );
  }
});
