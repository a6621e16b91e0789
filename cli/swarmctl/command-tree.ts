import { CLIENT_CERT } from './command-groups/client-cert.js';
import { type CommandEntry, type CommandGroup, NONE, ONE } from './command-groups/command-entry.js';
import { CONFIG, SECRET } from './command-groups/content.js';
import { NETWORK } from './command-groups/network.js';
import { NODE } from './command-groups/node.js';
import { SERVICE } from './command-groups/service.js';
import { STACK } from './command-groups/stack.js';
import { SWARM, SWARM_COMMANDS } from './command-groups/swarm.js';
import { TASK } from './command-groups/task.js';
import { TOKEN } from './command-groups/token.js';

export type { CommandEntry, CommandGroup };

const backup = () => import('./commands/backup.js');
const logKey = () => import('./commands/log-key.js');
const restore = () => import('./commands/restore.js');
const events = () => import('./commands/events.js');
const system = () => import('./commands/system.js');

export const GROUPS: CommandGroup[] = [CLIENT_CERT, CONFIG, NETWORK, NODE, SECRET, SERVICE, STACK, SWARM, TASK, TOKEN];

export const COMMANDS: CommandEntry[] = [
  ...SWARM_COMMANDS,
  {
    name: 'backup',
    use: '[OPTIONS]',
    short: 'Write the state of the swarm to a file',
    examples: [
      'swarmctl backup -o swarm-monday.backup',
      'swarmctl backup --passphrase-file /root/backup.passphrase --force -o /srv/backups/swarm.backup',
    ],
    args: NONE,
    load: async () => (await backup()).backup,
  },
  {
    name: 'rotate-log-key',
    use: '',
    short: 'Change the key with which the manager that is asked encrypts its log',
    examples: ['swarmctl rotate-log-key', 'swarmctl --host unix:///run/manager2/swarmd.sock rotate-log-key'],
    args: NONE,
    load: async () => (await logKey()).rotateLogKey,
  },
  {
    name: 'restore',
    use: '[OPTIONS] FILE',
    short: 'Make a stopped swarmd the only manager of a swarm, from a backup',
    examples: [
      'swarmctl restore swarm.backup',
      'swarmctl restore --data-root /srv/swarmd --node manager1 --advertise-addr 10.0.0.1 swarm.backup',
    ],
    args: ONE,
    load: async () => (await restore()).restore,
  },
  {
    name: 'events',
    use: '[OPTIONS]',
    short: 'Get real time events from the server',
    examples: [
      'swarmctl events --filter type=service --filter type=task --since 10m',
      "swarmctl events --filter service=web --format '{{.Type}} {{.Action}} {{.Actor.Attributes.name}}'",
    ],
    args: NONE,
    load: async () => (await events()).events,
  },
  {
    name: 'info',
    use: '[OPTIONS]',
    short: 'Display system-wide information',
    examples: ['swarmctl info', "swarmctl info --format '{{.Swarm.LocalNodeState}}'"],
    args: NONE,
    load: async () => (await system()).info,
  },
  {
    name: 'version',
    use: '[OPTIONS]',
    short: 'Show the version information',
    examples: ["swarmctl version --format '{{.Client.Version}}'"],
    args: NONE,
    load: async () => (await system()).version,
  },
];
