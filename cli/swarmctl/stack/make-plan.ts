import { ApiError, type Filters } from '@apiary/api/client';
import type { Config, Network, Secret, Service, ServiceSpec } from '@apiary/api/model';
import { type ContentBody, IMAGE_LABEL, isUserDefined, NAMESPACE_LABEL, type Stack } from '@apiary/stack-specs/core';
import { CommandError, type Context } from '../commands/context.js';
import { ofStack } from './of-stack.js';
import { fieldChanges } from './spec-diff.js';
import type { PlannedContent, PlannedNetwork, PlannedService, StackPlan } from './stack-plan.js';

export type ResolveImage = 'always' | 'changed' | 'never';

/** Says what the registry of a service's image is to know who pulls by; undefined for nothing. */
export type RegistryAuthOf = (spec: ServiceSpec) => Promise<string | undefined>;

export interface PlanOptions {
  resolveImage: ResolveImage;
  registryAuth: RegistryAuthOf;
  /** Whether services that the files no longer have go. */
  prune: boolean;
}

/**
 * Compares a stack with what the cluster has of it.
 *
 * @throws CommandError when it uses something of others that is not there
 */
export async function makePlan(context: Context, stack: Stack, options: PlanOptions): Promise<StackPlan> {
  const { client } = context;
  await checkExternalNetworks(context, stack);
  const [secrets, configs] = await Promise.all([
    contentsOf('secret', (filters) => client.secrets.list(filters), stack),
    contentsOf('config', (filters) => client.configs.list(filters), stack),
  ]);
  const [networks, services] = await Promise.all([client.networks(), client.services(ofStack(stack.name))]);
  const names = new Map(networks.map(({ Id, Name }) => [Id, Name]));
  const plan: StackPlan = {
    format: 1,
    stack: stack.name,
    networks: planNetworks(
      stack,
      networks.filter(({ Labels }) => Labels?.[NAMESPACE_LABEL] === stack.name),
    ),
    secrets: planContents(stack.secrets, secrets, false),
    configs: planContents(stack.configs, configs, true),
    services: [],
  };
  const ids = { secret: idsOf(secrets), config: idsOf(configs) };
  for (const { spec } of stack.services) {
    const existing = services.find(({ Spec }) => Spec.Name === spec.Name);
    plan.services.push(await planService(context, withIds(spec, ids), existing, names, options));
  }
  if (options.prune) plan.services.push(...planPruning(stack, services));
  return plan;
}

function planPruning(stack: Stack, services: readonly Service[]): PlannedService[] {
  const kept = new Set(stack.services.map(({ spec }) => spec.Name));
  return services
    .filter(({ Spec }) => !kept.has(Spec.Name))
    .map(({ ID: id, Version, Spec }) => ({ name: Spec.Name ?? id, action: 'prune', id, version: Version.Index }));
}

function planNetworks(stack: Stack, existing: readonly Network[]): PlannedNetwork[] {
  return stack.networks.map((body) => {
    const known = existing.find(({ Name }) => Name === body.Name);
    if (known === undefined) return { name: body.Name, action: 'create', body };
    // Networks cannot be changed; what is there is used as it is.
    return { name: body.Name, action: 'unchanged', id: known.Id, body };
  });
}

function planContents(
  bodies: readonly ContentBody[],
  existing: ReadonlyMap<string, Secret | Config>,
  hasData: boolean,
): PlannedContent[] {
  return bodies.map((body) => {
    const known = existing.get(body.Name);
    if (known === undefined) return { name: body.Name, action: 'create', body };
    const { Data: data, ...rest } = body;
    const changes = fieldChanges(known.Spec, hasData ? body : rest);
    const action = changes.length > 0 ? 'update' : hasData || data === undefined ? 'unchanged' : 'check';
    return { name: body.Name, action, id: known.ID, version: known.Version.Index, body, changes };
  });
}

async function planService(
  context: Context,
  spec: ServiceSpec,
  existing: Service | undefined,
  networks: ReadonlyMap<string, string>,
  { resolveImage, registryAuth }: PlanOptions,
): Promise<PlannedService> {
  const name = spec.Name ?? '';
  const container = spec.TaskTemplate.ContainerSpec;
  if (container === undefined) return { name, action: 'create', spec };
  const isSameImage = existing !== undefined && existing.Spec.Labels?.[IMAGE_LABEL] === spec.Labels?.[IMAGE_LABEL];
  let warning: string | undefined;
  if (isSameImage && resolveImage !== 'always') {
    container.Image = existing.Spec.TaskTemplate.ContainerSpec?.Image ?? container.Image;
  } else if (resolveImage !== 'never') {
    const { pinImage } = await import('../commands/pin-image.js');
    warning = await pinImage(context, spec, await registryAuth(spec));
  }
  const planned = { name, spec, ...(warning !== undefined && { warning }) };
  if (existing === undefined) return { ...planned, action: 'create' };
  // A deploy forces nothing; what was forced before stays so.
  spec.TaskTemplate.ForceUpdate = existing.Spec.TaskTemplate.ForceUpdate ?? 0;
  const changes = fieldChanges(withNames(existing.Spec, networks), spec);
  const { ID: id, Version } = existing;
  return { ...planned, action: changes.length > 0 ? 'update' : 'unchanged', id, version: Version.Index, changes };
}

/** Daemons keep the id of a network that a spec names, or its name, as they like. */
function withNames(spec: ServiceSpec, networks: ReadonlyMap<string, string>): ServiceSpec {
  const attached = spec.TaskTemplate.Networks ?? spec.Networks;
  if (attached === undefined) return spec;
  const Networks = attached.map((one) => ({ ...one, Target: networks.get(one.Target ?? '') ?? one.Target }));
  const { Networks: _, ...rest } = spec;
  return { ...rest, TaskTemplate: { ...spec.TaskTemplate, Networks } };
}

function idsOf(contents: ReadonlyMap<string, Secret | Config>): Map<string, string> {
  return new Map([...contents].map(([name, { ID }]) => [name, ID]));
}

/** Of secrets and of configs, by name. */
export type ContentIds = Record<'secret' | 'config', ReadonlyMap<string, string>>;

/** The spec with the ids of those secrets and configs that there are. */
export function withIds(spec: ServiceSpec, ids: ContentIds): ServiceSpec {
  const container = spec.TaskTemplate.ContainerSpec;
  if (container === undefined) return spec;
  const { Secrets, Configs, Privileges } = container;
  const idOf = (kind: 'secret' | 'config', name: string | undefined) => ids[kind].get(name ?? '');
  const runtime = Configs?.find(({ Runtime }) => Runtime !== undefined);
  const known = {
    ...container,
    ...(Secrets && { Secrets: Secrets.map((one) => withId(one, 'SecretID', idOf('secret', one.SecretName))) }),
    ...(Configs && { Configs: Configs.map((one) => withId(one, 'ConfigID', idOf('config', one.ConfigName))) }),
    ...(runtime &&
      Privileges?.CredentialSpec && {
        Privileges: {
          ...Privileges,
          CredentialSpec: withId(Privileges.CredentialSpec, 'Config', idOf('config', runtime.ConfigName)),
        },
      }),
  };
  return { ...spec, TaskTemplate: { ...spec.TaskTemplate, ContainerSpec: known } };
}

function withId<T extends object>(reference: T, key: string, id: string | undefined): T {
  return id === undefined ? reference : { ...reference, [key]: id };
}

/**
 * The stack's own secrets or configs that are there, and those of others that it uses, by name.
 *
 * @throws CommandError naming those of others that are not there
 */
async function contentsOf<T extends Secret | Config>(
  kind: 'secret' | 'config',
  list: (filters: Filters) => Promise<T[]>,
  stack: Stack,
): Promise<Map<string, T>> {
  const own = new Set(stack[`${kind}s`].map(({ Name }) => Name));
  const used = new Map<string, string>();
  for (const { key, spec } of stack.services) for (const name of contentNames(kind, spec)) used.set(name, key);
  const names = [...new Set([...own, ...used.keys()])];
  if (names.length === 0) return new Map();
  // The filter takes names that begin so.
  const found = (await list({ name: names })).filter(({ Spec }) => names.includes(Spec.Name ?? ''));
  const known = new Map(found.map((one) => [one.Spec.Name ?? '', one]));
  for (const [name, service] of used) {
    if (!own.has(name) && !known.has(name)) throw new CommandError(`service ${service}: ${kind} not found: ${name}`);
  }
  return known;
}

function contentNames(kind: 'secret' | 'config', spec: ServiceSpec): string[] {
  const { Secrets = [], Configs = [] } = spec.TaskTemplate.ContainerSpec ?? {};
  const names =
    kind === 'secret' ? Secrets.map(({ SecretName }) => SecretName) : Configs.map(({ ConfigName }) => ConfigName);
  return names.filter((name) => name !== undefined);
}

async function checkExternalNetworks({ client }: Context, stack: Stack): Promise<void> {
  for (const name of stack.externalNetworks.filter(isUserDefined)) {
    const network = await client.network(name).catch((error: unknown) => {
      if (error instanceof ApiError && error.code === 'not-found') return undefined;
      throw error;
    });
    if (network === undefined) {
      throw new CommandError(
        `network "${name}" is declared as external, but could not be found. You need to create a swarm-scoped network before the stack is deployed`,
      );
    }
    if (network.Scope !== 'swarm') {
      throw new CommandError(
        `network "${name}" is declared as external, but it is not in the right scope: "${network.Scope}" instead of "swarm"`,
      );
    }
  }
}
