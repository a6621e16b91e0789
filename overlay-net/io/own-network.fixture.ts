import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const INSIDE = 'APIARY_TEST_NETWORK';
/** Names of network namespaces are made there, and go with it. */
const OWN_NAMES = 'mount -t tmpfs tmpfs /run && mkdir /run/netns && exec "$@"';

/**
 * Has a test file run in a network namespace of its own: called outside of one it runs the file again, and ends.
 *
 * @param url       of the file
 * @param hasNames  the names of other network namespaces are its own too
 * @returns         why its tests are skipped, or false
 */
export function inOwnNetwork(url: string, { hasNames = false } = {}): string | false {
  if (process.getuid?.() !== 0) return 'root is needed, for network namespaces';
  if (process.env[INSIDE] !== undefined) return false;
  const run = [process.execPath, fileURLToPath(url)];
  const command = hasNames ? ['--mount', '--propagation', 'private', 'sh', '-c', OWN_NAMES, 'sh', ...run] : run;
  const env = { ...process.env, [INSIDE]: '1' };
  const { status } = spawnSync('unshare', ['--net', ...command], { stdio: 'inherit', env });
  process.exit(status ?? 1);
}

/**
 * What a command says.
 *
 * @param namespace  the network namespace that it runs in: a path
 * @throws Error with what it complained of
 */
export function sh(command: string, namespace?: string): string {
  const inside = namespace === undefined ? [] : ['nsenter', `--net=${namespace}`];
  const [program = '', ...args] = [...inside, 'sh', '-c', command];
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command}: ${stderr}${stdout}`);
  return stdout.trim();
}
