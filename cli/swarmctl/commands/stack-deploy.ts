import { convertProject } from '@apiary/stack-specs/io';
import { boolFlag, FlagValueError, type ParsedFlags, textFlag, valueFlag } from '../command-line/index.js';
import { applyPlan } from '../stack/apply-plan.js';
import { makePlan, type RegistryAuthOf, type ResolveImage } from '../stack/make-plan.js';
import { checkStackName, isApiary, requireManager } from '../stack/preconditions.js';
import { FILE_FLAGS, readStackFiles, report } from '../stack/read-stack.js';
import { checkStillHolds, readPlanFile } from '../stack/saved-plan.js';
import type { StackPlan } from '../stack/stack-plan.js';
import { CommandError, type CommandModule, type Context } from './context.js';
import { detach, patienceOf, quietProgress, timeout } from './options.js';

export const prune = boolFlag('prune', 'Prune services that are no longer referenced');
export const resolveImage = valueFlag<ResolveImage>(
  'resolve-image',
  'Query the registry to resolve image digest and supported platforms ("always", "changed", "never")',
  'string',
  (text) => {
    if (text === 'always' || text === 'changed' || text === 'never') return text;
    throw new FlagValueError('it is one of always, changed and never');
  },
  { defaultText: '"always"' },
);
const withRegistryAuth = boolFlag('with-registry-auth', 'Send registry authentication details to Swarm agents');
const planFile = textFlag(
  'plan',
  'Apply a plan that "stack plan --format json" printed, and refuse if the cluster has moved',
);

/** `stack deploy`: makes or updates a stack and waits for its services. */
export const deploy: CommandModule = {
  flags: [...FILE_FLAGS, detach, planFile, prune, quietProgress, resolveImage, timeout, withRegistryAuth],
  run: async (context, flags, [name = '']) => {
    checkStackName(name);
    const registryAuth = await credentials(flags);
    const { plan, ours } = await planOf(context, flags, name, registryAuth);
    const applied = await applyPlan(context, plan, {
      isApiary: ours,
      registryAuth,
      quiet: flags.get(quietProgress) === true,
    });
    if (flags.get(detach) === true || applied.size === 0) return;
    if (!ours) {
      context.terminal.err('The daemon is not swarmd, which tells how a stack converges: not waiting for it.\n');
      return;
    }
    const { waitOnStack } = await import('../stack/wait-on-stack.js');
    await waitOnStack(context, name, applied, patienceOf(flags));
  },
};

async function planOf(
  context: Context,
  flags: ParsedFlags,
  name: string,
  registryAuth: RegistryAuthOf,
): Promise<{ plan: StackPlan; ours: boolean }> {
  const saved = flags.get(planFile);
  if (saved === undefined) return planFromFiles(context, flags, name, registryAuth);
  if (flags.names().includes('compose-file')) throw new CommandError('--plan and --compose-file exclude each other');
  const plan = readPlanFile(saved, name, context.surroundings);
  await requireManager(context);
  await checkStillHolds(context, plan);
  return { plan, ours: await isApiary(context) };
}

/** Reads the files before anybody is asked, but for what depends on whom they are for. */
export async function planFromFiles(
  context: Context,
  flags: ParsedFlags,
  name: string,
  registryAuth: RegistryAuthOf = async () => undefined,
): Promise<{ plan: StackPlan; ours: boolean }> {
  const project = readStackFiles(flags, { interpolates: true });
  for (const { name: service, profiles } of project.leftOut) {
    context.terminal.err(
      `Leaving out service ${service}: its profiles are ${profiles.join(', ')} (--profile deploys them)\n`,
    );
  }
  if (project.root === undefined) report(project.diagnostics, flags, context.terminal);
  const ours = await isApiary(context);
  const stack = convertProject(project, name, ours);
  report(project.diagnostics, flags, context.terminal);
  if (stack === undefined) throw new CommandError('nothing is deployed');
  await requireManager(context);
  const plan = await makePlan(context, stack, {
    resolveImage: flags.get(resolveImage) ?? 'always',
    prune: flags.get(prune) === true,
    registryAuth,
  });
  return { plan, ours };
}

async function credentials(flags: ParsedFlags): Promise<RegistryAuthOf> {
  if (flags.get(withRegistryAuth) !== true) return async () => undefined;
  const { registryCredentials } = await import('./registry-credentials.js');
  const of = registryCredentials(process.env);
  return (spec) => of(spec.TaskTemplate.ContainerSpec?.Image ?? '');
}
