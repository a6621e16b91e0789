import { ApiError } from '@apiary/api/client';
import { ApiaryError } from '@apiary/std';
import { boolFlag } from '../command-line/index.js';
import { ofStack } from '../stack/of-stack.js';
import { checkStackName } from '../stack/preconditions.js';
import { CommandError, type CommandModule, type Context } from './context.js';
import { errorText } from './error-text.js';
import { patienceOf, timeout } from './options.js';

const detach = boolFlag('detach', 'Do not wait for the tasks of the stack to be gone', { short: 'd' });

/** How often it is looked whether the tasks have ended: there is no stream of all of them. */
const LOOK_AGAIN_MS = 250;
/** How long something may be in use after the last task of the stack has gone: then it is others that use it. */
const STILL_IN_USE_MS = 5_000;

/**
 * `stack rm`: the services first; and once their tasks are gone what these used, so that a stack of the same name can be
 * deployed at once.
 */
export const remove: CommandModule = {
  flags: [detach, timeout],
  run: async (context, flags, stacks) => {
    for (const stack of stacks) checkStackName(stack);
    const faults: string[] = [];
    for (const stack of stacks) {
      const waitMs = flags.get(detach) === true ? undefined : patienceOf(flags).timeoutMs;
      faults.push(...(await removeStack(context, stack, waitMs)));
    }
    if (faults.length > 0) throw new CommandError(faults.join('\n'));
  },
};

interface Removal {
  kind: string;
  name: string;
  remove: () => Promise<void>;
}

/** @returns what could not be removed, and why */
async function removeStack(context: Context, stack: string, waitMs: number | undefined): Promise<string[]> {
  const { client, terminal } = context;
  const [services, secrets, configs, networks] = await Promise.all([
    client.services(ofStack(stack)),
    client.secrets.list(ofStack(stack)),
    client.configs.list(ofStack(stack)),
    client.networks(ofStack(stack)),
  ]);
  if (services.length + secrets.length + configs.length + networks.length === 0) {
    terminal.err(`Nothing found in stack: ${stack}\n`);
    return [];
  }
  const first = services.map(({ ID, Spec }) => ({
    kind: 'service',
    name: Spec.Name ?? ID,
    remove: () => client.removeService(ID),
  }));
  const used: Removal[] = [
    ...secrets.map(({ ID, Spec }) => ({
      kind: 'secret',
      name: Spec.Name ?? ID,
      remove: () => client.secrets.remove(ID),
    })),
    ...configs.map(({ ID, Spec }) => ({
      kind: 'config',
      name: Spec.Name ?? ID,
      remove: () => client.configs.remove(ID),
    })),
    ...networks.map(({ Id, Name }) => ({ kind: 'network', name: Name, remove: () => client.removeNetwork(Id) })),
  ];
  const deadlineMs = waitMs === undefined || waitMs === 0 ? Number.POSITIVE_INFINITY : context.clock.now() + waitMs;
  const faults = await removeAll(context, first, undefined);
  if (waitMs !== undefined)
    await untilTasksAreGone(
      context,
      services.map(({ ID }) => ID),
      stack,
      deadlineMs,
    );
  return [...faults, ...(await removeAll(context, used, waitMs === undefined ? undefined : deadlineMs))];
}

async function removeAll(
  context: Context,
  removals: readonly Removal[],
  deadlineMs: number | undefined,
): Promise<string[]> {
  const faults: string[] = [];
  for (const { kind, name, remove } of removals) {
    context.terminal.out(`Removing ${kind} ${name}\n`);
    try {
      await untilFree(context, remove, deadlineMs);
    } catch (error) {
      if (!(error instanceof ApiaryError)) throw error;
      faults.push(`Failed to remove ${kind} ${name}: ${errorText(error)}`);
    }
  }
  return faults;
}

/** What is in use a moment longer than the tasks that used it is tried again. What is gone is gone. */
async function untilFree(context: Context, remove: () => Promise<void>, deadlineMs: number | undefined): Promise<void> {
  const triesUntilMs = Math.min(deadlineMs ?? 0, context.clock.now() + STILL_IN_USE_MS);
  for (;;) {
    try {
      return await remove();
    } catch (error) {
      if (error instanceof ApiError && error.code === 'not-found') return;
      const mayBeInUse =
        error instanceof ApiError &&
        ['failed-precondition', 'permission-denied', 'invalid-argument'].includes(error.code);
      if (!mayBeInUse || deadlineMs === undefined || context.clock.now() >= triesUntilMs) throw error;
    }
    await pause(context, LOOK_AGAIN_MS);
  }
}

async function untilTasksAreGone(
  context: Context,
  services: readonly string[],
  stack: string,
  deadlineMs: number,
): Promise<void> {
  if (services.length === 0) return;
  for (;;) {
    const left = (await context.client.tasks()).filter(({ ServiceID = '' }) => services.includes(ServiceID));
    if (left.length === 0) return;
    if (context.clock.now() >= deadlineMs) {
      throw new CommandError(
        `stack ${stack}: ${left.length} of its tasks have not ended; use \`swarmctl node ls\` to see whether their nodes are up`,
      );
    }
    await pause(context, LOOK_AGAIN_MS);
  }
}

function pause({ clock }: Context, ms: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(ms, resolve);
  });
}
