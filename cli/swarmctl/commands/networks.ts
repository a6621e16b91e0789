import type { Network } from '@apiary/api/model';
import { ApiaryError } from '@apiary/std';
import { boolFlag } from '../command-line/index.js';
import { NETWORKS, networkRows, renderList } from '../table/index.js';
import { confirmed } from './confirmation.js';
import { CommandError, type CommandModule, type Context } from './context.js';
import { errorText } from './error-text.js';
import { inspectObjects } from './inspect.js';
import { NETWORK_FLAGS, networkSpec } from './network-options.js';
import { filter, inspectFormat, listFormat } from './options.js';

const quiet = boolFlag('quiet', 'Only display network IDs', { short: 'q' });
const noTrunc = boolFlag('no-trunc', 'Do not truncate the output');
const verbose = boolFlag('verbose', 'Verbose output for diagnostics', { short: 'v' });
const forceRemoval = boolFlag('force', 'Do not error if the network does not exist', { short: 'f' });
const withoutAsking = boolFlag('force', 'Do not prompt for confirmation', { short: 'f' });
const pruneFilter = { ...filter, short: undefined, usage: 'Provide filter values (e.g. "until=<timestamp>")' };
const listFilter = { ...filter, usage: 'Provide filter values (e.g. "driver=bridge")' };

export const create: CommandModule = {
  flags: NETWORK_FLAGS,
  run: async ({ client, terminal }, flags, [name = '']) => {
    const { Id, Warning } = await client.createNetwork(networkSpec(name, flags));
    if (Warning !== '') terminal.err(`WARNING: ${Warning}\n`);
    terminal.out(`${Id}\n`);
  },
};

export const list: CommandModule = {
  flags: [listFilter, listFormat, noTrunc, quiet],
  run: async ({ client, terminal }, flags) => {
    const networks = await client.networks(flags.get(listFilter));
    const rows = networkRows(networks, { truncate: flags.get(noTrunc) !== true });
    terminal.out(renderList(NETWORKS, rows, flags.get(listFormat) ?? '', flags.get(quiet) ?? false));
  },
};

export const inspect: CommandModule = {
  flags: [inspectFormat, verbose],
  run: async (context, flags, references) => {
    await inspectObjects<Network>(context, {
      references,
      format: flags.get(inspectFormat) ?? '',
      get: async (name) =>
        withUsage(context, await context.client.network(name, { verbose: flags.get(verbose) ?? false })),
      typed: async () => (await import('./typed-object.js')).typedNetwork,
    });
  },
};

/** Tells also how much of a network of the cluster is in use, in the place where newer versions of Docker do. */
async function withUsage({ client }: Context, network: Network): Promise<Network> {
  if (network.Scope !== 'swarm' || network.Ingress) return network;
  try {
    const usage = await client.networkUsage(network.Id);
    const Subnets = Object.fromEntries(usage.map(({ Subnet, ...counts }) => [Subnet, counts]));
    return { ...network, Status: { IPAM: { Subnets } } };
  } catch (error) {
    // A daemon of Docker's, or one that is older, does not say.
    if (error instanceof ApiaryError && error.code === 'not-found') return network;
    throw error;
  }
}

export const remove: CommandModule = {
  flags: [forceRemoval],
  run: async (context, flags, names) => {
    let isFailed = false;
    for (const name of names) {
      try {
        if (!(await mayRemove(context, name))) continue;
        await context.client.removeNetwork(name);
        context.terminal.out(`${name}\n`);
      } catch (error) {
        if (flags.get(forceRemoval) === true && error instanceof ApiaryError && error.code === 'not-found') continue;
        context.terminal.err(`${errorText(error)}\n`);
        isFailed = true;
      }
    }
    if (isFailed) throw new CommandError('exit status 1');
  },
};

/** Asks before the network goes that published ports need. */
async function mayRemove(context: Context, name: string): Promise<boolean> {
  const { Ingress } = await context.client.network(name);
  if (!Ingress) return true;
  return confirmed(
    context,
    'WARNING! Before removing the routing-mesh network, make sure all the nodes in your swarm run the same docker ' +
      'engine version. Otherwise, removal may not be effective and functionality of newly create ingress networks ' +
      'will be impaired.',
  );
}

export const prune: CommandModule = {
  flags: [pruneFilter, withoutAsking],
  run: async (context, flags) => {
    const warning = 'WARNING! This will remove all custom networks not used by at least one container.';
    if (flags.get(withoutAsking) !== true && !(await confirmed(context, warning))) return;
    const { NetworksDeleted: names } = await context.client.pruneNetworks(flags.get(pruneFilter));
    if (names === null || names.length === 0) return;
    context.terminal.out(`Deleted Networks:\n${names.map((name) => `${name}\n`).join('')}\n`);
  },
};
