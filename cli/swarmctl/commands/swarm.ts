import { boolFlag, type Flag, type ParsedFlags, parseUint, textFlag, valueFlag } from '../command-line/index.js';
import { autolock, isAutolocked, SETTINGS_FLAGS, withSettings } from './cluster-settings.js';
import { CommandError, type CommandModule, type Context } from './context.js';
import { tellUnlockKey } from './unlock.js';

const advertiseAddr = textFlag('advertise-addr', 'Advertised address (format: "<ip|interface>[:port]")');
const listenAddr = textFlag('listen-addr', 'Listen address (format: "<ip|interface>[:port]") (default 0.0.0.0:2377)', {
  type: 'node-addr',
});
const availability = textFlag('availability', 'Availability of the node ("active", "pause", "drain")', {
  defaultText: '"active"',
});
const dataPathAddr = textFlag(
  'data-path-addr',
  'Address or interface to use for data path traffic (format: "<ip|interface>")',
);
const dataPathPort = valueFlag(
  'data-path-port',
  'Port number to use for data path traffic (1024 - 49151). If no value is set or is set to 0, the default port ' +
    '(4789) is used.',
  'uint32',
  parseUint,
);
const defaultAddrPool: Flag<string[]> = {
  name: 'default-addr-pool',
  usage: 'default address pool in CIDR format',
  type: 'ipNetSlice',
  defaultText: '[]',
  parse: (text, before = []) => [...before, ...text.split(',')],
};
const maskLength = valueFlag(
  'default-addr-pool-mask-length',
  'default address pool subnet mask length',
  'uint32',
  parseUint,
  { defaultText: '24' },
);
const forceNewCluster = boolFlag('force-new-cluster', 'Force create a new cluster from current state');
const token = textFlag('token', 'Token for entry into the swarm');
const force = boolFlag('force', 'Force this node to leave the swarm, ignoring warnings', { short: 'f' });
const quiet = boolFlag('quiet', 'Only display token', { short: 'q' });
const rotate = boolFlag('rotate', 'Rotate join token');

const DEFAULT_LISTEN_ADDR = '0.0.0.0:2377';
const DEFAULT_PORT = 2377;

export const init: CommandModule = {
  flags: [
    advertiseAddr,
    listenAddr,
    autolock,
    availability,
    dataPathAddr,
    dataPathPort,
    defaultAddrPool,
    maskLength,
    forceNewCluster,
    ...SETTINGS_FLAGS,
  ],
  run: async (context, flags) => {
    const spec = withSettings({ Labels: {} }, flags, context);
    const nodeId = await context.client.swarmInit({
      ...addressesOf(flags),
      ForceNewCluster: flags.get(forceNewCluster) ?? false,
      ...(flags.changed(dataPathPort) && { DataPathPort: flags.get(dataPathPort) }),
      ...(flags.changed(defaultAddrPool) && { DefaultAddrPool: flags.get(defaultAddrPool) }),
      ...(flags.changed(maskLength) && { SubnetSize: flags.get(maskLength) }),
      Spec: spec,
    });
    context.terminal.out(`Swarm initialized: current node (${nodeId}) is now a manager.\n\n`);
    await writeJoinCommand(context, nodeId, 'worker');
    context.terminal.out(
      "To add a manager to this swarm, run 'swarmctl join-token manager' and follow the instructions.\n",
    );
    if (!isAutolocked(spec)) return;
    context.terminal.out('\n');
    await tellUnlockKey(context.client, context.terminal);
  },
};

export const join: CommandModule = {
  flags: [advertiseAddr, listenAddr, availability, dataPathAddr, token],
  run: async ({ client, terminal }, flags, [remote = '']) => {
    const request = { ...addressesOf(flags), RemoteAddrs: [remote], JoinToken: flags.get(token) ?? '' };
    await client.swarmJoin(request);
    const { Swarm: swarm } = await client.info();
    terminal.out(`This node joined a swarm as a ${swarm.ControlAvailable ? 'manager' : 'worker'}.\n`);
  },
};

function addressesOf(flags: ParsedFlags) {
  const word = flags.get(availability)?.toLowerCase();
  if (word !== undefined && !['active', 'pause', 'drain'].includes(word)) {
    throw new CommandError(`invalid availability "${word}", only active, pause and drain are supported`);
  }
  return {
    ListenAddr: withPort(flags.get(listenAddr)),
    AdvertiseAddr: flags.get(advertiseAddr) ?? '',
    ...(flags.changed(dataPathAddr) && { DataPathAddr: flags.get(dataPathAddr) }),
    ...(word === undefined ? {} : { Availability: word }),
  };
}

function withPort(address: string | undefined): string {
  if (address === undefined || address === '') return DEFAULT_LISTEN_ADDR;
  return /:\d+$/.test(address) ? address : `${address}:${DEFAULT_PORT}`;
}

export const joinToken: CommandModule = {
  flags: [quiet, rotate],
  run: async (context, flags, [role = '']) => {
    const { client, terminal } = context;
    if (role !== 'worker' && role !== 'manager') throw new CommandError(`unknown role ${role}`);
    const isQuiet = flags.get(quiet) ?? false;
    if (flags.get(rotate) === true) {
      const swarm = await client.swarmInspect();
      const which = role === 'worker' ? { rotateWorkerToken: true } : { rotateManagerToken: true };
      await client.swarmUpdate(swarm.Version.Index, swarm.Spec, which);
      if (!isQuiet) terminal.out(`Successfully rotated ${role} join token.\n\n`);
    }
    if (isQuiet) {
      const { JoinTokens: tokens } = await client.swarmInspect();
      terminal.out(`${role === 'worker' ? tokens.Worker : tokens.Manager}\n`);
      return;
    }
    const { Swarm: swarm } = await client.info();
    await writeJoinCommand(context, swarm.NodeID, role);
  },
};

/** Writes what to run on another host for it to join. */
async function writeJoinCommand({ client, terminal }: Context, nodeId: string, role: 'worker' | 'manager') {
  // A daemon in no swarm has no id: its refusal to tell of the swarm is the message.
  const { JoinTokens: tokens } = await client.swarmInspect();
  const { ManagerStatus: manager } = await client.node(nodeId);
  if (manager === undefined) return;
  const secret = role === 'worker' ? tokens.Worker : tokens.Manager;
  terminal.out(
    `To add a ${role} to this swarm, run the following command:\n\n` +
      `    swarmctl join --token ${secret} ${manager.Addr}\n\n`,
  );
}

export const leave: CommandModule = {
  flags: [force],
  run: async ({ client, terminal }, flags) => {
    const { Warnings: warnings = [] } = (await client.swarmLeave(flags.get(force) ?? false)) ?? {};
    for (const warning of warnings) terminal.err(`WARNING: ${warning}\n`);
    terminal.out('Node left the swarm.\n');
  },
};
