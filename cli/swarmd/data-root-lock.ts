import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { ApiaryError } from '@apiary/std';

/** What `flock` exits with when somebody else holds the lock. */
const CONFLICT = 75;
/** For who was killed a moment ago: its holder of the lock is on its way out. */
const PATIENCE_S = 1;

/**
 * Takes the data root for this process. The kernel's lock is held by a child that lives as long as its stdin is open:
 * it ends with this process however that ends, and holds across pid and network namespaces.
 *
 * @returns what gives the lock back
 * @throws ApiaryError `failed-precondition` when another daemon has it
 */
export async function lockDataRoot(dataRoot: string): Promise<() => Promise<void>> {
  const path = `${dataRoot}/lock`;
  // `flock` takes the lock, then becomes `cat`, which says that it is there and waits for the end of its stdin.
  const child = spawn(
    'flock',
    ['--timeout', `${PATIENCE_S}`, '--no-fork', '--conflict-exit-code', `${CONFLICT}`, path, 'cat'],
    {
      stdio: ['pipe', 'pipe', 'inherit'],
      // Ctrl-C in a terminal reaches the whole process group: the lock must outlive the stopping.
      detached: true,
    },
  );
  const ended = once(child, 'exit');
  const held = once(child.stdout, 'data');
  child.stdin.on('error', () => undefined);
  child.stdin.write('locked\n');
  const outcome = await Promise.race([held.then(() => 'held' as const), ended.then(([code]) => code as number | null)]);
  if (outcome === CONFLICT) {
    throw new ApiaryError(
      'failed-precondition',
      `data root ${dataRoot} is in use by another swarmd: stop that one, or give this one another --data-root`,
    );
  }
  if (outcome !== 'held') throw new ApiaryError('internal', `cannot lock ${path}: flock exited with ${outcome}`);
  child.unref();
  return async () => {
    child.ref();
    child.stdin.end();
    await ended;
  };
}
