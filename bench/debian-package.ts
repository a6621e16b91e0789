import { spawnSync } from 'node:child_process';

/**
 * What a program answers to a question that it ends after. Debian's package with it is installed when it is missing.
 *
 * @throws Error that names the package, when apt-get cannot install it
 */
export function answerOfProgram(command: readonly [string, ...string[]], debianPackage: string): string {
  const [program, ...args] = command;
  const asked = () => {
    const { error, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
    return error === undefined ? `${stdout}${stderr}` : undefined;
  };
  const apt = (words: string[]) =>
    // RUNLEVEL=1 keeps the package from starting its daemon.
    spawnSync('apt-get', ['-q', ...words], {
      encoding: 'utf8',
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' },
    });
  const found = asked();
  if (found !== undefined) return found;
  const install = ['install', '-y', '--no-install-recommends', debianPackage];
  if (apt(install).status !== 0) {
    apt(['update']);
    apt(install);
  }
  const answer = asked();
  if (answer === undefined) throw new Error(`${program} is missing, and apt-get cannot install ${debianPackage}`);
  return answer;
}
