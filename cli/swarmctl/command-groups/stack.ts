import { type CommandGroup, NONE, ONE } from './command-entry.js';

const config = () => import('../commands/stack-config.js');
const deploy = () => import('../commands/stack-deploy.js');

export const STACK: CommandGroup = {
  name: 'stack',
  short: 'Manage Swarm stacks',
  commands: [
    {
      name: 'config',
      use: '[OPTIONS]',
      short: 'Output the final config file, after doing merges and interpolations',
      examples: ['swarmctl stack config -c compose.yaml -c production.yaml', 'swarmctl stack config --strict -c -'],
      args: NONE,
      load: async () => (await config()).config,
    },
    {
      name: 'deploy',
      aliases: ['up'],
      use: '[OPTIONS] STACK',
      short: 'Deploy a new stack or update an existing stack',
      examples: [
        'swarmctl stack deploy -c compose.yaml shop',
        'swarmctl stack deploy -c compose.yaml -c production.yaml --prune --timeout 10m shop',
      ],
      args: ONE,
      load: async () => (await deploy()).deploy,
    },
  ],
};
