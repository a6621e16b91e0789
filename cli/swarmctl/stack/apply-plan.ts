import type { Filters } from '@apiary/api/client';
import type { Config, Secret, ServiceSpec } from '@apiary/api/model';
import type { Context } from '../commands/context.js';
import { type ContentIds, type RegistryAuthOf, withIds } from './make-plan.js';
import { ofStack } from './of-stack.js';
import type { PlannedContent, PlannedService, StackPlan } from './stack-plan.js';

export interface ApplyOptions {
  /** Whether the cluster gives a name new data, which Docker's does not. */
  isApiary: boolean;
  registryAuth: RegistryAuthOf;
  quiet: boolean;
}

/**
 * Does what a plan says, in an order in which nothing is used before it is there.
 *
 * @returns the ids of the services that were made or changed, by name
 */
export async function applyPlan(
  context: Context,
  plan: StackPlan,
  options: ApplyOptions,
): Promise<Map<string, string>> {
  const { client, terminal } = context;
  const say = (text: string) => {
    if (!options.quiet) terminal.out(`${text}\n`);
  };
  for (const { name, id } of plan.services.filter(({ action }) => action === 'prune')) {
    say(`Removing service ${name}`);
    await client.removeService(id ?? name);
  }
  for (const { name, action, body } of plan.networks) {
    if (action !== 'create') continue;
    say(`Creating network ${name}`);
    await client.createNetwork(body);
  }
  const ids = { secret: new Map<string, string>(), config: new Map<string, string>() };
  for (const kind of ['secret', 'config'] as const) {
    for (const content of plan[`${kind}s`]) {
      ids[kind].set(content.name, await applyContent(context, kind, content, options, say));
    }
  }
  return applyServices(context, plan, await withExternalIds(context, plan, ids), options, say);
}

async function applyContent(
  { client }: Context,
  kind: 'secret' | 'config',
  { name, id, version = 0, body }: PlannedContent,
  { isApiary }: ApplyOptions,
  say: (text: string) => void,
): Promise<string> {
  const calls = kind === 'secret' ? client.secrets : client.configs;
  if (id === undefined) {
    say(`Creating ${kind} ${name}`);
    return (await calls.create(body)).ID;
  }
  const { Data, Labels, Templating } = body;
  if (isApiary && Data !== undefined) {
    const made = await calls.putVersion(id, { Data, ...(Labels && { Labels }), ...(Templating && { Templating }) });
    if (made.ID !== id) say(`Updating ${kind} ${name} (id: ${made.ID})`);
    return made.ID;
  }
  await calls.update(id, version, body);
  return id;
}

/** The ids of what services use of others, too. */
async function withExternalIds({ client }: Context, plan: StackPlan, own: ContentIds): Promise<ContentIds> {
  const containers = plan.services.map(({ spec }) => spec?.TaskTemplate.ContainerSpec ?? {});
  const secrets = containers.flatMap(({ Secrets = [] }) => Secrets.map(({ SecretName = '' }) => SecretName));
  const configs = containers.flatMap(({ Configs = [] }) => Configs.map(({ ConfigName = '' }) => ConfigName));
  return {
    secret: await withOthers(own.secret, secrets, (filters) => client.secrets.list(filters)),
    config: await withOthers(own.config, configs, (filters) => client.configs.list(filters)),
  };
}

async function withOthers(
  own: ReadonlyMap<string, string>,
  names: readonly string[],
  list: (filters: Filters) => Promise<(Secret | Config)[]>,
): Promise<ReadonlyMap<string, string>> {
  const unknown = [...new Set(names)].filter((name) => !own.has(name));
  if (unknown.length === 0) return own;
  const found = await list({ name: unknown });
  const others = found.flatMap(({ ID, Spec: { Name = '' } }) => (unknown.includes(Name) ? [[Name, ID] as const] : []));
  return new Map([...own, ...others]);
}

async function applyServices(
  context: Context,
  plan: StackPlan,
  ids: ContentIds,
  options: ApplyOptions,
  say: (text: string) => void,
): Promise<Map<string, string>> {
  const { client, terminal } = context;
  const applied = new Map<string, string>();
  const wanted = plan.services.filter(({ action }) => action !== 'prune');
  // New data of a secret may have updated services that follow it.
  const current = wanted.some(({ id }) => id !== undefined) ? await client.services(ofStack(plan.stack)) : [];
  for (const service of wanted) {
    const { name, action, spec, warning } = service;
    if (spec === undefined) continue;
    const auth = await options.registryAuth(spec);
    const isNews = action !== 'unchanged' || hasNewContents(spec, ids) || (auth !== undefined && !isJob(spec));
    // A job would run again, and what a user has rolled back would lose what it can be rolled back to.
    if (options.isApiary && !isNews) {
      applied.set(name, service.id ?? name);
      continue;
    }
    if (warning !== undefined) terminal.err(`${warning}\n`);
    const version = current.find(({ ID }) => ID === service.id)?.Version.Index ?? service.version;
    const { id, warnings } = await applyService(
      context,
      { ...service, version: version ?? 0 },
      withIds(spec, ids),
      auth === undefined ? {} : { registryAuth: auth },
      say,
    );
    for (const one of warnings) terminal.err(`${one}\n`);
    applied.set(name, id);
  }
  return applied;
}

/** Whether a secret or config that the spec names by a version has another now. */
function hasNewContents(spec: ServiceSpec, ids: ContentIds): boolean {
  return JSON.stringify(withIds(spec, ids)) !== JSON.stringify(spec);
}

function isJob({ Mode }: ServiceSpec): boolean {
  return Mode?.ReplicatedJob !== undefined || Mode?.GlobalJob !== undefined;
}

async function applyService(
  { client }: Context,
  { name, id, version = 0 }: PlannedService,
  spec: ServiceSpec,
  credentials: { registryAuth?: string },
  say: (text: string) => void,
): Promise<{ id: string; warnings: string[] }> {
  if (id === undefined) {
    say(`Creating service ${name}`);
    const { ID, Warnings } = await client.createService(spec, credentials);
    return { id: ID, warnings: Warnings ?? [] };
  }
  say(`Updating service ${name} (id: ${id})`);
  const { Warnings } = (await client.updateService(id, version, spec, credentials)) ?? {};
  return { id, warnings: Warnings ?? [] };
}
