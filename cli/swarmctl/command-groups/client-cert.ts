import { type CommandGroup, NONE, ONE, SOME } from './command-entry.js';

const clientCerts = () => import('../commands/client-cert.js');

export const CLIENT_CERT: CommandGroup = {
  name: 'client-cert',
  short: 'Manage who may call swarmd over TCP',
  commands: [
    {
      name: 'create',
      use: '[OPTIONS] NAME',
      short: 'Create a client certificate',
      examples: [
        'swarmctl client-cert create --role operator alice',
        'swarmctl client-cert create --role operator --stack shop --validity 720h -o shop-ci ci',
      ],
      args: ONE,
      load: async () => (await clientCerts()).create,
    },
    {
      name: 'ls',
      aliases: ['list'],
      use: '[OPTIONS]',
      short: 'List client certificates',
      examples: ['swarmctl client-cert ls'],
      args: NONE,
      load: async () => (await clientCerts()).list,
    },
    {
      name: 'revoke',
      aliases: ['rm'],
      use: 'CERTIFICATE [CERTIFICATE...]',
      short: 'Revoke one or more client certificates',
      examples: ['swarmctl client-cert revoke alice'],
      args: SOME,
      load: async () => (await clientCerts()).revoke,
    },
  ],
};
