import type { ServiceSpec } from '@apiary/api/model';
import { messageOf } from '@apiary/std';
import { boolFlag, type ParsedFlags, parseUint } from '../command-line/index.js';
import { CREATE_FLAGS, changedSpec, imageFlag, newSpec, SpecError, UPDATE_FLAGS } from '../spec/index.js';
import { CommandError, type CommandModule, type Context, INTERRUPTED_EXIT_CODE } from './context.js';
import { errorText } from './error-text.js';
import { detach, patienceOf, quietProgress, timeout } from './options.js';
import { pinImage } from './pin-image.js';
import { withReferences } from './references.js';
import type { WaitOptions } from './wait.js';

const noResolveImage = boolFlag(
  'no-resolve-image',
  'Do not query the registry to resolve image digest and supported platforms',
);
const withRegistryAuth = boolFlag('with-registry-auth', 'Send registry authentication details to swarm agents');
const rollback = boolFlag('rollback', 'Rollback to previous specification');

const COMMON_FLAGS = [detach, quietProgress, timeout, noResolveImage, withRegistryAuth];

export const create: CommandModule = {
  flags: [...CREATE_FLAGS, ...COMMON_FLAGS],
  run: async (context, flags, args) => {
    const spec = await asCommandError(async () =>
      withReferences(context, newSpec(args, flags, context.surroundings), flags),
    );
    const auth = await credentialsFor(spec, flags);
    const warning = flags.get(noResolveImage) === true ? undefined : await pinImage(context, spec, auth.registryAuth);
    const created = await context.client.createService(spec, auth);
    writeWarnings(context, [...(created.Warnings ?? []), warning]);
    context.terminal.out(`${created.ID}\n`);
    if (flags.get(detach) !== true) await wait(context, created.ID, patienceOf(flags));
  },
};

export const update: CommandModule = {
  flags: [...UPDATE_FLAGS, ...COMMON_FLAGS, rollback],
  run: async (context, flags, [name = '']) => {
    const service = await context.client.service(name);
    const isRollback = flags.get(rollback) === true;
    if (isRollback) refuseOtherFlags(flags);
    const spec = await asCommandError(async () =>
      withReferences(context, changedSpec(service.Spec, flags, context.surroundings), flags),
    );
    const auth = await credentialsFor(spec, flags);
    const pins = flags.changed(imageFlag) && flags.get(noResolveImage) !== true;
    const warning = pins ? await pinImage(context, spec, auth.registryAuth) : undefined;
    const { Warnings: warnings } = await context.client.updateService(service.ID, service.Version.Index, spec, {
      rollback: isRollback,
      registryAuthFrom: 'spec',
      ...auth,
    });
    writeWarnings(context, [...(warnings ?? []), warning]);
    context.terminal.out(`${name}\n`);
    if (flags.get(detach) === true) return;
    await wait(context, name, { ...patienceOf(flags), rollbackAsked: isRollback });
  },
};

/** `update --rollback` under a name of its own, as Docker has it. */
export const rollBack: CommandModule = {
  flags: [detach, quietProgress, timeout],
  run: async (context, flags, [name = '']) => {
    const { ID: id, Version: version, Spec: spec } = await context.client.service(name);
    const { Warnings: warnings } = await context.client.updateService(id, version.Index, spec, { rollback: true });
    writeWarnings(context, warnings ?? []);
    context.terminal.out(`${name}\n`);
    if (flags.get(detach) !== true) await wait(context, name, { ...patienceOf(flags), rollbackAsked: true });
  },
};

export const scale: CommandModule = {
  flags: [detach, timeout],
  run: async (context, flags, args) => {
    const errors: string[] = [];
    const scaled: string[] = [];
    for (const arg of args) {
      const at = arg.indexOf('=');
      const name = arg.slice(0, at);
      try {
        const replicas = replicasOf(arg.slice(at + 1));
        const service = await context.client.service(name);
        const { ID: id, Version: version, Spec: spec } = service;
        const changed = { ...spec, Mode: scaledMode(spec.Mode, replicas) };
        const { Warnings: warnings } = await context.client.updateService(id, version.Index, changed);
        writeWarnings(context, warnings ?? []);
        context.terminal.out(`${name} scaled to ${replicas}\n`);
        scaled.push(name);
      } catch (error) {
        errors.push(`${name}: ${errorText(error)}`);
      }
    }
    if (flags.get(detach) !== true) errors.push(...(await waitOnEach(context, scaled, flags)));
    if (errors.length > 0) throw new CommandError(errors.join('\n'));
  },
};

/** `swarmctl service scale` takes nothing but `SERVICE=REPLICAS`. @returns what is wrong with the arguments */
export function checkScaleArgs(args: readonly string[]): string | undefined {
  const wrong = args.find((arg) => !/^[^=]+=.+$/s.test(arg));
  return wrong === undefined ? undefined : `invalid scale specifier '${wrong}'.`;
}

async function waitOnEach(context: Context, names: string[], flags: ParsedFlags): Promise<string[]> {
  const errors: string[] = [];
  for (const name of names) {
    try {
      await wait(context, name, patienceOf(flags));
    } catch (error) {
      // Ctrl-C ends the waiting for all of them.
      if (error instanceof CommandError && error.exitCode === INTERRUPTED_EXIT_CODE) throw error;
      errors.push(`${name}: ${errorText(error)}`);
    }
  }
  return errors;
}

/** Loaded when the service has been taken: it works on it meanwhile. */
async function wait(context: Context, service: string, options: WaitOptions): Promise<void> {
  const { waitOnService } = await import('./wait.js');
  await waitOnService(context, service, options);
}

function scaledMode(mode: ServiceSpec['Mode'], replicas: number): ServiceSpec['Mode'] {
  if (mode?.Replicated !== undefined) return { Replicated: { Replicas: replicas } };
  if (mode?.ReplicatedJob !== undefined)
    return { ReplicatedJob: { ...mode.ReplicatedJob, TotalCompletions: replicas } };
  throw new CommandError('scale can only be used with replicated or replicated-job mode');
}

function replicasOf(text: string): number {
  try {
    return parseUint(text);
  } catch (error) {
    throw new CommandError(`invalid replicas value ${text}: ${messageOf(error)}`);
  }
}

function refuseOtherFlags(flags: ParsedFlags): void {
  const allowed = [rollback, detach, quietProgress, timeout].map(({ name }) => name);
  if (flags.names().every((name) => allowed.includes(name))) return;
  throw new CommandError('other flags may not be combined with --rollback');
}

/** What the registry of the spec's image is to know the nodes by, when that is asked for. */
async function credentialsFor(spec: ServiceSpec, flags: ParsedFlags): Promise<{ registryAuth?: string }> {
  if (flags.get(withRegistryAuth) !== true) return {};
  const { NO_CREDENTIALS, registryCredentials } = await import('./registry-credentials.js');
  const image = spec.TaskTemplate.ContainerSpec?.Image ?? '';
  return { registryAuth: (await registryCredentials(process.env)(image)) ?? NO_CREDENTIALS };
}

function writeWarnings({ terminal }: Context, warnings: (string | undefined)[]): void {
  for (const warning of warnings) if (warning !== undefined) terminal.err(`${warning}\n`);
}

async function asCommandError<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof SpecError) throw new CommandError(error.message);
    throw error;
  }
}
