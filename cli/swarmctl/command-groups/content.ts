import { type ArgumentRule, type CommandGroup, NONE, SOME } from './command-entry.js';

const contents = () => import('../commands/contents.js');
const contentChanges = () => import('../commands/content-changes.js');

export const SECRET = contentGroup('secret', 'SECRET', '[OPTIONS] SECRET [file|-]', {
  short: 'Create a secret from a file or STDIN as content',
  args: { least: 1, most: 2 },
});
export const CONFIG = contentGroup('config', 'CONFIG', '[OPTIONS] CONFIG file|-', {
  short: 'Create a config from a file or STDIN',
  args: { least: 2, most: 2 },
});

/** The commands of secrets or of configs. `update` is ours: Docker has neither another content for a name nor it. */
function contentGroup(
  kind: 'secret' | 'config',
  word: string,
  createUse: string,
  creation: { short: string; args: ArgumentRule },
): CommandGroup {
  const file = kind === 'secret' ? 'key.pem' : 'nginx.conf';
  const name = kind === 'secret' ? 'site-key' : 'site-conf';
  return {
    name: kind,
    short: `Manage Swarm ${kind}s`,
    commands: [
      {
        name: 'create',
        use: createUse,
        ...creation,
        examples: [
          `swarmctl ${kind} create ${name} ${file}`,
          `swarmctl ${kind} create --label tier=front --template-driver golang ${name} ${file}.tmpl`,
        ],
        load: async () => (await contentChanges())[kind].create,
      },
      {
        name: 'inspect',
        use: `[OPTIONS] ${word} [${word}...]`,
        short: `Display detailed information on one or more ${kind}s`,
        examples: [`swarmctl ${kind} inspect --pretty ${name}`],
        args: SOME,
        load: async () => (await contents())[kind].inspect,
      },
      {
        name: 'ls',
        aliases: ['list'],
        use: '[OPTIONS]',
        short: `List ${kind}s`,
        examples: [`swarmctl ${kind} ls --filter label=tier=front`],
        args: NONE,
        load: async () => (await contents())[kind].list,
      },
      {
        name: 'rm',
        aliases: ['remove'],
        use: `${word} [${word}...]`,
        short: `Remove one or more ${kind}s`,
        examples: [`swarmctl ${kind} rm ${name}`],
        args: SOME,
        load: async () => (await contents())[kind].remove,
      },
      {
        name: 'update',
        use: `[OPTIONS] ${word} file|-`,
        short: `Give a ${kind} another content, as a new version`,
        examples: [`swarmctl ${kind} update ${name} ${file}`],
        args: { least: 2, most: 2 },
        load: async () => (await contentChanges())[kind].update,
      },
    ],
  };
}
