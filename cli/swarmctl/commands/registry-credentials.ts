import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { type RegistryAuth, registryAuthHeader } from '@apiary/api/client';
import { messageOf } from '@apiary/std';
import { CommandError } from './context.js';

/** The header of who has nothing to be known by: what was kept for a service is then forgotten. */
export const NO_CREDENTIALS = registryAuthHeader({});

/** Where Docker's clients keep what is said to Docker Hub. */
const DOCKER_HUB = 'https://index.docker.io/v1/';
/** For a user name, says of a helper's secret that it is an identity token. */
const TOKEN_USER = '<token>';
/** The words of every credential helper for a registry that it does not know. */
const NOT_KEPT = 'credentials not found in native keychain';

interface AuthEntry {
  auth?: string;
  identitytoken?: string;
  registrytoken?: string;
  username?: string;
  password?: string;
}

interface DockerConfig {
  auths?: Record<string, AuthEntry>;
  credsStore?: string;
  credHelpers?: Record<string, string>;
}

/**
 * What `docker login` left behind: in Docker's config file, or with the credential helper that the file names for the
 * registry, which is asked.
 *
 * @returns for an image, the value of the header `X-Registry-Auth`; undefined when nobody has logged in there
 * @throws CommandError for a file that cannot be read, and what it returns for a helper that fails
 */
export function registryCredentials(env: NodeJS.ProcessEnv): (image: string) => Promise<string | undefined> {
  const path = join(env['DOCKER_CONFIG'] || join(homedir(), '.docker'), 'config.json');
  const config = readConfig(path);
  return async (image) => {
    const server = serverOf(image);
    const helper = config.credHelpers?.[server] || config.credsStore;
    const auth = helper ? await askHelper(`docker-credential-${helper}`, server, env) : kept(config, server);
    return auth && registryAuthHeader({ ...auth, serveraddress: server });
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

/** An entry may have been made under the registry's name or, long ago, under an address at it. */
function kept({ auths = {} }: DockerConfig, server: string): RegistryAuth | undefined {
  const entry = auths[server] ?? Object.entries(auths).find(([key]) => hostOf(key) === hostOf(server))?.[1];
  if (entry === undefined) return undefined;
  const { auth = '', identitytoken, registrytoken } = entry;
  const pair = Buffer.from(auth, 'base64').toString().replaceAll('\0', '');
  const [, username = entry.username ?? '', password = entry.password ?? ''] = /^([^:]*):(.*)$/s.exec(pair) ?? [];
  return { username, password, ...(identitytoken && { identitytoken }), ...(registrytoken && { registrytoken }) };
}

function hostOf(address: string): string {
  return address.replace(/^https?:\/\//, '').replace(/\/.*$/s, '');
}

/** The helpers' protocol: the registry goes in, JSON or the reason for none comes out, and the exit code says which. */
async function askHelper(program: string, server: string, env: NodeJS.ProcessEnv): Promise<RegistryAuth | undefined> {
  const { code, stdout } = await new Promise<{ code: number | null; stdout: string }>((resolve, reject) => {
    const helper = spawn(program, ['get'], { env, stdio: ['pipe', 'pipe', 'inherit'] });
    const chunks: Buffer[] = [];
    helper.on('error', (error) => reject(new CommandError(`${program}: ${messageOf(error)}`)));
    helper.on('close', (exitCode) => resolve({ code: exitCode, stdout: Buffer.concat(chunks).toString() }));
    helper.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    // One that reads nothing says by its exit code how it went.
    helper.stdin.on('error', () => {});
    helper.stdin.end(`${server}\n`);
  });
  if (code !== 0 && stdout.trim() === NOT_KEPT) return undefined;
  if (code !== 0) throw new CommandError(`${program} knows no credentials for ${server}: ${stdout.trim()}`);
  try {
    const { Username: username, Secret: secret } = JSON.parse(stdout) as { Username: string; Secret: string };
    return username === TOKEN_USER ? { identitytoken: secret } : { username, password: secret };
  } catch (error) {
    throw new CommandError(`${program} answers what is no JSON: ${messageOf(error)}`);
  }
}

/** The registry that an image's name leads to. */
function serverOf(image: string): string {
  const [first = '', second] = image.split('/', 2);
  const isDomain = second !== undefined && (/[.:]/.test(first) || first === 'localhost');
  return isDomain && first !== 'docker.io' ? first : DOCKER_HUB;
}
