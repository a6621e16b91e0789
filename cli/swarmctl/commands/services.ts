import { ApiError, type Filters } from '@apiary/api/client';
import type { Service } from '@apiary/api/model';
import { prettyService, renderList, SERVICES, serviceRows } from '../table/index.js';
import { CommandError, type CommandModule, type Context } from './context.js';
import { inspectForm, inspectOrShow } from './inspect.js';
import { filter, listFormat, noResolve, noTrunc, quietIds, quietTaskIds, taskFormat } from './options.js';
import { removeEach } from './removal.js';
import { writeTasks } from './task-list.js';

export const list: CommandModule = {
  flags: [filter, listFormat, quietIds],
  run: async ({ client, terminal }, flags) => {
    const quiet = flags.get(quietIds) ?? false;
    const services = await client.services(flags.get(filter), { status: !quiet });
    terminal.out(renderList(SERVICES, serviceRows(services), flags.get(listFormat) ?? '', quiet));
  },
};

export const ps: CommandModule = {
  flags: [filter, taskFormat, noResolve, noTrunc, quietTaskIds],
  run: async (context, flags, names) => {
    const { ids, missing } = await serviceIds(context, names);
    if (ids.length === 0) throw new CommandError(missing.join('\n'));
    const filters: Filters = { ...flags.get(filter) };
    filters['service'] = [...(filters['service'] ?? []), ...ids];
    await writeTasks(context, flags, await context.client.tasks(filters), { wholeIds: true });
    if (missing.length > 0) throw new CommandError(missing.join('\n'));
  },
};

/** Services by id, by name, or by the start of an id that only one has. */
async function serviceIds({ client }: Context, names: string[]): Promise<{ ids: string[]; missing: string[] }> {
  const byId = await client.services({ id: names });
  const byName = await client.services({ name: names });
  const ids: string[] = [];
  const missing: string[] = [];
  for (const name of names) {
    const exact = byId.find(({ ID: id }) => id === name) ?? byName.find(({ Spec: spec }) => spec.Name === name);
    const [first, second] = exact === undefined ? byId.filter(({ ID: id }) => id.startsWith(name)) : [exact];
    if (second !== undefined) throw new CommandError(`multiple services found with provided prefix: ${name}`);
    if (first === undefined) missing.push(`no such service: ${name}`);
    else ids.push(first.ID);
  }
  return { ids, missing };
}

export const inspect: CommandModule = {
  flags: inspectForm,
  run: async (context, flags, references) => {
    const get = async (reference: string): Promise<Service> => {
      try {
        return await context.client.service(reference, { insertDefaults: true });
      } catch (error) {
        if (error instanceof ApiError && error.code === 'not-found') {
          throw new CommandError(`Error: no such service: ${reference}`);
        }
        throw error;
      }
    };
    await inspectOrShow(context, flags, {
      references,
      get,
      typed: async () => (await import('./typed-object.js')).typedService,
      page: async (service) => prettyService(service, context.clock.now(), await networkNames(context, service)),
    });
  },
};

/** What a service's networks are called, by id; of one that is gone nothing is known. */
async function networkNames({ client }: Context, { Spec }: Service): Promise<Map<string, string>> {
  const names = new Map<string, string>();
  for (const { Target = '' } of Spec.TaskTemplate?.Networks ?? []) {
    const network = await client.network(Target).catch((error: unknown) => {
      if (error instanceof ApiError && error.code === 'not-found') return undefined;
      throw error;
    });
    if (network !== undefined) names.set(Target, network.Name);
  }
  return names;
}

export const remove: CommandModule = {
  flags: [],
  run: (context, _flags, names) => removeEach(context, names, (name) => context.client.removeService(name)),
};
