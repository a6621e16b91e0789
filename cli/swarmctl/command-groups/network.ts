import { type CommandGroup, NONE, ONE, SOME } from './command-entry.js';

const networks = () => import('../commands/networks.js');

export const NETWORK: CommandGroup = {
  name: 'network',
  short: 'Manage networks',
  commands: [
    {
      name: 'create',
      use: '[OPTIONS] NETWORK',
      short: 'Create a network',
      examples: [
        'swarmctl network create --driver overlay backend',
        'swarmctl network create --driver overlay --subnet 172.28.0.0/16 --internal --label tier=data data',
        'swarmctl network create --driver overlay --ipv6 --subnet fd00:7::/64 --subnet 172.29.0.0/16 dual',
      ],
      args: ONE,
      load: async () => (await networks()).create,
    },
    {
      name: 'inspect',
      use: '[OPTIONS] NETWORK [NETWORK...]',
      short: 'Display detailed information on one or more networks',
      examples: ["swarmctl network inspect --format '{{(index .IPAM.Config 0).Subnet}}' backend"],
      args: SOME,
      load: async () => (await networks()).inspect,
    },
    {
      name: 'ls',
      aliases: ['list'],
      use: '[OPTIONS]',
      short: 'List networks',
      examples: ['swarmctl network ls --filter driver=overlay', "swarmctl network ls --format '{{.Name}}: {{.Scope}}'"],
      args: NONE,
      load: async () => (await networks()).list,
    },
    {
      name: 'prune',
      use: '[OPTIONS]',
      short: 'Remove all unused networks',
      examples: ['swarmctl network prune --force', 'swarmctl network prune --filter until=24h'],
      args: NONE,
      load: async () => (await networks()).prune,
    },
    {
      name: 'rm',
      aliases: ['remove'],
      use: 'NETWORK [NETWORK...]',
      short: 'Remove one or more networks',
      examples: ['swarmctl network rm backend'],
      args: SOME,
      load: async () => (await networks()).remove,
    },
  ],
};
