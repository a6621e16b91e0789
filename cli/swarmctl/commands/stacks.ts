import type { Filters } from '@apiary/api/client';
import { NAMESPACE_LABEL } from '@apiary/stack-specs/core';
import type { ParsedFlags } from '../command-line/index.js';
import { ofStack } from '../stack/of-stack.js';
import { checkStackName } from '../stack/preconditions.js';
import { renderList, SERVICES, STACKS, serviceRows, stackRows } from '../table/index.js';
import { CommandError, type CommandModule } from './context.js';
import { filter, listFormat, noResolve, noTrunc, quietIds, quietTaskIds, taskFormat } from './options.js';
import { writeTasks } from './task-list.js';

export const list: CommandModule = {
  flags: [listFormat],
  run: async ({ client, terminal }, flags) => {
    const counts = new Map<string, number>();
    for (const { Spec } of await client.services({ label: [NAMESPACE_LABEL] })) {
      const stack = Spec.Labels?.[NAMESPACE_LABEL];
      if (stack !== undefined) counts.set(stack, (counts.get(stack) ?? 0) + 1);
    }
    terminal.out(renderList(STACKS, stackRows(counts), flags.get(listFormat) ?? '', false));
  },
};

export const services: CommandModule = {
  flags: [filter, listFormat, quietIds],
  run: async ({ client, terminal }, flags, [stack = '']) => {
    checkStackName(stack);
    const quiet = flags.get(quietIds) ?? false;
    const found = await client.services(filtersOf(flags, stack), { status: !quiet });
    if (found.length === 0) return terminal.err(`Nothing found in stack: ${stack}\n`);
    terminal.out(renderList(SERVICES, serviceRows(found), flags.get(listFormat) ?? '', quiet));
  },
};

export const ps: CommandModule = {
  flags: [filter, taskFormat, noResolve, noTrunc, quietTaskIds],
  run: async (context, flags, [stack = '']) => {
    checkStackName(stack);
    const tasks = await context.client.tasks(filtersOf(flags, stack));
    if (tasks.length === 0) throw new CommandError(`nothing found in stack: ${stack}`);
    await writeTasks(context, flags, tasks, { wholeIds: true });
  },
};

function filtersOf(flags: ParsedFlags, stack: string): Filters {
  const given = flags.get(filter) ?? {};
  return { ...given, label: [...(given['label'] ?? []), ...(ofStack(stack)['label'] ?? [])] };
}
