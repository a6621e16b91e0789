import type { RebalanceState } from '@apiary/api/client';
import { boolFlag, type ParsedFlags, parseUint, valueFlag } from '../command-line/index.js';
import { CommandError, type CommandModule, type Context } from './context.js';
import { detach, patienceOf, quietProgress, timeout } from './options.js';
import { waitUntilDone } from './patience.js';

const parallelism = valueFlag('parallelism', 'How many tasks may be on the way at once', 'uint', parseUint, {
  defaultText: '1',
});
const stop = boolFlag('stop', 'End a rebalance: tasks that are on the way get there, and no other is moved');

const flags = [parallelism, stop, detach, quietProgress, timeout];

export const ofServices: CommandModule = {
  flags,
  run: async (context, given, names) => {
    const most = mostOf(given);
    const ids: string[] = [];
    for (const name of names) {
      const { ID: id } = await context.client.service(name);
      await context.client.rebalanceService(id, most);
      ids.push(id);
      context.terminal.out(`${name}\n`);
    }
    if (most > 0 && given.get(detach) !== true) await waitUntilBalanced(context, given, ({ ID }) => ids.includes(ID));
  },
};

export const ofNodes: CommandModule = {
  flags,
  run: async (context, given) => {
    const most = mostOf(given);
    await context.client.rebalanceNodes(most);
    if (most > 0 && given.get(detach) !== true) await waitUntilBalanced(context, given, () => true);
  },
};

function mostOf(given: ParsedFlags): number {
  const most = given.get(parallelism) ?? 1;
  if (given.get(stop) === true) return 0;
  if (most === 0) throw new CommandError('--parallelism 0 would move nothing: use --stop to end a rebalance');
  return most;
}

async function waitUntilBalanced(
  context: Context,
  given: ParsedFlags,
  isAsked: (service: RebalanceState) => boolean,
): Promise<void> {
  const look = async () => {
    const services = (await context.client.rebalancing()).filter(isAsked);
    const moving = services.reduce((sum, { Moving }) => sum + Moving, 0);
    const left = services.length === 1 ? (services[0]?.Name ?? '') : `${services.length} services`;
    return {
      isDone: services.length === 0,
      mark: services.map(({ ID, Moving }) => `${ID} ${Moving}`).join(),
      line: {
        id: 'rebalance',
        text: services.length === 0 ? 'done' : `${moving} ${moving === 1 ? 'task' : 'tasks'} on the way, ${left} to go`,
      },
      left: async () => services.map(({ Name, Moving }) => `${Name}: ${Moving} on the way`),
    };
  };
  await waitUntilDone(context, look, {
    ...patienceOf(given),
    what: 'the rebalance is not done',
    background: 'It goes on in the background.\nUse `swarmctl service rebalance --stop SERVICE` to end it.',
  });
}
