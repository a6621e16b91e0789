import type { ApiClient } from '@apiary/api/client';
import { boolFlag } from '../command-line/index.js';
import { CommandError, type CommandModule, type Terminal } from './context.js';

const quiet = boolFlag('quiet', 'Only display token', { short: 'q' });
const rotate = boolFlag('rotate', 'Rotate unlock key');

export const unlock: CommandModule = {
  flags: [],
  run: async ({ client, readSecretLine }) => {
    // Docker's refusals come before the question.
    const { LocalNodeState: state } = (await client.info()).Swarm;
    if (state === 'inactive') throw new CommandError('This node is not part of a swarm');
    if (state !== 'locked') throw new CommandError('swarm is not locked');
    await client.swarmUnlock(await readSecretLine('Enter unlock key: '));
  },
};

export const unlockKey: CommandModule = {
  flags: [quiet, rotate],
  run: async ({ client, terminal }, flags) => {
    const isQuiet = flags.get(quiet) ?? false;
    if (flags.get(rotate) === true) {
      const { Version: version, Spec: spec } = await client.swarmInspect();
      if (spec.EncryptionConfig?.AutoLockManagers !== true) {
        throw new CommandError('cannot rotate because autolock is not turned on');
      }
      await client.swarmUpdate(version.Index, spec, { rotateManagerUnlockKey: true });
      if (!isQuiet) terminal.out('Successfully rotated manager unlock key.\n\n');
    }
    const { UnlockKey: key } = await client.swarmUnlockKey();
    if (key === '') throw new CommandError('no unlock key is set');
    if (isQuiet) terminal.out(`${key}\n`);
    else writeUnlockHelp(terminal, key);
  },
};

/** What `init` and `update` say once managers are locked. */
export async function tellUnlockKey(client: ApiClient, terminal: Terminal): Promise<void> {
  const { UnlockKey: key } = await client.swarmUnlockKey();
  writeUnlockHelp(terminal, key);
}

function writeUnlockHelp(terminal: Terminal, key: string): void {
  terminal.out(
    'A manager of this swarm is locked when it starts. Unlock it there with "swarmctl unlock" and this key:\n\n' +
      `    ${key}\n\n` +
      'Keep the key in a password manager: without it, no manager can be started again.\n',
  );
}
