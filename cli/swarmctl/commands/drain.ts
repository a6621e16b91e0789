import { isTerminal, type Task } from '@apiary/api/model';
import { taskError } from '../table/human.js';
import type { Context } from './context.js';
import { waitUntilDone } from './patience.js';

/**
 * Waits until nothing runs on a drained node any more: what ran there runs elsewhere, or has ended.
 *
 * @param name  the node as the user named it
 * @throws CommandError as `waitUntilDone` does
 */
export async function waitUntilEmpty(
  context: Context,
  node: { id: string; name: string },
  options: { timeoutMs: number; quiet: boolean },
): Promise<void> {
  const { client } = context;
  const look = async () => {
    const tasks = (await client.tasks({ node: [node.id] })).filter(({ Status }) => !isTerminal(Status.State));
    const count = tasks.length === 1 ? '1 task left' : `${tasks.length} tasks left`;
    return {
      isDone: tasks.length === 0,
      mark: tasks.map(({ ID, Status }) => `${ID} ${Status.State}`).join(),
      line: { id: node.name, text: tasks.length === 0 ? 'drained, no task left' : count },
      left: () => whatIsLeft(context, tasks),
    };
  };
  await waitUntilDone(context, look, {
    ...options,
    what: `node ${node.name} is not empty`,
    background: `The node stays drained.\nUse \`swarmctl node ps ${node.name}\` to check progress.`,
  });
}

/** Each task that is left, and what keeps the one that is to take its place. */
async function whatIsLeft({ client }: Context, tasks: readonly Task[]): Promise<string[]> {
  const services = [...new Set(tasks.map(({ ServiceID = '' }) => ServiceID))];
  const [others, named] = await Promise.all([client.tasks({ service: services }), client.services({ id: services })]);
  const names = new Map(named.map(({ ID, Spec }) => [ID, Spec.Name ?? ID]));
  return tasks.map((task) => {
    const { ServiceID = '', Slot, NodeID, Status } = task;
    const name = `${names.get(ServiceID) ?? ServiceID}.${Slot ?? NodeID ?? ''}`;
    const successor = others.find(
      (other) => other.ServiceID === ServiceID && other.Slot === Slot && isWaitedFor(other) && other.ID !== task.ID,
    );
    const error = successor && taskError(successor.Status);
    const why = successor && `; in its place one is ${successor.Status.State}${error ? `: ${error}` : ''}`;
    return `${name}: ${Status.State}${why ?? ''}`;
  });
}

function isWaitedFor({ DesiredState, Status }: Task): boolean {
  return (DesiredState === 'running' || DesiredState === 'ready') && Status.State !== 'running';
}
