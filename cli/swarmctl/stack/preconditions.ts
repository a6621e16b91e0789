import { ApiaryError } from '@apiary/std';
import { CommandError, type Context } from '../commands/context.js';

/** @throws CommandError */
export function checkStackName(name: string): void {
  if (name.trim() === '' || /^["']+$/.test(name) || !/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name)) {
    throw new CommandError(
      `invalid stack name: ${JSON.stringify(name)}: letters, digits, "_", "-" and "." may be in it`,
    );
  }
}

/** @throws CommandError in Docker's words */
export async function requireManager({ client }: Context): Promise<void> {
  const { Swarm: swarm } = await client.info();
  if (swarm.ControlAvailable) return;
  throw new CommandError(
    'this node is not a swarm manager. Use "swarmctl init" or "swarmctl join" to connect this node to swarm and try again',
  );
}

/**
 * Whether the daemon is swarmd: it honours more than Docker's, which would refuse what it does not know. One that does not
 * answer is none, so that faults in files are found without it.
 */
export async function isApiary({ client }: Context): Promise<boolean> {
  try {
    const { Components: components } = await client.version();
    return components?.some(({ Name }) => Name === 'Apiary') ?? false;
  } catch (error) {
    if (error instanceof ApiaryError && error.code === 'unavailable') return false;
    throw error;
  }
}
