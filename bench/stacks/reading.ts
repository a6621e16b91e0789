/** Reads, checks and converts the stack file that it is given, a few times in one process, and prints the milliseconds of each. */
import { setFlagsFromString } from 'node:v8';
import { convertProject, loadProject } from '@apiary/stack-specs/io';

// As swarmctl does.
if (process.versions.v8.startsWith('11.')) setFlagsFromString('--interrupt-budget=400000');

const [path = '', times = '1'] = process.argv.slice(2);
for (let i = 0; i < Number(times); i++) {
  const startedAt = performance.now();
  const project = loadProject({ files: [path], envFiles: [], profiles: [], interpolate: true, environment: {} });
  const stack = convertProject(project, 'bench', true);
  const ms = performance.now() - startedAt;
  if (stack === undefined) throw new Error(`${path} was not read`);
  process.stdout.write(`${ms}\n`);
}
