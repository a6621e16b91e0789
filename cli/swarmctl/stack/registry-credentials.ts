import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { messageOf } from '@apiary/std';
import { CommandError } from '../commands/context.js';

const DOCKER_HUB = 'https://index.docker.io/v1/';

interface DockerConfig {
  auths?: Record<string, { auth?: string; identitytoken?: string; username?: string; password?: string }>;
  credsStore?: string;
  credHelpers?: Record<string, string>;
}

/**
 * What `docker login` wrote into Docker's config file.
 *
 * @returns for an image, the value of the header `X-Registry-Auth`; undefined when nobody has logged in there
 * @throws CommandError for a file that cannot be read, and for credentials that a program keeps
 */
export function registryCredentials(env: NodeJS.ProcessEnv): (image: string) => string | undefined {
  const path = join(env['DOCKER_CONFIG'] || join(homedir(), '.docker'), 'config.json');
  const config = readConfig(path);
  return (image) => {
    const server = serverOf(image);
    if (config.credsStore !== undefined || config.credHelpers?.[server] !== undefined) {
      throw new CommandError(
        `${path}: credentials for ${server} are kept by a program, which --with-registry-auth does not ask`,
      );
    }
    const entry = config.auths?.[server] ?? config.auths?.[`https://${server}`];
    if (entry === undefined) return undefined;
    const [, username = entry.username ?? '', password = entry.password ?? ''] =
      /^([^:]*):(.*)$/s.exec(Buffer.from(entry.auth ?? '', 'base64').toString()) ?? [];
    const header = { username, password, identitytoken: entry.identitytoken, serveraddress: server };
    return Buffer.from(JSON.stringify(header)).toString('base64url');
  };
}

function readConfig(path: string): DockerConfig {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as DockerConfig;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return {};
    throw new CommandError(`${path}: ${messageOf(error)}`);
  }
}

/** The registry that an image's name leads to. */
function serverOf(image: string): string {
  const [first = '', second] = image.split('/', 2);
  const isDomain = second !== undefined && (/[.:]/.test(first) || first === 'localhost');
  return isDomain && first !== 'docker.io' ? first : DOCKER_HUB;
}
