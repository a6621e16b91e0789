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
import type { CommandModule } from './context.js';
import { inspectForm, inspectOrShow } from './inspect.js';
import { filter, listFormat, quietIds } from './options.js';
import { removeEach } from './removal.js';

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
    flags: inspectForm,
    run: (context, flags, references) =>
      inspectOrShow(context, flags, { references, get: calls(context.client).get, typed, page }),
  };

  const remove: CommandModule = {
    flags: [],
    run: (context, _flags, names) => removeEach(context, names, (name) => calls(context.client).remove(name)),
  };

  return { list, inspect, remove };
}
