import type { ApiClient } from '@apiary/api/client';
import {
  boolFlag,
  commandHelp,
  type Flag,
  groupHelp,
  parseCommandLine,
  textFlag,
  UsageError,
  usageLine,
} from './command-line/index.js';
import { COMMANDS, type CommandEntry, type CommandGroup, GROUPS } from './command-tree.js';
import { CommandError, type Context } from './commands/context.js';
import { errorText } from './commands/error-text.js';

const NAME = 'swarmctl';
const SHORT = 'Run services on a swarm of hosts';
export const DEFAULT_HOST = 'unix:///run/swarmd/swarmd.sock';

/** Docker's exit code for flags that are wrong. */
const USAGE_EXIT_CODE = 125;

const host = textFlag('host', 'Daemon socket to connect to', { short: 'H', defaultText: `"${DEFAULT_HOST}"` });
const certPath = textFlag('cert-path', 'Folder with ca.pem, cert.pem and key.pem, for a daemon behind TLS', {
  defaultText: '$SWARM_CERT_PATH',
});
const showVersion = boolFlag('version', 'Print version information and quit', { short: 'v' });
const help = boolFlag('help', 'Print usage', { short: 'h' });
const GLOBAL_FLAGS: Flag<unknown>[] = [host, certPath, showVersion];

/** What the app runs in: all of a command's context but the client, which a command line chooses. */
export interface Environment extends Omit<Context, 'client'> {
  /** @param certPath  folder of the client's certificate; empty for none */
  connect(host: string, certPath: string): ApiClient | Promise<ApiClient>;
  /** `SWARM_HOST`. */
  defaultHost: string | undefined;
  /** `SWARM_CERT_PATH`. */
  defaultCertPath?: string | undefined;
}

/**
 * Runs one command line.
 *
 * @param words  what follows the program's name
 * @returns the exit code: 0, 1 for a failure, 125 for wrong flags, 130 after Ctrl-C
 */
export async function run(words: readonly string[], environment: Environment): Promise<number> {
  try {
    await dispatch(words, environment);
    return 0;
  } catch (error) {
    const text = errorText(error);
    if (text !== '') environment.terminal.err(`${text}\n`);
    return error instanceof CommandError ? error.exitCode : 1;
  }
}

async function dispatch(words: readonly string[], environment: Environment): Promise<void> {
  const { terminal } = environment;
  const root = { path: NAME, use: '[OPTIONS] COMMAND [ARG...]' };
  const { flags, args } = parseFor(root, [...GLOBAL_FLAGS, help], words, false);
  if (flags.get(showVersion) === true) return terminal.out(`swarmctl version ${environment.version}\n`);
  const wantsHelp = flags.get(help) === true || args[0] === 'help';
  const [word, ...rest] = wantsHelp ? [...args.filter((arg) => arg !== 'help'), '--help'] : args;
  if (word === undefined) return terminal.err(rootHelp(terminal.width));
  if (word === '--help') return terminal.out(rootHelp(terminal.width));
  const connect = () =>
    environment.connect(
      flags.get(host) ?? environment.defaultHost ?? DEFAULT_HOST,
      flags.get(certPath) ?? environment.defaultCertPath ?? '',
    );
  const group = GROUPS.find(({ name }) => name === word);
  if (group !== undefined) return dispatchGroup(group, rest, environment, connect);
  const command = find(COMMANDS, word);
  if (command === undefined) {
    throw new CommandError(`${NAME}: unknown command: ${NAME} ${word}\n\nRun '${NAME} --help' for more information`);
  }
  await execute(command, NAME, rest, environment, connect);
}

async function dispatchGroup(
  group: CommandGroup,
  words: readonly string[],
  environment: Environment,
  connect: () => ApiClient | Promise<ApiClient>,
): Promise<void> {
  const path = `${NAME} ${group.name}`;
  const { flags, args } = parseFor({ path, use: '' }, [help], words, false);
  const [word, ...rest] = args;
  const page = () => groupHelp(path, group.short, [{ title: 'Commands', commands: group.commands }]);
  if (word === undefined) {
    return flags.get(help) === true ? environment.terminal.out(page()) : environment.terminal.err(page());
  }
  const command = find(group.commands, word);
  if (command === undefined) {
    throw new CommandError(
      `${NAME}: unknown command: ${path} ${word}\n\nUsage:  ${path}\n\nRun '${path} --help' for more information`,
    );
  }
  await execute(command, path, rest, environment, connect);
}

function find(commands: readonly CommandEntry[], word: string): CommandEntry | undefined {
  return commands.find(({ name, aliases = [] }) => name === word || aliases.includes(word));
}

async function execute(
  entry: CommandEntry,
  parent: string,
  words: readonly string[],
  environment: Environment,
  connect: () => ApiClient | Promise<ApiClient>,
): Promise<void> {
  const { terminal } = environment;
  const { flags: known, run: runCommand, helpWithoutFlags = false } = await entry.load();
  const path = `${parent} ${entry.name}`;
  const page = {
    ...entry,
    path,
    aliases: entry.aliases && [path, ...entry.aliases.map((alias) => `${parent} ${alias}`)],
  };
  const { flags, args } = parseFor(page, [...known, help], words, entry.flagsFirst !== true);
  if (flags.get(help) === true) return terminal.out(commandHelp(page, known, terminal.width));
  await checkArguments(entry, page, args);
  if (helpWithoutFlags && flags.names().length === 0) return terminal.out(commandHelp(page, known, terminal.width));
  await runCommand({ ...environment, client: await connect() }, flags, args);
}

/** Says of a wrong flag whose usage to look at, and asks for Docker's exit code. */
function parseFor(
  command: { path: string; use: string },
  flags: readonly Flag<unknown>[],
  words: readonly string[],
  interspersed: boolean,
): ReturnType<typeof parseCommandLine> {
  try {
    return parseCommandLine(flags, words, interspersed);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new CommandError(`${error.message}\n\n${usage(command)}`, USAGE_EXIT_CODE);
  }
}

function usage(command: { path: string; use: string }): string {
  return `Usage:  ${usageLine(command)}\n\nRun '${command.path} --help' for more information`;
}

async function checkArguments(
  { args: rule, short }: CommandEntry,
  command: { path: string; use: string },
  args: readonly string[],
): Promise<void> {
  const { least, most, check } = rule;
  const fail = (what: string) => new CommandError(`${NAME}: '${command.path}' ${what}\n\n${usage(command)}`);
  if (most === 0 && args.length > 0) throw fail('accepts no arguments');
  if (least === most && args.length !== least) throw fail(`requires ${least} argument${least === 1 ? '' : 's'}`);
  if (most !== Number.POSITIVE_INFINITY && (args.length < least || args.length > most)) {
    throw fail(`requires at least ${least} and at most ${most} arguments`);
  }
  if (args.length < least) throw fail(`requires at least ${least} argument${least === 1 ? '' : 's'}`);
  const wrong = await check?.(args);
  if (wrong === undefined) return;
  throw new CommandError(`${wrong}\nSee '${command.path} --help'.\n\nUsage:  ${usageLine(command)}\n\n${short}`);
}

function rootHelp(width: number): string {
  return groupHelp(
    NAME,
    SHORT,
    [
      { title: 'Management Commands', commands: GROUPS },
      { title: 'Commands', commands: COMMANDS },
    ],
    { flags: GLOBAL_FLAGS, width },
  );
}
