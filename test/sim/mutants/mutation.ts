import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

/** A deliberate fault: `from`, which is found once in `file`, is replaced by `to`. */
export interface Mutant {
  /** What the mutated code does wrong. */
  name: string;
  /** `raft/core/election.ts` */
  file: string;
  from: string;
  to: string;
}

/** Which simulator is to see the fault: a folder of test/sim. */
export type Simulator = 'raft' | 'cluster';

/** The checkout's top folder, seen from the compiled file. */
const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));

export interface Limit {
  count: number;
  /** Of the processor's time: on a machine that has other things to do, it takes longer. */
  seconds: number;
}

/** Of the processor's time: far more than one takes. */
const LONGEST_CLUSTER_S = 60;

export interface Verdict {
  /** What the simulator said, and by which seed; undefined when the mutant survived. */
  caught: { seed: number; failure: string } | undefined;
  seconds: number;
}

/** How often the text that a mutant replaces is in its file: it has to be once. */
export function occurrences({ file, from }: Mutant): number {
  return readFileSync(join(ROOT, file), 'utf8').split(from).length - 1;
}

/**
 * Simulates clusters with a copy of the compiled package that has the fault in it.
 *
 * @param limit  how many seeds, from seed 1 on, and how long at most
 * @throws Error when the mutant does not fit the source any more
 */
export async function tryMutant(mutant: Mutant, simulator: Simulator, limit: Limit): Promise<Verdict> {
  if (occurrences(mutant) !== 1) throw new Error(`"${mutant.name}": its text is not once in ${mutant.file}`);
  const folder = mkdtempSync(join(tmpdir(), 'apiary-mutant-'));
  try {
    layOut(folder, mutant);
    const start = performance.now();
    const { status, output } = await run(folder, simulator, limit);
    const seconds = (performance.now() - start) / 1000;
    const [, seed, failure] = /seed (\d+) failed: (.*)/.exec(output) ?? [];
    if (status === 0) return { caught: undefined, seconds };
    const lastLine = output.trim().split('\n').at(-1) ?? '';
    return { caught: { seed: Number(seed ?? 1), failure: failure ?? `it ended: ${lastLine}` }, seconds };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function layOut(folder: string, { file, from, to }: Mutant): void {
  const [changed = ''] = file.split('/');
  const scope = join(folder, 'node_modules/@apiary');
  mkdirSync(scope, { recursive: true });
  for (const name of readdirSync(join(ROOT, 'node_modules'))) {
    if (name !== '@apiary') symlinkSync(join(ROOT, 'node_modules', name), join(folder, 'node_modules', name));
  }
  for (const name of readdirSync(join(ROOT, 'node_modules/@apiary'))) {
    if (name !== changed) symlinkSync(join(ROOT, name), join(scope, name));
  }
  for (const part of ['package.json', 'dist']) {
    cpSync(join(ROOT, changed, part), join(scope, changed, part), { recursive: true });
  }
  cpSync(join(ROOT, 'test/dist/sim'), join(folder, 'sim'), { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  const source = readFileSync(join(ROOT, file), 'utf8').replace(from, () => to);
  const compilerOptions = { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true };
  const { outputText } = ts.transpileModule(source, { compilerOptions });
  writeFileSync(join(scope, changed, 'dist', file.slice(changed.length).replace(/\.ts$/, '.js')), outputText);
}

function run(
  folder: string,
  simulator: Simulator,
  { count, seconds }: Limit,
): Promise<{ status: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const args = [`sim/${simulator}/main.js`, '--seed', '1', '--count', `${count}`, '--seconds', `${seconds}`];
    // A fault may also make a node go round in circles: one cluster that takes so long is not a sound one.
    const command = ['-c', `ulimit -t ${seconds + LONGEST_CLUSTER_S}; exec "$@"`, 'sh', process.execPath, ...args];
    const child = spawn('sh', command, { cwd: folder });
    let output = '';
    child.stdout.on('data', (data: Buffer) => {
      output += data;
    });
    child.stderr.on('data', (data: Buffer) => {
      output += data;
    });
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, output }));
  });
}
