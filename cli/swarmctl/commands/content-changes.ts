import type { ApiClient, ContentCalls } from '@apiary/api/client';
import type { Config, ConfigSpec, Secret, SecretSpec } from '@apiary/api/model';
import { messageOf } from '@apiary/std';
import { listFlag, textFlag } from '../command-line/index.js';
import type { Surroundings } from '../spec/option.js';
import { parseLabel } from '../spec/values.js';
import { toMap } from '../spec/words.js';
import { CommandError, type CommandModule } from './context.js';

/** In what secrets and configs differ. */
interface Kind {
  /** What is said of a file that cannot be read. */
  unreadable: (file: string, why: string) => string;
  labelUsage: string;
  calls: (client: ApiClient) => ContentCalls<Secret, SecretSpec> | ContentCalls<Config, ConfigSpec>;
}

export const secret = commandsOf({
  unreadable: (_file, why) => why,
  labelUsage: 'Secret labels',
  calls: ({ secrets }) => secrets,
});

export const config = commandsOf({
  unreadable: (file, why) => `Error reading content from "${file}": ${why}`,
  labelUsage: 'Config labels',
  calls: ({ configs }) => configs,
});

const STANDARD_INPUT = '-';

function commandsOf({ unreadable, labelUsage, calls }: Kind) {
  const label = listFlag('label', labelUsage, parseLabel, { short: 'l' });
  const templateDriver = textFlag('template-driver', 'Template driver');
  const dataOf = async (file: string, surroundings: Surroundings): Promise<string> => {
    try {
      return Buffer.from(await contentOf(file, surroundings)).toString('base64');
    } catch (error) {
      throw new CommandError(unreadable(file, messageOf(error)));
    }
  };

  const create: CommandModule = {
    flags: [label, templateDriver],
    run: async ({ client, terminal, surroundings }, flags, [name = '', file]) => {
      if (file === undefined) throw new CommandError('secret file is required');
      const Data = await dataOf(file, surroundings);
      const driver = flags.get(templateDriver) ?? '';
      const spec = { Name: name, Labels: toMap(flags.get(label) ?? []), Data };
      const { ID } = await calls(client).create(driver === '' ? spec : { ...spec, Templating: { Name: driver } });
      terminal.out(`${ID}\n`);
    },
  };

  const update: CommandModule = {
    flags: [label, templateDriver],
    run: async ({ client, terminal, surroundings }, flags, [name = '', file = '']) => {
      const Data = await dataOf(file, surroundings);
      const labels = flags.get(label);
      const driver = flags.get(templateDriver) ?? '';
      const { ID } = await calls(client).putVersion(name, {
        Data,
        ...(labels !== undefined && { Labels: toMap(labels) }),
        ...(driver !== '' && { Templating: { Name: driver } }),
      });
      terminal.out(`${ID}\n`);
    },
  };

  return { create, update };
}

/** @throws Error in Docker's words */
async function contentOf(file: string, { readBytes }: Surroundings): Promise<Uint8Array> {
  if (file === STANDARD_INPUT) {
    const bytes = await readBytes(undefined);
    if (bytes.length === 0) throw new Error('error reading from STDIN: data is empty');
    return bytes;
  }
  try {
    return await readBytes(file);
  } catch (error) {
    throw new Error(`error reading from ${file}: ${messageOf(error)}`);
  }
}
