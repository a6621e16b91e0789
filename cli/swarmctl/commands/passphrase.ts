import { textFlag } from '../command-line/index.js';
import { CommandError, type Context } from './context.js';

/** Where the passphrase of a backup comes from: a file, the environment of a script, or whoever is at the terminal. */

export const passphraseFile = textFlag(
  'passphrase-file',
  'File with the passphrase of the backup, on one line (default $SWARM_BACKUP_PASSPHRASE, else it is asked for)',
);

const VARIABLE = 'SWARM_BACKUP_PASSPHRASE';

type Asking = Pick<Context, 'surroundings' | 'canAsk' | 'readSecretLine'>;

/** For a backup that is to be made; asked for twice. @throws CommandError when there is none */
export async function newPassphrase(context: Asking, file: string | undefined): Promise<string> {
  const given = givenPassphrase(context, file);
  if (given !== undefined) return given;
  if (!context.canAsk) {
    throw new CommandError(
      'a backup holds the keys and the secrets of the swarm, and is encrypted with a passphrase: give --passphrase-file FILE ' +
        `or set ${VARIABLE}, or use --plain for one in clear`,
    );
  }
  const passphrase = checked(await context.readSecretLine('Passphrase of the backup: '), 'the passphrase');
  const again = await context.readSecretLine('The same once more: ');
  if (again.trim() !== passphrase) throw new CommandError('these are two different passphrases: nothing was written');
  return passphrase;
}

/** For a backup that is there: the passphrase that was given, else how to ask for it if the backup needs one. */
export function passphraseFor(
  context: Asking,
  file: string | undefined,
  path: string,
): string | (() => Promise<string>) {
  const given = givenPassphrase(context, file);
  if (given !== undefined) return given;
  return async () => {
    if (!context.canAsk) {
      throw new CommandError(
        `${path} is encrypted: give its passphrase with --passphrase-file FILE, or set ${VARIABLE}`,
      );
    }
    return checked(await context.readSecretLine(`Passphrase of ${path}: `), 'the passphrase');
  };
}

function givenPassphrase({ surroundings }: Asking, file: string | undefined): string | undefined {
  if (file !== undefined) return checked(surroundings.readText(file), file);
  const set = surroundings.variable(VARIABLE);
  return set === undefined ? undefined : checked(set, VARIABLE);
}

/** Without the white space around it, which neither a terminal nor an editor shows. */
function checked(text: string, source: string): string {
  const passphrase = text.trim();
  if (passphrase === '') throw new CommandError(`${source} is empty: a backup is encrypted with a passphrase`);
  if (/[\r\n]/.test(passphrase)) throw new CommandError(`${source} has more than one line: the passphrase is one`);
  return passphrase;
}
