import { type CommandGroup, NONE, ONE, SOME } from './command-entry.js';

const config = () => import('../commands/stack-config.js');
const deploy = () => import('../commands/stack-deploy.js');
const logs = () => import('../commands/logs.js');
const plan = () => import('../commands/stack-plan.js');
const remove = () => import('../commands/stack-remove.js');
const stacks = () => import('../commands/stacks.js');

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
        'swarmctl stack deploy --plan shop.json shop',
      ],
      args: ONE,
      load: async () => (await deploy()).deploy,
    },
    {
      name: 'logs',
      use: '[OPTIONS] STACK',
      short: 'Fetch the logs of all services of a stack',
      examples: ['swarmctl stack logs --follow --tail 20 shop'],
      args: ONE,
      load: async () => (await logs()).stackLogs,
    },
    {
      name: 'ls',
      aliases: ['list'],
      use: '[OPTIONS]',
      short: 'List stacks',
      examples: ["swarmctl stack ls --format '{{.Name}}: {{.Services}}'"],
      args: NONE,
      load: async () => (await stacks()).list,
    },
    {
      name: 'plan',
      use: '[OPTIONS] STACK',
      short: 'Show what a deploy would change',
      examples: [
        'swarmctl stack plan -c compose.yaml --prune shop',
        'swarmctl stack plan -c compose.yaml --format json shop > shop.json',
      ],
      args: ONE,
      load: async () => (await plan()).plan,
    },
    {
      name: 'ps',
      use: '[OPTIONS] STACK',
      short: 'List the tasks in the stack',
      examples: ['swarmctl stack ps --filter desired-state=running shop'],
      args: ONE,
      load: async () => (await stacks()).ps,
    },
    {
      name: 'rm',
      aliases: ['remove', 'down'],
      use: '[OPTIONS] STACK [STACK...]',
      short: 'Remove one or more stacks, and wait until all of it is gone',
      examples: ['swarmctl stack rm shop'],
      args: SOME,
      load: async () => (await remove()).remove,
    },
    {
      name: 'services',
      use: '[OPTIONS] STACK',
      short: 'List the services in the stack',
      examples: ['swarmctl stack services shop'],
      args: ONE,
      load: async () => (await stacks()).services,
    },
  ],
};
