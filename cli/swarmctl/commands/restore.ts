import { resolve } from 'node:path';
import { boolFlag, textFlag } from '../command-line/index.js';
import type { CommandModule } from './context.js';
import { passphraseFile, passphraseFor } from './passphrase.js';

const dataRoot = textFlag('data-root', 'Data root of the swarmd that is to go on from the backup', {
  defaultText: '"/var/lib/swarmd"',
});
const node = textFlag('node', 'ID or hostname of the node to be (default the manager that made the backup)');
const advertiseAddr = textFlag('advertise-addr', 'Advertised address (format: "<ip|interface>[:port]")');
const listenAddr = textFlag('listen-addr', 'Listen address (format: "<ip|interface>[:port]") (default 0.0.0.0:2377)', {
  type: 'node-addr',
});
const force = boolFlag('force', 'Replace the state of the manager that the data root is of', { short: 'f' });

export const restore: CommandModule = {
  flags: [dataRoot, node, advertiseAddr, listenAddr, passphraseFile, force],
  run: async (context, flags, [path = '']) => {
    const { terminal, clock } = context;
    const { restoreNode } = await import('../../swarmd/restored-node.js');
    const root = resolve(flags.get(dataRoot) ?? '/var/lib/swarmd');
    const restored = await restoreNode({
      path,
      passphrase: passphraseFor(context, flags.get(passphraseFile), path),
      dataRoot: root,
      node: flags.get(node),
      advertiseAddr: flags.get(advertiseAddr),
      listenAddr: flags.get(listenAddr),
      force: flags.get(force) ?? false,
      clock,
    });
    const { nodeId, hostname, clusterId, takenAtMs, managerAddr, isSealed, keptDirectory } = restored;
    terminal.out(
      `Swarm ${clusterId} restored as of ${new Date(takenAtMs).toISOString()}: ` +
        `node ${nodeId}${hostname === '' ? '' : ` (${hostname})`} is its only manager, at ${managerAddr}.\n\n` +
        `Start it with 'swarmd --data-root ${root}', then add managers with 'swarmctl node promote'.\n`,
    );
    if (keptDirectory !== undefined) terminal.out(`What was there before is kept in ${keptDirectory}.\n`);
    if (!isSealed) terminal.err(`WARNING: ${path} is in clear: whoever had it could read and change it.\n`);
    terminal.err(
      'Make sure that no other manager of this swarm runs any more: there would be two swarms of one name.\n',
    );
  },
};
