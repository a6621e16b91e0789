import { type CommandEntry, type CommandGroup, NONE, ONE } from './command-entry.js';

const caModule = () => import('../commands/ca.js');
const settings = () => import('../commands/cluster-settings.js');
const swarm = () => import('../commands/swarm.js');
const locks = () => import('../commands/unlock.js');

/** Docker has these under `swarm`; here they stand at the top as well. */
export const SWARM_COMMANDS: CommandEntry[] = [
  {
    name: 'ca',
    use: '[OPTIONS]',
    short: 'Display and rotate the root CA',
    examples: ['swarmctl ca', 'swarmctl ca --rotate', 'swarmctl ca --rotate --ca-cert root.pem --ca-key root-key.pem'],
    args: NONE,
    load: async () => (await caModule()).ca,
  },
  {
    name: 'init',
    use: '[OPTIONS]',
    short: 'Initialize a swarm',
    examples: [
      'swarmctl init --advertise-addr 192.168.1.10',
      'swarmctl init --advertise-addr eth0 --availability drain',
      'swarmctl init --force-new-cluster',
    ],
    args: NONE,
    load: async () => (await swarm()).init,
  },
  {
    name: 'join',
    use: '[OPTIONS] HOST:PORT',
    short: 'Join a swarm as a node and/or manager',
    examples: ['swarmctl join --token SWMTKN-1-... 192.168.1.10:2377'],
    args: ONE,
    load: async () => (await swarm()).join,
  },
  {
    name: 'join-token',
    use: '[OPTIONS] (worker|manager)',
    short: 'Manage join tokens',
    examples: ['swarmctl join-token worker', 'swarmctl join-token --rotate --quiet manager'],
    args: ONE,
    load: async () => (await swarm()).joinToken,
  },
  {
    name: 'leave',
    use: '[OPTIONS]',
    short: 'Leave the swarm',
    examples: ['swarmctl leave', 'swarmctl leave --force'],
    args: NONE,
    load: async () => (await swarm()).leave,
  },
  {
    name: 'update',
    use: '[OPTIONS]',
    short: 'Update the swarm',
    examples: [
      'swarmctl update --task-history-limit 2',
      'swarmctl update --cert-expiry 720h --dispatcher-heartbeat 10s',
    ],
    args: NONE,
    load: async () => (await settings()).update,
  },
  {
    name: 'unlock',
    use: '',
    short: 'Unlock swarm',
    examples: ['swarmctl unlock', 'swarmctl unlock < key.txt'],
    args: NONE,
    load: async () => (await locks()).unlock,
  },
  {
    name: 'unlock-key',
    use: '[OPTIONS]',
    short: 'Manage the unlock key',
    examples: ['swarmctl unlock-key -q', 'swarmctl unlock-key --rotate'],
    args: NONE,
    load: async () => (await locks()).unlockKey,
  },
];

export const SWARM: CommandGroup = { name: 'swarm', short: 'Manage Swarm', commands: SWARM_COMMANDS };
