import type { Node, NodeSpec } from '@apiary/api/model';
import { boolFlag, listFlag, type ParsedFlags, textFlag } from '../command-line/index.js';
import { toMap } from '../spec/index.js';
import { CommandError, type CommandModule, type Context } from './context.js';
import { patienceOf, quietProgress, timeout } from './options.js';

const asIs = (text: string): string => text;

const availability = textFlag('availability', 'Availability of the node ("active", "pause", "drain")');
const role = textFlag('role', 'Role of the node ("worker", "manager")');
const labelAdd = listFlag('label-add', 'Add or update a node label ("key=value")', asIs);
const labelRm = listFlag('label-rm', 'Remove a node label if exists', asIs);
const wait = boolFlag('wait', 'With --availability drain: return when no task is left on the node');
const force = boolFlag('force', 'Demote even if the swarm loses its quorum by it', { short: 'f' });

export const update: CommandModule = {
  flags: [availability, role, labelAdd, labelRm, wait, quietProgress, timeout],
  run: async (context, flags, names) => {
    if (flags.get(wait) === true) refuseWaitWithoutDrain(flags);
    await changeEach(context, names, {
      change: ({ Spec: spec }) => changedSpec(spec, flags),
      done: (name) => `${name}\n`,
    });
    if (flags.get(wait) !== true) return;
    const { waitUntilEmpty } = await import('./drain.js');
    for (const name of names) {
      const { ID: id } = await context.client.node(name);
      await waitUntilEmpty(context, { id, name }, patienceOf(flags));
    }
  },
};

function refuseWaitWithoutDrain(flags: ParsedFlags): void {
  if (flags.get(availability)?.toLowerCase() === 'drain') return;
  throw new CommandError('--wait waits for a drained node to be empty: use it with --availability drain');
}

export const promote: CommandModule = {
  flags: [],
  run: async (context, _flags, names) => {
    await changeEach(context, names, {
      change: ({ Spec: spec }) => (spec.Role === 'manager' ? undefined : { ...spec, Role: 'manager' }),
      done: (name) => `Node ${name} promoted to a manager in the swarm.\n`,
      asItWas: (id) => `Node ${id} is already a manager.\n`,
    });
  },
};

export const demote: CommandModule = {
  flags: [force],
  run: async (context, flags, names) => {
    await changeEach(context, names, {
      change: ({ Spec: spec }) => (spec.Role === 'worker' ? undefined : { ...spec, Role: 'worker' }),
      done: (name) => `Manager ${name} demoted in the swarm.\n`,
      asItWas: (id) => `Node ${id} is already a worker.\n`,
      isForced: flags.get(force) ?? false,
    });
  },
};

interface NodeChange {
  /** The spec that a node is to have, or undefined when it is as asked for. */
  change(node: Node): NodeSpec | undefined;
  /** What is written of a node that was changed, called as the user called it. */
  done(name: string): string;
  asItWas?(id: string): string;
  isForced?: boolean;
}

/** One node after the other, as the docker command line does it: the first that fails ends it. */
async function changeEach({ client, terminal }: Context, names: string[], options: NodeChange): Promise<void> {
  const { change, done, asItWas, isForced = false } = options;
  for (const name of names) {
    const node = await client.node(name);
    const spec = change(node);
    if (spec === undefined) {
      terminal.out(asItWas?.(node.ID) ?? '');
      continue;
    }
    await client.updateNode(node.ID, node.Version.Index, spec, { isForced });
    terminal.out(done(name));
  }
}

function changedSpec(spec: NodeSpec, flags: ParsedFlags): NodeSpec {
  const labels = { ...spec.Labels, ...toMap(flags.get(labelAdd) ?? []) };
  for (const key of flags.get(labelRm) ?? []) {
    if (!Object.hasOwn(labels, key)) throw new CommandError(`key ${key} doesn't exist in node's labels`);
    delete labels[key];
  }
  const Availability = wordOf(flags.get(availability), AVAILABILITIES, 'Availability') ?? spec.Availability;
  const Role = wordOf(flags.get(role), ROLES, 'Role') ?? spec.Role;
  return { ...spec, Labels: labels, ...(Availability && { Availability }), ...(Role && { Role }) };
}

const AVAILABILITIES = ['active', 'pause', 'drain'] as const;
const ROLES = ['worker', 'manager'] as const;

/** @throws CommandError in the words of the daemon, which would refuse it */
function wordOf<W extends string>(text: string | undefined, words: readonly W[], key: string): W | undefined {
  if (text === undefined) return undefined;
  const word = words.find((known) => known === text.toLowerCase());
  if (word === undefined) throw new CommandError(`invalid ${key}: ${JSON.stringify(text)}`);
  return word;
}
