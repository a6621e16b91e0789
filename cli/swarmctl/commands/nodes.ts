import type { Task } from '@apiary/api/model';
import { boolFlag } from '../command-line/index.js';
import { NODES, nodeRows, prettyNode, renderList } from '../table/index.js';
import { CommandError, type CommandModule, type Context } from './context.js';
import { errorText } from './error-text.js';
import { inspectForm, inspectOrShow } from './inspect.js';
import { filter, listFormat, noResolve, noTrunc, quietIds, quietTaskIds, taskFormat } from './options.js';
import { removeEach } from './removal.js';
import { writeTasks } from './task-list.js';

export const list: CommandModule = {
  flags: [filter, listFormat, quietIds],
  run: async ({ client, terminal }, flags) => {
    const quiet = flags.get(quietIds) ?? false;
    const nodes = await client.nodes(flags.get(filter));
    const info = nodes.length > 0 && !quiet ? await client.info() : undefined;
    const self = { id: info?.Swarm.NodeID ?? '', tls: info?.Swarm.Cluster?.TLSInfo };
    terminal.out(renderList(NODES, nodeRows(nodes, self), flags.get(listFormat) ?? '', quiet));
  },
};

export const ps: CommandModule = {
  flags: [filter, taskFormat, noResolve, noTrunc, quietTaskIds],
  run: async (context, flags, names) => {
    const errors: string[] = [];
    const tasks: Task[] = [];
    for (const name of names.length === 0 ? ['self'] : names) {
      try {
        const node = await context.client.node(await nodeReference(context, name));
        tasks.push(...(await context.client.tasks({ ...flags.get(filter), node: [node.ID] })));
      } catch (error) {
        errors.push(errorText(error));
      }
    }
    if (errors.length === 0 || tasks.length > 0) await writeTasks(context, flags, tasks, { wholeIds: false });
    if (errors.length > 0) throw new CommandError(errors.join('\n'));
  },
};

/** `self` is the node that answers. */
async function nodeReference({ client }: Context, name: string): Promise<string> {
  if (name !== 'self') return name;
  const { Swarm: swarm } = await client.info();
  if (swarm.NodeID !== '') return swarm.NodeID;
  // A daemon in no swarm: its own words say so, and what to do.
  await client.nodes();
  throw new CommandError('node ID not found in /info');
}

export const inspect: CommandModule = {
  flags: inspectForm,
  run: (context, flags, references) =>
    inspectOrShow(context, flags, {
      references,
      get: async (name) => context.client.node(await nodeReference(context, name)),
      typed: async () => (await import('./typed-object.js')).typedNode,
      page: prettyNode,
    }),
};

const force = boolFlag('force', 'Force remove a node from the swarm', { short: 'f' });

export const remove: CommandModule = {
  flags: [force],
  run: (context, flags, names) =>
    removeEach(context, names, (name) => context.client.removeNode(name, flags.get(force) ?? false)),
};
