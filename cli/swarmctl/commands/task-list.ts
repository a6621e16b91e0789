import type { Task } from '@apiary/api/model';
import type { ParsedFlags } from '../command-line/index.js';
import { renderList, TASKS, taskRows } from '../table/index.js';
import type { Context } from './context.js';
import { noResolve, noTrunc, quietTaskIds, taskFormat } from './options.js';

/**
 * Writes tasks as the flags of `ps` ask.
 *
 * @param wholeIds  whether `--quiet` shows ids whole: `service ps` does, and `node ps` shortens them, as with Docker
 */
export async function writeTasks(
  context: Context,
  flags: ParsedFlags,
  tasks: Task[],
  { wholeIds }: { wholeIds: boolean },
): Promise<void> {
  const format = flags.get(taskFormat) ?? '';
  const quiet = flags.get(quietTaskIds) ?? false;
  const names = flags.get(noResolve) === true ? new Map<string, string>() : await namesOf(context, tasks);
  const rows = taskRows(tasks, {
    names,
    truncate: !(quiet && wholeIds) && flags.get(noTrunc) !== true,
    isTable: format === '' || format.startsWith('table'),
    nowMs: context.clock.now(),
  });
  context.terminal.out(renderList(TASKS, rows, format, quiet));
}

/** The names of the tasks' services and nodes, by id. */
async function namesOf({ client }: Context, tasks: readonly Task[]): Promise<Map<string, string>> {
  const names = new Map<string, string>();
  if (tasks.length === 0) return names;
  const [services, nodes] = await Promise.all([client.services(), client.nodes()]);
  for (const service of services) if (service.Spec.Name !== undefined) names.set(service.ID, service.Spec.Name);
  for (const node of nodes) {
    const name = node.Spec.Name || node.Description?.Hostname;
    if (name !== undefined && name !== '') names.set(node.ID, name);
  }
  return names;
}
