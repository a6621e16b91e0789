import { type CommandGroup, NONE, SOME } from './command-entry.js';

const tokens = () => import('../commands/tokens.js');

export const TOKEN: CommandGroup = {
  name: 'token',
  short: 'Manage join tokens that bring labels',
  commands: [
    {
      name: 'create',
      use: '[OPTIONS]',
      short: 'Create a join token',
      examples: ['swarmctl token create --label zone=a --label disk=ssd', 'swarmctl token create --validity 24h'],
      args: NONE,
      load: async () => (await tokens()).create,
    },
    {
      name: 'ls',
      aliases: ['list'],
      use: '[OPTIONS]',
      short: 'List join tokens',
      examples: ['swarmctl token ls', "swarmctl token ls --format '{{.ID}}: {{.Labels}}'"],
      args: NONE,
      load: async () => (await tokens()).list,
    },
    {
      name: 'rm',
      aliases: ['remove'],
      use: 'TOKEN [TOKEN...]',
      short: 'Remove one or more join tokens, by id',
      examples: ['swarmctl token rm 1w9cqwl4e2m7'],
      args: SOME,
      load: async () => (await tokens()).remove,
    },
  ],
};
