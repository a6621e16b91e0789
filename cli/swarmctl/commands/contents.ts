import type { ApiClient, ContentCalls } from '@apiary/api/client';
import type { Config, ConfigSpec, Secret, SecretSpec } from '@apiary/api/model';
import {
  CONFIGS,
  configRows,
  type ListKind,
  prettyConfig,
  prettySecret,
  renderList,
  SECRETS,
  secretRows,
} from '../table/index.js';
import type { Struct } from '../template/index.js';
import { CommandError, type CommandModule } from './context.js';
import { errorText } from './error-text.js';
import { inspectObjects } from './inspect.js';
import { filter, inspectFormat, listFormat, pretty, quietIds } from './options.js';

/** In what secrets and configs differ. */
interface Kind<T, S> {
  calls: (client: ApiClient) => ContentCalls<T, S>;
  table: ListKind;
  rows: (objects: T[], nowMs: number) => Struct[];
  page: (object: T) => string;
  typed: () => Promise<(object: object) => Struct>;
}

export const secret = commandsOf<Secret, SecretSpec>({
  calls: ({ secrets }) => secrets,
  table: SECRETS,
  rows: secretRows,
  page: prettySecret,
  typed: async () => (await import('./typed-object.js')).typedSecret,
});

export const config = commandsOf<Config, ConfigSpec>({
  calls: ({ configs }) => configs,
  table: CONFIGS,
  rows: configRows,
  page: prettyConfig,
  typed: async () => (await import('./typed-object.js')).typedConfig,
});

function commandsOf<T extends object, S>({ calls, table, rows, page, typed }: Kind<T, S>) {
  const list: CommandModule = {
    flags: [filter, listFormat, quietIds],
    run: async ({ client, clock, terminal }, flags) => {
      const objects = await calls(client).list(flags.get(filter));
      const text = renderList(
        table,
        rows(objects, clock.now()),
        flags.get(listFormat) ?? '',
        flags.get(quietIds) ?? false,
      );
      terminal.out(text);
    },
  };

  const inspect: CommandModule = {
    flags: [inspectFormat, pretty],
    run: async (context, flags, references) => {
      const { get } = calls(context.client);
      if (flags.get(pretty) !== true) {
        return inspectObjects(context, { references, format: flags.get(inspectFormat) ?? '', get, typed });
      }
      if (flags.changed(inspectFormat)) {
        throw new CommandError('--format is incompatible with human friendly format');
      }
      for (const reference of references) context.terminal.out(page(await get(reference)));
    },
  };

  const remove: CommandModule = {
    flags: [],
    run: async ({ client, terminal }, _flags, names) => {
      const errors: string[] = [];
      for (const name of names) {
        try {
          await calls(client).remove(name);
          terminal.out(`${name}\n`);
        } catch (error) {
          errors.push(errorText(error));
        }
      }
      if (errors.length > 0) throw new CommandError(errors.join('\n'));
    },
  };

  return { list, inspect, remove };
}
