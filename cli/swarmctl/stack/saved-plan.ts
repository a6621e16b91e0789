import { CommandError, type Context } from '../commands/context.js';
import type { Surroundings } from '../spec/index.js';
import { ofStack } from './of-stack.js';
import type { StackPlan } from './stack-plan.js';

/**
 * A plan that was printed as JSON.
 *
 * @throws CommandError for what is no plan, or one for another stack
 */
export function readPlanFile(path: string, stack: string, { readText }: Surroundings): StackPlan {
  let plan: StackPlan;
  try {
    plan = JSON.parse(readText(path)) as StackPlan;
  } catch (error) {
    if (error instanceof SyntaxError) throw new CommandError(`${path} is no plan: ${error.message}`);
    throw error;
  }
  const isPlan = plan?.format === 1 && [plan.networks, plan.secrets, plan.configs, plan.services].every(Array.isArray);
  if (!isPlan) throw new CommandError(`${path} is no plan: make one with "swarmctl stack plan --format json"`);
  if (plan.stack !== stack)
    throw new CommandError(`${path} is a plan for the stack "${plan.stack}", not for "${stack}"`);
  return plan;
}

/**
 * Compares what a plan was made of with what there is.
 *
 * @throws CommandError naming every object that has changed, come or gone since
 */
export async function checkStillHolds({ client }: Context, plan: StackPlan): Promise<void> {
  const [services, networks, secrets, configs] = await Promise.all([
    client.services(ofStack(plan.stack)),
    client.networks(ofStack(plan.stack)),
    client.secrets.list(ofStack(plan.stack)),
    client.configs.list(ofStack(plan.stack)),
  ]);
  const moved = [
    ...differences(
      'service',
      plan.services,
      versions(services.map(({ ID, Version, Spec }) => [Spec.Name, ID, Version.Index])),
    ),
    ...differences('network', plan.networks, versions(networks.map(({ Id, Name }) => [Name, Id, undefined]))),
    ...differences(
      'secret',
      plan.secrets,
      versions(secrets.map(({ ID, Version, Spec }) => [Spec.Name, ID, Version.Index])),
    ),
    ...differences(
      'config',
      plan.configs,
      versions(configs.map(({ ID, Version, Spec }) => [Spec.Name, ID, Version.Index])),
    ),
  ];
  if (moved.length === 0) return;
  throw new CommandError(
    `the cluster has moved since the plan was made; make it anew:\n${moved.map((one) => `  ${one}`).join('\n')}`,
  );
}

type Versions = Map<string, { id: string; version: number | undefined }>;

function versions(objects: [string | undefined, string, number | undefined][]): Versions {
  return new Map(objects.map(([name = '', id, version]) => [name, { id, version }]));
}

function differences(
  kind: string,
  planned: readonly { name: string; id?: string; version?: number }[],
  found: Versions,
): string[] {
  const known = new Map(planned.map((one) => [one.name, one]));
  const faults: string[] = [];
  for (const { name, id, version } of planned) {
    const now = found.get(name);
    if (id === undefined && now !== undefined) faults.push(`${kind} ${name} is there now`);
    else if (id !== undefined && now === undefined) faults.push(`${kind} ${name} is gone`);
    else if (id !== undefined && now !== undefined && (now.id !== id || now.version !== version)) {
      faults.push(`${kind} ${name} has changed`);
    }
  }
  // What the plan leaves alone may not have been there, but for what it did not look at.
  if (kind === 'service')
    for (const name of found.keys()) if (!known.has(name)) faults.push(`${kind} ${name} is no part of the plan`);
  return faults;
}
